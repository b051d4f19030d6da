"""What can go wrong where blobs live."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind, Retry


@dataclass(eq=False)
class BlobsError(DozoError):
    """Base of the errors of this layer."""

    code = "blobs.failed"


@dataclass(eq=False)
class BlobMissing(BlobsError):
    """No blob has that key."""

    code = "blobs.missing"
    kind = ErrorKind.NOT_FOUND
    text = "{self.url} has no object {self.key}"
    hint = "Check that the address is right; if it is, run a scrub to see what else is missing."

    url: str
    key: str


@dataclass(eq=False)
class BlobTruncated(BlobsError):
    """A blob ends before the range that was asked for."""

    code = "blobs.truncated"
    kind = ErrorKind.DAMAGED
    text = "object {self.key} in {self.url} ends early"
    hint = "Run a scrub with the other site as the source of repair."

    url: str
    key: str


@dataclass(eq=False)
class BlobUnreadable(BlobsError):
    """The medium does not give back a part of a blob; the rest of it may be whole."""

    code = "blobs.unreadable"
    kind = ErrorKind.DAMAGED
    text = "object {self.key} in {self.url} cannot be read: {self.reason}"
    hint = "Look after the disk, then run a scrub with the other site as the source of repair."

    url: str
    key: str
    reason: str


@dataclass(eq=False)
class BlobsFull(BlobsError):
    """There is no room left."""

    code = "blobs.full"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "no space left in {self.url}"
    hint = "Make room there or prune old snapshots, then run the same again; nothing was lost."

    url: str


@dataclass(eq=False)
class BlobsUnavailable(BlobsError):
    """The place cannot be reached or does not let us in."""

    code = "blobs.unavailable"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "cannot use {self.url}: {self.reason}"
    hint = "Check that it is there, mounted and permitted, then run the same again."

    url: str
    reason: str


@dataclass(eq=False)
class BlobsReadOnly(BlobsError):
    """A change was asked of a place opened for reading only."""

    code = "blobs.read_only"
    kind = ErrorKind.REFUSED
    text = "{self.url} is open for reading only"
    hint = "Open it for writing to do this."

    url: str


@dataclass(eq=False)
class UrlUnsupported(BlobsError):
    """The address names a kind of storage that Dozo does not know."""

    code = "blobs.url_unsupported"
    kind = ErrorKind.USAGE
    text = "no storage is known for {self.url}"
    hint = "Give the path of a directory."

    url: str
