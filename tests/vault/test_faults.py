"""Every storage call of every operation fails once: before it, with its answer lost, or torn."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dozo.blobs import Blobs, BlobsFull, MemoryBlobs
from dozo.blobs.faulty import Fault, FaultPlan, FaultyBlobs
from dozo.model.errors import DozoError
from dozo.vault import SnapshotDraft, Vault, packs, writer

from .support import (
    CHUNK,
    Volume,
    check_all,
    copy_of,
    errors_of,
    extents,
    flipped,
    keep,
    kill_writers,
    new_vault,
    noise,
)


class Place:
    """A vault with a kept and a deleted snapshot, a peer that has both, and what to try."""

    def __init__(self, folder: Path) -> None:
        self.main = new_vault(folder, keys="keys")
        self.peer = new_vault(folder, keys="keys2")
        self.main.grant(self.peer.public_key)
        self.first = noise(6 * CHUNK, 1)
        self.second = self.first[: 3 * CHUNK] + noise(4 * CHUNK, 2)
        self.kept = keep(self.main, self.first).snapshot
        self.gone = keep(self.main, self.second).snapshot
        self.main.copy_to(self.peer)
        self.main.delete([self.gone])
        self.fresh = self.second[3 * CHUNK :] + noise(3 * CHUNK, 3)
        # A peer that has kept what was deleted here, and has one more.
        self.richer = Vault.open(copy_of(self.peer.blobs), self.peer.tenants._keyring)
        self.richer.grant(self.main.public_key)
        keep(self.richer, self.fresh, tenant="peer's")

    def open(self, blobs: Blobs) -> Vault:
        ring = self.main.tenants._keyring
        return Vault.open(blobs, ring)

    def backup(self, blobs: Blobs) -> None:
        keep(self.open(blobs), self.fresh)

    def incremental(self, blobs: Blobs) -> None:
        data = self.fresh[:CHUNK] + self.first[CHUNK:]
        keep(self.open(blobs), data, parent=self.kept, changed=extents([(0, CHUNK)]))

    def new_tenant(self, blobs: Blobs) -> None:
        keep(self.open(blobs), self.fresh, tenant="other")

    def clone(self, blobs: Blobs) -> None:
        self.open(blobs).clone(self.kept, SnapshotDraft(name="t", attachments={"a": b"b"}))

    def copy_here(self, blobs: Blobs) -> None:
        self.richer.copy_to(self.open(blobs))

    def delete(self, blobs: Blobs) -> None:
        self.open(blobs).delete([self.kept])

    def undelete(self, blobs: Blobs) -> None:
        self.open(blobs).undelete([self.gone])

    def prune(self, blobs: Blobs) -> None:
        self.open(blobs).prune(grace_seconds=0)

    def scrub(self, blobs: Blobs) -> None:
        self.open(blobs).scrub()

    def verify(self, blobs: Blobs) -> None:
        self.open(blobs).verify(self.kept)

    def repair(self, blobs: Blobs) -> None:
        self.open(blobs).scrub(repair_from=Vault.open(self.peer.blobs))

    def rebuild(self, blobs: Blobs) -> None:
        self.open(blobs).rebuild_index()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "TARGET_BYTES", 3 * CHUNK)
        patch.setattr(writer, "PACKS_PER_INDEX", 3)
        yield Place(tmp_path_factory.mktemp("place"))


OPERATIONS = [
    *("backup", "incremental", "new_tenant", "clone", "copy_here", "delete", "undelete"),
    *("prune", "scrub", "verify"),
]


def judge(place: Place, blobs: MemoryBlobs) -> None:
    """Kept or deleted as a whole; whatever is visible restores; the leftovers can be pruned."""
    vault = place.open(blobs)
    known = {place.first, place.second, place.fresh, place.fresh[:CHUNK] + place.first[CHUNK:]}
    for turn in range(2):
        report = vault.scrub()
        assert report.is_clean, (turn, report.findings, report.snapshots_touched)
        for info in vault.snapshots():
            target = Volume(b"\x11" * info.bytes_volume)
            vault.restore(info.snapshot, target)
            assert bytes(target.data) in known
        kill_writers(blobs)
        vault.prune(grace_seconds=0)


def full(url: str) -> BlobsFull:
    return BlobsFull(url=url)


ONCE = (Fault.BEFORE, False, None)
DEAD = (Fault.LOST, True, None)
FULL = (Fault.LOST, False, full)
CASES = [
    *[(name, *ONCE) for name in OPERATIONS],
    *[(name, *DEAD) for name in OPERATIONS if name not in ("scrub", "verify")],
    *[(name, *FULL) for name in ("backup", "copy_here", "prune")],
]


@pytest.mark.parametrize(
    ("name", "fault", "dies", "error"),
    CASES,
    ids=[f"{each[0]}-{each[1].value}-{'dead' if each[2] else 'alive'}" for each in CASES],
)
def test_each_call_fails(
    place: Place, name: str, fault: Fault, dies: bool, error: Callable[[str], BlobsFull] | None
) -> None:
    at = 1
    while True:
        blobs = copy_of(place.main.blobs)
        faulty = FaultyBlobs(blobs, FaultPlan(at_call=at, fault=fault, dies=dies), error=error)
        failed = errors_of(lambda each=faulty: getattr(place, name)(each))
        assert failed is None or isinstance(failed, DozoError)
        if not faulty.has_failed:
            break
        judge(place, blobs)
        # The same again, and it succeeds.
        again = errors_of(lambda each=blobs: getattr(place, name)(each))
        assert again is None or name in ("delete", "undelete"), (at, again)
        judge(place, blobs)
        at += 1
    assert at > 3


@pytest.mark.parametrize("name", ["repair", "rebuild"])
@pytest.mark.parametrize("dies", [False, True])
def test_each_call_of_a_repair_fails(place: Place, name: str, dies: bool) -> None:
    spoilt = copy_of(place.main.blobs)
    for number, info in enumerate(sorted(spoilt.list("packs"), key=lambda each: each.key)):
        data = spoilt.get(info.key)
        spoilt.put(info.key, [flipped(data, 60 if number % 2 else len(data) - 3)])
    for info in list(spoilt.list("index")):
        if name == "rebuild":
            spoilt.delete(info.key)
        else:
            spoilt.put(info.key, [flipped(spoilt.get(info.key), 70)])
    if name == "rebuild":
        for info in list(spoilt.list("packs")):
            spoilt.put(info.key, [place.main.blobs.get(info.key)])
    at = 1
    while True:
        blobs = copy_of(spoilt)
        faulty = FaultyBlobs(blobs, FaultPlan(at_call=at, fault=Fault.LOST, dies=dies))
        errors_of(lambda each=faulty: getattr(place, name)(each))
        kill_writers(blobs)
        getattr(place, name)(blobs)
        judge(place, blobs)
        if not faulty.has_failed:
            break
        at += 13
    assert at > 13


@pytest.mark.parametrize("name", ["backup", "copy_here", "prune"])
def test_torn_objects_are_found_and_never_served(place: Place, name: str) -> None:
    """A place that breaks its promise: a write that is half there after a power cut."""
    at = 1
    writes = frozenset({"put", "create"})
    while True:
        blobs = copy_of(place.main.blobs)
        plan = FaultPlan(at_call=at, fault=Fault.TORN, dies=True, methods=writes)
        faulty = FaultyBlobs(blobs, plan)
        errors_of(lambda each=faulty: getattr(place, name)(each))
        if not faulty.has_failed:
            break
        vault = place.open(blobs)
        torn = faulty.calls[-1].key
        earlier = {(each.method, each.key) for each in faulty.calls[:-1]}
        before = {info.key for info in place.main.blobs.list("")}
        if torn in before or ("create", torn) in earlier:
            at += 1  # where something was, a creation tears nothing
            continue
        assert torn in {finding.key for finding in vault.scrub().findings}
        target = Volume(bytes(len(place.first)))
        vault.restore(place.kept, target)
        assert target.data == place.first
        kill_writers_tolerantly(blobs)
        report = vault.scrub(repair_from=Vault.open(place.peer.blobs))
        folder, *names = torn.split("/")
        if folder == "snapshots":
            # Never published; it goes like any other snapshot that is not wanted.
            vault.delete(names[:1])
        elif folder in ("keys", "resolutions"):
            # What stood in these two is known to nobody else; they stay reported.
            assert {finding.key for finding in report.findings} <= {torn}
            at += 1
            continue
        else:
            assert report.is_clean, (torn, report.findings, report.snapshots_touched)
        vault.prune(grace_seconds=0)
        check_all(vault, {place.kept: place.first})
        at += 1
    assert at > 3


def kill_writers_tolerantly(blobs: MemoryBlobs) -> None:
    try:
        kill_writers(blobs)
    except DozoError:
        return
