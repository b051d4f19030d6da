"""The systemd units: systemd takes them, and they fit what the service does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from dozo.cli.app import app
from dozo.daemon import serve
from dozo.services.settings import Settings

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "packaging" / "systemd").glob("*.service"))


def values(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_there_are_two() -> None:
    assert [unit.name for unit in UNITS] == ["dozo-worker.service", "dozo.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_it(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        for line in unit.read_text().splitlines():
            assert not line or line[0] in "#[" or "=" in line, line
        return
    copy = tmp_path / unit.name
    # Where the command lies is each host's own affair.
    copy.write_text(unit.read_text().replace("/opt/dozo/bin/dozo", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    # It also has to say about units of the host that ours names.
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_it_fits_the_service(unit: Path) -> None:
    found = values(unit)
    _path, command, *options = found["ExecStart"][0].split()
    group = typer.main.get_command(app)
    known = {one for each in group.commands[command].params for one in each.opts}  # type: ignore[attr-defined]
    assert {one for one in options if one.startswith("--")} <= known
    # Enough for what runs to end, and for the process to end itself.
    longest = Settings.stop_seconds + serve._LAST_SECONDS
    assert float(found["TimeoutStopSec"][0]) > longest
    # The watchdogs that thaw guests outlive a service that was killed.
    assert found["KillMode"] == ["process"]
    assert found["Type"] == ["notify"]
    assert "ExecReload" not in found
    assert "PrivateDevices" not in found
    assert "/dev/kvm rw" in found["DeviceAllow"]


def test_the_docs_have_every_alert_of_a_metric_that_exists() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    metrics = (ROOT / "docs" / "metrics.md").read_text()
    for name in re.findall(r"dozo_[a-z_]+", page.partition("## Alerts")[2]):
        assert f"`{re.sub('_bucket$', '', name)}`" in metrics, name
