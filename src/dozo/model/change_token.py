"""The evidence that a change hint stands on, and what disproves it.

A checkpoint names the blocks that were written since it was made, to *that* image, over those
backing files. A snapshot keeps the evidence; before the next one trusts the hint, the evidence
is gathered anew and compared. Any difference means that the volume is read in full.

A changed size is no disproof: the reader takes the tail from the last whole chunk of the
smaller size on as changed, and lets the image's allocation outrank the hint.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

LIBVIRT_CHECKPOINT = "libvirt-checkpoint"


class Reason(StrEnum):
    """Why a volume is read in full. The value is stable; :attr:`words` are for people."""

    NO_PARENT = "no-parent"
    NO_TOKEN = "no-token"  # noqa: S105  a reason, not a secret
    TRACKING_OFF = "tracking-off"
    FORMAT_CANNOT_TRACK = "format-cannot-track"
    TOKEN_UNKNOWN = "token-unknown"  # noqa: S105
    CHECKPOINT_MISSING = "checkpoint-missing"
    BITMAP_MISSING = "bitmap-missing"
    BITMAP_INCONSISTENT = "bitmap-inconsistent"
    BITMAP_STOPPED = "bitmap-stopped"
    IMAGE_REPLACED = "image-replaced"
    FORMAT_CHANGED = "format-changed"
    BACKING_CHAIN_CHANGED = "backing-chain-changed"
    INTERNAL_SNAPSHOTS = "internal-snapshots"
    BASE_GONE = "base-gone"
    HINT_WAS_WRONG = "hint-was-wrong"

    @property
    def words(self) -> str:
        """A clause that completes "read in full because …"."""
        return WORDS[self]


WORDS = {
    Reason.NO_PARENT: "the vault holds no earlier snapshot of it",
    Reason.NO_TOKEN: "the earlier snapshot kept no change tracking",
    Reason.TRACKING_OFF: "change tracking is off for the server",
    Reason.FORMAT_CANNOT_TRACK: "the image's format cannot keep track of changes",
    Reason.TOKEN_UNKNOWN: "the earlier snapshot's change tracking is of an unknown kind",
    Reason.CHECKPOINT_MISSING: "the checkpoint of the earlier snapshot is gone",
    Reason.BITMAP_MISSING: "the image has lost the bitmap of the earlier snapshot",
    Reason.BITMAP_INCONSISTENT: "the bitmap was not saved when QEMU ended",
    Reason.BITMAP_STOPPED: "the bitmap stopped recording changes",
    Reason.IMAGE_REPLACED: "the image is another file than it was",
    Reason.FORMAT_CHANGED: "the image's format has changed",
    Reason.BACKING_CHAIN_CHANGED: "the image's backing files have changed",
    Reason.INTERNAL_SNAPSHOTS: "the image has internal snapshots, and a revert leaves no mark",
    Reason.BASE_GONE: "the snapshot that the change tracking counts from is gone",
    Reason.HINT_WAS_WRONG: "a re-read found changes that the tracking had missed",
}

_TRACKABLE = frozenset({"qcow2"})


@dataclass(frozen=True, kw_only=True)
class TokenFile:
    """One file of an image's chain, as it was when the token was made."""

    path: str
    format: str
    device: int
    inode: int
    virtual_bytes: int
    file_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class ChangeToken:
    """A hint's name and what it is bound to; ``chain`` has the image itself first.

    ``name`` is that of the checkpoint and of its bitmap in the image. ``since`` is the snapshot
    at whose instant the checkpoint was made, None in that snapshot's own token. Only over *its*
    content do the marks make sense: an image that is put back to an earlier state keeps the
    checkpoint, and loses what a later offline snapshot of it has seen.
    """

    name: str
    chain: tuple[TokenFile, ...]
    since: str | None = None
    kind: str = LIBVIRT_CHECKPOINT

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "name": self.name,
            "since": self.since,
            "chain": [asdict(file) for file in self.chain],
        }


@dataclass(frozen=True, kw_only=True)
class BitmapState:
    """A bitmap in an image, as QEMU or the image's header describes it."""

    name: str
    recording: bool
    inconsistent: bool


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is found now: about the image's files, its bitmaps, and libvirt's records.

    ``bitmaps`` are those of the image itself: of a running server as QEMU has them, of a
    stopped one as its header has them.
    """

    tracking_allowed: bool
    chain: tuple[TokenFile, ...]
    checkpoints: frozenset[str]
    bitmaps: tuple[BitmapState, ...]
    internal_snapshots: bool


def from_json(plain: Mapping[str, Any] | None) -> ChangeToken | None:
    """The token that :meth:`ChangeToken.to_json` wrote; None for what cannot be understood.

    A token is a help, never needed: one that is unreadable costs a full read and nothing else.
    """
    try:
        if plain is None:
            return None
        return ChangeToken(
            kind=str(plain["kind"]),
            name=str(plain["name"]),
            # A token that does not say which snapshot it counts from is of no use.
            since=None if plain["since"] is None else str(plain["since"]),
            chain=tuple(_file(each) for each in plain["chain"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def disproof(token: ChangeToken | None, now: Evidence) -> Reason | None:
    """Why the hint that ``token`` names must not be trusted given ``now``; None if it may be."""
    if not now.tracking_allowed:
        return Reason.TRACKING_OFF
    if now.chain and now.chain[0].format not in _TRACKABLE:
        return Reason.FORMAT_CANNOT_TRACK
    if token is None:
        return Reason.NO_TOKEN
    if token.kind != LIBVIRT_CHECKPOINT:
        return Reason.TOKEN_UNKNOWN
    return (
        _image_disproof(token.chain, now.chain)
        or (Reason.INTERNAL_SNAPSHOTS if now.internal_snapshots else None)
        or _bitmap_disproof(token.name, now)
    )


def _image_disproof(then: tuple[TokenFile, ...], now: tuple[TokenFile, ...]) -> Reason | None:
    if not then or not now:
        return Reason.IMAGE_REPLACED
    before, after = then[0], now[0]
    if _identity(before) != _identity(after):
        return Reason.IMAGE_REPLACED
    if before.format != after.format:
        return Reason.FORMAT_CHANGED
    # Backing files are not written to as long as something lies over them, so that even their
    # times must be the same; the image's own change with every write.
    if then[1:] != now[1:]:
        return Reason.BACKING_CHAIN_CHANGED
    return None


def _identity(file: TokenFile) -> tuple[str, int, int]:
    return file.path, file.device, file.inode


def _bitmap_disproof(name: str, now: Evidence) -> Reason | None:
    if name not in now.checkpoints:
        return Reason.CHECKPOINT_MISSING
    for bitmap in now.bitmaps:
        if bitmap.name == name:
            if bitmap.inconsistent:
                return Reason.BITMAP_INCONSISTENT
            return None if bitmap.recording else Reason.BITMAP_STOPPED
    return Reason.BITMAP_MISSING


def _file(plain: Mapping[str, Any]) -> TokenFile:
    return TokenFile(
        path=str(plain["path"]),
        format=str(plain["format"]),
        device=int(plain["device"]),
        inode=int(plain["inode"]),
        virtual_bytes=int(plain["virtual_bytes"]),
        file_bytes=int(plain["file_bytes"]),
        mtime_ns=int(plain["mtime_ns"]),
    )
