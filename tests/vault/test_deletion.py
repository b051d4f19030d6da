"""Deleting, holding, bringing back, pruning: what wins over what, and what stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dozo.model import clock
from dozo.vault import SnapshotDraft, Vault, packs
from dozo.vault.deletion import HERE, copy_holds
from dozo.vault.errors import (
    HoldNotLonger,
    SnapshotDeleted,
    SnapshotHeld,
    SnapshotUnknown,
    UndeleteTooLate,
    WriterFenced,
)
from dozo.vault.format import ObjectKind, load_document
from dozo.vault.prune import prune
from dozo.vault.store import Store

from .support import (
    CHUNK,
    At,
    Killed,
    check_all,
    contents,
    copy_of,
    errors_of,
    keep,
    kill_writers,
    new_vault,
    noise,
    restored,
)

DAY_S = 24 * 3600


class Fake:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def fake() -> Iterator[Fake]:
    each = Fake()
    with clock.use_clock(each):
        yield each


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.setattr(packs, "TARGET_BYTES", 8 * CHUNK)
    return new_vault(tmp_path)


def test_the_grace_period_serves_undelete(vault: Vault, fake: Fake) -> None:
    data = noise(6 * CHUNK, 1)
    done = keep(vault, data).snapshot
    assert vault.delete([done[:8]]) == [done]
    assert vault.delete([done]) == [], "deleted already"
    assert vault.snapshots() == []
    with pytest.raises(SnapshotDeleted):
        restored(vault, done)
    assert [info.snapshot for info in vault.snapshots(include_deleted=True)] == [done]
    fake.sleep(7 * DAY_S - 1)
    assert vault.prune().snapshots_purged == 0
    assert vault.undelete([done]) == [done]
    assert vault.undelete([done]) == []
    check_all(vault, {done: data})
    vault.delete([done])
    fake.sleep(7 * DAY_S + 1)
    report = vault.prune()
    assert (report.snapshots_purged, report.bytes_kept) == (1, 0)
    with pytest.raises((UndeleteTooLate, SnapshotUnknown)):
        vault.undelete([done])
    check_all(vault, {})


def test_a_dry_run_changes_nothing(vault: Vault) -> None:
    done = keep(vault, noise(6 * CHUNK, 1)).snapshot
    keep(vault, noise(6 * CHUNK, 2))
    vault.delete([done])
    before = contents(vault.blobs)
    plan = vault.prune(grace_seconds=0, dry_run=True)
    assert contents(vault.blobs) == before
    report = vault.prune(grace_seconds=0)
    assert plan.dry_run
    assert not report.dry_run
    assert (plan.snapshots_purged, plan.packs_removed, plan.bytes_freed) == (
        report.snapshots_purged,
        report.packs_removed,
        report.bytes_freed,
    )


def test_a_hold_beats_everything(vault: Vault, fake: Fake) -> None:
    data = noise(6 * CHUNK, 1)
    done = keep(vault, data).snapshot
    until = fake.now() + timedelta(days=30)
    vault.hold(done, until, "court")
    for shorter in (until, until - timedelta(days=1)):
        with pytest.raises(HoldNotLonger):
            vault.hold(done, shorter)
    vault.hold(done, until + timedelta(days=1), "longer")
    with pytest.raises(SnapshotHeld):
        vault.delete([done], reason="retention")
    fake.sleep(30 * DAY_S + 10)
    with pytest.raises(SnapshotHeld):
        vault.delete([done])
    fake.sleep(DAY_S)
    assert vault.delete([done]) == [done]
    with pytest.raises(SnapshotDeleted):
        vault.hold(done, fake.now() + timedelta(days=900))


def test_a_hold_that_came_with_a_copy_keeps_what_was_deleted_here(
    vault: Vault, tmp_path: Path, fake: Fake
) -> None:
    data = noise(6 * CHUNK, 1)
    done = keep(vault, data).snapshot
    twin = Vault.open(copy_of(vault.blobs), vault.tenants._keyring)
    twin.hold(done, fake.now() + timedelta(days=30))
    vault.delete([done])
    copy_holds(twin.blobs, vault.blobs, done)
    fake.sleep(8 * DAY_S)
    assert vault.prune(grace_seconds=0).snapshots_purged == 0
    assert vault.undelete([done]) == [done]
    check_all(vault, {done: data})


def test_of_several_one_that_is_held_stops_none_of_the_lookups(vault: Vault) -> None:
    first, second = (keep(vault, noise(CHUNK, each)).snapshot for each in (1, 2))
    with pytest.raises(SnapshotUnknown):
        vault.delete([first, "f" * 32])
    assert len(vault.snapshots()) == 2, "all are looked up before one is deleted"
    assert vault.delete([first, second]) == [first, second]


@pytest.fixture
def two(vault: Vault, tmp_path: Path) -> tuple[Vault, Vault]:
    other = new_vault(tmp_path, keys="keys2")
    vault.grant(other.public_key)
    other.grant(vault.public_key)
    return vault, other


def test_deletions_and_holds_travel_and_nothing_is_brought_back(two: tuple[Vault, Vault]) -> None:
    main, peer = two
    kept, gone = (keep(main, noise(4 * CHUNK, each)).snapshot for each in (1, 2))
    main.copy_to(peer)
    until = clock.now() + timedelta(days=3)
    main.hold(kept, until, "audit")
    main.delete([gone])
    main.copy_to(peer)
    assert [info.snapshot for info in peer.snapshots()] == [kept]
    assert [hold.until for hold in peer.holds(kept)] == [until]
    with pytest.raises(SnapshotHeld):
        peer.delete([kept])
    # Rebuilding main from its peer, and repairing it, bring back nothing.
    peer.copy_to(main)
    assert [info.snapshot for info in main.snapshots()] == [kept]
    main.prune(grace_seconds=0)
    main.scrub(repair_from=peer)
    peer.copy_to(main)
    check_all(main, {kept: noise(4 * CHUNK, 1)})
    with pytest.raises(SnapshotDeleted):
        peer.copy_to(main, [gone])


def test_what_was_deleted_at_the_target_is_not_copied_again(two: tuple[Vault, Vault]) -> None:
    main, peer = two
    done = keep(main, noise(4 * CHUNK, 1)).snapshot
    main.copy_to(peer)
    peer.delete([done], reason="retention", scope=HERE)
    for _each in range(2):
        report = main.copy_to(peer)
        assert (report.copied, list(report.skipped)) == ((), [done])
        assert peer.snapshots() == []
        peer.prune(grace_seconds=0)
    # A deletion by retention binds its own site only.
    peer.copy_to(main)
    check_all(main, {done: noise(4 * CHUNK, 1)})


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_over_stays_below_five_per_cent(vault: Vault, seed: int) -> None:
    snapshots = {}
    data = bytearray(noise(120 * CHUNK, seed))
    for turn in range(10):
        for at in range(turn, 120, 7):
            data[at * CHUNK : (at + 1) * CHUNK] = noise(CHUNK, 1000 * seed + 100 * turn + at)
        snapshots[keep(vault, data).snapshot] = bytes(data)
    for name in sorted(snapshots)[: 5 + seed]:
        vault.delete([name])
        del snapshots[name]
        vault.prune(grace_seconds=0)
    check_all(vault, snapshots)
    needed = Vault.open(copy_of(vault.blobs), vault.tenants._keyring)
    store = Store(needed.blobs)
    prune(store, grace_seconds=0, retire=list(store.index.pack_sizes))
    check_all(needed, snapshots)
    assert vault.stats().bytes_stored <= 1.05 * needed.stats().bytes_stored


def test_a_second_prune_finds_nothing_to_do(vault: Vault) -> None:
    for turn in range(4):
        keep(vault, noise(20 * CHUNK, turn))
    vault.delete([vault.snapshots()[0].snapshot, vault.snapshots()[2].snapshot])
    vault.prune(grace_seconds=0)
    report = vault.prune(grace_seconds=0)
    assert (report.packs_removed, report.packs_rewritten, report.bytes_freed) == (0, 0, 0)


POINTS = ["pending", "pack", "index", "complete"]


@pytest.mark.parametrize("point", POINTS)
def test_a_dead_writer_is_fenced_and_its_remains_go(vault: Vault, point: str) -> None:
    kept = noise(6 * CHUNK, 1)
    done = keep(vault, kept).snapshot
    start = vault.stats().bytes_stored
    # A process that was killed takes nothing away behind itself.
    killed = copy_of(vault.blobs)

    def remember() -> None:
        for key, data in contents(vault.blobs).items():
            killed.put(key, [data])
        raise Killed

    with pytest.raises(Killed):
        keep(vault, noise(20 * CHUNK, 2), crash=At(point, remember))
    assert kill_writers(killed) == 1
    after = Vault.open(killed, vault.tenants._keyring)
    check_all(after, {done: kept})
    again = keep(after, noise(20 * CHUNK, 2))
    check_all(after, {done: kept, again.snapshot: noise(20 * CHUNK, 2)})
    after.delete([again.snapshot])
    after.prune(grace_seconds=0)
    assert after.stats().bytes_stored == start
    assert not list(killed.list("pending"))
    # The fence stays: nobody can be sure that the writer will not wake up.
    keys = [info.key for info in killed.list("snapshots")]
    states = [load_document(killed, key, ObjectKind.SNAPSHOT)["state"] for key in keys]
    assert sorted(states) == ["abandoned", "published"]
    check_all(after, {done: kept})


@pytest.mark.parametrize("point", POINTS)
def test_a_fenced_writer_that_wakes_up_publishes_nothing(vault: Vault, point: str) -> None:
    """Stopped for longer than anybody waits, declared dead, pruned, and then it goes on."""
    data = noise(20 * CHUNK, 2)

    def declare_dead() -> None:
        kill_writers(vault.blobs)
        Vault.open(vault.blobs).prune(grace_seconds=0)

    with pytest.raises(WriterFenced):
        keep(vault, data, crash=At(point, declare_dead))
    check_all(vault, {})
    assert not list(vault.blobs.list("snapshots")), "who met the fence takes it away"
    assert not list(vault.blobs.list("pending"))
    check_all(vault, {keep(vault, data).snapshot: data})


@pytest.mark.parametrize("point", ["purged", "rewritten", "announced", "spared", "unindexed"])
@pytest.mark.parametrize("then", ["dies", "goes on"])
def test_a_prune_stopped_at_each_point(vault: Vault, point: str, then: str) -> None:
    data = noise(12 * CHUNK, 1)
    first = keep(vault, data).snapshot
    second = keep(vault, data[: 4 * CHUNK] + noise(8 * CHUNK, 2)).snapshot
    vault.delete([first])
    expected = {second: data[: 4 * CHUNK] + noise(8 * CHUNK, 2)}

    def act() -> None:
        """A backup that needs what the prune is about to remove, and another prune."""
        expected[keep(vault, data).snapshot] = data
        vault.prune(grace_seconds=0)
        check_all(vault, expected)
        if then == "dies":
            raise Killed

    hook = At(point, act)
    error = errors_of(lambda: prune(Store(vault.blobs), grace_seconds=0, crash=hook))
    assert error is None
    assert point in hook.reached
    check_all(vault, expected)
    vault.prune(grace_seconds=0)
    check_all(vault, expected)
    assert not list(vault.blobs.list("deleting"))


def test_clocks_that_jump_lose_nothing(vault: Vault, fake: Fake) -> None:
    data = noise(8 * CHUNK, 1)
    kept = keep(vault, data).snapshot
    for days in (4000, -9000, 5000):
        late = noise(8 * CHUNK, days)

        def jump(days: int = days) -> None:
            fake.time += timedelta(days=days)
            vault.prune(grace_seconds=0)

        done = keep(vault, late, crash=At("index", jump)).snapshot
        check_all(vault, {kept: data, done: late})
        vault.delete([done])
        vault.prune(grace_seconds=0)
    check_all(vault, {kept: data})


def test_a_template_is_deleted_by_itself(vault: Vault) -> None:
    origin = keep(vault, noise(4 * CHUNK, 1)).snapshot
    template = vault.clone(origin, SnapshotDraft(name="t", kind="template"))
    vault.delete([template])
    vault.prune(grace_seconds=0)
    check_all(vault, {origin: noise(4 * CHUNK, 1)})
