"""*Stored* means read back: what does not come back as it was written is never relied on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dozo.blobs import Blobs
from dozo.blobs.faulty import BadRange, Call, Fault, FaultPlan, FaultyBlobs, UnreadableBlobs
from dozo.model.errors import ErrorKind
from dozo.vault import SnapshotDraft, Vault, packs, writer
from dozo.vault.errors import ReadBackFailed
from dozo.vault.format import ObjectKind, load_document, store_document
from dozo.vault.index import load_segment

from .support import (
    CHUNK,
    check_all,
    contents,
    copy_of,
    errors_of,
    extents,
    flipped,
    keep,
    new_vault,
    noise,
    reopened,
)

FIRST = noise(9 * CHUNK, 1)
SECOND = FIRST[: 3 * CHUNK] + noise(7 * CHUNK, 2)
FRESH = SECOND[: 4 * CHUNK] + noise(6 * CHUNK, 3)


class Scene:
    """A vault with a kept and a deleted snapshot, and a peer that has one more."""

    def __init__(self, folder: Path) -> None:
        self.main, self.peer = new_vault(folder), new_vault(folder, keys="peer-keys")
        for one, other in ((self.main, self.peer), (self.peer, self.main)):
            one.grant(other.public_key)
        # What is kept needs a part of the packs of what was deleted: a prune rewrites them.
        gone = keep(self.main, FIRST).snapshot
        self.kept = keep(self.main, SECOND).snapshot
        self.main.copy_to(self.peer)
        self.richer = keep(self.peer, FRESH).snapshot
        self.main.delete([gone])
        self.expected = {self.kept: SECOND}

    def open(self, blobs: Blobs) -> Vault:
        return reopened(self.main, blobs)

    def backup(self, blobs: Blobs) -> None:
        keep(self.open(blobs), FRESH)

    def incremental(self, blobs: Blobs) -> None:
        data = FRESH[-CHUNK:] + SECOND[CHUNK:]
        keep(self.open(blobs), data, parent=self.kept, changed=extents([(0, CHUNK)]))

    def clone(self, blobs: Blobs) -> None:
        self.open(blobs).clone(self.kept, SnapshotDraft(name="t", attachments={"a": noise(99, 1)}))

    def copy(self, blobs: Blobs) -> None:
        self.peer.copy_to(self.open(blobs), [self.richer])

    def prune(self, blobs: Blobs) -> None:
        self.open(blobs).prune(grace_seconds=0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "TARGET_BYTES", 4 * CHUNK)
        patch.setattr(writer, "PACKS_PER_INDEX", 2)
        yield Scene(tmp_path_factory.mktemp("scene"))


class SpoiltPacks(FaultyBlobs):
    """Spoils the n-th pack that is stored, and nothing else."""

    def __init__(self, inner: Blobs, at: int) -> None:
        super().__init__(inner, before=self._look)
        self.left = at
        self.spoilt: str | None = None

    def _look(self, call: Call) -> None:
        if call.method == "put" and call.key.startswith("packs/"):
            self.left -= 1
            if self.left == 0:
                self.spoilt = call.key
                self._plan = FaultPlan(at_call=call.number, fault=Fault.SPOILT)

    def _begin(self, method: str, key: str) -> Fault | None:
        fault = super()._begin(method, key)
        return Fault.SPOILT if method == "put" and key == self.spoilt else fault


@pytest.mark.parametrize("name", ["backup", "incremental", "clone", "copy", "prune"])
def test_a_pack_that_is_not_as_written_fails_the_operation_loudly(scene: Scene, name: str) -> None:
    at = 1
    while True:
        blobs = copy_of(scene.main.blobs)
        before = contents(blobs)
        spoilt = SpoiltPacks(blobs, at)
        error = errors_of(lambda each=spoilt: getattr(scene, name)(each))
        if spoilt.spoilt is None:
            assert error is None
            break
        assert isinstance(error, ReadBackFailed), error
        assert error.kind is ErrorKind.DAMAGED
        assert error.pack in spoilt.spoilt
        assert spoilt.spoilt not in {info.key for info in blobs.list("packs")}
        assert {info.key for info in blobs.list("packs")} >= {k for k in before if "packs/" in k}
        check_all(scene.open(blobs), scene.expected)
        getattr(scene, name)(blobs)
        assert scene.open(blobs).scrub().is_clean
        at += 1
    assert at > 1


def test_a_repair_reads_back_what_it_brought(scene: Scene) -> None:
    blobs = copy_of(scene.main.blobs)
    for info in list(blobs.list("packs")):
        blobs.put(info.key, [flipped(blobs.get(info.key), 70)])
    spoilt = SpoiltPacks(blobs, 1)
    blind = Vault.open(spoilt)
    error = errors_of(lambda: blind.scrub(repair_from=Vault.open(scene.peer.blobs)))
    assert isinstance(error, ReadBackFailed)
    assert Vault.open(blobs).scrub(repair_from=Vault.open(scene.peer.blobs)).is_clean
    check_all(scene.open(blobs), scene.expected)


def test_a_pack_on_a_bad_sector_is_not_relied_on(scene: Scene) -> None:
    disk = UnreadableBlobs(copy_of(scene.main.blobs), [])

    def go_bad(call: Call) -> None:
        if call.method == "size" and call.key.startswith("packs/") and not disk.bad:
            disk.bad.append(BadRange(key=call.key, offset_bytes=200, length_bytes=512))

    error = errors_of(lambda: scene.backup(FaultyBlobs(disk, before=go_bad)))
    assert isinstance(error, ReadBackFailed)
    check_all(scene.open(disk), scene.expected)


@pytest.mark.parametrize("name", ["backup", "incremental", "clone", "copy", "prune"])
def test_every_pack_is_read_whole_before_an_index_names_it(scene: Scene, name: str) -> None:
    """And once only: the cost is one reading of what was stored."""
    blobs = copy_of(scene.main.blobs)
    old = {info.key for info in blobs.list("packs")}
    read: dict[str, int] = {}
    named: set[str] = set()

    class Watched(FaultyBlobs):
        def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
            read[key] = read.get(key, 0) + length_bytes
            return super().get_range(key, offset_bytes, length_bytes)

        def put(self, key: str, parts: object) -> None:
            super().put(key, parts)  # type: ignore[arg-type]  # the port's own
            if key.startswith("index/"):
                for pack_id, _writer, size in load_segment(blobs, key).packs:
                    pack = f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}"
                    if pack not in old:
                        named.add(pack)
                        assert read.get(pack, 0) >= size, pack

    getattr(scene, name)(Watched(blobs))
    assert named
    for pack in named & {info.key for info in blobs.list("packs")}:
        assert read[pack] == blobs.size(pack)


def test_the_proof_stands_in_each_vault_by_itself(scene: Scene) -> None:
    blobs = copy_of(scene.main.blobs)
    scene.copy(blobs)
    here = scene.open(blobs).snapshot(scene.richer)
    there = scene.peer.snapshot(scene.richer)
    assert here.read_back_at is not None
    assert there.read_back_at is not None
    assert here.read_back_at > there.read_back_at
    for key in [info.key for info in blobs.list(f"snapshots/{scene.richer}")]:
        document = load_document(blobs, key, ObjectKind.SNAPSHOT)
        del document["read_back"]
        store_document(blobs, key, ObjectKind.SNAPSHOT, document)
    assert scene.open(blobs).snapshot(scene.richer).read_back_at is None
    check_all(scene.open(blobs), {**scene.expected, scene.richer: FRESH})


def test_a_publication_that_was_mended_claims_no_reading(scene: Scene) -> None:
    blobs = copy_of(scene.main.blobs)
    scene.copy(blobs)
    (key,) = (info.key for info in blobs.list(f"snapshots/{scene.richer}"))
    blobs.put(key, [flipped(blobs.get(key), 50)])
    assert Vault.open(blobs).scrub(repair_from=Vault.open(scene.peer.blobs)).is_clean
    assert scene.open(blobs).snapshot(scene.richer).read_back_at is None


def test_what_a_dead_writer_left_is_read_before_it_is_indexed_again(scene: Scene) -> None:
    blobs = copy_of(scene.main.blobs)
    for info in list(blobs.list("index")):
        blobs.delete(info.key)
    for info in list(blobs.list("packs")):
        blobs.put(info.key, [flipped(blobs.get(info.key), 70)])
    assert Vault.open(blobs).rebuild_index() > 1
    # A writer finds the good frames again, and stores the damaged ones anew.
    done = keep(scene.open(blobs), SECOND)
    assert 0 < done.bytes_new < len(SECOND) // 2
    Vault.open(blobs).prune(grace_seconds=0)
    check_all(scene.open(blobs), {scene.kept: SECOND, done.snapshot: SECOND})
