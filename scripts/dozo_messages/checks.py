"""What can be wrong with a catalog."""

import re
import string
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from dozo_messages import po_files
from dozo_messages.po_files import Entry, Key

# `state_word` and `names_text` are `state` and `names`, said in words of the language.
_IN_WORDS = re.compile("_(word|text)$")
_PERCENT = re.compile(r"%\(\w+\)[#0 +-]*[\d.]*[a-z]")


def problems(path: Path, wanted: Mapping[Key, Entry]) -> Iterator[str]:
    """Why a catalog is not complete: one line each."""
    entries = po_files.read(path)
    there = {entry.key: entry for entry in entries if not entry.obsolete}
    for key in wanted:
        if key not in there:
            yield f"{path}: missing (scripts/messages update adds it): {key}"
    for entry in entries:
        if entry.obsolete or entry.key not in wanted:
            yield f"{path}: nobody says (scripts/messages update removes it): {entry.key}"
        elif "fuzzy" in entry.flags:
            yield f"{path}: fuzzy: {entry.key}"
        elif not entry.is_translated:
            yield f"{path}: not translated: {entry.key}"
        else:
            yield from (f"{path}: {problem}: {entry.key}" for problem in _flaws(entry))
    if entries:
        yield from _not_compiled(path)


def _flaws(entry: Entry) -> Iterator[str]:
    asked = _places(entry.key.text) | _places(entry.key.plural)
    for text in entry.translations:
        found = _places(text)
        if found != asked:
            yield f"other placeholders ({', '.join(sorted(found ^ asked))})"
        if text[:1].isspace() and not entry.key.text[:1].isspace():
            yield "another space at its beginning"
        if text[-1:].isspace() and not entry.key.text[-1:].isspace():
            yield "another space at its end"


def _places(text: str) -> set[str]:
    """The names that are filled in, as `str.format` or `%` writes them."""
    if percent := set(_PERCENT.findall(text)):
        return percent
    try:
        return {_IN_WORDS.sub("", name) for _, name, _, _ in string.Formatter().parse(text) if name}
    except ValueError:
        return set()


def _not_compiled(path: Path) -> Iterator[str]:
    run = subprocess.run(
        ["msgfmt", "--check-format", "--output-file=/dev/null", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        yield from run.stderr.splitlines()
