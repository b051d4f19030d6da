"""A file that a command writes: there when it is complete and durable, or not there at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dozo.cli.errors import FileThere, FileUnwritable
from dozo.model.message import Message


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """Write it under a temporary name beside; at a regular end of the block it gets its own.

    Only its owner may read it. Raises :class:`FileThere` unless ``force`` replaces what is there,
    :class:`FileUnwritable`.
    """
    # A symbolic link stays: the file that it points to is made or replaced.
    final = Path(os.path.realpath(path))
    refuse_existing(final, force=force)
    part = final.parent / f".{final.name[:60]}.{secrets.token_hex(6)}.part"
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileUnwritable(str(path), error.strerror or str(error)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _take_name(part, final, force=force)
    except OSError as error:
        raise FileUnwritable(str(path), error.strerror or str(error)) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raises :class:`FileThere`, :class:`FileUnwritable` for what is there and cannot go."""
    if path.is_file():
        if not force:
            raise FileThere(str(path))
    elif path.exists():
        raise FileUnwritable(str(path), Message("it is there and is no file"))


def _take_name(part: Path, final: Path, *, force: bool) -> None:
    if force:
        part.replace(final)
    else:
        # Unlike renaming, a link never replaces what somebody else has made meanwhile.
        try:
            os.link(part, final)
        except FileExistsError:
            raise FileThere(str(final)) from None
        except OSError:
            # File systems without links.
            refuse_existing(final, force=False)
            part.rename(final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
