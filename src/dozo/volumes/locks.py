"""QEMU's image locks: byte ranges of a file, held with open-file-description locks.

QEMU (block/file-posix.c) marks what it does to an image by *shared* locks on single
bytes: 100 + n says "I use permission n", 200 + n says "I do not share permission n".
To see whether somebody else conflicts it asks for an *exclusive* lock with F_OFD_GETLK,
without taking it. Whoever follows the same rules is respected by QEMU and respects it.
"""

import contextlib
import errno
import fcntl
import os
import struct
from dataclasses import dataclass

from dozo.volumes.errors import ImageInUse, LockUnsupported, reason_of

USES = 100
UNSHARES = 200

# QEMU uses no byte outside of the two hundreds.
_CLAIM = 400

READ = 0
WRITE = 1
RESIZE = 3

# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi0q")


@dataclass(frozen=True, kw_only=True)
class Use:
    """The permissions that somebody uses, and those that nobody else may have."""

    uses: tuple[int, ...]
    unshares: tuple[int, ...]


READER = Use(uses=(READ,), unshares=(WRITE, RESIZE))
WRITER = Use(uses=(READ, WRITE, RESIZE), unshares=(WRITE, RESIZE))


def acquire(fd: int, path: str, use: Use) -> None:
    """Hold ``use`` on the open file until ``fd`` is closed.

    Raises ``ImageInUse`` when somebody has the file open in a conflicting way, and
    ``LockUnsupported`` where the file system has no locks.
    """
    held = [USES + n for n in use.uses] + [UNSHARES + n for n in use.unshares]
    # First take, then test: of two that come at the same time at least one sees the other.
    try:
        for byte in held:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK, byte))
        conflict = _conflicts(fd, use)
    except OSError as error:
        _release(fd)
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            raise ImageInUse(path) from error
        raise LockUnsupported(path, reason_of(error)) from error
    if conflict:
        _release(fd)
        raise ImageInUse(path)


def has_writer(fd: int) -> bool:
    """Whether somebody else has the file open for writing; False where locks are unknown."""
    try:
        return _conflicts(fd, READER)
    except OSError as error:
        if error.errno in {errno.ENOLCK, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}:
            return False
        raise


def has_user(fd: int) -> bool:
    """Whether somebody else has the file open at all, as far as locks tell."""
    try:
        return any(_held_by_others(fd, USES + n) for n in (READ, WRITE, RESIZE))
    except OSError:
        return False


def claim(fd: int, path: str) -> None:
    """Lock a byte that means nothing to QEMU, to tell files in work from abandoned ones.

    Raises ``ImageInUse`` when another process has done so, else as :func:`acquire`.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, _CLAIM))
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            raise ImageInUse(path) from error
        raise LockUnsupported(path, reason_of(error)) from error


def _conflicts(fd: int, use: Use) -> bool:
    tested = [UNSHARES + n for n in use.uses] + [USES + n for n in use.unshares]
    return any(_held_by_others(fd, byte) for byte in tested)


def _held_by_others(fd: int, byte: int) -> bool:
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, byte))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _release(fd: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _lock(fcntl.F_UNLCK, 0, length=0))


def _lock(kind: int, byte: int, *, length: int = 1) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, length, 0)
