"""What the vault asks of a volume: the ports between ``vault`` and ``volumes``."""

from collections.abc import Iterator
from typing import Protocol

from dozo.model.extents import Extent


class ByteSource(Protocol):
    """A volume at one instant, readable at random.

    Reads return the bytes of that instant however often and in whatever order they
    are made, from several threads at once. The caller owns every buffer.
    """

    @property
    def size_bytes(self) -> int:
        """The volume's size."""

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``offset_bytes``; never short. Raises ``VolumeError``."""

    def data_extents(self) -> Iterator[Extent]:
        """Sorted, disjoint extents outside of which every byte is known to be zero.

        The extents are produced as they are asked for, so a volume of any size costs
        bounded memory. Each call starts anew.
        """


class ByteTarget(Protocol):
    """A volume to be written at random, from several threads at once."""

    @property
    def size_bytes(self) -> int:
        """The volume's size."""

    @property
    def reads_zero(self) -> bool:
        """Whether every byte not yet written is known to read as zero."""

    def write(self, offset_bytes: int, data: memoryview) -> None:
        """Write all of ``data``. Raises ``VolumeError``."""

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make a range read as zero, by punching where that is possible."""

    def flush(self) -> None:
        """Return only when everything written is durable."""
