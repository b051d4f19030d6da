"""Reading a snapshot back with keys: every frame opened and hashed to its id.

Source: ``docs/vault-format.md``, section "Checks".
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dozo.blobs import BlobMissing, Blobs
from dozo.model import clock
from dozo.model.message import Message
from dozo.model.progress import Progress
from dozo.vault.backup import worker_count
from dozo.vault.errors import ChunkDamaged, ChunkMissing, ObjectDamaged
from dozo.vault.format import ID_BYTES, ZERO_ID, ObjectKind, load_document, store_document
from dozo.vault.frames import FrameKind
from dozo.vault.index import Location
from dozo.vault.keys import TenantKeys
from dozo.vault.layout import check_key
from dozo.vault.manifest import Manifest
from dozo.vault.packs import check_pack
from dozo.vault.readings import oldest_reading, packs_read, record_reading
from dozo.vault.roots import root_of
from dozo.vault.store import Store
from dozo.vault.tree import walk_segments


class Scope(StrEnum):
    """How much a verification reads: what the snapshot's attempt wrote, or everything."""

    ADDED = "added"
    ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What reading a snapshot back has shown in one vault; kept there.

    ``damaged`` is the number of chunks that could not be read, 0 for a snapshot that is
    verified. ``verified_at`` is when that was found.
    ``oldest_reading`` is when that frame was read last whose reading lies longest ago,
    over the whole vault; None where some frame has not been read back yet.
    """

    snapshot: str
    verified_at: datetime
    scope: Scope
    frames: int
    oldest_reading: datetime | None
    damaged: int = 0


def verify(
    store: Store,
    manifest: Manifest,
    attempts: Iterable[str],
    tenant: TenantKeys,
    *,
    scope: Scope,
    progress: Progress,
) -> Check:
    """Open and re-hash a snapshot's frames; keep the result in the vault.

    With ``added`` these are the frames in packs that the given attempts wrote, and in packs
    that nobody has read back whole yet; that everything else the snapshot needs is in some
    pack is checked too. Raises ``ChunkDamaged``, ``ChunkMissing``; then the vault says of
    the snapshot that it is damaged.
    """
    try:
        return _verify(store, manifest, attempts, tenant, scope=scope, progress=progress)
    except (ChunkDamaged, ChunkMissing):
        keep_damage(store.blobs, manifest.snapshot, 1)
        raise


def keep_damage(blobs: Blobs, snapshot: str, damaged: int) -> None:
    """Record that chunks of a snapshot cannot be read in this vault."""
    keep_check(
        blobs,
        Check(
            snapshot=snapshot,
            verified_at=clock.now(),
            scope=Scope.ADDED,
            frames=0,
            oldest_reading=None,
            damaged=damaged,
        ),
    )


def _verify(
    store: Store,
    manifest: Manifest,
    attempts: Iterable[str],
    tenant: TenantKeys,
    *,
    scope: Scope,
    progress: Progress,
) -> Check:
    writers = {bytes.fromhex(attempt) for attempt in attempts}
    known = packs_read(store.blobs)
    packs = {
        pack
        for pack, writer in store.index.indexed_packs().items()
        if writer in writers or pack not in known
    }
    wanted = _ids(store, manifest, None if scope is Scope.ALL else packs)
    frames = 0
    read_packs: set[bytes] = set()

    def check(item: tuple[bytes, FrameKind]) -> bytes:
        object_id, kind = item
        data, place = store.frame(object_id)
        plain = store.open_chunk(object_id, data, place, tenant, kind)
        progress.advance(len(plain))
        return place.pack_id

    with ThreadPoolExecutor(worker_count(), thread_name_prefix="dozo-verify") as pool:
        for batch in _batches(wanted):
            for pack_id in pool.map(check, batch):
                frames += 1
                read_packs.add(pack_id)
    record_reading(store.blobs, _whole(store, read_packs & packs))
    done = Check(
        snapshot=manifest.snapshot,
        verified_at=clock.now(),
        scope=scope,
        frames=frames,
        oldest_reading=oldest_reading(store),
    )
    keep_check(store.blobs, done)
    return done


def _whole(store: Store, packs: set[bytes]) -> Iterator[bytes]:
    """Those packs of which every frame is as it was written, whoever needs it."""
    for pack_id in packs:
        found = check_pack(store.blobs, pack_id)
        if found is not None and not found.problem:
            yield pack_id


def keep_check(blobs: Blobs, done: Check) -> None:
    """Store the result of a verification, replacing an earlier one."""
    document = {
        "snapshot": done.snapshot,
        "verified_at": clock.to_text(done.verified_at),
        "scope": done.scope.value,
        "frames": done.frames,
        "oldest_reading": (
            None if done.oldest_reading is None else clock.to_text(done.oldest_reading)
        ),
        "damaged": done.damaged,
    }
    store_document(blobs, check_key(done.snapshot), ObjectKind.CHECK, document)


def load_check(blobs: Blobs, snapshot: str) -> Check | None:
    """The kept result for a snapshot; None if there is none. Raises :class:`ObjectDamaged`."""
    key = check_key(snapshot)
    try:
        document = load_document(blobs, key, ObjectKind.CHECK)
    except BlobMissing:
        return None
    try:
        oldest = document["oldest_reading"]
        return Check(
            snapshot=snapshot,
            verified_at=clock.from_text(document["verified_at"]),
            scope=Scope(document["scope"]),
            frames=int(document["frames"]),
            oldest_reading=None if oldest is None else clock.from_text(oldest),
            damaged=int(document.get("damaged", 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectDamaged(url=blobs.url, key=key, reason=Message("it is not a check")) from error


def _ids(
    store: Store, manifest: Manifest, packs: set[bytes] | None
) -> Iterator[tuple[bytes, FrameKind]]:
    """The sealed frames to open. Tree segments are read, and so checked, on the way."""
    root = root_of(manifest)
    for object_id in root.attachments:
        if _is_wanted(_find(store, object_id), packs):
            yield object_id, FrameKind.ATTACHMENT
    for ids in walk_segments(root.root, root.depth, store.segment, lambda _id: True):
        for at in range(0, len(ids), ID_BYTES):
            object_id = ids[at : at + ID_BYTES]
            if object_id != ZERO_ID and _is_wanted(_find(store, object_id), packs):
                yield object_id, FrameKind.CHUNK


def _is_wanted(place: Location, packs: set[bytes] | None) -> bool:
    return packs is None or place.pack_id in packs


def _find(store: Store, object_id: bytes) -> Location:
    place = store.index.find(object_id)
    if place is None:
        raise ChunkMissing(url=store.blobs.url, chunk=object_id.hex())
    return place


def _batches(
    found: Iterator[tuple[bytes, FrameKind]], size: int = 256
) -> Iterator[list[tuple[bytes, FrameKind]]]:
    batch: list[tuple[bytes, FrameKind]] = []
    for item in found:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
