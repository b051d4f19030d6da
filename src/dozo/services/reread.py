"""Which part of what a hint calls unchanged is read again this time. Pure arithmetic.

A window goes round the volume once in a set number of days, however often snapshots are taken:
its length follows from the time since the parent.
"""

from dataclasses import dataclass
from datetime import timedelta

from dozo.model.extents import Extent


@dataclass(frozen=True, kw_only=True)
class Window:
    """What to read again, and where the next window begins."""

    extents: tuple[Extent, ...]
    next_bytes: int


def window(
    *,
    size_bytes: int,
    start_bytes: int,
    elapsed: timedelta,
    days: int,
    unit_bytes: int,
) -> Window:
    """The window for a snapshot taken ``elapsed`` after its parent; at least one unit.

    ``start_bytes`` is where the parent's window ended. A clock that went backwards counts as no
    time at all.
    """
    if size_bytes <= 0:
        return Window(extents=(), next_bytes=0)
    share = max(elapsed / timedelta(days=days), 0.0)
    units = -(-size_bytes // unit_bytes)
    length = min(max(1, -(-int(share * size_bytes) // unit_bytes)), units)
    first = start_bytes // unit_bytes % units
    end = first + length
    runs = [(first, min(end, units))] + ([(0, end - units)] if end > units else [])
    extents = tuple(
        Extent(start * unit_bytes, min(stop * unit_bytes, size_bytes) - start * unit_bytes)
        for start, stop in sorted(runs)
    )
    return Window(extents=extents, next_bytes=end % units * unit_bytes)
