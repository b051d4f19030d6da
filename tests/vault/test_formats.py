"""The format to the byte: vectors, a golden vault, and what newer versions may do to us."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dozo.blobs import BlobsReadOnly, MemoryBlobs, ReadOnlyBlobs, open_blobs
from dozo.model.errors import DozoError
from dozo.vault import Keyring, Vault, frames
from dozo.vault.errors import FormatUnsupported, NotAVault, ObjectDamaged, VaultExists
from dozo.vault.format import ObjectKind, checksum, open_object, seal_object
from dozo.vault.frames import FrameInvalid, FrameKind
from dozo.vault.index import Segment, segment_body
from dozo.vault.packs import Entry, Pack

from . import vectors
from .support import CHUNK, Volume, check_all, copy_of, keep, new_vault, noise

HERE = Path(__file__).parent
PINNED = json.loads((HERE / "vectors.json").read_text())


@pytest.mark.parametrize("part", sorted(PINNED))
def test_vectors(part: str) -> None:
    assert json.loads(json.dumps(vectors.compute()))[part] == PINNED[part]


def test_a_pinned_frame_opens() -> None:
    frame = bytes.fromhex(PINNED["frame"]["attachment_frame"])
    object_id = bytes.fromhex(PINNED["chunk"]["attachment_id"])
    plain = frames.open_sealed(frame, FrameKind.ATTACHMENT, object_id, vectors.TENANT)
    assert plain == b"<domain/>"
    for change in (
        lambda: frames.open_sealed(frame, FrameKind.CHUNK, object_id, vectors.TENANT),
        lambda: frames.open_sealed(frame, FrameKind.ATTACHMENT, bytes(32), vectors.TENANT),
        lambda: frames.open_sealed(frame[:-1], FrameKind.ATTACHMENT, object_id, vectors.TENANT),
        lambda: frames.open_clear(frame, FrameKind.ATTACHMENT),
    ):
        with pytest.raises(FrameInvalid):
            change()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000), st.sampled_from([0, 1, 2, 3, 4]))
def test_no_bytes_make_a_frame_by_chance(data: bytes, kind: int) -> None:
    """Hostile bytes end in one error, with memory bounded by what the header says."""
    framed = struct.pack("<BBBBQII", 1, 16, 2, 0, 0, 0, len(data)) + data
    for candidate in (data, framed):
        for act in (
            lambda each=candidate: frames.open_clear(each, FrameKind.TREE),
            lambda each=candidate: frames.open_sealed(
                each, FrameKind(max(kind, 1)), bytes(32), vectors.TENANT
            ),
        ):
            try:
                act()
            except FrameInvalid:
                continue


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_index_finds_exactly_what_is_there(data: st.DataObject) -> None:
    """Also where ids are not uniform, or stand in several packs."""
    prefix = data.draw(st.binary(max_size=9))
    ids = data.draw(st.lists(st.binary(min_size=32, max_size=32), max_size=60))
    ids = [(prefix + each)[:32] if data.draw(st.booleans()) else each for each in ids]
    ids += data.draw(st.lists(st.sampled_from(ids), max_size=20)) if ids else []
    packs = [
        Pack(bytes([number]) * 32, bytes(16), 10_000, tuple(
            Entry(each, bytes(32), 36 + at, 1, 1) for at, each in enumerate(ids[number::3])
        ))
        for number in range(3)
    ]  # fmt: skip
    segment = Segment("index/x", memoryview(segment_body(packs)), url="")
    wanted = [*ids, *data.draw(st.lists(st.binary(min_size=32, max_size=32), max_size=5))]
    for each in {*wanted, bytes(32), b"\xff" * 32}:
        found = list(segment.find(each))
        assert len(found) == ids.count(each)
        assert all(segment.object_id(number) == each for number in found)


GOLDEN = sorted(path.parent for path in HERE.glob("golden/*/expected.json"))


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda each: each.name)
def test_golden_vaults_stay_readable(folder: Path, tmp_path: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    blobs = ReadOnlyBlobs(open_blobs(str(folder / "vault")))
    vault = Vault.open(blobs, Keyring.load(folder / "keys"))
    found = {info.snapshot: info for info in vault.snapshots(include_deleted=True)}
    assert set(found) == set(expected)
    for name, facts in expected.items():
        info = found[name]
        assert info.sealed is not None
        assert (info.sealed.name, info.sealed.tenant) == (facts["name"], facts["tenant"])
        assert (info.kind, info.bytes_volume) == (facts["kind"], facts["bytes_volume"])
        assert info.created_at.isoformat()[:19] == facts["created_at"][:19]
        assert (info.deleted is not None) == facts["deleted"]
        assert bool(vault.holds(name)) == facts["held"]
        if facts["deleted"]:
            continue
        target = Volume(b"\x55" * info.bytes_volume)
        vault.restore(name, target)
        assert hashlib.sha256(target.data).hexdigest() == facts["sha256"]
        files = vault.attachments(name)
        assert {
            each: hashlib.sha256(content).hexdigest() for each, content in files.items()
        } == facts["attachments"]
    assert vault.scrub().is_clean


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda each: each.name)
def test_golden_vaults_stay_writable(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "golden")
    place = open_blobs(str(tmp_path / "golden" / "vault"))
    vault = Vault.open(place, Keyring.load(tmp_path / "golden" / "keys"))
    gone = [info.snapshot for info in vault.snapshots(include_deleted=True) if info.deleted]
    vault.undelete(gone)
    expected = {}
    for info in vault.snapshots():
        target = Volume(bytes(info.bytes_volume))
        vault.restore(info.snapshot, target)
        expected[info.snapshot] = bytes(target.data)
    data = noise(3 * CHUNK, 9)
    expected[keep(vault, data).snapshot] = data
    vault.prune(grace_seconds=0)
    check_all(vault, expected)


def test_objects_know_their_names() -> None:
    whole = seal_object("holds/a/b", ObjectKind.HOLD, b"{}")
    assert bytes(open_object(whole, "holds/a/b", ObjectKind.HOLD, url="")) == b"{}"
    for key, kind in (("holds/a/c", ObjectKind.HOLD), ("holds/a/b", ObjectKind.CHECK)):
        with pytest.raises(ObjectDamaged):
            open_object(whole, key, kind, url="")


def newer(change: Callable[[bytearray], None]) -> Callable[[bytes, str], bytes]:
    """An object as a newer version would write it: changed, and with a right checksum."""

    def make(data: bytes, key: str) -> bytes:
        body = bytearray(data[:-32])
        change(body)
        return bytes(body) + checksum(key, body)

    return make


def set_version(body: bytearray) -> None:
    body[5] = 2


def set_incompatible(body: bytearray) -> None:
    body[10] = 1


def set_read_only(body: bytearray) -> None:
    body[8] = 1


def set_compatible(body: bytearray) -> None:
    body[6] = 0xFF


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = new_vault(tmp_path)
    keep(made, noise(2 * CHUNK, 1))
    return made


def with_header(vault: Vault, change: Callable[[bytearray], None]) -> MemoryBlobs:
    blobs = copy_of(vault.blobs)
    for key in ("header", "header.copy"):
        blobs.put(key, [newer(change)(blobs.get(key), key)])
    return blobs


@pytest.mark.parametrize("change", [set_version, set_incompatible])
def test_a_newer_vault_is_refused_and_left_alone(
    vault: Vault, change: Callable[[bytearray], None]
) -> None:
    blobs = with_header(vault, change)
    with pytest.raises(FormatUnsupported):
        Vault.open(blobs)
    with pytest.raises(VaultExists):
        Vault.init(blobs, Keyring.load(Path("/nonexistent/keys")))


def test_what_may_be_read_but_not_written_beside(vault: Vault) -> None:
    data = noise(2 * CHUNK, 1)
    blobs = with_header(vault, set_read_only)
    later = Vault.open(blobs, vault.tenants._keyring)
    snapshot = later.snapshots()[0].snapshot
    target = Volume(bytes(len(data)))
    later.restore(snapshot, target)
    assert target.data == data
    assert later.scrub().is_clean
    before = {info.key for info in blobs.list("")}
    for act in (
        lambda: keep(later, noise(CHUNK, 2)),
        lambda: later.delete([snapshot]),
        lambda: later.verify(snapshot),
    ):
        with pytest.raises(BlobsReadOnly):
            act()
    assert {info.key for info in blobs.list("")} == before


def test_what_an_older_version_may_pass_over(vault: Vault) -> None:
    later = Vault.open(with_header(vault, set_compatible), vault.tenants._keyring)
    later.delete([later.snapshots()[0].snapshot])
    later.prune(grace_seconds=0)
    check_all(later, {})


def test_a_newer_snapshot_stops_what_removes_and_not_what_reads(vault: Vault) -> None:
    second = keep(vault, noise(CHUNK, 2)).snapshot
    blobs = copy_of(vault.blobs)
    for info in list(blobs.list("snapshots")):
        if second not in info.key:
            blobs.put(info.key, [newer(set_version)(blobs.get(info.key), info.key)])
    mixed = Vault.open(blobs, vault.tenants._keyring)
    target = Volume(bytes(CHUNK))
    mixed.restore(second, target)
    assert target.data == noise(CHUNK, 2)
    with pytest.raises(DozoError):
        mixed.prune(grace_seconds=0)
    assert not mixed.scrub().is_clean


def test_where_no_vault_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for place in (tmp_path / "none", tmp_path, tmp_path / "file"):
        with pytest.raises(NotAVault):
            Vault.open(open_blobs(str(place)))
    with pytest.raises(VaultExists):
        Vault.init(open_blobs(str(tmp_path)), Keyring.load(tmp_path / "keys"))


def test_a_vault_that_was_not_quite_made_can_be_made_again(tmp_path: Path) -> None:
    """Without its key it would be of no use, so a failure leaves the place empty."""
    blobs = MemoryBlobs()
    with pytest.raises(DozoError):
        Vault.init(blobs, Keyring.load(Path("/proc/nothing/keys")))
    assert list(blobs.list("")) == []
    new_vault(tmp_path, blobs)
