"""What goes in comes out: sizes, zeros, hints, dirt, deduplication, memory."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dozo.model.extents import Extent
from dozo.vault import SnapshotDraft, Vault, packs, writer
from dozo.vault.errors import (
    ChunkDamaged,
    ParentUnsuitable,
    SnapshotAmbiguous,
    SnapshotDeleted,
    SnapshotUnknown,
    TargetTooSmall,
    VolumeSizeInvalid,
)
from dozo.vault.store import Store
from dozo.vault.tree import FANOUT

from .support import CHUNK, SECTOR, Volume, check_all, extents, keep, new_vault, noise, restored

MIB = 1 << 20

# Examples share a vault, which makes shrinking slow and of little use.
QUICK = settings(
    max_examples=30, deadline=None, database=None, phases=[Phase.explicit, Phase.generate]
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """A vault that many random volumes go into."""
    return new_vault(tmp_path_factory.mktemp("vault"))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return new_vault(tmp_path)


@st.composite
def volumes(draw: st.DrawFn) -> bytes:
    """Whole sectors; pieces of noise, zeros and repeated chunks, on and off the borders."""
    pieces = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["noise", "zero", "same"]),
                st.one_of(
                    st.integers(1, 40), st.sampled_from([8, 16, 64]), st.just(FANOUT * 8 + 3)
                ),
            ),
            min_size=1,
            max_size=6,
        )
    )
    data = bytearray()
    for kind, sectors in pieces:
        length = sectors * SECTOR
        if kind == "noise":
            data += noise(length, draw(st.integers(0, 5)))
        elif kind == "zero":
            data += bytes(length)
        else:
            data += (b"\x07" * length)[:length]
    return bytes(data)


@QUICK
@given(volumes())
def test_any_volume_comes_back(shared: Vault, data: bytes) -> None:
    done = keep(shared, data)
    assert done.bytes_volume == len(data)
    assert restored(shared, done.snapshot) == data
    source = shared.open_snapshot(done.snapshot)
    assert source.size_bytes == len(data)
    covered = bytearray(len(data))
    for extent in source.data_extents():
        source.read_into(
            extent.offset_bytes,
            memoryview(covered)[extent.offset_bytes : extent.end_bytes],
        )
    assert covered == data, "nothing but zeros lies outside the data extents"


@QUICK
@given(st.data())
def test_incremental_is_full(shared: Vault, data: st.DataObject) -> None:
    before = data.draw(volumes())
    first = keep(shared, before)
    sectors = data.draw(st.integers(1, 2 * len(before) // SECTOR))
    size = data.draw(st.sampled_from([len(before), len(before), sectors * SECTOR]))
    after = bytearray(before[:size].ljust(size, b"\x00"))
    # What a grown volume has in its new part need not be in the hint.
    after[len(before) :] = noise(max(0, size - len(before)), 9)
    changed = []
    for _each in range(data.draw(st.integers(0, 4))):
        offset = data.draw(st.integers(0, size - 1))
        length = data.draw(st.integers(1, min(size - offset, 5 * CHUNK)))
        filler = noise(length, 11) if data.draw(st.booleans()) else bytes(length)
        after[offset : offset + length] = filler
        changed.append((offset, length))
    data.draw(st.randoms(use_true_random=False)).shuffle(changed)
    done = keep(shared, after, parent=first.snapshot, changed=extents(changed))
    assert done.full_reason is None
    assert restored(shared, done.snapshot) == after
    full = keep(shared, after)
    roots = [shared._lookup.visible(each).root for each in (done.snapshot, full.snapshot)]
    assert roots[0] == roots[1], "an incremental has the same tree as a full reading"
    assert full.bytes_new == 0


@pytest.mark.parametrize("left", [1, FANOUT - 1, FANOUT, FANOUT + 1, 2 * FANOUT - 1])
def test_a_volume_that_shrank_within_a_full_leaf(vault: Vault, left: int) -> None:
    data = noise(2 * FANOUT * CHUNK, 1)
    first = keep(vault, data)
    less = data[: left * CHUNK]
    done = keep(vault, less, parent=first.snapshot, changed=[])
    assert restored(vault, done.snapshot) == less
    again = keep(vault, data, parent=done.snapshot, changed=[])
    assert restored(vault, again.snapshot) == data


def test_a_hint_saves_reading_and_storing(vault: Vault) -> None:
    data = bytearray(noise(3 * FANOUT * CHUNK, 1))
    first = keep(vault, data)
    assert first.bytes_read == len(data)
    assert first.full_reason == "no-parent"
    data[1000:1010] = b"0123456789"
    volume = Volume(data)
    done = vault.backup(
        volume, SnapshotDraft(name="v"), parent=first.snapshot, changed=extents([(1000, 10)])
    )
    assert done.bytes_read == done.bytes_new == volume.bytes_read == CHUNK
    assert done.bytes_stored < 4 * CHUNK + 40_000, "a chunk, a leaf and an inner segment"
    nothing = keep(vault, data, parent=done.snapshot, changed=[])
    assert nothing.bytes_read == nothing.bytes_new == nothing.bytes_stored == 0
    assert restored(vault, nothing.snapshot) == data


def test_a_full_reading_says_why(vault: Vault) -> None:
    first = keep(vault, noise(8 * CHUNK, 1))
    assert keep(vault, noise(8 * CHUNK, 1), parent=first.snapshot).full_reason == "no-hint"


def test_a_disproved_hint_is_not_used(vault: Vault) -> None:
    data = bytearray(noise(20 * CHUNK, 1))
    first = keep(vault, data)
    data[10 * CHUNK] ^= 1
    lied = keep(
        vault,
        data,
        parent=first.snapshot,
        changed=extents([(0, CHUNK)]),
        recheck=extents([(8 * CHUNK, 4 * CHUNK)]),
    )
    assert lied.full_reason == "hint-disproved"
    assert restored(vault, lied.snapshot) == data
    assert vault.snapshot(lied.snapshot).parent is None
    # What the hint names may differ; only what it calls unchanged is evidence against it.
    data[5 * CHUNK] ^= 1
    honest = keep(
        vault,
        data,
        parent=lied.snapshot,
        changed=extents([(5 * CHUNK, 1)]),
        recheck=extents([(0, 20 * CHUNK)]),
    )
    assert honest.full_reason is None
    assert vault.snapshot(honest.snapshot).parent == lied.snapshot
    assert restored(vault, honest.snapshot) == data


def test_allocation_outranks_the_hint(vault: Vault) -> None:
    data = bytearray(noise(12 * CHUNK, 1))
    data[6 * CHUNK : 9 * CHUNK] = bytes(3 * CHUNK)
    first = keep(vault, data)
    # Zero now, though the hint says unchanged; and data where the parent has zeros.
    data[0 : 2 * CHUNK] = bytes(2 * CHUNK)
    data[7 * CHUNK : 8 * CHUNK] = noise(CHUNK, 5)
    volume = Volume(data)
    volume.allocated = extents([(2 * CHUNK, 4 * CHUNK), (7 * CHUNK, 5 * CHUNK)])
    done = vault.backup(volume, SnapshotDraft(name="v"), parent=first.snapshot, changed=[])
    assert done.full_reason is None
    assert done.bytes_read == 2 * CHUNK, "the chunks that the parent has no bytes for"
    assert restored(vault, done.snapshot) == data


def test_a_bad_parent_is_refused(vault: Vault) -> None:
    data = noise(4 * CHUNK, 1)
    mine = keep(vault, data)
    other = keep(vault, data, tenant="other")
    with pytest.raises(ParentUnsuitable):
        keep(vault, data, parent=other.snapshot, changed=[])
    with pytest.raises(SnapshotUnknown):
        keep(vault, data, parent="f" * 32, changed=[])
    vault.delete([mine.snapshot])
    with pytest.raises(SnapshotDeleted):
        keep(vault, data, parent=mine.snapshot, changed=[])
    assert len(vault.snapshots()) == 1


def test_deduplication_ends_at_the_tenant(vault: Vault) -> None:
    data = noise(16 * CHUNK, 1)
    first = keep(vault, data, name="a", tenant="one")
    assert first.bytes_new == len(data)
    moved = noise(CHUNK, 2) + data
    second = keep(vault, moved, name="b", tenant="one")
    assert second.bytes_new == CHUNK
    other = keep(vault, data, name="a", tenant="two")
    assert other.bytes_new == len(data)
    numbers = {info.tenant_number for info in vault.snapshots()}
    assert len(numbers) == 2
    trees = [vault._lookup.visible(each.snapshot).root for each in (first, other)]
    assert trees[0] != trees[1], "equal volumes of two tenants have nothing in common"
    assert [i.snapshot for i in vault.snapshots(tenant="two")] == [other.snapshot]


def test_chunks_that_repeat_within_a_volume_are_stored_once(vault: Vault) -> None:
    done = keep(vault, noise(CHUNK, 1) * 600)
    assert done.bytes_new == CHUNK


@pytest.mark.parametrize("reads_zero", [False, True])
def test_restoring_onto_dirt(vault: Vault, reads_zero: bool) -> None:
    data = bytearray(noise(20 * CHUNK + SECTOR, 1))
    data[4 * CHUNK : 9 * CHUNK] = bytes(5 * CHUNK)
    done = keep(vault, data)
    length = len(data) + 3 * CHUNK
    target = Volume(bytes(length) if reads_zero else b"\xff" * length, reads_zero=reads_zero)
    result = vault.restore(done.snapshot, target)
    assert target.data == data + bytes(3 * CHUNK)
    assert target.flushed
    assert result.bytes_written == len(data) - 5 * CHUNK
    with pytest.raises(TargetTooSmall):
        vault.restore(done.snapshot, Volume(bytes(len(data) - SECTOR)))


def test_in_place_writes_only_what_differs(vault: Vault) -> None:
    data = bytearray(noise(20 * CHUNK + SECTOR, 1))
    data[4 * CHUNK : 9 * CHUNK] = bytes(5 * CHUNK)
    done = keep(vault, data)
    target = Volume(data)
    assert vault.restore_in_place(done.snapshot, target).bytes_written == 0
    target.data[5 * CHUNK] = 1
    target.data[12 * CHUNK + 5] ^= 1
    target.data[-1] ^= 1
    result = vault.restore_in_place(done.snapshot, target)
    assert target.data == data
    assert result.bytes_written == 2 * CHUNK + SECTOR
    assert target.bytes_written == CHUNK + SECTOR, "the rest was made zero"


@pytest.mark.parametrize("size", [0, 1, 511, SECTOR + 1, CHUNK - 1])
def test_sizes_that_no_volume_has(vault: Vault, size: int) -> None:
    with pytest.raises(VolumeSizeInvalid):
        keep(vault, bytes(size))
    assert vault.snapshots() == []


def test_templates_stand_on_their_own(vault: Vault) -> None:
    data = noise(10 * CHUNK, 1)
    origin = keep(
        vault, data, draft=SnapshotDraft(name="root", attachments={"definition": b"<a/>"})
    )
    draft = SnapshotDraft(name="golden", kind="template", attachments={"definition": b"<b/>"})
    template = vault.clone(origin.snapshot, draft)
    assert vault.attachments(template) == {"definition": b"<b/>"}
    vault.delete([origin.snapshot])
    vault.prune(grace_seconds=0)
    check_all(vault, {template: data})
    info = vault.snapshot(template)
    assert (info.kind, info.sealed.name) == ("template", "golden") if info.sealed else False
    assert vault.attachments(template) == {"definition": b"<b/>"}
    with pytest.raises(SnapshotUnknown):
        vault.clone(origin.snapshot, draft)


def test_attachments_and_facts_come_back(vault: Vault) -> None:
    files = {"empty": b"", "nvram": noise(540_672, 1), "zeros": bytes(4 * CHUNK), "xml": b"<x/>"}
    facts = {"version": 1, "name": "サーバー", "nested": {"list": [1, None, 2.5, True]}}
    draft = SnapshotDraft(name="土蔵", facts=facts, attachments=files)
    done = keep(vault, noise(CHUNK, 1), draft=draft)
    assert vault.attachments(done.snapshot) == files
    sealed = vault.snapshot(done.snapshot).sealed
    assert sealed is not None
    assert sealed.facts == facts
    assert sealed.name == "土蔵"


@pytest.mark.parametrize("volume_first", [True, False])
def test_an_attachment_may_equal_a_chunk(vault: Vault, volume_first: bool) -> None:
    """A firmware's variables are in the volume too, if someone keeps a backup of them there."""
    piece = noise(CHUNK, 1)
    with_file = SnapshotDraft(name="a", attachments={"nvram": piece})
    plain = SnapshotDraft(name="b")
    data = [piece + noise(CHUNK, 2), noise(CHUNK, 3)]
    done = {}
    for turn in (0, 1) if volume_first else (1, 0):
        done[turn] = keep(vault, data[turn], draft=(plain, with_file)[turn]).snapshot
    assert vault.attachments(done[1]) == {"nvram": piece}
    check_all(vault, {done[0]: data[0], done[1]: data[1]})


def test_snapshots_are_found_by_the_beginning_of_their_ids(vault: Vault) -> None:
    done = keep(vault, noise(CHUNK, 1))
    assert vault.snapshot(done.snapshot[:8].upper()).snapshot == done.snapshot
    for given_id in ("", done.snapshot[:3], "zzzz", done.snapshot + "0"):
        with pytest.raises(SnapshotUnknown):
            vault.snapshot(given_id)
    twin = done.snapshot[:-1] + ("0" if done.snapshot[-1] != "0" else "1")
    vault.blobs.put(f"snapshots/{twin}/x", [b"no matter"])
    with pytest.raises(SnapshotAmbiguous):
        vault.snapshot(done.snapshot[:8])


def test_many_packs_and_index_objects(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "TARGET_BYTES", 4 * CHUNK)
    monkeypatch.setattr(writer, "PACKS_PER_INDEX", 4)
    monkeypatch.setattr(writer, "MAX_RECORDS", 40)
    for turn in range(4):
        data = noise(500 * CHUNK, turn)
        done = keep(vault, data)
        assert not vault_store(vault).index.unindexed_packs()
        assert restored(vault, done.snapshot) == data


def vault_store(vault: Vault):

    return Store(vault.blobs)


class Sparse:
    """A volume of any size, zero but for a few pieces."""

    def __init__(self, size_bytes: int, parts: dict[int, bytes]) -> None:
        self.size_bytes = size_bytes
        self.parts = dict(sorted(parts.items()))
        self.bytes_read = 0

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        self.bytes_read += len(buffer)
        buffer[:] = bytes(len(buffer))
        for at, part in self.parts.items():
            start, end = max(at, offset_bytes), min(at + len(part), offset_bytes + len(buffer))
            if start < end:
                buffer[start - offset_bytes : end - offset_bytes] = part[start - at : end - at]

    def data_extents(self):
        for at, part in self.parts.items():
            yield Extent(at, len(part))


def test_64_mib_into_a_sparse_10_gib_volume(tmp_path: Path) -> None:
    vault = new_vault(tmp_path, chunk_bytes=256 * 1024)
    old = {at * (1 << 30): noise(2 * MIB, at) for at in range(10)}
    size = 10 << 30
    first = vault.backup(Sparse(size, old), SnapshotDraft(name="v"))
    assert first.bytes_read == 20 * MIB
    new = {(at << 30) + 512 * MIB: noise(16 * MIB, 20 + at) for at in range(4)}
    source = Sparse(size, {**old, **new})
    done = vault.backup(
        source,
        SnapshotDraft(name="v"),
        parent=first.snapshot,
        changed=[Extent(at, len(part)) for at, part in new.items()],
    )
    assert source.bytes_read == done.bytes_read == done.bytes_new == 64 * MIB
    assert 64 * MIB < done.bytes_stored < 64.5 * MIB
    view = vault.open_snapshot(done.snapshot)
    for at, part in source.parts.items():
        buffer = bytearray(len(part) + 8192)
        view.read_into(at, memoryview(buffer))
        assert buffer == part + bytes(8192)


BIG = """
import resource, sys
from pathlib import Path
from dozo.blobs import open_blobs
from dozo.model.extents import Extent
from dozo.vault import Keyring, SnapshotDraft, Vault

TIB = 1 << 40

class Source:
    size_bytes = TIB
    def read_into(self, offset, buffer):
        buffer[:] = (1 + offset // 262144).to_bytes(8, "little") * (len(buffer) // 8)
    def data_extents(self):
        for at in range(0, TIB, 1 << 30):
            yield Extent(at, 262144)

def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024

folder = Path(sys.argv[1])
vault = Vault.init(open_blobs(str(folder / "vault")), Keyring.load(folder / "keys"))
base = peak()
first = vault.backup(Source(), SnapshotDraft(name="big"))
second = vault.backup(Source(), SnapshotDraft(name="big"), parent=first.snapshot,
                      changed=[Extent(5 << 30, 262144)])
vault.scrub(); vault.prune(grace_seconds=0); vault.verify(second.snapshot)
print(peak() - base, first.bytes_read, second.bytes_read, second.seconds)
"""


def test_memory_does_not_follow_the_size_of_the_volume(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path)], capture_output=True, text=True, check=True
    )
    grown_mib, first_read, second_read, _seconds = done.stdout.split()
    assert float(grown_mib) < 200
    assert int(first_read) == 1024 * 262144
    assert int(second_read) == 262144


def test_a_damaged_parent_costs_a_reading_and_no_snapshot(vault: Vault) -> None:
    data = bytearray(noise(6 * CHUNK, 1))
    first = keep(vault, data)
    leaf = vault._lookup.visible(first.snapshot).root
    store = vault_store(vault)
    place = store.index.find(leaf)
    assert place is not None
    key = f"packs/{place.pack_id.hex()[:2]}/{place.pack_id.hex()}"
    pack = bytearray(vault.blobs.get(key))
    pack[place.offset_bytes + 40] ^= 1
    vault.blobs.put(key, [pack])
    with pytest.raises(ChunkDamaged):
        restored(vault, first.snapshot)
    for turn, options in enumerate(({}, {"recheck": extents([(2 * CHUNK, CHUNK)])})):
        data[0] = turn
        done = keep(vault, data, parent=first.snapshot, changed=extents([(0, 1)]), **options)
        assert restored(vault, done.snapshot) == data


def test_a_lost_pack_costs_a_reading_and_no_snapshot(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in no pack any more is not taken over from the parent, whatever the hint says."""
    monkeypatch.setattr(packs, "TARGET_BYTES", 4 * CHUNK)
    data = bytearray(noise(40 * CHUNK, 1))
    first = keep(vault, data)
    lost = random.Random(1).choice(sorted(info.key for info in vault.blobs.list("packs")))
    vault.blobs.delete(lost)
    data[0] ^= 1
    done = keep(vault, data, parent=first.snapshot, changed=extents([(0, 1)]))
    assert restored(vault, done.snapshot) == data
