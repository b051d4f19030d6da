"""States, modes and promises: the closed sets of words, and the table of moves."""

from enum import StrEnum


class CaptureMode(StrEnum):
    """How a snapshot was taken."""

    LIVE = "live"
    OFFLINE = "offline"
    UNMOUNTED = "unmounted"
    FILE = "file"


class Consistency(StrEnum):
    """What a snapshot can promise."""

    APPLICATION = "application-consistent"
    FILESYSTEM = "filesystem-consistent"
    CRASH = "crash-consistent"
    CLEAN = "clean"
    STATED = "stated, not checked"


class Identity(StrEnum):
    """Whether a restored server is the old one or a new one."""

    KEEP = "keep"
    COPY = "copy"


class Tracking(StrEnum):
    """Whether checkpoints may be kept on a server's volumes."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"


class Copy(StrEnum):
    """A snapshot's state at one site."""

    MISSING = "missing"
    COPYING = "copying"
    STORED = "stored"
    VERIFIED = "verified"
    DAMAGED = "damaged"


class CopyEvent(StrEnum):
    """What can happen to a copy.

    *Finish* is complete and read back as stored, without keys; *read-back* is opened with keys
    and hashed to the ids as well.
    """

    START = "start"
    FAIL = "fail"
    FINISH = "finish"
    READ_BACK = "read-back"
    DAMAGE_FOUND = "damage-found"
    REPAIR = "repair"
    REMOVE = "remove"


COPY_TRANSITIONS: dict[tuple[Copy, CopyEvent], Copy] = {
    (Copy.MISSING, CopyEvent.START): Copy.COPYING,
    (Copy.COPYING, CopyEvent.FAIL): Copy.MISSING,
    (Copy.COPYING, CopyEvent.FINISH): Copy.STORED,
    (Copy.STORED, CopyEvent.READ_BACK): Copy.VERIFIED,
    (Copy.VERIFIED, CopyEvent.READ_BACK): Copy.VERIFIED,
    (Copy.STORED, CopyEvent.DAMAGE_FOUND): Copy.DAMAGED,
    (Copy.VERIFIED, CopyEvent.DAMAGE_FOUND): Copy.DAMAGED,
    (Copy.DAMAGED, CopyEvent.DAMAGE_FOUND): Copy.DAMAGED,
    (Copy.DAMAGED, CopyEvent.REPAIR): Copy.STORED,
    (Copy.STORED, CopyEvent.REMOVE): Copy.MISSING,
    (Copy.VERIFIED, CopyEvent.REMOVE): Copy.MISSING,
    (Copy.DAMAGED, CopyEvent.REMOVE): Copy.MISSING,
}


def after(state: Copy, event: CopyEvent) -> Copy:
    """The state that ``event`` leads to; ``KeyError`` for a move that is not in the table."""
    return COPY_TRANSITIONS[state, event]
