"""A wrapper for the little that has to be written so that something can be removed."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dozo.blobs.errors import BlobsFull
from dozo.blobs.port import BlobInfo, Blobs, Buffer

Answer = TypeVar("Answer")


class ReserveBlobs:
    """Passes calls on; a write for which there is no room is helped out of the reserve.

    For notes that make room, such as tombstones; what fills a place must not go through it.
    """

    def __init__(self, inner: Blobs) -> None:
        self._inner = inner

    @property
    def url(self) -> str:
        return self._inner.url

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self._with_reserve(lambda: self._inner.put(key, parts))

    def create(self, key: str, parts: Sequence[Buffer]) -> bool:
        return self._with_reserve(lambda: self._inner.create(key, parts))

    def get(self, key: str) -> bytes:
        return self._inner.get(key)

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        return self._inner.get_range(key, offset_bytes, length_bytes)

    def view(self, key: str) -> memoryview:
        return self._inner.view(key)

    def size(self, key: str) -> int:
        return self._inner.size(key)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        return self._inner.list(prefix)

    def delete(self, key: str) -> None:
        self._inner.delete(key)

    def sweep(self) -> int:
        return self._inner.sweep()

    def keep_reserve(self) -> None:
        self._inner.keep_reserve()

    def release_reserve(self) -> bool:
        return self._inner.release_reserve()

    def _with_reserve(self, write: Callable[[], Answer]) -> Answer:
        while True:
            try:
                return write()
            except BlobsFull:
                # Another writer may take what was freed: as often as there is something left.
                if not self._inner.release_reserve():
                    raise
