"""Undocumented means broken: commands, options, settings and errors stand in the docs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from dozo.cli.app import app
from dozo.services import settings
from dozo.services.settings_template import TEMPLATE

ROOT = Path(__file__).parents[2]
CLI_PAGE = (ROOT / "docs" / "cli.md").read_text()


def commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        here = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from commands(command, here)
        else:
            yield here, command


COMMANDS = list(commands(typer.main.get_command(app), "dozo"))


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS])
def test_every_command_is_documented(path: str) -> None:
    assert f"`{path}" in CLI_PAGE


@pytest.mark.parametrize(
    ("path", "option"),
    [
        (path, option)
        for path, command in COMMANDS
        if not path.startswith("dozo vault")
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
        if option.startswith("--") and option not in {"--help", "--json"}
    ],
)
def test_every_option_is_documented(path: str, option: str) -> None:
    # `--freeze/--no-freeze`: the half that is not the default is the one to name.
    if option in {"--freeze", "--verify"}:
        return
    assert option in CLI_PAGE, f"{option} of {path}"


def test_every_command_has_help_and_no_option_lacks_it() -> None:
    for path, command in COMMANDS:
        assert command.help, path
        for parameter in command.params:
            assert getattr(parameter, "help", "shown"), f"{parameter.name} of {path}"


def test_every_setting_is_documented_and_in_the_commented_file() -> None:
    for section, keys in settings._KNOWN.items():
        for key in keys:
            assert f"`{section}.{key}`" in CLI_PAGE
            assert key in TEMPLATE


def test_the_error_page_is_what_the_script_writes() -> None:
    script = ROOT / "scripts" / "write_error_docs.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0, f"run {script.relative_to(ROOT)}"


def test_every_code_means_one_thing() -> None:
    headings = [
        line for line in (ROOT / "docs" / "errors.md").read_text().splitlines() if "### " in line
    ]
    assert len(headings) > 100
    assert sorted(set(headings)) == sorted(headings)


def test_help_is_quick_because_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from dozo.cli.app import run; run(['--help']); "
        "heavy = ('django', 'libvirt', 'nbd', 'cryptography', 'httpx', 'uvicorn', 'ssl'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
