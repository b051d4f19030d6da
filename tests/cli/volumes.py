"""A volume for tests that need one in a vault."""

import os
from collections.abc import Iterator

from dozo.model.extents import Extent


class RandomVolume:
    """Random bytes."""

    size_bytes = 1024 * 1024

    def __init__(self, data: bytes | None = None) -> None:
        self.data = os.urandom(self.size_bytes) if data is None else data
        self.size_bytes = len(self.data)

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        buffer[:] = self.data[offset_bytes : offset_bytes + len(buffer)]

    def data_extents(self) -> Iterator[Extent]:
        yield Extent(0, self.size_bytes)
