"""Reading a volume: from an image file that no running server uses, or a live export."""

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from dozo.model.extents import Extent
from dozo.model.message import Message
from dozo.model.volume_io import ByteSource
from dozo.volumes import locks, qemu_nbd
from dozo.volumes.errors import BitmapMissing, BitmapUnusable, ReadFailed, reason_of
from dozo.volumes.image_info import (
    ImageInfo,
    check_structure,
    inspect,
    open_file,
    refuse_encrypted,
)
from dozo.volumes.nbd_client import Address, Connections

CONNECTIONS = 4


class ImageSource(ByteSource, ABC):
    """An image file as a volume, readable from several threads at once."""

    info: ImageInfo

    @property
    def size_bytes(self) -> int:
        return self.info.virtual_bytes

    @abstractmethod
    def changed_extents(self, bitmap: str) -> Iterator[Extent]:
        """What a persistent dirty bitmap of the image itself marks as written.

        Sorted, disjoint, produced as they are asked for. Bitmaps of backing files do not
        count: they know nothing of what the image itself holds. Raises ``BitmapMissing``
        and ``BitmapUnusable`` before the first extent.
        """


@contextmanager
def open_image(
    path: str | Path, *, format: str | None = None, lock: bool = True
) -> Iterator[ImageSource]:
    """Open an image for reading.

    With ``lock`` every file of the chain is locked by QEMU's own rules while it is open:
    it is refused with ``ImageInUse`` if somebody has one of them open for writing, and
    meanwhile QEMU refuses to open one for writing, so no server that uses it can start.
    Without, nothing protects the reader: the caller must prove that nobody wrote. The
    structure of qcow2 files is checked first, which only makes sense under the lock.

    About ``format`` and the errors see :func:`inspect`; further errors: ``ImageEncrypted``,
    ``LockUnsupported``, ``ServerFailed``.
    """
    described = inspect(path, format=format, in_use_ok=not lock)
    refuse_encrypted(described)
    with ExitStack() as stack:
        if lock:
            for file in described.chain:
                hold(stack, file.path, locks.READER)
        # Described again now that nobody can change it any more.
        info = inspect(path, format=described.format, in_use_ok=not lock)
        if lock:
            check_structure(info)
        if info.format == "raw":
            fd = open_file(info.path)
            stack.callback(os.close, fd)
            yield RawSource(info, fd)
        else:
            socket = stack.enter_context(qemu_nbd.serve(info, force_share=not lock))
            connections = Connections(
                Address(socket=socket, export="", name=info.path), CONNECTIONS
            )
            stack.callback(connections.close)
            yield ServedSource(info, connections, locked=lock)


def hold(stack: ExitStack, path: str, use: locks.Use) -> None:
    """Lock a file by QEMU's rules until the stack unwinds; errors as :func:`locks.acquire`."""
    fd = open_file(path)
    stack.callback(os.close, fd)
    locks.acquire(fd, path, use)


class RawSource(ImageSource):
    """A raw image, read directly."""

    def __init__(self, info: ImageInfo, fd: int) -> None:
        self.info = info
        self._fd = fd

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        read_raw(self._fd, self.info, offset_bytes, buffer)

    def data_extents(self) -> Iterator[Extent]:
        """What the file system has stored; everything where it cannot tell holes."""
        size = self.info.virtual_bytes
        position = 0
        while position < size:
            try:
                start = os.lseek(self._fd, position, os.SEEK_DATA)
                end = min(os.lseek(self._fd, start, os.SEEK_HOLE), size)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                yield Extent(position, size - position)
                return
            if start >= size:
                return
            yield Extent(start, end - start)
            position = end

    def changed_extents(self, bitmap: str) -> Iterator[Extent]:
        raise BitmapMissing(self.info.path, bitmap)


class ServedSource(ImageSource):
    """An image of another format, read through a private qemu-nbd."""

    def __init__(self, info: ImageInfo, connections: Connections, *, locked: bool) -> None:
        self.info = info
        self._connections = connections
        self._locked = locked

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        self._connections.read_into(offset_bytes, buffer)

    def data_extents(self) -> Iterator[Extent]:
        return self._connections.data_extents()

    def changed_extents(self, bitmap: str) -> Iterator[Extent]:
        found = next((entry for entry in self.info.bitmaps if entry.name == bitmap), None)
        if found is None:
            raise BitmapMissing(self.info.path, bitmap)
        if found.in_use:
            raise BitmapUnusable(
                self.info.path, bitmap, Message("it was not saved when QEMU ended")
            )
        return self._marked(bitmap)

    def _marked(self, bitmap: str) -> Iterator[Extent]:
        # A server of its own: qemu-nbd is told of a bitmap only when it starts.
        with qemu_nbd.serve(self.info, bitmap=bitmap, force_share=not self._locked) as socket:
            address = Address(socket=socket, export="", name=self.info.path)
            connections = Connections(address, 1)
            try:
                yield from connections.dirty_extents(bitmap)
            finally:
                connections.close()


class NbdSource(ByteSource):
    """A volume of a running server, as libvirt's backup job offers it on a unix socket.

    Raises ``ExportUnavailable`` when it cannot be reached and ``BitmapMissing`` when
    ``bitmap`` is given and the export does not offer it.
    """

    def __init__(
        self,
        *,
        socket: Path,
        export: str,
        bitmap: str | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        self._name = f"{export} at {socket}"
        self._bitmap = bitmap
        address = Address(socket=socket, export=export, name=self._name)
        self._connections = Connections(address, connections)
        if bitmap is not None:
            try:
                self._connections.require_bitmap(bitmap)
            except BaseException:
                self.close()
                raise

    @property
    def size_bytes(self) -> int:
        return self._connections.size_bytes

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        self._connections.read_into(offset_bytes, buffer)

    def data_extents(self) -> Iterator[Extent]:
        return self._connections.data_extents()

    def changed_extents(self) -> Iterator[Extent]:
        """What the bitmap marks as written since it was begun."""
        if self._bitmap is None:
            raise BitmapMissing(self._name, Message("(none was asked for)"))
        return self._connections.dirty_extents(self._bitmap)

    def close(self) -> None:
        """End the connections. May be repeated."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_raw(fd: int, info: ImageInfo, offset_bytes: int, buffer: memoryview) -> None:
    """Fill ``buffer`` from a raw file. Raises ``ReadFailed`` with the offset that failed."""
    view = buffer.cast("B")
    if offset_bytes < 0 or offset_bytes + len(view) > info.virtual_bytes:
        raise ReadFailed(info.path, offset_bytes, len(view), Message("outside of the volume"))
    done = 0
    while done < len(view):
        position = offset_bytes + done
        try:
            count = os.preadv(fd, [view[done:]], position)
        except OSError as error:
            raise ReadFailed(info.path, position, len(view) - done, reason_of(error)) from error
        if count == 0:
            raise ReadFailed(
                info.path, position, len(view) - done, Message("the file has become shorter")
            )
        done += count
