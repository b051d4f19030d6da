"""A new image file that appears under its name only when it is complete and durable."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dozo.volumes import locks
from dozo.volumes.errors import (
    ImageInUse,
    ImageUnreadable,
    NoSpace,
    OutputExists,
    OutputFolderMissing,
    OutputIsDirectory,
    OutputNotAFile,
    PermissionDenied,
    VolumeError,
    WriteFailed,
    reason_of,
)
from dozo.volumes.image_info import kind_of_file, open_file
from dozo.volumes.target import ImageTarget, create_file, fill_new, open_target, refuse_size

# Leaves room for our own parts within the 255 bytes of a file name.
_NAME_LIMIT_BYTES = 200


@contextmanager
def output_file(
    path: str | Path, *, format: str, size_bytes: int, force: bool = False
) -> Iterator[ImageTarget]:
    """Write a new image, under a temporary name in the same folder.

    At a regular end of the block it is made durable and takes its name in one step; after
    any error it is removed, and what was there before (``force``) is untouched. A killed
    process leaves a hidden ``.NAME.….part``, which the next output of that name removes.

    Raises ``OutputExists`` unless ``force``, ``OutputIsDirectory``, ``OutputNotAFile``,
    ``OutputFolderMissing``, ``ImageInUse`` when a server uses the file to be replaced,
    ``NoSpace``, ``PermissionDenied`` and what :func:`create_image` raises.
    """
    # A symbolic link stays: the file that it points to is made or replaced.
    final = Path(os.path.realpath(path))
    refuse_size(str(final), format, size_bytes)
    _refuse_existing(final, force=force)
    part = final.parent / f"{_part_prefix(final)}{secrets.token_hex(6)}.part"
    _remove_abandoned(final)
    fd = create_file(str(part))
    try:
        _claim(fd, str(part))
        with _named(final, part):
            fill_new(fd, str(part), format=format, size_bytes=size_bytes)
            with open_target(part, format=format, fresh=True) as target:
                yield target
                target.flush()
        _sync(fd, str(final))
        _refuse_existing(final, force=force)
        _take_name(part, final, force=force)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        raise
    finally:
        os.close(fd)
    _sync_folder(final.parent)


def _refuse_existing(final: Path, *, force: bool) -> None:
    try:
        mode = final.stat().st_mode
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise OutputFolderMissing(str(final.parent)) from error
    except PermissionError as error:
        raise PermissionDenied(str(final), reason_of(error)) from error
    except OSError as error:
        raise ImageUnreadable(str(final), reason_of(error)) from error
    if stat.S_ISDIR(mode):
        raise OutputIsDirectory(str(final))
    if not stat.S_ISREG(mode):
        raise OutputNotAFile(str(final), kind_of_file(mode))
    if not force:
        raise OutputExists(str(final))
    # Renaming over a file that a server has open would let it go on with a nameless one.
    fd = open_file(str(final))
    try:
        if locks.has_user(fd):
            raise ImageInUse(str(final))
    finally:
        os.close(fd)


@contextmanager
def _named(final: Path, part: Path) -> Iterator[None]:
    """Errors about the temporary file name the file that the caller knows."""
    try:
        yield
    except VolumeError as error:
        if getattr(error, "path", None) == str(part):
            error.path = str(final)  # type: ignore[attr-defined]
        raise


def _take_name(part: Path, final: Path, *, force: bool) -> None:
    try:
        if force:
            part.replace(final)
            return
        # Unlike rename, link never replaces what somebody else has made meanwhile.
        os.link(part, final)
    except FileExistsError as error:
        raise OutputExists(str(final)) from error
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
            raise WriteFailed(str(final), 0, 0, reason_of(error)) from error
        part.rename(final)
        return
    part.unlink()


def _sync(fd: int, path: str) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace(path, reason_of(error)) from error
        raise WriteFailed(path, 0, 0, reason_of(error)) from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(fd, str(folder))
    finally:
        os.close(fd)


def _part_prefix(final: Path) -> str:
    name = os.fsencode(final.name)[:_NAME_LIMIT_BYTES]
    return f".{os.fsdecode(name)}."


def _claim(fd: int, path: str) -> None:
    """Mark the temporary file as being written, as long as this process lives."""
    with contextlib.suppress(VolumeError):
        locks.claim(fd, path)


def _remove_abandoned(final: Path) -> None:
    prefix = _part_prefix(final)
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(final.parent)):
            ours = entry.name.startswith(prefix) and entry.name.endswith(".part")
            if ours and entry.is_file(follow_symlinks=False):
                _remove_if_unclaimed(entry.path)


def _remove_if_unclaimed(path: str) -> None:
    with open(path, "r+b") as file, contextlib.suppress(VolumeError):  # noqa: PTH123
        locks.claim(file.fileno(), path)
        os.unlink(path)  # noqa: PTH108
