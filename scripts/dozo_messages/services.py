"""The messages of everything but the Admin Console's pages: errors, reasons, steps, words."""

import ast
import importlib
import pkgutil
import string
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import dozo
from dozo.catalog.store import set_up_django
from dozo.model.errors import all_errors
from dozo.model.message import SEPARATORS
from dozo.model.words import WORDS
from dozo_messages import po_files
from dozo_messages.po_files import Entry, Key

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "dozo"

# Who says something, and where its templates stand among the arguments.
_SAYING = {"Message": (0,), "counted": (1, 2)}


def catalog(language: str) -> Path:
    """The file of a language."""
    return SOURCE / "locale" / language / "LC_MESSAGES" / "messages.po"


def wanted() -> dict[Key, Entry]:
    """Everything that the code says."""
    made: dict[Key, Entry] = {}
    for key, place, note in [
        *_separators(),
        *_words(),
        *_errors(),
        *_messages(SOURCE.rglob("*.py")),
    ]:
        entry = made.setdefault(key, Entry(key=key))
        entry.places = sorted({*entry.places, place})
        entry.notes = sorted({*entry.notes, *([note] if note else [])})
    return made


def _separators() -> Iterator[tuple[Key, str, str]]:
    yield Key(text="'{text}'"), "src/dozo/model/message.py", "a quoted name"
    for separator in SEPARATORS:
        yield Key(text=separator, context="list"), "src/dozo/model/message.py", ""


def _words() -> Iterator[tuple[Key, str, str]]:
    for kind, words in WORDS.items():
        for text in words.values():
            yield Key(text=text, context=kind), "src/dozo/model/words.py", ""


def _errors() -> Iterator[tuple[Key, str, str]]:
    set_up_django()
    for module in pkgutil.walk_packages(dozo.__path__, "dozo."):
        if not module.name.endswith(("__main__", "watchdog")) and ".migrations" not in module.name:
            importlib.import_module(module.name)
    for error in all_errors():
        if error.__module__.startswith("dozo."):
            place = f"src/{error.__module__.replace('.', '/')}.py"
            if error.text:
                yield Key(text=error.text), place, error.code
            if error.hint:
                yield Key(text=error.hint), place, error.code


def flaws(language: str) -> Iterator[str]:
    """Translations of errors' texts that name what the error does not have: one line each."""
    there = {entry.key.text: entry for entry in po_files.read(catalog(language))}
    for error in all_errors():
        known = {*dir(error), *(field.name for field in fields(error))}
        for template in (error.text, error.hint):
            translated = there.get(template)
            for text in translated.translations if translated else []:
                for _, name, _, _ in string.Formatter().parse(text):
                    if name and name.removeprefix("self.") not in known:
                        yield f"{catalog(language)}: {error.code} has no {name}"


def _messages(files: Iterable[Path]) -> Iterator[tuple[Key, str, str]]:
    for path in sorted(set(files) - {SOURCE / "model" / "message.py"}):
        text = path.read_text()
        if any(f"{name}(" in text for name in _SAYING):
            place = path.relative_to(ROOT)
            for call in ast.walk(ast.parse(text)):
                if isinstance(call, ast.Call):
                    for key in (*_said(call, f"{place}:{call.lineno}"), *_headings(call)):
                        yield key, str(place), ""


def _headings(call: ast.Call) -> Iterator[Key]:
    """What stands over the columns of the command line's tables, and before its facts."""
    match call:
        case ast.Call(func=ast.Name(id="print_table"), args=[ast.List(elts=named), *_]):
            yield from _constants(named)
        case ast.Call(func=ast.Name(id="print_facts"), args=[facts]):
            for part in ast.walk(facts):
                if isinstance(part, ast.Dict):
                    yield from _constants(part.keys)
        case ast.Call(func=ast.Name(id="within"), args=[ast.Constant(value="heading"), text]):
            yield from _constants([text])


def _constants(found: Iterable[ast.expr | None]) -> Iterator[Key]:
    for one in found:
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value:
            yield Key(text=one.value, context="heading")


def _said(call: ast.Call, where: str) -> Iterator[Key]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if isinstance(call.func, ast.Name):
        name = call.func.id
    for number in _SAYING.get(name, ()):
        if number < len(call.args):
            yield Key(text=_written(call.args[number], where))


def _written(argument: ast.expr, where: str) -> str:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    raise SystemExit(f"{where}: write the message out, so that it can be found and translated")
