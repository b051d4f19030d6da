"""Mending a vault: from its own redundancy, and from another vault that has it whole."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from dozo.blobs import BlobMissing
from dozo.model.progress import Progress, Silent
from dozo.vault import layout
from dozo.vault import pending as pendings
from dozo.vault.copying import is_there
from dozo.vault.deletion import restore_resolution, restore_tombstone
from dozo.vault.errors import ChunkDamaged, ChunkMissing, ObjectDamaged, VaultDamaged
from dozo.vault.format import ObjectKind, fetch, load_document, open_object, store_document
from dozo.vault.frames import FrameKind
from dozo.vault.index import store_segment
from dozo.vault.manifest import list_attempts, load_publication, publication_document
from dozo.vault.packs import Pack, check_pack, read_directory
from dozo.vault.prune import prune
from dozo.vault.removal import mark_damaged
from dozo.vault.scrub import KINDS, Finding, ScrubReport, damage_of, scrub
from dozo.vault.store import Store
from dozo.vault.writer import Writer

PACKS_PER_INDEX = 512
# A tree can lack a segment on each level, and each is found only when its parent is back.
MAX_ROUNDS = 9
NEVER_SECONDS = 100 * 365 * 24 * 3600


def scrub_and_repair(store: Store, other: Store, progress: Progress) -> ScrubReport:
    """Scrub, mend what can be mended, and scrub again; the last report counts.

    Its ``repaired`` is the number of frames and objects that were put back.
    """
    report = scrub(store, progress)
    if report.is_clean:
        return report
    repaired = _repair_objects(store, other, report.findings)
    repaired += rebuild_index(store)
    for _round in range(MAX_ROUNDS):
        report = scrub(store, Silent())
        if not report.unreadable:
            break
        brought = _repair_frames(store, other, report.unreadable)
        repaired += brought
        if not brought:
            break
    with suppress(VaultDamaged, ObjectDamaged, ChunkMissing, ChunkDamaged):
        # What is still whole in a damaged pack moves to a new one, and the pack goes.
        prune(store, grace_seconds=NEVER_SECONDS)
    report = scrub(store, Silent())
    report.repaired = repaired
    return report


def rebuild_index(store: Store) -> int:
    """Index packs that no index object names, from their own directories; how many there were.

    They are read back whole: whoever finds a frame through the index may rely on it. Damaged
    index objects are removed after that. Packs of writers at work are theirs.
    """
    store.index.refresh()
    damaged = [error.key for error in store.index.damaged_objects]
    notes, _broken = pendings.list_pending(store.blobs)
    at_work = {note.writer for note in notes}
    group: list[Pack] = []
    count = 0
    for pack in _unindexed(store, at_work):
        group.append(pack)
        count += 1
        if len(group) == PACKS_PER_INDEX:
            store_segment(store.blobs, group)
            group = []
    if group:
        store_segment(store.blobs, group)
    for key in damaged:
        store.blobs.delete(key)
    store.index.refresh()
    return count


def _unindexed(store: Store, at_work: set[bytes]) -> Iterator[Pack]:
    for pack_id in store.index.unindexed_packs():
        with suppress(ObjectDamaged, BlobMissing):
            pack = read_directory(store.blobs, pack_id, store.index.pack_sizes[pack_id])
            if pack.writer in at_work:
                continue
            found = check_pack(store.blobs, pack_id)
            if found is None or found.directory is None:
                continue
            if found.damaged:
                # Before the index names it: nobody may rely on what is damaged in it.
                mark_damaged(store.blobs, damage_of(found))
            yield pack


def _repair_frames(store: Store, other: Store, wanted: set[bytes]) -> int:
    brought = 0
    with Writer(store, "repair", pendings.REPAIR) as writer:
        for object_id in sorted(wanted):
            with suppress(ChunkMissing, ChunkDamaged):
                frame, place = other.frame(object_id)
                writer.add(object_id, FrameKind(place.kind), frame, place.stored_hash)
                brought += 1
        writer.flush()
    return brought


def _repair_objects(store: Store, other: Store, findings: list[Finding]) -> int:
    repaired = 0
    for finding in findings:
        folder = finding.key.split("/")[0]
        mend = _MENDERS.get(folder)
        if mend is not None:
            repaired += mend(store, other, finding.key)
    return repaired


def _mend_header(store: Store, other: Store, key: str) -> bool:
    del other
    twin = layout.HEADER_COPY if key == layout.HEADER else layout.HEADER
    with suppress(BlobMissing, ObjectDamaged):
        document = load_document(store.blobs, twin, ObjectKind.HEADER)
        store_document(store.blobs, key, ObjectKind.HEADER, document)
        return True
    return False


def _mend_same_name(store: Store, other: Store, key: str) -> bool:
    kind = KINDS[key.split("/", maxsplit=1)[0]]
    with suppress(BlobMissing, ObjectDamaged):
        data = fetch(other.blobs.get, key, url=other.blobs.url)
        open_object(data, key, kind, url=other.blobs.url)
        store.blobs.put(key, [data])
        return True
    return False


def _mend_snapshot(store: Store, other: Store, key: str) -> bool:
    _folder, snapshot, attempt = key.split("/", 2)
    for name, theirs in list_attempts(other.blobs, snapshot):
        with suppress(BlobMissing, ObjectDamaged):
            manifest = load_publication(other.blobs, name, theirs).manifest
            if manifest is not None:
                document = publication_document(manifest, attempt, None)
                store_document(store.blobs, key, ObjectKind.SNAPSHOT, document)
                return True
    return False


def _mend_resolution(store: Store, other: Store, key: str) -> bool:
    del other
    _folder, snapshot, number = key.split("/")
    if not number.isdecimal():
        return False
    there = is_there(store.blobs, snapshot)
    restore_resolution(store.blobs, snapshot, int(number), is_there=there)
    return True


def _mend_tombstone(store: Store, other: Store, key: str) -> bool:
    del other
    _folder, snapshot, number = key.split("/")
    if not number.isdecimal():
        return False
    # That it is there says that the snapshot was deleted; for how long is not known any
    # more, so the time for bringing it back begins anew, and no other site follows.
    restore_tombstone(store.blobs, snapshot, int(number))
    return True


def _mend_pending(store: Store, other: Store, key: str) -> bool:
    del other
    snapshot, _dot, attempt = key.split("/")[1].rpartition(".")
    # Its writer, if it lives, then fails without having published.
    pendings.fence(store.blobs, snapshot, attempt)
    store.blobs.delete(key)
    return True


def _forget(store: Store, other: Store, key: str) -> bool:
    del other
    store.blobs.delete(key)
    return True


_MENDERS: dict[str, Callable[[Store, Store, str], bool]] = {
    layout.HEADER: _mend_header,
    layout.HEADER_COPY: _mend_header,
    layout.SNAPSHOTS: _mend_snapshot,
    layout.KEYS: _mend_same_name,
    layout.TOMBSTONES: _mend_tombstone,
    layout.RESOLUTIONS: _mend_resolution,
    layout.HOLDS: _mend_same_name,
    layout.PENDING: _mend_pending,
    # What these three say is found out anew by reading.
    layout.DAMAGED: _forget,
    layout.CHECKS: _forget,
    layout.READINGS: _forget,
    layout.DELETING: _forget,
}
