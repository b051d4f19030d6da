"""The promises that every place for blobs makes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One blob in a listing."""

    key: str
    size_bytes: int


class Blobs(Protocol):
    """Blobs under keys of slash-separated parts of ``[a-z0-9._-]``.

    **Durability:** when ``put`` or ``create`` returns, the blob survives a power cut.
    **Atomicity:** a reader sees a blob whole or not at all, the old or the new one.
    **Order:** an operation that returned is seen by every later one, of any process,
    listings included. **Crash:** a call that did not return has happened or has not;
    nothing in between. Every method may be called from several threads.
    """

    @property
    def url(self) -> str:
        """Where the blobs are, for messages."""

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Store the concatenation of ``parts``, replacing what was there.

        Raises :class:`BlobsFull` when there is no room, and leaves nothing behind.
        """

    def create(self, key: str, parts: Sequence[Buffer]) -> bool:
        """Store a blob only where none is. False, and no change, where one was.

        Of several callers at the same time exactly one gets True.
        """

    def get(self, key: str) -> bytes:
        """The whole blob. Raises :class:`BlobMissing`, :class:`BlobUnreadable`."""

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range.

        Raises :class:`BlobMissing`, :class:`BlobTruncated`, and :class:`BlobUnreadable` where
        the medium does not give it back: other ranges of the blob may still be read.
        """

    def view(self, key: str) -> memoryview:
        """The whole blob read-only, memory-mapped where the place allows it.

        The view stays valid after the blob is deleted. It was read once from end to end, but
        a medium that fails later, or a file cut short by somebody else, may end the process:
        it is for objects that are looked up at random. Raises :class:`BlobMissing`,
        :class:`BlobUnreadable`.
        """

    def size(self, key: str) -> int:
        """The blob's size in bytes. Raises :class:`BlobMissing`."""

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """The blobs whose key starts with ``prefix`` (whole parts), in no order.

        A blob that exists from before the call until after it is listed.
        """

    def delete(self, key: str) -> None:
        """Remove a blob; nothing happens where there is none."""

    def sweep(self) -> int:
        """Remove what writers that no longer live left unfinished; the count."""

    def keep_reserve(self) -> None:
        """Set a little room aside, if the place can run full and has plenty now. Never fails."""

    def release_reserve(self) -> bool:
        """Free a part of the room set aside; False when nothing of it is left."""
