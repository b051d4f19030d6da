"""A wrapper that lets nothing be changed."""

from collections.abc import Iterator, Sequence

from dozo.blobs.errors import BlobsReadOnly
from dozo.blobs.port import BlobInfo, Blobs, Buffer


class ReadOnlyBlobs:
    """Passes reads on and refuses every change."""

    def __init__(self, inner: Blobs) -> None:
        self._inner = inner

    @property
    def url(self) -> str:
        return self._inner.url

    def put(self, key: str, parts: Sequence[Buffer]) -> None:  # noqa: ARG002  the port's shape
        raise BlobsReadOnly(url=self.url)

    def create(self, key: str, parts: Sequence[Buffer]) -> bool:  # noqa: ARG002  the port's shape
        raise BlobsReadOnly(url=self.url)

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

    def delete(self, key: str) -> None:  # noqa: ARG002  the port's shape
        raise BlobsReadOnly(url=self.url)

    def sweep(self) -> int:
        return 0

    def keep_reserve(self) -> None:
        """What may not be written needs none."""

    def release_reserve(self) -> bool:
        return False
