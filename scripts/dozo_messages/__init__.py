"""`scripts/messages`: what is to be translated, and whether it is."""

import sys
from collections.abc import Iterator
from pathlib import Path

from dozo_messages import console, services
from dozo_messages.checks import problems
from dozo_messages.po_files import Entry, Key, merge

LANGUAGE = "ja"


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    match arguments:
        case ["update"]:
            for path, wanted in catalogs():
                for key in merge(path, LANGUAGE, wanted):
                    print(f"{path}: nobody says any more: {key}")
            return 0
        case ["check"]:
            found = [problem for path, wanted in catalogs() for problem in problems(path, wanted)]
            found += services.flaws(LANGUAGE)
            found += console.contradictions(LANGUAGE)
            for problem in found:
                print(problem, file=sys.stderr)
            return 1 if found else 0
        case _:
            print("usage: scripts/messages update | check", file=sys.stderr)
            return 2


def catalogs() -> Iterator[tuple[Path, dict[Key, Entry]]]:
    """Every catalog with what should be in it."""
    yield services.catalog(LANGUAGE), services.wanted()
    for area in console.areas():
        yield console.catalog(area, LANGUAGE), console.wanted(area, LANGUAGE)
