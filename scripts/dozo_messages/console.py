"""The strings of the Admin Console: one catalog a part, by Django's own tools."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dozo_messages import po_files
from dozo_messages.po_files import Entry, Key

ROOT = Path(__file__).parents[2]
CONSOLE = ROOT / "src" / "dozo" / "console"

_MAKE = [
    *(sys.executable, "-m", "django", "makemessages"),
    *("--add-location", "file", "--no-wrap"),
    *("--extension", "html,txt,py,svg"),
]


def areas() -> list[Path]:
    """The console's parts: folders with a catalog of their own, those that still need one too."""
    if not CONSOLE.is_dir():
        return []
    return [
        folder
        for folder in sorted(CONSOLE.iterdir())
        if folder.is_dir() and not folder.name.startswith(("_", ".")) and folder.name != "locale"
    ]


def catalog(area: Path, language: str) -> Path:
    """The file of a part in a language."""
    return area / "locale" / language / "LC_MESSAGES" / "django.po"


def contradictions(language: str) -> list[str]:
    """What two parts translate differently: one line each.

    The console has one catalog in the end, so that one of the two would be shown in both parts.
    A context (``{% translate "From" context "date" %}``) tells two meanings apart.
    """
    found: dict[Key, dict[tuple[str, ...], str]] = {}
    for area in areas():
        for entry in po_files.read(catalog(area, language)):
            if entry.is_translated:
                said = tuple(entry.translations)
                # Django looks up a plural by its singular alone.
                key = Key(text=entry.key.text, context=entry.key.context)
                found.setdefault(key, {}).setdefault(said, area.name)
    return [
        f"{key}: translated differently in {' and '.join(sorted(ways.values()))}"
        for key, ways in found.items()
        if len(ways) > 1
    ]


def wanted(area: Path, language: str) -> dict[Key, Entry]:
    """Everything that a part says: what `makemessages` finds in a copy of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / area.name
        shutil.copytree(area, copy, ignore=shutil.ignore_patterns("static", "locale", "*.pyc"))
        (copy / "locale").mkdir()
        run = subprocess.run(
            [*_MAKE, "--locale", language],
            cwd=copy,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise SystemExit(f"{area}: {run.stderr or run.stdout}")
        found = po_files.read(catalog(copy, language))
    return {entry.key: entry for entry in found}
