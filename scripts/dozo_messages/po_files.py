"""Reading and writing gettext's .po files, as far as Dozo uses them."""

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HEADER = """\
# Translations of Dozo; `scripts/messages update` adds what is new.
msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"""


@dataclass(frozen=True, kw_only=True)
class Key:
    """What is translated."""

    text: str
    context: str = ""
    plural: str = ""

    def __str__(self) -> str:
        return f"{self.context}: {self.text}" if self.context else self.text


@dataclass(kw_only=True)
class Entry:
    """A text with its translations: Japanese has one plural form, so there is one."""

    key: Key
    translations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    obsolete: bool = False

    @property
    def is_translated(self) -> bool:
        """Whether every form has a translation."""
        return bool(self.translations) and all(self.translations)


def read(path: Path) -> list[Entry]:
    """The entries of a file; none if there is no file."""
    return entries_of(path.read_text()) if path.exists() else []


def entries_of(text: str) -> list[Entry]:
    """The entries of a file's text, its header left out."""
    found = (_entry(block) for block in text.split("\n\n"))
    return [entry for entry in found if entry is not None and entry.key.text]


def _entry(block: str) -> Entry | None:
    texts: dict[str, str] = {}
    comments: dict[str, list[str]] = {"#,": [], "#.": [], "#:": [], "#~": []}
    name = ""
    for line in block.splitlines():
        rest = line.strip()
        if rest[:2] in comments:
            comments[rest[:2]].append(rest[2:].strip())
            if not rest.startswith("#~"):
                continue
            rest = rest[2:].strip()
        if not rest or rest.startswith(("#", "|")):
            continue
        if not rest.startswith('"'):
            name, _, rest = rest.partition(" ")
        texts[name] = texts.get(name, "") + str(ast.literal_eval(rest))
    if "msgid" not in texts:
        return None
    return Entry(
        key=Key(
            text=texts["msgid"],
            context=texts.get("msgctxt", ""),
            plural=texts.get("msgid_plural", ""),
        ),
        translations=[texts[one] for one in texts if one.startswith("msgstr")],
        notes=comments["#."],
        places=[place for line in comments["#:"] for place in line.split()],
        flags=[flag.strip() for line in comments["#,"] for flag in line.split(",")],
        obsolete=bool(comments["#~"]),
    )


def merge(path: Path, language: str, wanted: Mapping[Key, Entry]) -> list[Key]:
    """Bring a file up to what is wanted, translations kept; what is no longer wanted goes.

    Returns the keys of what went. Without anything wanted there is no file.
    """
    known = {entry.key: entry for entry in read(path)}
    for key, entry in wanted.items():
        entry.translations = known[key].translations[:1] if key in known else []
    if wanted:
        ordered = sorted(wanted.values(), key=lambda one: (one.places, one.key.text, str(one.key)))
        write(path, language, ordered)
    else:
        path.unlink(missing_ok=True)
    return [key for key in known if key not in wanted]


def write(path: Path, language: str, entries: Iterable[Entry]) -> None:
    """Write a file anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = ["\n".join(_lines(entry)) + "\n" for entry in entries]
    path.write_text("\n".join([HEADER.format(language=language), *blocks]))


def _lines(entry: Entry) -> Iterator[str]:
    for note in entry.notes:
        yield f"#. {note}"
    for place in entry.places:
        yield f"#: {place}"
    if flags := [flag for flag in entry.flags if flag != "fuzzy"]:
        yield f"#, {', '.join(flags)}"
    if entry.key.context:
        yield f"msgctxt {_quoted(entry.key.context)}"
    yield f"msgid {_quoted(entry.key.text)}"
    translation = _quoted(entry.translations[0] if entry.translations else "")
    if entry.key.plural:
        yield f"msgid_plural {_quoted(entry.key.plural)}"
        yield f"msgstr[0] {translation}"
    else:
        yield f"msgstr {translation}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
