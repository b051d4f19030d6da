"""Byte ranges of a volume, as sorted, disjoint, non-empty ``Extent`` values."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """``length_bytes`` bytes from ``offset_bytes`` on."""

    offset_bytes: int
    length_bytes: int

    @property
    def end_bytes(self) -> int:
        """The first byte after the extent."""
        return self.offset_bytes + self.length_bytes


def normalized(extents: Iterable[Extent]) -> list[Extent]:
    """The same bytes as a sorted list of disjoint extents that do not touch."""
    return list(merge_sorted(sorted(extents)))


def merge_sorted(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Join extents that overlap or touch; the input must be sorted by offset."""
    start = end = -1
    for extent in extents:
        if extent.length_bytes <= 0:
            continue
        if start < 0:
            start, end = extent.offset_bytes, extent.end_bytes
        elif extent.offset_bytes <= end:
            end = max(end, extent.end_bytes)
        else:
            yield Extent(start, end - start)
            start, end = extent.offset_bytes, extent.end_bytes
    if start >= 0:
        yield Extent(start, end - start)


def aligned(extents: Iterable[Extent], unit_bytes: int, size_bytes: int) -> Iterator[Extent]:
    """Sorted extents widened to whole units and clipped to the volume's size."""

    def widened() -> Iterator[Extent]:
        for extent in extents:
            start = extent.offset_bytes // unit_bytes * unit_bytes
            end = min(-(-extent.end_bytes // unit_bytes) * unit_bytes, size_bytes)
            if end > start:
                yield Extent(start, end - start)

    return merge_sorted(widened())


def intersection(first: Iterable[Extent], second: Iterable[Extent]) -> Iterator[Extent]:
    """The bytes that lie in both of two sorted, disjoint sequences."""
    left, right = iter(first), iter(second)
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        start = max(a.offset_bytes, b.offset_bytes)
        end = min(a.end_bytes, b.end_bytes)
        if end > start:
            yield Extent(start, end - start)
        if a.end_bytes <= b.end_bytes:
            a = next(left, None)
        else:
            b = next(right, None)


def complement(extents: Iterable[Extent], size_bytes: int) -> Iterator[Extent]:
    """The bytes of a volume of ``size_bytes`` that the sorted ``extents`` leave out."""
    position = 0
    for extent in extents:
        if extent.offset_bytes > position:
            yield Extent(position, extent.offset_bytes - position)
        position = max(position, extent.end_bytes)
    if position < size_bytes:
        yield Extent(position, size_bytes - position)


def total_bytes(extents: Iterable[Extent]) -> int:
    """The sum of the lengths."""
    return sum(extent.length_bytes for extent in extents)
