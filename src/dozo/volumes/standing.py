"""Reading the image of a stopped server without standing in the way of whoever starts it.

An image lock would make QEMU refuse to start. So the image itself is read without one, and at the
end its file has to show that nobody wrote. Backing files stay locked: no start writes to those.
"""

import ctypes
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dozo.model import clock
from dozo.model.message import Message
from dozo.volumes import locks
from dozo.volumes.errors import ImageInUse, VolumeError
from dozo.volumes.image_info import ImageFile, check_structure, inspect, open_file
from dozo.volumes.source import ImageSource, hold, open_image

# File systems whose time stamps follow every write at once and that no other host writes to
# (linux/magic.h): ext2 to ext4, XFS, Btrfs, ZFS, F2FS, tmpfs, overlayfs.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x2FC12FC1, 0xF2F52010, 0x01021994, 0x794C7630})
_STATFS_BYTES = 120

# Time stamps move in steps of the kernel's tick, 10 ms at most: a write in the same step as the
# one before would not show.
_STEP_S = 0.1
_SETTLE_TRIES = 50


@dataclass(frozen=True, kw_only=True)
class StandingImage:
    """An image that nobody is expected to write to.

    ``doubt`` says in words why somebody may have written since it was opened; empty if nobody
    has. It belongs after the last byte was read. ``locked`` if nobody could.
    """

    source: ImageSource
    locked: bool
    doubt: Callable[[], str]


@contextmanager
def open_standing(path: str | Path, *, format: str | None = None) -> Iterator[StandingImage]:
    """Open an image for reading, and let others open it for writing meanwhile.

    Where its file could not show that somebody wrote (a block device, a file system that other
    hosts share) it is locked as by :func:`open_image`, and a start fails meanwhile. Errors as
    there: ``ImageInUse`` if somebody has it open for writing already.
    """
    described = inspect(path, format=format, in_use_ok=True)
    own = [described.chain[0], *(one for one in described.chain[1:2] if one.is_data_file)]
    if not all(_shows_writes(file.path) for file in own):
        with open_image(path, format=format) as source:
            yield StandingImage(source=source, locked=True, doubt=_none)
        return
    with ExitStack() as stack:
        for file in described.chain[len(own) :]:
            hold(stack, file.path, locks.READER)
        # In this order: who writes after the first look shows in the time stamps, who has been
        # at it since before holds a lock at the second.
        before = {file.path: _settled(file.path) for file in own}
        for file in own:
            if _has_writer(file.path):
                raise ImageInUse(file.path)
        source = stack.enter_context(open_image(path, format=described.format, lock=False))
        _refuse_other_chain(described.chain, source)
        check_structure(source.info, lock=False)
        yield StandingImage(source=source, locked=False, doubt=lambda: _doubt(before))


def _refuse_other_chain(held: tuple[ImageFile, ...], source: ImageSource) -> None:
    """Somebody put another file under the image between the look and the locks."""
    if [one.path for one in held] != [one.path for one in source.info.chain]:
        raise ImageInUse(source.info.path)


def _doubt(before: dict[str, tuple[int, ...]]) -> str:
    for path, then in before.items():
        try:
            # Who has it open may write between two looks at the time stamps.
            if _has_writer(path):
                return Message("somebody has {path} open for writing", path=path)
            if _print(path) != then:
                return Message("{path} was changed meanwhile", path=path)
        except (OSError, VolumeError) as error:
            return Message("{path} cannot be looked at: {error}", path=path, error=error)
    return ""


def _none() -> str:
    """Nobody could write."""
    return ""


def _settled(path: str) -> tuple[int, ...]:
    """What tells whether a file was written to, once every later write is bound to change it."""
    for _ in range(_SETTLE_TRIES):
        found = _print(path)
        age_s = clock.now().timestamp() - found[-1] / 1e9
        if not 0 <= age_s < _STEP_S:
            return found
        clock.sleep(_STEP_S)
    raise ImageInUse(path)


def _print(path: str) -> tuple[int, ...]:
    fd = open_file(path)
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    # The time of the last change comes last; no program can set it.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _has_writer(path: str) -> bool:
    fd = open_file(path)
    try:
        return locks.has_writer(fd)
    finally:
        os.close(fd)


def _shows_writes(path: str) -> bool:
    fd = open_file(path)
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and _file_system(fd) in _LOCAL
    finally:
        os.close(fd)


def _file_system(fd: int) -> int:
    """The kernel's number of the file system that a file lies on; 0 if it does not say."""
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if ctypes.CDLL(None, use_errno=True).fstatfs(fd, answer) != 0:
        return 0
    # The first field of struct statfs, a long on 64-bit Linux.
    return int.from_bytes(answer.raw[:8], "little") & 0xFFFFFFFF
