"""A snapshot as an image file, sent to whoever may have it, without a file here."""

from collections.abc import Iterator
from dataclasses import dataclass

from dozo import volumes
from dozo.services import policies, snapshots
from dozo.services.access import Operation, Scope
from dozo.services.audit import recorded

# What the same snapshot looks like as a file; another layout is another number.
_LAYOUT = 1


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to be sent. ``version`` is the same as long as its bytes are."""

    name: str
    version: str
    stream: volumes.ImageStream

    @property
    def size_bytes(self) -> int:
        """The length of the whole file."""
        return self.stream.size_bytes

    def read_from(self, start_bytes: int) -> Iterator[bytes]:
        """The file from there to its end. Raises what reading a damaged snapshot raises."""
        return self.stream.read_from(start_bytes)


def begin(scope: Scope, reference: str, *, format: str, start_bytes: int = 0) -> Download:
    """Permit, look at and record a download; nothing has been read of the data yet.

    Raises ``SnapshotUnknown``, ``SnapshotDeleted``, ``NotReadable``, ``Forbidden``, the
    ``PolicyRefused`` errors, and ``SizeNotSectors`` for a plain file's odd size.
    """
    detail = {"format": format, "from": start_bytes}
    operation = Operation.SNAPSHOT_RESTORE_FILE
    with recorded(scope, operation, reference=reference, detail=detail) as attempt:
        row = scope.snapshot(reference, operation)
        attempt.on(row)
        policies.refuse_restore_here(scope.site, policies.of(row.tenant), row, "image-file")
        found = snapshots.readable(scope.site, row.snapshot_id)
        source = scope.site.vault.open_snapshot(found.info.snapshot)
        return Download(
            name=f"{found.name}.{format}",
            version=f"{found.info.snapshot}.{format}.{_LAYOUT}",
            stream=volumes.ImageStream(source, format=format),
        )
