"""What snapshots will cost in bytes, from what those of before added. Pure.

Nobody knows what a guest will write, so everything is a range. What is new after a time grows at
most in proportion to it (the same blocks are often written again), and at least stays what it
is: between these two lies what one measurement says about another length of time.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Self

# From so many measurements on, the quarter at either end is left out.
MANY = 8
# Closer together, two snapshots tell more about their own making than about the volume.
LEAST_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class BytesRange:
    """Between so many bytes and so many."""

    low: int = 0
    high: int = 0

    def __add__(self, other: Self) -> "BytesRange":
        return BytesRange(low=self.low + other.low, high=self.high + other.high)

    def times(self, factor: float) -> "BytesRange":
        """So many times as much."""
        return BytesRange(low=int(self.low * factor), high=int(self.high * factor))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A snapshot of before: so long after the one before it, it added so much."""

    seconds: float
    added_bytes: int


def change(measured: Sequence[Measured], seconds: float, most_bytes: int | None) -> BytesRange:
    """What is probably new after so many seconds; nothing without measurements.

    ``most_bytes`` is the volume's size: more cannot be new.
    """
    useful = [one for one in measured if one.seconds >= LEAST_SECONDS]
    if not useful or seconds <= 0:
        return BytesRange()
    low, high = [], []
    for one in useful:
        in_proportion = one.added_bytes * seconds / one.seconds
        low.append(min(one.added_bytes, in_proportion))
        high.append(max(one.added_bytes, in_proportion))
    low.sort()
    high.sort()
    left_out = len(useful) // 4 if len(useful) >= MANY else 0
    found = BytesRange(low=int(low[left_out]), high=int(high[len(high) - 1 - left_out]))
    if most_bytes is None:
        return found
    return BytesRange(low=min(found.low, most_bytes), high=min(found.high, most_bytes))


def kept(
    measured: Sequence[Measured], instants: Iterable[datetime], most_bytes: int | None
) -> BytesRange:
    """What generations of these instants need together, above one of them: each change between
    two of them is stored once."""
    gaps = Counter(
        round((later - earlier).total_seconds() / LEAST_SECONDS) * LEAST_SECONDS
        for earlier, later in pairwise(sorted(instants))
    )
    total = BytesRange()
    for seconds, count in gaps.items():
        total += change(measured, seconds, most_bytes).times(count)
    return total
