"""The page about patterns of use has the same recipes in both languages, and they can be read."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import typer

from dozo.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [(DOCS / name).read_text() for name in ("patterns.md", "patterns.ja.md")]


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.+?)^```", page, re.DOTALL | re.MULTILINE)


def test_both_languages_have_the_same_recipes() -> None:
    assert blocks(PAGES[0]) == blocks(PAGES[1])
    names = [re.findall(r"^`(.+)`:$", page, re.MULTILINE) for page in PAGES]
    assert names[0] == names[1] != []


def test_scripts_can_be_read() -> None:
    scripts = [text for _, text in blocks(PAGES[0]) if text.startswith("#!")]
    assert len(scripts) == 2
    for text in scripts:
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_the_commands_are_as_the_command_line_takes_them() -> None:
    page = "\n".join(text for _, text in blocks(PAGES[0])).replace("\\\n", " ")
    lines = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("dozo ")]
    assert len(lines) == 3
    for words in lines:
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        # Whatever it does not know, it refuses; nothing is run.
        command.make_context("dozo", words)
