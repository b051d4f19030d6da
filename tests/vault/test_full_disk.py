"""A disk with no room at all: what makes room still works, and everything else is refused."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from dozo.blobs import BlobsFull, DirectoryBlobs
from dozo.blobs.directory import RESERVE, RESERVE_PIECE_BYTES, RESERVE_PIECES
from dozo.blobs.faulty import Call, FaultyBlobs
from dozo.model import clock
from dozo.vault import Vault
from dozo.vault.errors import SnapshotHeld
from dozo.vault.store import Store

from .support import check_all, keep, new_vault, noise, reopened, restored

MIB = 1 << 20
CHUNK = 64 * 1024
FIRST = noise(6 * MIB, 1)
SECOND = noise(5 * MIB, 2)


class Disk:
    """A vault with two snapshots on a disk of its own."""

    def __init__(self, place: Path, keys: Path, name: str = "keys") -> None:
        self.place = place
        self.root = place / "vault"
        self.vault = new_vault(keys, DirectoryBlobs(self.root), keys=name, chunk_bytes=CHUNK)
        self.first = keep(self.vault, FIRST).snapshot
        self.second = keep(self.vault, SECOND).snapshot

    @property
    def reserve_bytes(self) -> int:
        folder = self.root / RESERVE
        return sum(path.stat().st_blocks * 512 for path in folder.iterdir())

    def fill(self) -> None:
        """Take all room, to the last block."""
        with (self.place / "filler").open("ab", buffering=0) as file:
            for size in (MIB, 4096):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))
        assert shutil.disk_usage(self.place).free < 4096

    def empty(self) -> None:
        (self.place / "filler").unlink()

    def again(self) -> Vault:
        return reopened(self.vault, DirectoryBlobs(self.root))


@pytest.fixture
def disk(small_disk: Callable[[int], Path], tmp_path: Path) -> Disk:
    return Disk(small_disk(64 * MIB), tmp_path)


def test_a_full_vault_gives_room_back_by_delete_and_prune(disk: Disk) -> None:
    assert disk.reserve_bytes == RESERVE_PIECES * RESERVE_PIECE_BYTES
    disk.fill()
    with pytest.raises(BlobsFull):
        keep(disk.again(), FIRST[:MIB] + noise(MIB, 3))
    assert disk.reserve_bytes == RESERVE_PIECES * RESERVE_PIECE_BYTES, "a backup never takes it"
    assert disk.again().delete([disk.first]) == [disk.first]
    assert disk.reserve_bytes == (RESERVE_PIECES - 1) * RESERVE_PIECE_BYTES
    disk.fill()
    report = disk.again().prune(grace_seconds=0)
    disk.vault = disk.again()
    assert report.snapshots_purged == 1
    assert report.packs_removed > 0
    assert shutil.disk_usage(disk.place).free > len(FIRST) - MIB
    check_all(disk.again(), {disk.second: SECOND})
    done = keep(disk.again(), noise(2 * MIB, 4)).snapshot
    disk.empty()
    disk.again().prune()
    assert disk.reserve_bytes == RESERVE_PIECES * RESERVE_PIECE_BYTES
    check_all(disk.again(), {disk.second: SECOND, done: noise(2 * MIB, 4)})


def test_without_the_reserve_nothing_could_be_deleted(disk: Disk) -> None:
    shutil.rmtree(disk.root / RESERVE)
    disk.fill()
    with pytest.raises(BlobsFull):
        disk.again().delete([disk.first])


def test_deletions_on_a_full_disk_use_the_reserve_sparingly(disk: Disk) -> None:
    disk.fill()
    before = disk.reserve_bytes
    for _turn in range(40):
        disk.again().delete([disk.first])
        assert disk.again().undelete([disk.first]) == [disk.first]
    assert before - disk.reserve_bytes == RESERVE_PIECE_BYTES
    disk.again().hold(disk.first, clock.now() + timedelta(days=1))
    with pytest.raises(SnapshotHeld):
        disk.again().delete([disk.first])


def test_what_cannot_be_moved_for_lack_of_room_stays_until_there_is_some(disk: Disk) -> None:
    # Its pack is needed in part: only a rewrite would give the rest of it back.
    mixed = keep(disk.vault, SECOND[: 2 * MIB] + noise(MIB, 5)).snapshot
    content = SECOND[: 2 * MIB] + noise(MIB, 5)
    disk.vault.delete([disk.first, disk.second])
    disk.fill()
    report = disk.again().prune(grace_seconds=0)
    assert (report.packs_removed > 0, report.packs_rewritten) == (True, 0)
    assert len(FIRST) < report.bytes_freed < len(FIRST) + MIB
    check_all(disk.again(), {mixed: content})
    disk.empty()
    report = disk.again().prune(grace_seconds=0)
    assert report.packs_rewritten == 1
    assert 2 * MIB < report.bytes_freed < 4 * MIB
    check_all(disk.again(), {mixed: content})
    assert disk.vault.stats().bytes_stored < 3.3 * MIB


@pytest.mark.parametrize("again_full", [False, True])
def test_an_index_that_cannot_be_written_anew_does_not_stop_a_removal(
    disk: Disk, again_full: bool
) -> None:
    """The packs go first then, and a record of a pack that is gone does not count."""
    disk.vault.delete([disk.first])
    disk.vault = disk.again()
    disk.fill()
    ring = disk.vault.tenants._keyring
    filled: list[str] = []

    def take_what_was_freed(call: Call) -> None:
        if call.method == "put" and call.key.startswith("index/") and (again_full or not filled):
            filled.append(call.key)
            disk.fill()

    calls = FaultyBlobs(DirectoryBlobs(disk.root), before=take_what_was_freed)
    Vault.open(calls, ring).prune(grace_seconds=0)
    made = [(call.method, call.key.split("/")[0]) for call in calls.calls]
    assert made.index(("put", "index")) < made.index(("delete", "packs"))
    assert ("put", "index") in made[made.index(("delete", "packs")) :]
    assert not list(disk.vault.blobs.list("deleting"))
    assert Store(DirectoryBlobs(disk.root)).index.lacks_something == again_full
    check_all(disk.again(), {disk.second: SECOND})
    disk.empty()
    disk.again().prune(grace_seconds=0)
    assert not Store(DirectoryBlobs(disk.root)).index.lacks_something
    check_all(disk.again(), {disk.second: SECOND})


def test_a_deletion_reaches_a_peer_that_is_full(
    small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    main, peer = Disk(small_disk(64 * MIB), tmp_path), Disk(small_disk(64 * MIB), tmp_path, "peer")
    main.vault.grant(peer.vault.public_key)
    main.vault.copy_to(peer.vault)
    peer.fill()
    main.vault.delete([main.first])
    main.vault.copy_to(peer.again())
    assert main.first not in {info.snapshot for info in peer.again().snapshots()}


def test_a_small_disk_is_left_to_the_data(small_disk: Callable[[int], Path]) -> None:
    place = small_disk(RESERVE_PIECES * RESERVE_PIECE_BYTES * 3)
    blobs = DirectoryBlobs(place / "vault")
    blobs.put("a/b", [b"x"])
    blobs.keep_reserve()
    assert not blobs.release_reserve()
    assert not (place / "vault" / RESERVE).exists()


def test_packs_that_another_process_removed_are_not_kept_open(disk: Disk) -> None:
    """Their blocks are free only when nobody has the file open any more."""
    disk.fill()
    restored(disk.vault, disk.first)
    disk.vault.delete([disk.first])
    disk.again().prune(grace_seconds=0)
    disk.vault.snapshots()
    assert shutil.disk_usage(disk.place).free > len(FIRST) - MIB


def test_the_reserve_is_no_object_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "place")
    blobs.keep_reserve()
    assert not (tmp_path / "place").exists(), "nothing is made where no vault is"
    blobs.put("a/b", [b"x"])
    blobs.keep_reserve()
    assert [info.key for info in blobs.list("")] == ["a/b"]
    pieces = list((tmp_path / "place" / RESERVE).iterdir())
    assert len(pieces) == RESERVE_PIECES
    assert {path.stat().st_mode & 0o777 for path in pieces} == {0o600}
    assert [blobs.release_reserve() for _each in range(RESERVE_PIECES + 1)] == [
        *[True] * RESERVE_PIECES,
        False,
    ]
