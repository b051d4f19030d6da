"""Reading a volume into the vault: several threads read, hash, compress and seal."""

import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from dozo.model.extents import Extent, normalized
from dozo.model.progress import Progress
from dozo.model.volume_io import ByteSource
from dozo.vault.errors import ChunkDamaged, ChunkMissing
from dozo.vault.format import ID_BYTES, ZERO_ID
from dozo.vault.frames import FrameKind, chunk_id, seal, stored_hash
from dozo.vault.keys import TenantKeys
from dozo.vault.plan import (
    ChunkCursor,
    Run,
    changed_with_tail,
    chunks_to_read,
    covers,
    split_runs,
)
from dozo.vault.store import Store
from dozo.vault.tree import (
    FANOUT,
    ZERO_LEAF,
    Node,
    TreeBuilder,
    TreeReader,
    depth_for,
)
from dozo.vault.writer import Writer

READ_BYTES = 2 * 1024 * 1024
# Enough for two leaves, so that the workers never wait for a leaf's last read.
READS_IN_FLIGHT = 2 * FANOUT * 256 * 1024 // READ_BYTES
PROBE_BYTES = 64


def worker_count() -> int:
    """Threads for reading, hashing and compressing: one more than there are cores."""
    return min(os.cpu_count() or 1, 16) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """What an incremental snapshot builds on: a tree, the volume's size then, and the hint."""

    root: bytes
    depth: int
    size_bytes: int
    changed: Sequence[Extent]


@dataclass
class Counts:
    """Sums over a backup, in bytes of the volume."""

    read_bytes: int = 0
    new_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, read_bytes: int, new_bytes: int) -> None:
        """Count one piece of work."""
        with self.lock:
            self.read_bytes += read_bytes
            self.new_bytes += new_bytes


@dataclass
class _Leaf:
    """A leaf under way: its ids as far as known, and the reads it waits for."""

    ids: bytearray
    first: int
    reads: list[tuple[Run, "Future[list[bytes]]"]]
    known: Node | None = None


class HintDisproved(Exception):
    """Bytes that the hint called unchanged have changed."""


class Backup:
    """Reads one volume and builds its tree.

    Memory is bounded by the number of reads in flight, whatever the volume's size.
    """

    def __init__(
        self,
        *,
        store: Store,
        writer: Writer,
        source: ByteSource,
        tenant: TenantKeys,
        chunk_bytes: int,
        level: int,
        progress: Progress,
    ) -> None:
        self._store = store
        self._writer = writer
        self._source = source
        self._tenant = tenant
        self._chunk_bytes = chunk_bytes
        self._level = level
        self._progress = progress
        self._zero = bytes(chunk_bytes)
        self._chunks_per_read = max(1, min(FANOUT, READ_BYTES // chunk_bytes))
        self._local = threading.local()
        self.counts = Counts()
        size = source.size_bytes
        self.chunk_count = -(-size // chunk_bytes)
        self.depth = depth_for(self.chunk_count)

    def run(self, parent: Parent | None, *, check_all: bool) -> Node:
        """Build the tree; its root.

        With ``check_all`` every chunk taken over from the parent is looked up, and what
        can no longer be relied on is read again.
        """
        builder = TreeBuilder(self.depth, self._writer.store_tree)
        workers = worker_count()
        with ThreadPoolExecutor(workers, thread_name_prefix="dozo-read") as pool:
            waiting: deque[_Leaf] = deque()
            in_flight = 0
            try:
                for leaf in self._leaves(pool, parent, check_all=check_all):
                    waiting.append(leaf)
                    in_flight += len(leaf.reads)
                    while waiting and (in_flight > READS_IN_FLIGHT or not waiting[0].reads):
                        done = waiting.popleft()
                        in_flight -= len(done.reads)
                        self._finish(done, builder)
                while waiting:
                    self._finish(waiting.popleft(), builder)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return builder.finish()

    def recheck(self, extents: Iterable[Extent], parent: Parent) -> None:
        """Read what the hint calls unchanged and compare. Raises :class:`HintDisproved`."""
        reader = TreeReader(parent.root, parent.depth, self._store.segment)
        cursor = ChunkCursor(normalized(extents), self._chunk_bytes, self._source.size_bytes)
        whole = min(parent.size_bytes, self._source.size_bytes) // self._chunk_bytes
        hinted = ChunkCursor(parent.changed, self._chunk_bytes, self._source.size_bytes)
        for run in split_runs(cursor.runs(0, whole), self._chunks_per_read):
            skipped = {n for start, stop in hinted.runs(*run) for n in range(start, stop)}
            ids = self._read_ids(run)
            for number, found in zip(range(*run), ids, strict=True):
                leaf = reader.leaf_ids(number // FANOUT)
                at = number % FANOUT * ID_BYTES
                if number not in skipped and leaf[at : at + ID_BYTES] != found:
                    raise HintDisproved

    def _leaves(
        self, pool: ThreadPoolExecutor, parent: Parent | None, *, check_all: bool
    ) -> Iterable[_Leaf]:
        size, chunk = self._source.size_bytes, self._chunk_bytes
        data = ChunkCursor(self._source.data_extents(), chunk, size)
        changed = ChunkCursor([], chunk, size)
        reader = None
        if parent is not None:
            hint = changed_with_tail(normalized(parent.changed), parent.size_bytes, size, chunk)
            changed = ChunkCursor(normalized(hint), chunk, size)
            reader = TreeReader(parent.root, parent.depth, self._store.segment)
        for first in range(0, self.chunk_count, FANOUT):
            end = min(first + FANOUT, self.chunk_count)
            data_runs = data.runs(first, end)
            hints = changed.runs(first, end)
            leaf = self._plan_leaf(first, end, data_runs, hints, reader, check_all=check_all)
            if isinstance(leaf, _Leaf):
                yield leaf
                continue
            ids, runs = leaf
            reads = [
                (run, pool.submit(self._store_run, run))
                for run in split_runs(runs, self._chunks_per_read)
            ]
            yield _Leaf(ids, first, reads)

    def _plan_leaf(
        self,
        first: int,
        end: int,
        data: list[Run],
        hints: list[Run],
        reader: TreeReader | None,
        *,
        check_all: bool,
    ) -> "_Leaf | tuple[bytearray, list[Run]]":
        if not data:
            return _Leaf(bytearray(ZERO_LEAF), first, [])
        if reader is None:
            return bytearray(ZERO_LEAF), data
        number = first // FANOUT
        try:
            node = reader.leaf(number)
            # A leaf that is not full now may be full in the parent of a volume that shrank.
            full = end - first == node.chunks == FANOUT
            if full and not check_all and not hints and covers(data, first, end):
                return _Leaf(bytearray(), first, [], known=node)
            parent_ids = reader.leaf_ids(number)
        except (ChunkMissing, ChunkDamaged):
            # A parent's segment that cannot be read costs a reading of what it stood for.
            parent_ids = ZERO_LEAF
        if check_all:
            parent_ids = self._reliable(parent_ids)
        return chunks_to_read(first, data=data, changed=hints, parent_ids=parent_ids)

    def _reliable(self, ids: bytes) -> bytes:
        checked = bytearray(ids)
        for at in range(0, len(ids), ID_BYTES):
            object_id = ids[at : at + ID_BYTES]
            if object_id != ZERO_ID and self._store.index.find(object_id) is None:
                checked[at : at + ID_BYTES] = ZERO_ID
        return bytes(checked)

    def _finish(self, leaf: _Leaf, builder: TreeBuilder) -> None:
        for (start, _stop), future in leaf.reads:
            at = (start - leaf.first) * ID_BYTES
            ids = b"".join(future.result())
            leaf.ids[at : at + len(ids)] = ids
        if leaf.known is not None:
            builder.add_known_leaf(leaf.known)
        else:
            builder.add_leaf(bytes(leaf.ids))
        whole = FANOUT * self._chunk_bytes
        begin = leaf.first * self._chunk_bytes
        self._progress.advance(min(whole, self._source.size_bytes - begin))

    def _store_run(self, run: Run) -> list[bytes]:
        new_bytes = 0
        ids = []
        pieces = self._read(run)
        for piece in pieces:
            object_id = self._id_of(piece)
            ids.append(object_id)
            if object_id != ZERO_ID and self._writer.claim(object_id):
                frame = seal(piece, FrameKind.CHUNK, object_id, self._tenant, self._level)
                self._writer.add(object_id, FrameKind.CHUNK, frame, stored_hash(frame))
                new_bytes += len(piece)
        self.counts.add(len(pieces) * self._chunk_bytes, new_bytes)
        return ids

    def _read_ids(self, run: Run) -> list[bytes]:
        pieces = self._read(run)
        self.counts.add(len(pieces) * self._chunk_bytes, 0)
        return [self._id_of(piece) for piece in pieces]

    def _read(self, run: Run) -> list[memoryview]:
        """The chunks of a run, in this thread's buffer; a short last one is filled with zero."""
        start, stop = run
        buffer = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = memoryview(bytearray(self._chunks_per_read * self._chunk_bytes))
            self._local.buffer = buffer
        length = (stop - start) * self._chunk_bytes
        there = min(length, self._source.size_bytes - start * self._chunk_bytes)
        self._source.read_into(start * self._chunk_bytes, buffer[:there])
        if there < length:
            buffer[there:length] = bytes(length - there)
        return [buffer[at : at + self._chunk_bytes] for at in range(0, length, self._chunk_bytes)]

    def _id_of(self, piece: memoryview) -> bytes:
        # Most chunks that are not zero show it at once.
        if bytes(piece[:PROBE_BYTES]) == self._zero[:PROBE_BYTES] and bytes(piece) == self._zero:
            return ZERO_ID
        return chunk_id(piece, self._tenant)
