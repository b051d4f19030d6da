"""Every byte of every object: what was spoilt is found without keys, and never served as data."""

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dozo.blobs import Blobs, BlobsFull, MemoryBlobs, ReadOnlyBlobs
from dozo.model.errors import ErrorKind
from dozo.vault import SnapshotDraft, Vault, packs
from dozo.vault.errors import VaultDamaged
from dozo.vault.format import PROLOGUE
from dozo.vault.packs import ENTRY, FOOTER, HEAD_BYTES, read_directory

from .support import (
    CHUNK,
    Volume,
    check_all,
    contents,
    copy_of,
    errors_of,
    flipped,
    keep,
    new_vault,
    noise,
)
from .support import restored as whole

# Objects whose loss takes no snapshot's data with it.
NOTES = {"checks", "readings", "pending", "tombstones", "resolutions", "holds", "deleting"}


class FullBlobs(MemoryBlobs):
    """A place without room."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__()
        for key, data in contents(blobs).items():
            super().put(key, [data])

    def put(self, key: str, parts: object) -> None:
        raise BlobsFull(url=self.url)

    def create(self, key: str, parts: object) -> bool:
        raise BlobsFull(url=self.url)


class Pair:
    """A vault with something of everything, and another one that has a copy of it."""

    def __init__(self, folder: Path) -> None:
        self.vault = new_vault(folder, keys="keys")
        self.other = new_vault(folder, keys="keys2")
        self.vault.grant(self.other.public_key)
        first = noise(7 * CHUNK, 1) + bytes(3 * CHUNK) + noise(3 * 512, 5)
        second = first[: 2 * CHUNK] + noise(3 * CHUNK, 2) + first[5 * CHUNK :]
        draft = SnapshotDraft(name="v", attachments={"definition": b"<domain/>"})
        one = keep(self.vault, first, draft=draft).snapshot
        two = keep(self.vault, second, parent=one, changed=[]).snapshot
        two = keep(self.vault, second).snapshot
        three = keep(self.vault, noise(2 * CHUNK, 9), tenant="other").snapshot
        template = self.vault.clone(one, SnapshotDraft(name="t", kind="template"))
        self.vault.verify(one)
        self.vault.copy_to(self.other)
        self.vault.hold(two, self.vault.snapshot(two).created_at.replace(year=2999), "court")
        deleted = keep(self.vault, noise(CHUNK, 4)).snapshot
        self.vault.copy_to(self.other)
        self.vault.delete([deleted])
        self.vault.copy_to(self.other)
        self.expected = {one: first, two: second, three: noise(2 * CHUNK, 9), template: first}
        for info in self.vault.snapshots():
            if info.snapshot not in self.expected:
                self.vault.delete([info.snapshot])
        assert self.vault.scrub().is_clean
        assert self.other.scrub().is_clean

    def spoilt(self, key: str, data: bytes | None) -> Vault:
        blobs = copy_of(self.vault.blobs)
        blobs.delete(key)
        if data is not None:
            blobs.put(key, [data])
        return Vault.open(blobs, self.vault.tenants._keyring)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "TARGET_BYTES", 6 * CHUNK)
        return Pair(tmp_path_factory.mktemp("pair"))


def positions(key: str, data: bytes, spread: int = 15) -> list[int]:
    """Bytes of each region of an object, and all borders between them."""
    if not key.startswith("packs/"):
        every = 5 if len(data) < 400 else 41
        borders = {0, 4, 5, PROLOGUE.size - 1, PROLOGUE.size, len(data) - 32, len(data) - 1}
        return sorted({*range(0, len(data), every), *borders})
    count = FOOTER.unpack(data[-FOOTER.size :])[0]
    directory = len(data) - FOOTER.size - count * ENTRY.size
    chosen = random.Random(len(data))
    found = {*range(0, HEAD_BYTES, 3), *range(len(data) - FOOTER.size, len(data), 3)}
    found |= {directory, directory + ENTRY.size - 1, directory + 73, directory + 74}
    found |= {chosen.randrange(HEAD_BYTES, directory) for _each in range(spread)}
    found |= {chosen.randrange(directory, len(data)) for _each in range(spread)}
    return sorted(found)


def harmless(vault: Vault, expected: dict[str, bytes]) -> int:
    """What restores is right; how many snapshots do not. Nothing but an expected error."""
    refused = 0
    for snapshot, data in expected.items():
        target = Volume(b"\xee" * len(data))
        error = errors_of(partial(vault.restore, snapshot, target))
        if error is None:
            assert target.data == data
        else:
            assert error.kind in (ErrorKind.DAMAGED, ErrorKind.NOT_FOUND, ErrorKind.REFUSED)
            refused += 1
    return refused


def test_any_flipped_byte_is_found_without_keys(pair: Pair) -> None:
    everything = contents(pair.vault.blobs)
    kinds = {key.split("/")[0] for key in everything}
    assert kinds >= {"header", "header.copy", "packs", "index", "snapshots", "keys"}
    assert kinds >= {"tombstones", "holds", "checks", "readings"}
    count = 0
    for key, data in everything.items():
        for position in positions(key, data):
            blobs = copy_of(pair.vault.blobs)
            blobs.put(key, [flipped(data, position, 1 << (position % 8))])
            report = Vault.open(blobs).scrub()
            assert key in {finding.key for finding in report.findings}, (key, position)
            assert not report.is_clean
            count += 1
    assert count > 700


@pytest.mark.parametrize("how", ["flip", "cut", "grow", "empty"])
def test_what_is_spoilt_is_named_and_never_served(pair: Pair, how: str) -> None:
    for key, data in contents(pair.vault.blobs).items():
        folder = key.split("/")[0]
        chosen = positions(key, data, 12)
        for position in random.Random(1).sample(chosen, min(4, len(chosen))):
            spoilt = {
                "flip": flipped(data, position),
                "cut": data[:position],
                "grow": data + b"\x00",
                "empty": b"",
            }[how]
            vault = pair.spoilt(key, spoilt)
            report = Vault.open(vault.blobs).scrub()
            assert key in {finding.key for finding in report.findings}
            refused = harmless(vault, pair.expected)
            touched = set(report.snapshots_touched) & set(pair.expected)
            if folder == "snapshots":
                assert key.split("/")[1] in report.snapshots_touched
            elif folder in {"header", "header.copy"}:
                assert touched == set(pair.expected)
            elif folder in {"tombstones", "holds", "checks", "resolutions"}:
                assert key.split("/")[1] in report.snapshots_touched
            elif folder not in NOTES:
                assert refused <= len(touched), (key, position)
            if how != "flip":
                break


def test_a_spoilt_frame_names_exactly_the_snapshots_that_need_it(pair: Pair) -> None:
    for pack in pair_packs(pair):
        for entry in pack.entries:
            content = contents(pair.vault.blobs)[pack_name(pack.pack_id)]
            vault = pair.spoilt(pack_name(pack.pack_id), flipped(content, entry.offset_bytes + 15))
            report = Vault.open(vault.blobs).scrub()
            refused = {
                each for each in pair.expected if harmless(vault, {each: pair.expected[each]})
            }
            attachment = entry.kind == 4
            named = set(report.snapshots_touched) & set(pair.expected)
            assert refused <= named
            assert attachment or refused == named


def pair_packs(pair: Pair) -> Iterator[packs.Pack]:
    for pack_id, size in packs.list_packs(pair.vault.blobs):
        yield read_directory(pair.vault.blobs, pack_id, size)


def pack_name(pack_id: bytes) -> str:
    return f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}"


@pytest.mark.parametrize("what", ["flip", "cut", "lose"])
def test_every_object_is_mended_from_the_other_vault(pair: Pair, what: str) -> None:
    for key, data in contents(pair.vault.blobs).items():
        for position in positions(key, data)[:: max(1, len(positions(key, data)) // 2)]:
            spoilt = {"flip": flipped(data, position), "cut": data[:position], "lose": None}[what]
            vault = pair.spoilt(key, spoilt)
            blind = Vault.open(vault.blobs)
            report = blind.scrub(repair_from=Vault.open(pair.other.blobs))
            if what == "lose" and key.split("/")[0] in {*NOTES, "snapshots"}:
                break  # nothing in the vault says that there was one
            assert report.is_clean, (key, position, report.findings, report.snapshots_touched)
            again = Vault.open(vault.blobs, pair.vault.tenants._keyring)
            check_all(again, pair.expected, exactly=key.split("/")[0] not in NOTES)
            blind.prune(grace_seconds=0)
            check_all(again, pair.expected, exactly=key.split("/")[0] not in NOTES)
            if what == "lose":
                break


def test_losing_an_object_that_data_need_is_found(pair: Pair) -> None:
    for key in contents(pair.vault.blobs):
        if key.split("/")[0] not in {"header", "header.copy", "packs", "index", "keys"}:
            continue
        if key.startswith("keys/") and not key.endswith(pair.vault.header.recipient):
            continue  # for another site, which has its own
        vault = pair.spoilt(key, None)
        report = Vault.open(vault.blobs).scrub()
        assert not report.is_clean, key
        harmless(vault, pair.expected)


def test_everything_spoilt_at_once_is_mended(pair: Pair) -> None:
    chosen = random.Random(5)
    for turn in range(5):
        blobs = copy_of(pair.vault.blobs)
        for key, data in contents(pair.vault.blobs).items():
            if key != "header" and (chosen.random() < 0.5 or turn == 0):
                blobs.put(key, [flipped(data, chosen.randrange(len(data)))])
        report = Vault.open(blobs).scrub(repair_from=Vault.open(pair.other.blobs))
        assert report.is_clean, (report.findings, report.snapshots_touched)
        vault = Vault.open(blobs, pair.vault.tenants._keyring)
        for snapshot, data in pair.expected.items():
            assert whole(vault, snapshot) == data


def test_without_another_vault_the_rest_can_still_be_restored(pair: Pair) -> None:
    for pack in pair_packs(pair):
        vault = pair.spoilt(pack_name(pack.pack_id), None)
        touched = vault.scrub().snapshots_touched
        for snapshot, data in pair.expected.items():
            if snapshot not in touched:
                assert whole(vault, snapshot) == data
        if touched.keys() & pair.expected.keys():
            with pytest.raises(VaultDamaged):
                vault.prune(grace_seconds=0)


def test_prune_removes_nothing_where_something_is_damaged(pair: Pair) -> None:
    for key, data in contents(pair.vault.blobs).items():
        folder = key.split("/")[0]
        if folder not in {"packs", "index", "snapshots", "tombstones", "holds"}:
            continue
        vault = pair.spoilt(key, flipped(data, min(len(data) - 1, HEAD_BYTES + 60)))
        Vault.open(vault.blobs).scrub()
        before = {each for each in contents(vault.blobs) if each.split("/")[0] == "packs"}
        error = errors_of(partial(vault.prune, grace_seconds=0))
        if error is None:
            # Neither does it matter in a snapshot that is to go anyway.
            assert folder == "packs" or key.split("/")[1] not in pair.expected
            assert harmless(vault, pair.expected) == 0, "a frame that nobody needs was spoilt"
        else:
            assert error.kind is ErrorKind.DAMAGED
            after = {each for each in contents(vault.blobs) if each.split("/")[0] == "packs"}
            assert before <= after


def test_damage_is_not_relied_on_and_heals_by_a_new_backup(pair: Pair) -> None:
    """What a scrub has found is stored again by the next backup of the same data."""
    snapshot, data = next(iter(pair.expected.items()))
    for pack in pair_packs(pair):
        content = contents(pair.vault.blobs)[pack_name(pack.pack_id)]
        spoilt = content
        for entry in pack.entries:
            spoilt = flipped(spoilt, entry.offset_bytes + 30)
        vault = pair.spoilt(pack_name(pack.pack_id), spoilt)
        vault.scrub()
        for options in ({}, {"parent": snapshot, "changed": []}):
            done = keep(vault, data, **options)
            assert whole(vault, done.snapshot) == data
            assert whole(vault, snapshot) == data, "and what shares it can be restored again"


@pytest.mark.parametrize(
    "shut",
    [
        ReadOnlyBlobs,
        FullBlobs,
    ],
    ids=["read-only", "full"],
)
def test_scrub_tells_what_it_finds_where_it_may_not_write(
    pair: Pair, shut: Callable[[Blobs], Blobs]
) -> None:
    clean = Vault.open(shut(copy_of(pair.vault.blobs)))
    assert clean.scrub().is_clean
    pack = next(pair_packs(pair))
    key = pack_name(pack.pack_id)
    data = contents(pair.vault.blobs)[key]
    vault = pair.spoilt(key, flipped(data, pack.entries[0].offset_bytes + 5))
    report = Vault.open(shut(vault.blobs)).scrub()
    assert [finding.key for finding in report.findings] == [key]
    assert report.snapshots_touched


def test_stray_files_stop_nothing(pair: Pair) -> None:
    blobs = copy_of(pair.vault.blobs)
    for folder in ("tombstones", "resolutions", "holds", "keys", "pending", "snapshots", "index"):
        blobs.put(f"{folder}/readme.txt", [b"left by somebody"])
        blobs.put(f"{folder}/a/b/c/d", [b"left by somebody"])
    for key in ("packs/readme.txt", "packs/zz/zz", "readme.txt", "deleting/x", "damaged/x"):
        blobs.put(key, [json.dumps({"packs": []}).encode()])
    vault = Vault.open(blobs, pair.vault.tenants._keyring)
    assert not vault.scrub().is_clean
    assert harmless(vault, pair.expected) == 0
    for act in (vault.snapshots, vault.holds, vault.stats, lambda: vault.prune(grace_seconds=0)):
        error = errors_of(act)
        assert error is None or error.kind is ErrorKind.DAMAGED


def test_a_snapshot_that_cannot_be_read_any_more_can_be_deleted(pair: Pair) -> None:
    """Without a second vault this is the way back to a vault that can be pruned."""
    snapshot = next(iter(pair.expected))
    key = next(key for key in contents(pair.vault.blobs) if key.startswith(f"snapshots/{snapshot}"))
    vault = pair.spoilt(key, flipped(pair.vault.blobs.get(key), 40))
    with pytest.raises(VaultDamaged):
        vault.prune(grace_seconds=0)
    assert vault.delete([snapshot]) == [snapshot]
    with pytest.raises(VaultDamaged):
        vault.prune()
    vault.prune(grace_seconds=0)
    left = {each: content for each, content in pair.expected.items() if each != snapshot}
    check_all(vault, left)
