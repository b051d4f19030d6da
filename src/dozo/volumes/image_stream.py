"""An image file as a stream, from its beginning to its end, without the file.

Its length is known before the first byte, and what stands at each place depends on the volume's
bytes alone, so a stream that broke goes on anywhere later. As qcow2 only clusters with data are
sent; the layout is that of the QEMU qcow2 specification, version 3, everything in the order

    header, L1 table, refcount table, refcount blocks, L2 tables, data clusters
"""

import struct
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from dozo.model.volume_io import ByteSource
from dozo.volumes.target import refuse_size

CLUSTER_BYTES = 64 * 1024
BLOCK_BYTES = 1024 * 1024
READERS = 4

_ENTRIES = CLUSTER_BYTES // 8
_REFCOUNTS = CLUSTER_BYTES // 2
_COPIED = 1 << 63
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")


@dataclass(frozen=True, slots=True)
class _Part:
    """Some bytes of the file that are made when they are asked for."""

    length_bytes: int
    make: Callable[[], bytes]


class ImageStream:
    """A volume as the bytes of a raw or qcow2 file. Raises ``SizeNotSectors``, ``FormatUnknown``.

    ``source`` must stay as it is. Looking at it takes one pass over its extents.
    """

    def __init__(self, source: ByteSource, *, format: str) -> None:
        refuse_size("the stream", format, source.size_bytes)
        self._source = source
        self._plan = None if format == "raw" else _plan(source)

    @property
    def size_bytes(self) -> int:
        """The length of the whole file."""
        return self._plan.file_bytes if self._plan else self._source.size_bytes

    def read_from(self, start_bytes: int = 0) -> Iterator[bytes]:
        """The file from there to its end, in pieces of at most a MiB.

        Some pieces are made ahead, in threads; closing the iterator ends them. Raises what
        reading the source raises: then what came so far is not a whole file.
        """
        parts = _raw(self._source) if self._plan is None else self._plan.parts(self._source)
        with ThreadPoolExecutor(READERS, thread_name_prefix="dozo-stream") as pool:
            ahead: deque[Future[bytes]] = deque()
            try:
                for part, skip in _behind(parts, start_bytes):
                    ahead.append(pool.submit(_cut, part, skip))
                    if len(ahead) > READERS * 2:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for one in ahead:
                    one.cancel()


def _behind(parts: Iterator[_Part], start_bytes: int) -> Iterator[tuple[_Part, int]]:
    """The parts that end behind ``start_bytes``, and how much of each lies before it."""
    at = 0
    for part in parts:
        if at + part.length_bytes > start_bytes:
            yield part, max(start_bytes - at, 0)
        at += part.length_bytes


def _cut(part: _Part, skip: int) -> bytes:
    made = part.make()
    assert len(made) == part.length_bytes  # noqa: S101  the length was promised to the reader
    return made[skip:]


def _zeros(length_bytes: int) -> Iterator[_Part]:
    while length_bytes > 0:
        piece = min(length_bytes, BLOCK_BYTES)
        yield _Part(piece, lambda piece=piece: bytes(piece))  # type: ignore[misc]  # the default
        length_bytes -= piece


def _data(source: ByteSource, offset_bytes: int, length_bytes: int) -> Iterator[_Part]:
    """A range of the volume; what lies behind its end is zero."""
    end = offset_bytes + length_bytes
    for at in range(offset_bytes, end, BLOCK_BYTES):
        yield _read(source, at, min(BLOCK_BYTES, end - at))


def _read(source: ByteSource, offset_bytes: int, length_bytes: int) -> _Part:
    def make() -> bytes:
        buffer = bytearray(length_bytes)
        there = min(length_bytes, source.size_bytes - offset_bytes)
        source.read_into(offset_bytes, memoryview(buffer)[:there])
        return bytes(buffer)

    return _Part(length_bytes, make)


def _raw(source: ByteSource) -> Iterator[_Part]:
    at = 0
    for extent in source.data_extents():
        yield from _zeros(extent.offset_bytes - at)
        yield from _data(source, extent.offset_bytes, extent.length_bytes)
        at = extent.end_bytes
    yield from _zeros(source.size_bytes - at)


def _runs(source: ByteSource) -> Iterator[tuple[int, int]]:
    """The clusters with data: the first of each run, and the one behind its last."""
    begin = end = 0
    for extent in source.data_extents():
        first, behind = extent.offset_bytes // CLUSTER_BYTES, _clusters(extent.end_bytes)
        if first > end:
            if end > begin:
                yield begin, end
            begin = first
        end = max(end, behind)
    if end > begin:
        yield begin, end


def _clusters(length_bytes: int) -> int:
    return -(-length_bytes // CLUSTER_BYTES)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Where everything lies in a qcow2 file, in clusters."""

    volume_bytes: int
    l1_entries: int
    # For each entry of the L1 table whether it has a table of its own.
    tables: bytes
    data: int
    refcount_table: int
    refcount_blocks: int

    @property
    def l1(self) -> int:
        return max(_clusters(self.l1_entries * 8), 1)

    @property
    def first_table(self) -> int:
        return 1 + self.l1 + self.refcount_table + self.refcount_blocks

    @property
    def first_data(self) -> int:
        return self.first_table + sum(self.tables)

    @property
    def total(self) -> int:
        return self.first_data + self.data

    @property
    def file_bytes(self) -> int:
        return self.total * CLUSTER_BYTES

    def parts(self, source: ByteSource) -> Iterator[_Part]:
        """The file, in order."""
        yield _Part(CLUSTER_BYTES, self._header)
        yield from _table(self._l1_entries(), self.l1)
        blocks_at = 1 + self.l1 + self.refcount_table
        blocks = ((blocks_at + number) * CLUSTER_BYTES for number in range(self.refcount_blocks))
        yield from _table(blocks, self.refcount_table)
        for number in range(self.refcount_blocks):
            used = min(_REFCOUNTS, self.total - number * _REFCOUNTS)
            block = b"\0\1" * used + bytes(2 * (_REFCOUNTS - used))
            yield _Part(CLUSTER_BYTES, lambda block=block: block)  # type: ignore[misc]  # as above
        yield from self._l2_tables(source)
        for begin, end in _runs(source):
            yield from _data(source, begin * CLUSTER_BYTES, (end - begin) * CLUSTER_BYTES)

    def _header(self) -> bytes:
        header = _HEADER.pack(
            b"QFI\xfb",
            3,
            0,  # backing file: none
            0,
            CLUSTER_BYTES.bit_length() - 1,
            self.volume_bytes,
            0,  # not encrypted
            self.l1_entries,
            CLUSTER_BYTES,
            (1 + self.l1) * CLUSTER_BYTES,
            self.refcount_table,
            0,  # internal snapshots: none
            0,
            0,  # feature bits: none
            0,
            0,
            4,  # refcounts of 2 to the power of 4 bits
            _HEADER.size,
        )
        return header + bytes(CLUSTER_BYTES - len(header))

    def _l1_entries(self) -> Iterator[int]:
        at = self.first_table
        for has_table in self.tables:
            yield at * CLUSTER_BYTES | _COPIED if has_table else 0
            at += has_table

    def _l2_tables(self, source: ByteSource) -> Iterator[_Part]:
        current, table, at = -1, bytearray(), self.first_data
        for begin, end in _runs(source):
            for cluster in range(begin, end):
                number, entry = divmod(cluster, _ENTRIES)
                if number != current:
                    if current >= 0:
                        yield _made(table)
                    current, table = number, bytearray(CLUSTER_BYTES)
                struct.pack_into(">Q", table, entry * 8, at * CLUSTER_BYTES | _COPIED)
                at += 1
        if current >= 0:
            yield _made(table)


def _made(table: bytearray) -> _Part:
    return _Part(len(table), lambda: bytes(table))


def _table(entries: Iterator[int], clusters: int) -> Iterator[_Part]:
    """A table of 64-bit numbers that fills so many clusters."""
    for _ in range(clusters):
        table = bytearray(CLUSTER_BYTES)
        for position, entry in zip(range(_ENTRIES), entries, strict=False):
            struct.pack_into(">Q", table, position * 8, entry)
        yield _made(table)


def _plan(source: ByteSource) -> _Plan:
    size = source.size_bytes
    l1_entries = max(-(-_clusters(size) // _ENTRIES), 1)
    tables, data = bytearray(l1_entries), 0
    for begin, end in _runs(source):
        data += end - begin
        for number in range(begin // _ENTRIES, (end - 1) // _ENTRIES + 1):
            tables[number] = 1
    table, blocks = 1, 1
    while True:
        plan = _Plan(
            volume_bytes=size,
            l1_entries=l1_entries,
            tables=bytes(tables),
            data=data,
            refcount_table=table,
            refcount_blocks=blocks,
        )
        # More blocks are more clusters to be counted.
        needed = -(-plan.total // _REFCOUNTS)
        if needed <= blocks:
            return plan
        blocks, table = needed, _clusters(needed * 8)
