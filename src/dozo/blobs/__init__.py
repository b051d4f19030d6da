"""Where a vault's bytes live: named immutable or small replaceable blobs, and wrappers."""

from dozo.blobs.directory import DirectoryBlobs
from dozo.blobs.errors import (
    BlobMissing,
    BlobsError,
    BlobsFull,
    BlobsReadOnly,
    BlobsUnavailable,
    BlobTruncated,
    BlobUnreadable,
    UrlUnsupported,
)
from dozo.blobs.memory import MemoryBlobs
from dozo.blobs.port import BlobInfo, Blobs, Buffer
from dozo.blobs.readonly import ReadOnlyBlobs
from dozo.blobs.reserve import ReserveBlobs

__all__ = [
    "BlobInfo",
    "BlobMissing",
    "BlobTruncated",
    "BlobUnreadable",
    "Blobs",
    "BlobsError",
    "BlobsFull",
    "BlobsReadOnly",
    "BlobsUnavailable",
    "Buffer",
    "DirectoryBlobs",
    "MemoryBlobs",
    "ReadOnlyBlobs",
    "ReserveBlobs",
    "UrlUnsupported",
    "open_blobs",
]


def open_blobs(url: str) -> Blobs:
    """The blobs at ``url``: a directory's path, or ``file:`` and a path.

    Nothing is created. Raises :class:`UrlUnsupported`.
    """
    if url.startswith("file://"):
        return DirectoryBlobs(url.removeprefix("file://"))
    if "://" in url:
        raise UrlUnsupported(url=url)
    return DirectoryBlobs(url)
