"""Disks that no longer give back a part of an object: damage of just what lies there."""

from pathlib import Path

import pytest

from dozo.blobs import DirectoryBlobs, MemoryBlobs
from dozo.blobs.faulty import BadRange, Call, FaultyBlobs, UnreadableBlobs
from dozo.model.errors import ErrorKind
from dozo.vault import Vault, packs
from dozo.vault.frames import FrameKind, chunk_id
from dozo.vault.layout import pack_key
from dozo.vault.packs import Entry, check_pack, list_packs, read_directory

from .support import (
    CHUNK,
    check_all,
    copy_of,
    errors_of,
    keep,
    new_vault,
    noise,
    reopened,
    restored,
)

FIRST = noise(9 * CHUNK, 1)
SECOND = FIRST[: 3 * CHUNK] + noise(6 * CHUNK, 2)


class Scene:
    """A vault with two snapshots that share a part, and a peer that has both."""

    def __init__(self, folder: Path) -> None:
        self.main, self.peer = new_vault(folder), new_vault(folder, keys="peer-keys")
        self.main.grant(self.peer.public_key)
        self.first = keep(self.main, FIRST).snapshot
        self.second = keep(self.main, SECOND).snapshot
        self.main.copy_to(self.peer)
        self.expected = {self.first: FIRST, self.second: SECOND}

    def on_a_bad_disk(self, *bad: BadRange) -> tuple[UnreadableBlobs, Vault]:
        disk = UnreadableBlobs(copy_of(self.main.blobs), bad)
        return disk, reopened(self.main, disk)

    def chunk(self, data: bytes, number: int) -> tuple[str, Entry]:
        """Where the frame of a chunk of one of the volumes stands."""
        wanted = data[number * CHUNK : (number + 1) * CHUNK]
        tenant = self.main.tenants.for_writing("default")
        object_id = chunk_id(wanted, tenant)
        for pack_id, size in list_packs(self.main.blobs):
            for entry in read_directory(self.main.blobs, pack_id, size).entries:
                if entry.object_id == object_id:
                    assert entry.kind == FrameKind.CHUNK
                    return pack_key(pack_id), entry
        raise AssertionError(number)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "TARGET_BYTES", 1 << 20)
        return Scene(tmp_path_factory.mktemp("scene"))


def sector_in(scene: Scene, data: bytes, number: int) -> BadRange:
    key, entry = scene.chunk(data, number)
    return BadRange(key=key, offset_bytes=entry.offset_bytes + 100, length_bytes=512)


def test_a_bad_sector_costs_the_frames_in_it_and_the_scrub_goes_on(scene: Scene) -> None:
    own, shared = sector_in(scene, SECOND, 7), sector_in(scene, FIRST, 2)
    disk, vault = scene.on_a_bad_disk(own)
    report = Vault.open(disk).scrub()
    assert report.snapshots_touched == {scene.second: 1}
    assert [finding.key for finding in report.findings] == [own.key]
    assert report.packs_read == len(list(list_packs(scene.main.blobs)))
    assert restored(vault, scene.first) == FIRST
    error = errors_of(lambda: restored(vault, scene.second))
    assert error is not None
    assert error.kind is ErrorKind.DAMAGED
    disk, vault = scene.on_a_bad_disk(own, shared)
    assert Vault.open(disk).scrub().snapshots_touched == {scene.first: 1, scene.second: 2}


def test_a_sector_between_two_frames_damages_both_and_no_third(scene: Scene) -> None:
    key, entry = scene.chunk(FIRST, 4)
    end = entry.offset_bytes + entry.length_bytes
    disk, _vault = scene.on_a_bad_disk(BadRange(key=key, offset_bytes=end - 256, length_bytes=512))
    pack_id = bytes.fromhex(key.rsplit("/", 1)[-1])
    found = check_pack(disk, pack_id)
    assert found is not None
    assert found.directory is not None
    assert len(found.damaged) == 2
    assert entry in found.damaged


def test_repair_mends_bad_sectors_from_the_other_vault(scene: Scene) -> None:
    bad = [sector_in(scene, SECOND, 7), sector_in(scene, FIRST, 2)]
    disk, vault = scene.on_a_bad_disk(*bad)
    report = Vault.open(disk).scrub(repair_from=Vault.open(scene.peer.blobs))
    assert report.is_clean, (report.findings, report.snapshots_touched)
    assert report.repaired >= 2
    check_all(vault, scene.expected)
    # The file with the bad sector is gone: what was whole in it stands in a new one.
    assert not disk.bad


@pytest.mark.parametrize("folder", ["index", "snapshots", "header", "keys"])
def test_an_object_that_cannot_be_read_is_a_finding_and_is_mended(
    scene: Scene, folder: str
) -> None:
    every = (info.key for info in scene.main.blobs.list(""))
    key = min(key for key in every if key.split("/")[0] == folder)
    disk, vault = scene.on_a_bad_disk(BadRange(key=key, offset_bytes=30, length_bytes=1))
    report = Vault.open(disk).scrub()
    assert key in {finding.key for finding in report.findings}
    assert report.packs_read == len(list(list_packs(scene.main.blobs)))
    report = Vault.open(disk).scrub(repair_from=Vault.open(scene.peer.blobs))
    assert report.is_clean, (report.findings, report.snapshots_touched)
    check_all(vault, scene.expected)


@pytest.mark.parametrize("where", ["head", "directory", "footer"])
def test_a_pack_that_cannot_say_what_it_holds_is_mended_too(scene: Scene, where: str) -> None:
    key, _entry = scene.chunk(FIRST, 4)
    size = scene.main.blobs.size(key)
    offset = {"head": 0, "directory": size - 100, "footer": size - 10}[where]
    disk, vault = scene.on_a_bad_disk(BadRange(key=key, offset_bytes=offset, length_bytes=8))
    assert not Vault.open(disk).scrub().is_clean
    assert Vault.open(disk).scrub(repair_from=Vault.open(scene.peer.blobs)).is_clean
    check_all(vault, scene.expected)


def test_a_damaged_pack_that_nobody_needs_is_pruned_although_it_cannot_be_read(
    scene: Scene,
) -> None:
    blobs = copy_of(scene.main.blobs)
    for info in list(blobs.list("index")):
        blobs.delete(info.key)
    vault = reopened(scene.main, blobs)
    vault.delete([scene.first, scene.second])
    keys = [info.key for info in blobs.list("packs")]
    bad = [BadRange(key=key, offset_bytes=0, length_bytes=60) for key in keys]
    disk = UnreadableBlobs(blobs, bad)
    assert reopened(scene.main, disk).prune(grace_seconds=0).packs_removed == len(keys)
    assert not list(disk.list("packs"))


def test_a_copy_from_a_bad_disk_says_so_and_leaves_nothing_visible(
    scene: Scene, tmp_path: Path
) -> None:
    _disk, vault = scene.on_a_bad_disk(sector_in(scene, SECOND, 7))
    other = new_vault(tmp_path, keys="third")
    vault.grant(other.public_key)
    error = errors_of(lambda: vault.copy_to(other, [scene.second]))
    assert error is not None
    assert error.kind is ErrorKind.DAMAGED
    assert other.snapshots() == []


def test_a_pack_cut_short_while_it_is_read_is_damage_and_no_signal(tmp_path: Path) -> None:
    """Where a file that ends early is mapped, the process dies by SIGBUS."""
    vault = new_vault(tmp_path, DirectoryBlobs(tmp_path / "vault"), chunk_bytes=65536)
    snapshot = keep(vault, noise(160 * 65536, 3)).snapshot
    (pack,) = (path for path in (tmp_path / "vault" / "packs").rglob("*") if path.is_file())
    size = pack.stat().st_size

    reads: list[Call] = []

    def cut(call: Call) -> None:
        if call.method == "get_range" and call.key.startswith("packs/"):
            reads.append(call)
            if len(reads) == 4:  # footer, head and directory were read
                with pack.open("rb+") as file:
                    file.truncate(size // 2)

    blind = Vault.open(FaultyBlobs(DirectoryBlobs(tmp_path / "vault"), before=cut))
    report = blind.scrub()
    assert snapshot in report.snapshots_touched
    (finding,) = report.findings
    assert 75 < int(finding.problem.split()[0]) < 90
    assert pack.stat().st_size == size // 2


def test_only_reads_that_touch_a_bad_range_fail() -> None:
    disk = UnreadableBlobs(MemoryBlobs(), [BadRange(key="a/b", offset_bytes=4, length_bytes=2)])
    disk.put("a/c", [b"x"])
    assert disk.get("a/c") == b"x"
    disk._inner.put("a/b", [b"12345678"])
    assert disk.get_range("a/b", 0, 4) == b"1234"
    assert disk.get_range("a/b", 6, 2) == b"78"
    for read in (
        lambda: disk.get("a/b"),
        lambda: disk.view("a/b"),
        lambda: disk.get_range("a/b", 3, 2),
        lambda: disk.get_range("a/b", 5, 1),
    ):
        error = errors_of(read)
        assert error is not None
        assert error.code == "blobs.unreadable"
    disk.put("a/b", [b"12345678"])
    assert disk.get("a/b") == b"12345678"
