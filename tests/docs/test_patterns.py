"""The page about patterns of use has the same recipes in both languages, and they can be read."""

import json
import re
import subprocess
from pathlib import Path

from dozo.model.timing import timing_from_json

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [(DOCS / name).read_text() for name in ("patterns.md", "patterns.ja.md")]


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.+?)^```", page, re.DOTALL | re.MULTILINE)


def test_both_languages_have_the_same_recipes() -> None:
    assert blocks(PAGES[0]) == blocks(PAGES[1])
    names = [re.findall(r"^`(.+)`:$", page, re.MULTILINE) for page in PAGES]
    assert names[0] == names[1] != []


def test_schedules_and_scripts_can_be_read() -> None:
    for kind, text in blocks(PAGES[0]):
        if kind == "json":
            assert timing_from_json(json.loads(text)["timing"])
        elif kind == "sh" and text.startswith("#!"):
            subprocess.run(["sh", "-n"], input=text, text=True, check=True)
