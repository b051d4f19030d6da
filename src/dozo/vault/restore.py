"""Giving a snapshot's bytes back: to a target, over an older state, or at random."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from dozo.blobs import BlobMissing, BlobTruncated, BlobUnreadable
from dozo.model.extents import Extent, complement, merge_sorted
from dozo.model.progress import Progress
from dozo.model.volume_io import ByteTarget
from dozo.vault.backup import worker_count
from dozo.vault.errors import ChunkDamaged, TargetTooSmall
from dozo.vault.format import ID_BYTES, ZERO_ID
from dozo.vault.frames import FrameKind, chunk_id
from dozo.vault.index import Location
from dozo.vault.keys import TenantKeys
from dozo.vault.layout import pack_key
from dozo.vault.manifest import Manifest
from dozo.vault.store import Store
from dozo.vault.tree import FANOUT, TreeReader, parse_leaf

BATCH_CHUNKS = 16
CACHED_CHUNKS = 32


class ReadableTarget(ByteTarget, Protocol):
    """A target whose present content can be compared with."""

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``offset_bytes``; never short."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """One chunk to write: its number in the volume and its id."""

    number: int
    object_id: bytes


class Restore:
    """Writes a snapshot to a target; every chunk is hashed back to its id on the way."""

    def __init__(
        self,
        *,
        store: Store,
        manifest: Manifest,
        tenant: TenantKeys,
        target: ByteTarget,
        progress: Progress,
    ) -> None:
        if target.size_bytes < manifest.bytes_volume:
            raise TargetTooSmall(
                target_bytes=target.size_bytes, snapshot_bytes=manifest.bytes_volume
            )
        self._store = store
        self._manifest = manifest
        self._tenant = tenant
        self._target = target
        self._progress = progress
        self._chunk_bytes = manifest.chunk_bytes

    def run(self) -> int:
        """Write everything and flush; the number of bytes written that are not zeros."""
        size = self._manifest.bytes_volume
        self._progress.total(size)
        stored = merge_sorted(
            Extent(piece.number * self._chunk_bytes, self._length(piece.number))
            for piece in pieces(self._store, self._manifest)
        )
        if not self._target.reads_zero:
            for gap in complement(stored, size):
                self._target.zero(gap.offset_bytes, gap.length_bytes)
        written = sum(self._each_batch(self._write_batch))
        self._flush_rest()
        return written

    def run_in_place(self, target: ReadableTarget) -> int:
        """Write only what differs from what is there; the number of bytes written."""
        size = self._manifest.bytes_volume
        self._progress.total(size)
        written = sum(self._each_batch(lambda batch: self._compare_batch(batch, target)))
        stored = merge_sorted(
            Extent(piece.number * self._chunk_bytes, self._length(piece.number))
            for piece in pieces(self._store, self._manifest)
        )
        for gap in complement(stored, size):
            written += self._zero_what_differs(gap, target)
        self._flush_rest()
        return written

    def _flush_rest(self) -> None:
        rest = self._target.size_bytes - self._manifest.bytes_volume
        if rest and not self._target.reads_zero:
            self._target.zero(self._manifest.bytes_volume, rest)
        self._target.flush()

    def _each_batch(self, work: Callable[[list[_Piece]], int]) -> Iterator[int]:
        workers = worker_count()
        with ThreadPoolExecutor(workers, thread_name_prefix="dozo-restore") as pool:
            waiting: deque[Future[int]] = deque()
            try:
                for batch in _batches(pieces(self._store, self._manifest)):
                    waiting.append(pool.submit(work, batch))
                    if len(waiting) > workers * 4:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _write_batch(self, batch: list[_Piece]) -> int:
        written = 0
        for piece, plain in read_batch(self._store, batch, self._tenant):
            length = self._length(piece.number)
            self._target.write(piece.number * self._chunk_bytes, memoryview(plain)[:length])
            written += length
            self._progress.advance(length)
        return written

    def _compare_batch(self, batch: list[_Piece], target: ReadableTarget) -> int:
        differing = []
        buffer = memoryview(bytearray(self._chunk_bytes))
        for piece in batch:
            length = self._length(piece.number)
            target.read_into(piece.number * self._chunk_bytes, buffer[:length])
            buffer[length:] = bytes(self._chunk_bytes - length)
            if chunk_id(buffer, self._tenant) != piece.object_id:
                differing.append(piece)
            else:
                self._progress.advance(length)
        return self._write_batch(differing)

    def _zero_what_differs(self, gap: Extent, target: ReadableTarget) -> int:
        written = 0
        buffer = memoryview(bytearray(self._chunk_bytes))
        for offset in range(gap.offset_bytes, gap.end_bytes, self._chunk_bytes):
            length = min(self._chunk_bytes, gap.end_bytes - offset)
            target.read_into(offset, buffer[:length])
            if bytes(buffer[:length]) != bytes(length):
                target.zero(offset, length)
                written += length
        return written

    def _length(self, number: int) -> int:
        return min(self._chunk_bytes, self._manifest.bytes_volume - number * self._chunk_bytes)


class SnapshotSource:
    """A snapshot as a volume that can be read at random, from several threads."""

    def __init__(self, store: Store, manifest: Manifest, tenant: TenantKeys) -> None:
        self._store = store
        self._manifest = manifest
        self._tenant = tenant
        self._tree = TreeReader(manifest.root, manifest.depth, store.segment)
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """The volume's size."""
        return self._manifest.bytes_volume

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        """Fill ``buffer``. Raises ``ChunkMissing`` or ``ChunkDamaged`` for what is gone."""
        chunk_bytes = self._manifest.chunk_bytes
        position = 0
        while position < len(buffer):
            number, inside = divmod(offset_bytes + position, chunk_bytes)
            length = min(chunk_bytes - inside, len(buffer) - position)
            plain = self._chunk(number)
            piece = bytes(length) if plain is None else plain[inside : inside + length]
            buffer[position : position + length] = piece
            position += length

    def data_extents(self) -> Iterator[Extent]:
        """The chunks that are stored."""
        chunk_bytes = self._manifest.chunk_bytes
        size = self._manifest.bytes_volume
        return merge_sorted(
            Extent(at, min(chunk_bytes, size - at))
            for at in (piece.number * chunk_bytes for piece in pieces(self._store, self._manifest))
        )

    def _chunk(self, number: int) -> bytes | None:
        with self._lock:
            ids = self._tree.leaf_ids(number // FANOUT)
        at = number % FANOUT * ID_BYTES
        object_id = ids[at : at + ID_BYTES]
        if object_id == ZERO_ID:
            return None
        with self._lock:
            plain = self._cache.get(object_id)
        if plain is None:
            plain = self._store.chunk(object_id, self._tenant, FrameKind.CHUNK)
            with self._lock:
                self._cache[object_id] = plain
                if len(self._cache) > CACHED_CHUNKS:
                    self._cache.popitem(last=False)
        return plain


def pieces(store: Store, manifest: Manifest) -> Iterator[_Piece]:
    """Every stored chunk of a snapshot, in the volume's order."""
    tree = TreeReader(manifest.root, manifest.depth, store.segment)
    for leaf_number, node in tree.leaves():
        ids = parse_leaf(store.segment(node.object_id), node.object_id)
        for position in range(FANOUT):
            object_id = ids[position * ID_BYTES : (position + 1) * ID_BYTES]
            if object_id != ZERO_ID:
                yield _Piece(leaf_number * FANOUT + position, object_id)


def read_batch(
    store: Store, batch: list[_Piece], tenant: TenantKeys
) -> Iterator[tuple[_Piece, bytes]]:
    """The plain bytes of some chunks; frames that stand side by side are read at once.

    Raises ``ChunkMissing``, ``ChunkDamaged``.
    """
    located = [(piece, store.index.find(piece.object_id)) for piece in batch]
    for group in _neighbours(located):
        data = _read_group(store, [place for _piece, place in group])
        for piece, place in group:
            frame = _cut(data, group[0][1], place)
            yield piece, _open_or_search(store, piece, place, frame, tenant)


def _cut(
    data: memoryview | None, first: Location | None, place: Location | None
) -> memoryview | None:
    if data is None or place is None or first is None:
        return None
    start = place.offset_bytes - first.offset_bytes
    return data[start : start + place.length_bytes]


def _open_or_search(
    store: Store,
    piece: _Piece,
    place: Location | None,
    frame: memoryview | None,
    tenant: TenantKeys,
) -> bytes:
    if place is not None and frame is not None:
        with suppress(ChunkDamaged):
            return store.open_chunk(piece.object_id, frame, place, tenant, FrameKind.CHUNK)
    # The slow way knows of other places, and says precisely what is wrong.
    return store.chunk(piece.object_id, tenant, FrameKind.CHUNK)


_Located = tuple[_Piece, Location | None]


def _neighbours(located: list[_Located]) -> Iterator[list[_Located]]:
    group: list[_Located] = []
    for piece, place in located:
        last = group[-1][1] if group else None
        if group and not (
            place is not None
            and last is not None
            and place.pack_id == last.pack_id
            and place.offset_bytes == last.offset_bytes + last.length_bytes
        ):
            yield group
            group = []
        group.append((piece, place))
    if group:
        yield group


def _read_group(store: Store, places: list[Location | None]) -> memoryview | None:
    first, last = places[0], places[-1]
    if first is None or last is None:
        return None
    length = last.offset_bytes + last.length_bytes - first.offset_bytes
    try:
        data = store.blobs.get_range(pack_key(first.pack_id), first.offset_bytes, length)
    except (BlobMissing, BlobTruncated, BlobUnreadable):
        return None
    return memoryview(data)


def _batches(found: Iterator[_Piece]) -> Iterator[list[_Piece]]:
    batch: list[_Piece] = []
    for piece in found:
        batch.append(piece)
        if len(batch) == BATCH_CHUNKS:
            yield batch
            batch = []
    if batch:
        yield batch
