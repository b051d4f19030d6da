"""Which chunks of a volume to read, leaf by leaf: hint, allocation and parent weighed up.

Pure arithmetic. Source: ``docs/vault-format.md``, section "Incremental snapshots".
"""

from collections.abc import Iterable, Iterator

from dozo.model.extents import Extent, aligned
from dozo.vault.format import ID_BYTES, ZERO_ID
from dozo.vault.tree import FANOUT

Run = tuple[int, int]


class ChunkCursor:
    """Sorted extents, asked for leaf by leaf as runs of chunk numbers (first, end)."""

    def __init__(self, extents: Iterable[Extent], chunk_bytes: int, size_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._extents = aligned(extents, chunk_bytes, size_bytes)
        self._current = self._next()

    def runs(self, first: int, end: int) -> list[Run]:
        """The runs within the chunks ``first`` to ``end``; calls must go forward."""
        found: list[Run] = []
        while self._current is not None and self._current[0] < end:
            start, stop = self._current
            if stop > first:
                found.append((max(start, first), min(stop, end)))
            if stop > end:
                break
            self._current = self._next()
        return found

    def peek(self) -> int | None:
        """The first chunk of the current run; None at the end."""
        return None if self._current is None else self._current[0]

    def _next(self) -> Run | None:
        extent = next(self._extents, None)
        if extent is None:
            return None
        return (
            extent.offset_bytes // self._chunk_bytes,
            -(-extent.end_bytes // self._chunk_bytes),
        )


def covers(runs: list[Run], first: int, end: int) -> bool:
    """Whether the runs are all of the chunks ``first`` to ``end``."""
    return runs == [(first, end)]


def chunks_to_read(
    first: int, *, data: list[Run], changed: list[Run], parent_ids: bytes
) -> tuple[bytearray, list[Run]]:
    """A leaf's ids as far as known without reading, and the runs of chunks to read.

    What is not allocated is zero, whatever the hint and the parent say; what is
    allocated is read if the hint names it or if the parent has no chunk there.
    """
    ids = bytearray(FANOUT * ID_BYTES)
    wanted: list[int] = []
    hinted = _members(changed)
    for start, stop in data:
        for chunk in range(start, stop):
            at = (chunk - first) * ID_BYTES
            parent = parent_ids[at : at + ID_BYTES]
            if chunk in hinted or parent == ZERO_ID:
                wanted.append(chunk)
            else:
                ids[at : at + ID_BYTES] = parent
    return ids, list(join_numbers(wanted))


def join_numbers(numbers: Iterable[int]) -> Iterator[Run]:
    """Ascending numbers as runs."""
    start = stop = -1
    for number in numbers:
        if number == stop:
            stop += 1
            continue
        if start >= 0:
            yield start, stop
        start, stop = number, number + 1
    if start >= 0:
        yield start, stop


def split_runs(runs: Iterable[Run], most: int) -> Iterator[Run]:
    """The same chunks in runs of at most ``most``."""
    for start, stop in runs:
        for first in range(start, stop, most):
            yield first, min(first + most, stop)


def changed_with_tail(
    changed: Iterable[Extent], parent_bytes: int, size_bytes: int, chunk_bytes: int
) -> Iterator[Extent]:
    """A hint, with what lies beyond the last whole chunk of the smaller size added.

    A volume that grew or shrank has bytes there that the parent's chunks cannot stand for.
    """
    if parent_bytes == size_bytes:
        yield from (extent for extent in changed if extent.offset_bytes < size_bytes)
        return
    tail = min(parent_bytes, size_bytes) // chunk_bytes * chunk_bytes
    for extent in changed:
        if extent.offset_bytes < tail:
            length = min(extent.end_bytes, tail) - extent.offset_bytes
            yield Extent(extent.offset_bytes, length)
    if size_bytes > tail:
        yield Extent(tail, size_bytes - tail)


def _members(runs: list[Run]) -> set[int]:
    return {chunk for start, stop in runs for chunk in range(start, stop)}
