"""Blobs in a dict, for tests."""

import threading
from collections.abc import Iterator, Sequence

from dozo.blobs.errors import BlobMissing, BlobTruncated
from dozo.blobs.port import BlobInfo, Buffer


class MemoryBlobs:
    """Keeps every promise of the port except surviving the process."""

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self._blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"memory:{self._name}"

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        data = b"".join(parts)
        with self._lock:
            self._blobs[key] = data

    def create(self, key: str, parts: Sequence[Buffer]) -> bool:
        data = b"".join(parts)
        with self._lock:
            if key in self._blobs:
                return False
            self._blobs[key] = data
            return True

    def get(self, key: str) -> bytes:
        with self._lock:
            data = self._blobs.get(key)
        if data is None:
            raise BlobMissing(url=self.url, key=key)
        return data

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        data = self.get(key)[offset_bytes : offset_bytes + length_bytes]
        if len(data) != length_bytes:
            raise BlobTruncated(url=self.url, key=key)
        return data

    def view(self, key: str) -> memoryview:
        return memoryview(self.get(key))

    def size(self, key: str) -> int:
        return len(self.get(key))

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        with self._lock:
            found = [BlobInfo(key, len(data)) for key, data in self._blobs.items()]
        folder = prefix.strip("/")
        return (info for info in found if not folder or info.key.startswith(f"{folder}/"))

    def delete(self, key: str) -> None:
        with self._lock:
            self._blobs.pop(key, None)

    def sweep(self) -> int:
        return 0

    def keep_reserve(self) -> None:
        """Memory has none."""

    def release_reserve(self) -> bool:
        return False
