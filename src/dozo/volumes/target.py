"""Writing a volume: making images, and writing into existing ones."""

import ctypes
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dozo.model.message import Message
from dozo.model.volume_io import ByteTarget
from dozo.volumes import locks, qemu_img, qemu_nbd
from dozo.volumes.errors import (
    BitmapMissing,
    FormatUnknown,
    ImageCorrupt,
    ImageEmpty,
    ImageUnreadable,
    NoSpace,
    OutputExists,
    OutputFolderMissing,
    OutputIsDirectory,
    PermissionDenied,
    SizeNotSectors,
    VolumeError,
    WriteFailed,
    reason_of,
)
from dozo.volumes.image_info import (
    SECTOR_BYTES,
    ImageInfo,
    check_structure,
    inspect,
    refuse_encrypted,
)
from dozo.volumes.nbd_client import Address, Connections
from dozo.volumes.source import CONNECTIONS, read_raw

WRITABLE_FORMATS = frozenset({"raw", "qcow2"})

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_FALLOC_KEEP_SIZE = 1
_FALLOC_PUNCH_HOLE = 2
_ZEROS = memoryview(bytes(1024 * 1024))

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class ImageTarget(ByteTarget, ABC):
    """An image that is written to, from several threads at once."""

    info: ImageInfo

    def __init__(self, info: ImageInfo, *, reads_zero: bool) -> None:
        self.info = info
        self._reads_zero = reads_zero

    @property
    def size_bytes(self) -> int:
        return self.info.virtual_bytes

    @property
    def reads_zero(self) -> bool:
        return self._reads_zero

    @abstractmethod
    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``offset_bytes``, so that equal bytes need no writing."""


def create_image(path: str | Path, *, format: str, size_bytes: int) -> None:
    """Make a new image that reads as zeros and that only its owner may read.

    ``format`` is ``raw`` or ``qcow2``. Raises ``OutputExists``, ``OutputIsDirectory``,
    ``OutputFolderMissing``, ``FormatUnknown``, ``ImageEmpty``, ``SizeNotSectors``,
    ``PermissionDenied`` and ``NoSpace``; a failure leaves no file behind.
    """
    name = str(Path(path).absolute())
    refuse_size(name, format, size_bytes)
    fd = create_file(name)
    try:
        fill_new(fd, name, format=format, size_bytes=size_bytes)
    except BaseException:
        # qemu-img may have removed it already.
        Path(name).unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def refuse_size(path: str, format: str, size_bytes: int) -> None:
    """Raises for a format or size that an image cannot be made with."""
    if format not in WRITABLE_FORMATS:
        raise FormatUnknown(path, format)
    if size_bytes <= 0:
        raise ImageEmpty(path)
    if size_bytes % SECTOR_BYTES:
        raise SizeNotSectors(path, size_bytes)


def create_file(path: str) -> int:
    """Make a file that did not exist, and open it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError as error:
        if Path(path).is_dir():
            raise OutputIsDirectory(path) from error
        raise OutputExists(path) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OutputFolderMissing(str(Path(path).parent)) from error
    except PermissionError as error:
        raise PermissionDenied(path, reason_of(error)) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise NoSpace(path, reason_of(error)) from error
        raise ImageUnreadable(path, reason_of(error)) from error


def fill_new(fd: int, path: str, *, format: str, size_bytes: int) -> None:
    """Turn a new, empty file into an image that reads as zeros."""
    if format == "raw":
        try:
            os.ftruncate(fd, size_bytes)
        except OSError as error:
            raise _write_error(path, 0, size_bytes, error) from error
        return
    answer = qemu_img.run(["create", "-q", "-f", format, path, str(size_bytes)])
    if answer.code != 0:
        failure = qemu_img.failure(path, answer.stderr, image_format=format)
        if isinstance(failure, ImageCorrupt):
            raise WriteFailed(path, 0, size_bytes, failure.reason)
        raise failure


def remove_bitmap(path: str | Path, name: str) -> None:
    """Remove a persistent dirty bitmap from a qcow2 image that nobody uses.

    Raises ``BitmapMissing``, ``ImageInUse`` and the errors of :func:`inspect`.
    """
    info = inspect(path, format="qcow2")
    if name not in {bitmap.name for bitmap in info.bitmaps}:
        raise BitmapMissing(info.path, name)
    answer = qemu_img.run(["bitmap", "--remove", "-f", "qcow2", info.path, name])
    if answer.code != 0:
        raise qemu_img.failure(info.path, answer.stderr)


@contextmanager
def open_target(path: str | Path, *, format: str, fresh: bool = False) -> Iterator[ImageTarget]:
    """Open an existing image for writing, alone.

    ``fresh`` says that the caller has just made it, so that it still reads as zeros.
    While it is open nobody else can write it, and QEMU cannot read it. At a regular end of
    the block the image is closed cleanly; only ``flush`` promises durability.

    Errors as :func:`open_image`; formats other than raw and qcow2 are ``FormatUnknown``.
    """
    if format not in WRITABLE_FORMATS:
        raise FormatUnknown(str(path), format)
    info = inspect(path, format=format)
    refuse_encrypted(info)
    with ExitStack() as stack:
        if format == "raw":
            fd = _open_writable(info.path)
            stack.callback(os.close, fd)
            locks.acquire(fd, info.path, locks.WRITER)
            yield _RawTarget(info, fd, reads_zero=fresh)
            return
        if not fresh:
            check_structure(info)
        socket = stack.enter_context(qemu_nbd.serve(info, writable=True))
        connections = Connections(Address(socket=socket, export="", name=info.path), CONNECTIONS)
        stack.callback(connections.close)
        yield _ServedTarget(info, connections, reads_zero=fresh)


class _RawTarget(ImageTarget):
    """A raw image, written directly."""

    def __init__(self, info: ImageInfo, fd: int, *, reads_zero: bool) -> None:
        super().__init__(info, reads_zero=reads_zero)
        self._fd = fd

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        read_raw(self._fd, self.info, offset_bytes, buffer)

    def write(self, offset_bytes: int, data: memoryview) -> None:
        view = data.cast("B")
        self._refuse_outside(offset_bytes, len(view))
        done = 0
        while done < len(view):
            position = offset_bytes + done
            try:
                done += os.pwritev(self._fd, [view[done:]], position)
            except OSError as error:
                raise self._failed(position, len(view) - done, error) from error

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        self._refuse_outside(offset_bytes, length_bytes)
        if length_bytes == 0:
            return
        mode = _FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE
        if _libc.fallocate(self._fd, mode, offset_bytes, length_bytes) == 0:
            return
        # The file system has no holes, or a device wants whole sectors: write zeros.
        end = offset_bytes + length_bytes
        for start in range(offset_bytes, end, len(_ZEROS)):
            self.write(start, _ZEROS[: end - start])

    def flush(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._failed(0, self.size_bytes, error) from error

    def _refuse_outside(self, offset_bytes: int, length_bytes: int) -> None:
        # A file would silently grow.
        if offset_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            raise WriteFailed(
                self.info.path, offset_bytes, length_bytes, Message("outside of the volume")
            )

    def _failed(self, offset_bytes: int, length_bytes: int, error: OSError) -> VolumeError:
        return _write_error(self.info.path, offset_bytes, length_bytes, error)


class _ServedTarget(ImageTarget):
    """A qcow2 image, written through a private qemu-nbd."""

    def __init__(self, info: ImageInfo, connections: Connections, *, reads_zero: bool) -> None:
        super().__init__(info, reads_zero=reads_zero)
        self._connections = connections

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        self._connections.read_into(offset_bytes, buffer)

    def write(self, offset_bytes: int, data: memoryview) -> None:
        self._connections.write(offset_bytes, data)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        self._connections.zero(offset_bytes, length_bytes)

    def flush(self) -> None:
        self._connections.flush()


def _open_writable(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise PermissionDenied(path, reason_of(error)) from error
    except OSError as error:
        raise ImageUnreadable(path, reason_of(error)) from error


def _write_error(path: str, offset_bytes: int, length_bytes: int, error: OSError) -> VolumeError:
    if error.errno in _NO_ROOM:
        return NoSpace(path, reason_of(error))
    return WriteFailed(path, offset_bytes, length_bytes, reason_of(error))
