"""Copying snapshots from one vault to another: missing frames only, and without keys.

Source: ``docs/vault-format.md``, section "Copies".
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dozo.blobs import BlobMissing, Blobs, ReserveBlobs
from dozo.model.progress import Progress
from dozo.vault import deletion as deletions
from dozo.vault import layout
from dozo.vault import pending as pendings
from dozo.vault.errors import ChunkMissing
from dozo.vault.format import ID_BYTES, ZERO_ID
from dozo.vault.frames import FrameKind
from dozo.vault.manifest import Manifest, load_publication
from dozo.vault.pending import Root
from dozo.vault.roots import root_of
from dozo.vault.store import Store
from dozo.vault.tree import shared_segments, walk_segments
from dozo.vault.writer import Writer, no_crash

COPIERS = 3
MAX_ROUNDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyReport:
    """What a copy did; ``bytes_copied`` are stored bytes. ``skipped`` maps ids to reasons."""

    copied: tuple[str, ...]
    already_there: tuple[str, ...]
    skipped: dict[str, str]
    bytes_copied: int
    seconds: float


def copy_snapshot(
    source: Store,
    target: Store,
    manifest: Manifest,
    progress: Progress,
    *,
    base: Manifest | None = None,
    crash: Callable[[str], None] = no_crash,
) -> int:
    """Copy one snapshot; it is visible at the target exactly when it is complete there.

    Returns the stored bytes that were written. Can be run again after any interruption;
    what arrived before is not sent again. ``base`` is a snapshot that the target has: what
    both share is not walked through. Raises ``ChunkDamaged`` or ``ChunkMissing`` if
    the source cannot give a frame whole, ``WriterFenced``.
    """
    root = root_of(manifest)
    parents = () if base is None else (root_of(base),)
    with Writer(target, manifest.snapshot, pendings.COPY, parents, crash) as writer:
        shared: set[bytes] = set()
        whole = not writer.avoided and not target.index.lacks_something
        if base is not None and whole and is_kept(target.blobs, base.snapshot):
            shared = shared_segments(base.root, base.depth, source.segment)
        for _round in range(MAX_ROUNDS):
            _bring_missing(source, writer, root, shared, progress)
            if not writer.complete(root):
                break
            # Something that was relied on may be going: look at everything anew.
            shared = set()
        else:
            raise ChunkMissing(url=target.blobs.url, chunk=manifest.root.hex())
        writer.publish(manifest)
        return writer.bytes_stored


def is_there(blobs: Blobs, snapshot: str) -> bool:
    """Whether a vault has a published snapshot."""
    for info in blobs.list(f"{layout.SNAPSHOTS}/{snapshot}"):
        try:
            attempt = info.key.rsplit("/", 1)[-1]
            if load_publication(blobs, snapshot, attempt).manifest is not None:
                return True
        except BlobMissing:
            continue
    return False


def is_kept(blobs: Blobs, snapshot: str) -> bool:
    """Whether no removal that has looked so far may take a snapshot's tree apart.

    Asked after a writer has put its note: a snapshot purged later is then seen there.
    """
    deletion = deletions.deletion_of(blobs, snapshot)
    return (deletion is None or not deletion.purged) and is_there(blobs, snapshot)


def carry_deletions_and_holds(source: Blobs, target: Blobs, snapshot: str) -> None:
    """Bring what protects or deletes a snapshot to the other vault, also if that is full."""
    target = ReserveBlobs(target)
    deletions.copy_holds(source, target, snapshot)
    deletions.copy_deletion(source, target, snapshot)


def _bring_missing(
    source: Store, writer: Writer, root: Root, shared: set[bytes], progress: Progress
) -> None:
    def bring(object_id: bytes) -> None:
        frame, place = source.frame(object_id)
        writer.add(object_id, FrameKind(place.kind), frame, place.stored_hash)
        progress.advance(len(frame))

    with ThreadPoolExecutor(COPIERS, thread_name_prefix="dozo-copy") as pool:
        for batch in _batches(_missing(source, writer, root, shared)):
            # Draining the map raises what a copier raised.
            for _done in pool.map(bring, batch):
                pass


def _missing(source: Store, writer: Writer, root: Root, shared: set[bytes]) -> Iterator[bytes]:
    for object_id in root.attachments:
        if writer.claim(object_id):
            yield object_id
    waiting: list[bytes] = []

    def enter(object_id: bytes) -> bool:
        if object_id in shared:
            return False
        # A segment that the target has may still lack something below it there: only
        # a published snapshot promises that its tree is whole.
        if writer.claim(object_id):
            waiting.append(object_id)
        return True

    for ids in walk_segments(root.root, root.depth, source.segment, enter):
        yield from waiting
        waiting.clear()
        for at in range(0, len(ids), ID_BYTES):
            object_id = ids[at : at + ID_BYTES]
            if object_id != ZERO_ID and writer.claim(object_id):
                yield object_id
    yield from waiting


def _batches(found: Iterator[bytes], size: int = 64) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for object_id in found:
        batch.append(object_id)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
