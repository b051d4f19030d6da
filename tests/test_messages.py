"""Everything that people see is translated, and nothing in the catalogs is stale."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_everything_is_translated() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "scripts" / "messages", "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
