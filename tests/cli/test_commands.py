"""Exit codes, errors in words and as JSON, and the main commands without a hypervisor."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dozo.cli import exits
from dozo.cli.times import instant_of, seconds_of
from dozo.model.errors import ErrorKind

from .conftest import NO_LIBVIRT, Dozo


def test_the_exit_codes_are_those_of_the_design() -> None:
    assert {kind.value: code for kind, code in exits.EXIT_CODES.items()} == {
        "failed": 1,
        "usage": 2,
        "not-found": 3,
        "refused": 4,
        "damaged": 5,
        "unavailable": 6,
        # Refusals that HTTP tells apart.
        "unauthenticated": 4,
        "forbidden": 4,
        "throttled": 4,
    }
    assert set(exits.EXIT_CODES) == set(ErrorKind)


def test_init_shows_what_it_made(dozo: Dozo, tmp_path: Path) -> None:
    done = dozo(
        "--home", tmp_path / "h", "init", "--name", "dr", "--vault", tmp_path / "v",
        "--pool", tmp_path / "p", "--libvirt", NO_LIBVIRT, "--json",
    )  # fmt: skip
    assert done.code == 0
    made = done.json
    assert made["site"] == "dr"
    assert made["public_key"].startswith("dozo-site-1:")
    assert Path(made["keys"]).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o711
    password = Path(made["password_file"])
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.read_text().strip() not in done.out


def test_a_home_that_is_none(dozo: Dozo, tmp_path: Path) -> None:
    done = dozo("--home", tmp_path, "snapshot", "list", "--json")
    assert done.code == 3
    assert done.error["error"] == "site.home_missing"
    assert "init" in done.error["hint"]


def test_a_service_that_does_not_run(dozo: Dozo, home: Path) -> None:
    for command in (["snapshot", "list"], ["recovery-point", "create", "web"]):
        done = dozo("--home", home, *command, "--json")
        assert (done.code, done.out) == (6, "")
        assert done.error["error"] == "cli.service_not_running"
        assert f"dozo --home {home} serve" in done.error["hint"]


def test_a_defect_is_short_and_leaves_its_trace_in_a_file(
    dozo: Dozo, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("dozo.cli.snapshot.client_of", broken)
    done = dozo("--home", home, "snapshot", "list", "--json")
    assert done.code == 1
    assert done.error["error"] == "dozo.unexpected"
    path = Path(done.error["hint"].rsplit(" ", 1)[1].rstrip("."))
    assert "RuntimeError: boom" in path.read_text()
    path.unlink()


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00+09:00", "2026-01-31T03:00:00+00:00"),
    ],
)
def test_times_with_a_zone(text: str, iso: str) -> None:
    assert instant_of(text).isoformat() == iso


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800)]
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


def test_a_date_alone_means_its_end() -> None:
    found = instant_of("2026-01-31").astimezone()
    assert (found.day, found.hour, found.minute) == (31, 23, 59)


def test_output_that_nobody_reads_on_is_no_error(home: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -c 'from dozo.cli import main; main()' --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
