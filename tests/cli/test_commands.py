"""Exit codes, errors in words and as JSON, and the main commands without a hypervisor."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dozo.cli import exits
from dozo.cli.times import instant_of
from dozo.model.errors import ErrorKind
from dozo.model.extents import Extent
from dozo.model.states import CaptureMode, Consistency
from dozo.services.facts import (
    CaptureFacts,
    MemberFacts,
    RecoveryPointFacts,
    ServerFacts,
    SnapshotFacts,
    VolumeFacts,
)
from dozo.services.site import Site
from dozo.vault import SnapshotDraft

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
    password = Path(made["operator_password_file"])
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.read_text().strip() not in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["snapshot", "show", "nothing"], 3, "no snapshot 'nothing'"),
        (["recovery-point", "show", "nothing"], 3, "no recovery point"),
        (["template", "delete", "nothing"], 3, "no template"),
        (["hold", "list", "nothing"], 3, "no snapshot"),
        (["server", "list"], 6, "libvirt does not answer"),
        (["volume", "list"], 6, "libvirt does not answer"),
        (["recovery-point", "create", "web"], 6, "libvirt does not answer"),
        (["server", "start", "web"], 6, "libvirt does not answer"),
        (["site", "rebuild", "--from", "dr"], 3, "no peer 'dr'"),
        (["snapshot", "copy", "--to", "dr"], 3, "no peer"),
        (["snapshot", "frobnicate"], 2, "No such command"),
        (["snapshot", "show"], 2, "Missing argument"),
        (["snapshot", "show", "x", "--frob"], 2, "No such option"),
        (["hold", "add", "x", "--until", "soon"], 2, "not a time"),
        (["volume", "restore", "x"], 2, "exactly one of"),
        (["server", "delete", "web"], 4, "cannot be taken back"),
        (["volume", "delete", "web"], 4, "cannot be taken back"),
        (["server", "restore"], 3, "no snapshot"),
        (["site", "add-peer", "dr", "--vault", "/x", "--public-key", "junk"], 2, "public key"),
        (["site", "add-peer", "dr", "--vault", "/x"], 2, "Missing option"),
    ],
)
def test_errors_have_their_code_and_words(
    dozo: Dozo, home: Path, arguments: list[str], code: int, word: str
) -> None:
    done = dozo("--home", home, *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
    assert word in done.err
    assert "Traceback" not in done.err
    as_json = dozo("--home", home, *arguments, "--json")
    assert as_json.code == code
    assert as_json.error["message"]
    assert as_json.error["error"]


def test_a_home_that_is_none(dozo: Dozo, tmp_path: Path) -> None:
    done = dozo("--home", tmp_path, "snapshot", "list", "--json")
    assert done.code == 3
    assert done.error["error"] == "site.home_missing"
    assert "init" in done.error["hint"]


def test_lists_are_empty_at_first(dozo: Dozo, home: Path) -> None:
    for group in ("snapshot", "recovery-point", "template", "hold"):
        done = dozo("--home", home, group, "list", "--json")
        assert (done.code, done.json) == (0, [])
        assert dozo("--home", home, group, "list").out.startswith("no ")


def test_a_defect_is_short_and_leaves_its_trace_in_a_file(
    dozo: Dozo, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("dozo.services.views.list_snapshots", broken)
    done = dozo("--home", home, "snapshot", "list", "--json")
    assert done.code == 1
    assert done.error["error"] == "dozo.unexpected"
    path = Path(done.error["hint"].rsplit(" ", 1)[1].rstrip("."))
    assert "RuntimeError: boom" in path.read_text()
    path.unlink()


def test_a_life_of_a_snapshot_by_hand(dozo: Dozo, home: Path, tmp_path: Path) -> None:
    with Site.open(home) as site:
        site.vault.backup(_Random(), SnapshotDraft(name="image"))
    assert dozo("--home", home, "site", "rebuild-catalog").code == 0
    (shown,) = dozo("--home", home, "snapshot", "list", "--json").json
    snapshot = shown["snapshot"]
    assert shown["copies"] == {"main": "stored"}
    verified = dozo("--home", home, "snapshot", "verify", snapshot[:8], "--json")
    assert [one["state"] for one in verified.json] == ["verified"]
    out = tmp_path / "out.raw"
    restored = dozo("--home", home, "snapshot", "restore", "image", out, "--json")
    assert restored.json["bytes_volume"] == out.stat().st_size == _Random.size_bytes
    assert dozo("--home", home, "snapshot", "restore", "image", out).code == 4
    held = dozo("--home", home, "hold", "add", "image", "--until", "2999-01-31", "--json")
    assert held.json["until"].startswith("2999-01-31")
    refused = dozo("--home", home, "snapshot", "delete", "image", "--json")
    assert (refused.code, refused.error["error"]) == (4, "vault.snapshot_held")
    facts = dozo("--home", home, "snapshot", "show", "image", "--json").json
    assert len(facts["holds"]) == 1
    assert "image" in dozo("--home", home, "snapshot", "list").out


def test_what_a_capture_says_about_itself_is_shown(dozo: Dozo, home: Path) -> None:
    server = str(uuid4())
    volume = str(uuid4())
    facts = SnapshotFacts(
        name="web-vda",
        volume=VolumeFacts(volume_id=volume, name="web-vda", device="vda"),
        capture=CaptureFacts(mode=CaptureMode.OFFLINE, consistency=Consistency.CRASH),
        server=ServerFacts(uuid=server, name="web"),
        recovery_point=RecoveryPointFacts(
            recovery_point_id="ab" * 16,
            name="nightly",
            members=(MemberFacts(volume_id=volume, device="vda"),),
        ),
        notes=(("guest_os", "Debian 12"), ("not_clean", "QEMU ended without libvirt")),
    )
    with Site.open(home) as site:
        site.vault.backup(
            _Random(), SnapshotDraft(name="web-vda", group="ab" * 16, facts=facts.to_json())
        )
    dozo("--home", home, "site", "rebuild-catalog")
    wanted = {"guest_os": "Debian 12", "not_clean": "QEMU ended without libvirt"}
    for command in (["snapshot", "show", "web-vda"], ["recovery-point", "show", "nightly"]):
        assert dozo("--home", home, *command, "--json").json["notes"] == wanted
        shown = dozo("--home", home, *command).out
        assert re.search(r"not clean because +QEMU ended without libvirt", shown)
        assert re.search(r"guest os +Debian 12", shown)


def test_peers_copy_sync_and_rebuild(dozo: Dozo, home: Path, tmp_path: Path) -> None:
    dr = tmp_path / "dr"
    made = dozo(
        "--home", dr, "init", "--name", "dr", "--vault", tmp_path / "v2",
        "--pool", tmp_path / "p2", "--libvirt", NO_LIBVIRT, "--json",
    ).json  # fmt: skip
    (key,) = dr.glob("keys.*.pub")
    assert key.read_text().strip() == made["public_key"]
    assert (
        dozo(
            "--home", home, "site", "add-peer", "dr", "--vault", tmp_path / "v2",
            "--public-key", key,
        ).code
        == 0
    )  # fmt: skip
    with Site.open(home) as site:
        site.vault.backup(_Random(), SnapshotDraft(name="image"))
    dozo("--home", home, "site", "rebuild-catalog")
    copied = dozo("--home", home, "snapshot", "copy", "--to", "dr", "--json").json
    assert len(copied["snapshots"]) == 1
    synced = dozo("--home", dr, "site", "sync", "--json").json
    assert [one["state"] for one in synced["verified"]] == ["verified"]
    dozo("--home", home, "site", "sync")
    (shown,) = dozo("--home", home, "snapshot", "list", "--json").json
    assert shown["copies"] == {"main": "verified", "dr": "verified"}
    rows = dozo("--home", home, "site", "list", "--json").json
    assert [(one["site"], one["role"]) for one in rows] == [("main", "this site"), ("dr", "peer")]
    plan = dozo("--home", home, "site", "rebuild", "--dry-run", "--json").json
    assert plan["snapshots_missing"] == []


class _Random:
    """A volume of random bytes."""

    size_bytes = 1024 * 1024

    def __init__(self) -> None:
        self.data = os.urandom(self.size_bytes)

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        buffer[:] = self.data[offset_bytes : offset_bytes + len(buffer)]

    def data_extents(self) -> Any:
        yield Extent(0, self.size_bytes)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00+09:00", "2026-01-31T03:00:00+00:00"),
    ],
)
def test_times_with_a_zone(text: str, iso: str) -> None:
    assert instant_of(text).isoformat() == iso


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
