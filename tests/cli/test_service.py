"""The commands against a real service, without a hypervisor."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

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

from .conftest import Dozo, make_site
from .service import Service
from .volumes import RandomVolume


def test_lists_are_empty_at_first(dozo: Dozo, served: Service) -> None:
    for group in ("snapshot", "recovery-point", "template", "hold", "schedule"):
        done = dozo("--home", served.home, group, "list", "--json")
        assert (done.code, done.json) == (0, []), done.err
        assert dozo("--home", served.home, group, "list").out.startswith("no ")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["snapshot", "show", "nothing"], 3, "no snapshot 'nothing'"),
        (["recovery-point", "show", "nothing"], 3, "no recovery point"),
        (["template", "delete", "nothing"], 3, "no template"),
        (["hold", "list", "nothing"], 3, "no snapshot"),
        (["server", "show", "web"], 3, "no server"),
        (["recovery-point", "create", "web"], 3, "no server"),
        (["server", "start", "web"], 3, "no server"),
        (["volume", "show", "web/vdb"], 3, "no volume"),
        (["job", "show", "nothing"], 3, "no job"),
        (["schedule", "show", "nothing"], 3, "no schedule"),
        (["tenant", "show", "nothing"], 3, "no tenant"),
        (["user", "show", "nothing"], 3, "no user"),
        (["site", "rebuild", "--from", "dr"], 3, "no peer 'dr'"),
        (["snapshot", "copy", "--to", "dr"], 3, "no peer"),
        (["snapshot", "frobnicate"], 2, "No such command"),
        (["snapshot", "show"], 2, "Missing argument"),
        (["snapshot", "show", "x", "--frob"], 2, "No such option"),
        (["hold", "add", "x", "--until", "soon"], 2, "not a time"),
        (["volume", "restore", "x"], 2, "exactly one of"),
        (["server", "delete", "web"], 4, "cannot be taken back"),
        (["volume", "delete", "web"], 4, "cannot be taken back"),
        (["server", "restore"], 2, "exactly one of"),
        (["schedule", "create", "x", "--keep", "3"], 2, "exactly one of"),
        (["schedule", "create", "x", "--tag", "t", "--keep", "3"], 2, "say when"),
        (["site", "add-peer", "dr", "--vault", "/x", "--public-key", "junk"], 2, "public key"),
        (["site", "add-peer", "dr", "--vault", "/x"], 2, "Missing option"),
        (["login"], 2, "without a profile"),
    ],
)
def test_errors_have_their_code_and_words(
    dozo: Dozo, served: Service, arguments: list[str], code: int, word: str
) -> None:
    done = dozo("--home", served.home, *arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err.startswith("error: ")
    assert word in done.err
    assert "Traceback" not in done.err
    as_json = dozo("--home", served.home, *arguments, "--json")
    assert as_json.code == code
    assert as_json.error["message"]
    assert as_json.error["error"]


def test_a_life_of_a_snapshot_by_hand(dozo: Dozo, served: Service, tmp_path: Path) -> None:
    home = served.home
    with Site.open(home) as site:
        site.vault.backup(RandomVolume(), SnapshotDraft(name="image"))
    assert dozo("--home", home, "site", "rebuild-catalog").code == 0
    (shown,) = dozo("--home", home, "snapshot", "list", "--json").json
    snapshot = shown["snapshot"]
    assert shown["copies"]["main"] in {"stored", "verified"}
    verified = dozo("--home", home, "snapshot", "verify", snapshot[:8], "--json")
    assert [one["state"] for one in verified.json] == ["verified"]
    out = tmp_path / "out.raw"
    restored = dozo("--home", home, "snapshot", "restore", "image", out, "--json")
    assert restored.json["bytes_volume"] == out.stat().st_size == RandomVolume.size_bytes
    assert dozo("--home", home, "snapshot", "restore", "image", out).code == 4
    held = dozo("--home", home, "hold", "add", "image", "--until", "2999-01-31", "--json")
    assert held.json["until"].startswith("2999-01-31")
    refused = dozo("--home", home, "snapshot", "delete", "image", "--json")
    assert (refused.code, refused.error["error"]) == (4, "vault.snapshot_held")
    facts = dozo("--home", home, "snapshot", "show", "image", "--json").json
    assert len(facts["holds"]) == 1
    assert "image" in dozo("--home", home, "snapshot", "list").out


def test_several_are_deleted_when_their_number_is_confirmed(dozo: Dozo, served: Service) -> None:
    home = served.home
    with Site.open(home) as site:
        for name in ("one", "two"):
            site.vault.backup(RandomVolume(), SnapshotDraft(name=name))
    assert dozo("--home", home, "site", "sync").code == 0
    refused = dozo("--home", home, "snapshot", "delete", "one", "two", "--json")
    assert (refused.code, refused.error["error"]) == (4, "cli.count_unconfirmed")
    done = dozo("--home", home, "snapshot", "delete", "one", "two", "--yes", "--json")
    assert len(done.json["deleted"]) == 2
    back = dozo("--home", home, "snapshot", "undelete", *done.json["deleted"], "--json")
    assert sorted(back.json["undeleted"]) == sorted(done.json["deleted"])


def test_what_a_capture_says_about_itself_is_shown(dozo: Dozo, served: Service) -> None:
    home = served.home
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
            RandomVolume(), SnapshotDraft(name="web-vda", group="ab" * 16, facts=facts.to_json())
        )
    assert dozo("--home", home, "site", "rebuild-catalog").code == 0
    wanted = {"guest_os": "Debian 12", "not_clean": "QEMU ended without libvirt"}
    for command in (["snapshot", "show", "web-vda"], ["recovery-point", "show", "nightly"]):
        assert dozo("--home", home, *command, "--json").json["notes"] == wanted
        shown = dozo("--home", home, *command).out
        assert re.search(r"not clean because +QEMU ended without libvirt", shown)
        assert re.search(r"guest os +Debian 12", shown)
    done = dozo("--home", home, "recovery-point", "delete", "nightly", "--json")
    assert len(done.json["deleted"]) == 1
    assert dozo("--home", home, "recovery-point", "undelete", done.json["recovery_point"]).code == 0
    (row,) = dozo("--home", home, "server", "list", "--gone", "--json").json
    assert (row["name"], row["state"]) == ("web", "gone")
    tagged = dozo("--home", home, "server", "tag", "web", "nightly", "--json")
    assert tagged.code == 0, tagged.err


def test_peers_copy_sync_and_rebuild(
    dozo: Dozo, served: Service, tmp_path: Path, django_db_blocker: Any
) -> None:
    home = served.home
    dr = make_site(tmp_path, "dr", django_db_blocker)
    (key,) = dr.glob("keys.*.pub")
    added = dozo(
        "--home", home, "site", "add-peer", "dr", "--vault", tmp_path / "vault",
        "--public-key", key,
    )  # fmt: skip
    assert added.code == 0, added.err
    with Site.open(home) as site:
        site.vault.backup(RandomVolume(), SnapshotDraft(name="copied"))
    assert dozo("--home", home, "site", "rebuild-catalog").code == 0
    done = dozo("--home", home, "snapshot", "copy", "--to", "dr", "--json")
    assert done.code == 0, done.err
    assert done.json["target"] == "dr"
    shown = dozo("--home", home, "snapshot", "show", "copied", "--json").json
    assert shown["copies"]["dr"] == "stored"
    synced = dozo("--home", home, "site", "sync", "--json").json
    assert {"site", "catalog", "verified", "peers", "inventory"} <= set(synced)
    rows = dozo("--home", home, "site", "list", "--json").json
    assert [(one["site"], one["role"]) for one in rows] == [("main", "this site"), ("dr", "peer")]
    plan = dozo("--home", home, "site", "rebuild", "--dry-run", "--json").json
    assert plan["snapshots_missing"] == []


def test_jobs_are_left_and_looked_after(dozo: Dozo, served: Service) -> None:
    home = served.home
    left = dozo("--home", home, "site", "sync", "--no-wait", "--json")
    job = left.json["job"]
    followed = dozo("--home", home, "job", "follow", job[:12], "--json")
    assert (followed.code, followed.json["state"]) == (0, "done")
    assert dozo("--home", home, "job", "show", job, "--json").json["kind"] == "site.sync"
    assert job in [one["job"] for one in dozo("--home", home, "job", "list", "--json").json]
    assert dozo("--home", home, "job", "log", job).out
    ended = dozo("--home", home, "job", "cancel", job, "--json")
    assert (ended.code, ended.error["error"]) == (4, "job.ended")


def test_a_job_that_fails_gives_its_errors_exit_code(dozo: Dozo, served: Service) -> None:
    home = served.home
    with Site.open(home) as site:
        snapshot = site.vault.backup(RandomVolume(), SnapshotDraft(name="to-be-damaged")).snapshot
        before = set((home.parent / "vault").rglob("*"))
    assert before
    assert dozo("--home", home, "site", "rebuild-catalog").code == 0
    newest = max(
        (path for path in (home.parent / "vault" / "packs").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_mtime_ns,
    )
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.chmod(0o600)
    newest.write_bytes(data)
    done = dozo("--home", home, "snapshot", "verify", snapshot, "--json")
    assert (done.code, done.error["kind"]) == (5, "damaged")
    assert done.error["details"]["job"]
    assert dozo("--home", home, "site", "scrub").code == 5


def test_a_schedule_from_its_making_to_its_end(dozo: Dozo, served: Service) -> None:
    home = served.home
    made = dozo(
        "--home", home, "schedule", "create", "nightly", "--tag", "night", "--tenant", "default",
        "--weekly", "mon,thu,02:30", "--zone", "Asia/Tokyo", "--window", "01:00-05:00",
        "--keep-daily", "7", "--keep-weekly", "4", "--jitter", "10m", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert made.json["timing"]["weekdays"] == ["mon", "thu"]
    assert made.json["keep"]["daily"] == 7
    edited = dozo("--home", home, "schedule", "edit", "nightly", "--window", "none", "--json")
    assert "window" not in edited.json["timing"]
    assert edited.json["timing"]["jitter_seconds"] == 600
    assert dozo("--home", home, "schedule", "edit", "nightly", "--daily", "03:00").code == 0
    shown = dozo("--home", home, "schedule", "show", "nightly", "--json").json
    assert (shown["timing"]["kind"], shown["timing"]["zone"]) == ("daily", "Asia/Tokyo")
    assert dozo("--home", home, "schedule", "disable", "nightly", "--json").json["enabled"] is False
    assert "disabled" in dozo("--home", home, "schedule", "list").out
    assert dozo("--home", home, "schedule", "enable", "nightly").code == 0
    seen = dozo("--home", home, "schedule", "preview", "nightly", "--keep", "3", "--json").json
    assert (len(seen["runs"]), len(seen["kept"])) == (20, 3)
    assert dozo("--home", home, "schedule", "runs", "nightly", "--json").json == []
    assert dozo("--home", home, "schedule", "delete", "nightly").code == 0
    assert dozo("--home", home, "schedule", "show", "nightly").code == 3


def test_what_others_wrote_does_not_act_on_the_terminal(dozo: Dozo, served: Service) -> None:
    home = served.home
    made = dozo(
        "--home", home, "user", "create", "esc", "--tenant", "default", "--password-stdin",
        "--display-name", "\x1b[31mred\x9b2J", stdin="correct horse battery\n",
    )  # fmt: skip
    assert made.code == 0, made.err
    for command in (["user", "list"], ["user", "show", "esc"]):
        out = dozo("--home", home, *command).out
        assert "red" in out
        assert not set(out) & {"\x1b", "\x9b"}
    assert dozo("--home", home, "user", "show", "\x1b[2J").err.count("\x1b") == 0


def test_a_preview_with_what_it_covers_tells_the_cost(dozo: Dozo, served: Service) -> None:
    when = ("--daily", "02:30", "--keep", "3")
    plain = dozo("--home", served.home, "schedule", "preview", *when)
    assert (plain.code, "cost" in plain.out) == (0, False)
    tagged = ("--tag", "prod", "--tenant", "default")
    done = dozo("--home", served.home, "schedule", "preview", *when, *tagged)
    assert "probable cost here, of 0 volumes" in done.out, done.err
    made = dozo("--home", served.home, "schedule", "create", "cost", *when, *tagged)
    assert made.code == 0, made.err
    told = dozo("--home", served.home, "schedule", "preview", "cost", "--json")
    assert told.json["estimate"]["volumes"] == 0, told.err
    assert dozo("--home", served.home, "schedule", "delete", "cost").code == 0


def test_the_overview_and_the_site_are_shown(dozo: Dozo, served: Service) -> None:
    for command in (["overview"], ["site", "show"], ["site", "settings"], ["policy", "list"],
                    ["audit", "verify"], ["audit", "list"], ["whoami"],
                    ["site", "retain", "--dry-run"]):  # fmt: skip
        done = dozo("--home", served.home, *command)
        assert (done.code, done.err) == (0, ""), command
        assert done.out
        assert dozo("--home", served.home, *command, "--json").json is not None


def test_a_test_message_is_sent_by_command(dozo: Dozo, served: Service) -> None:
    done = dozo("--home", served.home, "site", "notify-test")
    assert (done.code, "nobody would be told" in done.err) == (4, True)
    path = served.home / "dozo.toml"
    path.write_text(path.read_text().replace("urls = []", 'urls = ["json://127.0.0.1:1/x"]'))
    done = dozo("--home", served.home, "site", "notify-test")
    assert (done.code, "json://127.0.0.1" in done.out) == (6, True), done


def test_tenants_their_policies_and_users(dozo: Dozo, served: Service, tmp_path: Path) -> None:
    home = served.home
    assert dozo("--home", home, "tenant", "create", "acme", "--policy", "kcps-v1").code == 0
    assert "acme" in dozo("--home", home, "tenant", "list").out
    done = dozo("--home", home, "policy", "set", "acme", "--set", "max_generations=5", "--json")
    assert done.code == 0, done.err
    assert dozo("--home", home, "policy", "show", "acme").code == 0
    assert dozo("--home", home, "tenant", "quota", "acme").code == 0
    created = dozo(
        "--home", home, "user", "create", "alice", "--tenant", "acme", "--password-stdin",
        "--display-name", "Alice", stdin="correct horse battery\n",
    )  # fmt: skip
    assert created.code == 0, created.err
    assert dozo("--home", home, "user", "edit", "alice", "--role", "tenant-admin").code == 0
    assert dozo("--home", home, "user", "show", "alice", "--json").json["role"] == "tenant-admin"
    for verb in ("disable", "enable"):
        assert dozo("--home", home, "user", verb, "alice").code == 0
        assert dozo("--home", home, "tenant", verb, "acme").code == 0
    out = tmp_path / "trail"
    assert dozo("--home", home, "audit", "export", "--out", out).code == 0
    assert "user.create" in out.read_text()
