"""Operations that meet in one vault, stopped and resumed at every storage call.

No clock decides anything here: a stopped operation may have been stopped for days.
After each meeting every visible snapshot restores byte for byte and a scrub is clean.
"""

import os
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from dozo.blobs import Blobs, MemoryBlobs
from dozo.model import clock
from dozo.vault import Keyring, SnapshotDraft, Vault, backup, packs, writer
from dozo.vault.errors import SnapshotDeleted, SnapshotUnknown, UndeleteTooLate
from dozo.vault.index import Index
from dozo.vault.store import Store

from .interleave import Operation, interleaved, random_switches
from .support import (
    CHUNK,
    At,
    Killed,
    Volume,
    check_all,
    copy_of,
    extents,
    keep,
    kill,
    new_vault,
    noise,
    restored,
)

# The long form: DOZO_SWEEP=50 runs fifty times as many random meetings.
FACTOR = int(os.environ.get("DOZO_SWEEP", "1"))


@dataclass
class Scene:
    """A vault with a snapshot, a deleted one, and what a dead writer left."""

    blobs: MemoryBlobs
    keys: Keyring
    kept: str
    kept_data: bytes
    deleted: str
    deleted_data: bytes
    mixed: bytes
    other: MemoryBlobs
    other_snapshot: str

    def open(self, blobs: Blobs) -> Vault:
        return Vault.open(blobs, self.keys)

    def backup(self, blobs: Blobs) -> tuple[str, bytes]:
        """Finds chunks of all that is there, needed or not."""
        return keep(self.open(blobs), self.mixed).snapshot, self.mixed

    def incremental(self, blobs: Blobs) -> tuple[str, bytes]:
        data = bytearray(self.kept_data)
        data[CHUNK : 2 * CHUNK] = self.mixed[-4 * CHUNK : -3 * CHUNK]
        done = keep(self.open(blobs), data, parent=self.kept, changed=extents([(CHUNK, CHUNK)]))
        return done.snapshot, bytes(data)

    def clone(self, blobs: Blobs) -> tuple[str, bytes]:
        draft = SnapshotDraft(name="template", kind="template", attachments={"x": b"y"})
        return self.open(blobs).clone(self.kept, draft), self.kept_data

    def copy(self, blobs: Blobs) -> tuple[str, bytes]:
        Vault.open(self.other, self.keys).copy_to(self.open(blobs), [self.other_snapshot])
        return self.other_snapshot, self.mixed

    def give_up(self, blobs: Blobs) -> None:
        with pytest.raises(Killed):
            keep(self.open(blobs), self.mixed, crash=At("complete", kill))

    def prune(self, blobs: Blobs) -> object:
        return self.open(blobs).prune(grace_seconds=0)

    def careful_prune(self, blobs: Blobs) -> object:
        return self.open(blobs).prune()

    def delete_kept(self, blobs: Blobs) -> object:
        return self.open(blobs).delete([self.kept])

    def delete_and_prune(self, blobs: Blobs) -> object:
        vault = self.open(blobs)
        vault.delete([self.kept])
        return vault.prune(grace_seconds=0)

    def undelete(self, blobs: Blobs) -> object:
        return self.open(blobs).undelete([self.deleted])

    def scrub(self, blobs: Blobs) -> None:
        report = self.open(blobs).scrub()
        assert report.is_clean, (report.findings, report.snapshots_touched)

    def rebuild(self, blobs: Blobs) -> object:
        return self.open(blobs).rebuild_index()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    with pytest.MonkeyPatch.context() as patch:
        # Several packs and index objects, from a handful of chunks.
        patch.setattr(packs, "TARGET_BYTES", 3 * CHUNK)
        patch.setattr(writer, "PACKS_PER_INDEX", 3)
        vault = new_vault(folder)
        first = noise(6 * CHUNK, 1)
        second = first[: 4 * CHUNK] + noise(4 * CHUNK, 2)
        third = noise(4 * CHUNK, 3)
        kept = keep(vault, first).snapshot
        deleted = keep(vault, second).snapshot
        vault.delete([deleted])
        with pytest.raises(Killed):
            keep(vault, third, crash=At("complete", kill))
        mixed = first[: 2 * CHUNK] + second[4 * CHUNK : 6 * CHUNK] + third[: 3 * CHUNK]
        mixed += noise(3 * CHUNK, 4)
        keys = vault.tenants._keyring
        assert keys is not None
        other = Vault.open(copy_of(vault.blobs), keys)
        other_snapshot = keep(other, mixed).snapshot
        assert isinstance(vault.blobs, MemoryBlobs)
        assert isinstance(other.blobs, MemoryBlobs)
        yield Scene(
            vault.blobs, keys, kept, first, deleted, second, mixed, other.blobs, other_snapshot
        )


GONE = (SnapshotUnknown, SnapshotDeleted, UndeleteTooLate)


def judge(scene: Scene, blobs: Blobs, results: list[object], trace: list[str]) -> None:
    """What was published restores, what was not is not visible, and no error is a surprise."""
    expected = {scene.kept: scene.kept_data}
    for result in results:
        if isinstance(result, tuple):
            expected[result[0]] = result[1]
        elif result == [scene.deleted]:
            # Whoever was told that it is back can restore it.
            expected[scene.deleted] = scene.deleted_data
        elif isinstance(result, BaseException) and not isinstance(result, GONE):
            pytest.fail(f"{result!r} {trace}")
    vault = scene.open(blobs)
    try:
        check_all(vault, expected, exactly=False)
        missing = set(expected) - {info.snapshot for info in vault.snapshots()}
        assert missing <= {scene.kept}
    except BaseException as error:
        raise AssertionError((repr(error), trace)) from error


Step = Callable[[Scene], Operation]
STEPS: dict[str, Step] = {
    name: (lambda scene, name=name: getattr(scene, name))
    for name in (
        *("backup", "incremental", "clone", "copy", "give_up", "prune", "careful_prune"),
        *("delete_and_prune", "undelete", "scrub", "rebuild"),
    )
}

# Every writer against every removal, both ways round, and readers against removals.
PAIRS = [
    *[(write, "prune") for write in ("backup", "incremental", "clone", "copy", "give_up")],
    *[("prune", write) for write in ("backup", "copy", "clone")],
    *[(write, "delete_and_prune") for write in ("incremental", "clone")],
    *[("scrub", "prune"), ("scrub", "delete_and_prune")],
    *[("rebuild", "prune"), ("prune", "rebuild")],
    *[("prune", "prune"), ("careful_prune", "prune")],
    *[("undelete", "prune"), ("prune", "undelete"), ("backup", "backup"), ("copy", "copy")],
]

# More hands than two, or more than one change of turn, are drawn at random.
MEETINGS = [
    (("backup", "prune"), 72),
    (("copy", "prune"), 48),
    (("incremental", "delete_and_prune"), 48),
    (("clone", "delete_and_prune"), 36),
    (("prune", "prune"), 48),
    (("prune", "prune", "backup"), 90),
    (("backup", "give_up", "prune"), 90),
    (("prune", "careful_prune", "copy"), 48),
    (("backup", "scrub", "prune"), 48),
    (("undelete", "prune", "backup"), 48),
]


def meet(scene: Scene, names: tuple[str, ...], switches: list[int]) -> int:
    blobs = copy_of(scene.blobs)
    operations = [STEPS[name](scene) for name in names]
    results, schedule = interleaved(blobs, operations, switches)
    judge(scene, blobs, results, [f"switches {switches}", *schedule.trace])
    return schedule.steps


@pytest.mark.parametrize("names", PAIRS, ids=" in ".join)
def test_one_within_the_other_at_every_call(scene: Scene, names: tuple[str, str]) -> None:
    steps = meet(scene, names, [])
    at = 1
    while at <= steps:
        steps = max(steps, meet(scene, names, [at]))
        at += 1


@pytest.mark.parametrize(("names", "runs"), MEETINGS, ids=str)
def test_turns_taken_at_random(scene: Scene, names: tuple[str, ...], runs: int) -> None:
    steps = meet(scene, names, [])
    for number in range(runs * FACTOR):
        # Another Python draws the same numbers; a failure shows its switches.
        seed = zlib.crc32("/".join(names).encode()) + number
        meet(scene, names, random_switches(seed, steps))


def test_a_pack_that_came_while_the_writer_was_at_work_is_watched_too(scene: Scene) -> None:
    """What a writer finds in a pack that it has not seen when it began may go as well."""
    blobs = copy_of(scene.blobs)
    vault = scene.open(blobs)
    late = noise(6 * CHUNK, 77)
    data = noise(9 * CHUNK, 78) + late

    def leave_garbage() -> None:
        with pytest.raises(Killed):
            keep(scene.open(blobs), late, crash=At("complete", kill))

    class Slow(Volume):
        """Reads its last chunks only when the first have been stored and indexed."""

        def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
            if offset_bytes >= 9 * CHUNK:
                assert indexed.wait(20)
            super().read_into(offset_bytes, buffer)

    indexed = threading.Event()
    stored = 0

    def crash(point: str) -> None:
        nonlocal stored
        stored += point == "pack"
        if point == "pack" and stored == 1:
            leave_garbage()
        if point == "index":
            scene.prune(blobs)

    def refresh_now(store: Store, *_rest: object) -> None:
        refreshed(store)
        if stored:
            indexed.set()

    refreshed = Index.refresh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "refresh", refresh_now)
        patch.setattr(writer, "PACKS_PER_INDEX", 1)
        patch.setattr(writer, "PACKS_IN_FLIGHT", 1)
        patch.setattr(backup, "READ_BYTES", CHUNK)
        done = vault.backup(Slow(data), SnapshotDraft(name="slow"), crash=crash)
    check_all(vault, {scene.kept: scene.kept_data, done.snapshot: data})


def test_a_hold_that_was_granted_keeps_the_snapshot_within_reach(scene: Scene) -> None:
    """Whatever a deletion and a prune without grace do at the same time."""

    def hold(blobs: Blobs) -> object:
        return scene.open(blobs).hold(scene.kept, clock.now() + timedelta(days=9))

    granted = 0
    for seed in range(150 * FACTOR):
        blobs = copy_of(scene.blobs)
        operations = [hold, scene.delete_kept, scene.prune]
        results, schedule = interleaved(blobs, operations, random_switches(seed, 60))
        if isinstance(results[0], BaseException):
            continue
        granted += 1
        vault = scene.open(blobs)
        vault.undelete([scene.kept])
        assert restored(vault, scene.kept) == scene.kept_data, schedule.trace
    assert granted > 50
