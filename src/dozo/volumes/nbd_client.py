"""Reading and writing an NBD export over several connections at once."""

import contextlib
import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any

import nbd

from dozo.model.extents import Extent, merge_sorted
from dozo.model.message import Message
from dozo.volumes.errors import (
    BitmapMissing,
    ExportUnavailable,
    NoSpace,
    ReadFailed,
    VolumeError,
    WriteFailed,
)

ALLOCATION = nbd.CONTEXT_BASE_ALLOCATION

# Of the sizes tried (64 KiB to 4 MiB) this one is never slower than the others.
_PIECE_BYTES = 1024 * 1024
_PIECES_IN_FLIGHT = 8
# The protocol counts in 32 bits; a round number keeps every request aligned.
_STATUS_BYTES = 0xFFFF0000
_ZERO_BYTES = 1024 * 1024 * 1024
_DIRTY = 1
# How long a thread waits inside libnbd before Python may look at signals again.
_POLL_MS = 1000


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where an export is offered, and by which name its errors call it."""

    socket: Path
    export: str
    name: str


class Connections:
    """A fixed number of connections to one export, each used by one thread at a time.

    Raises ``ExportUnavailable`` when the export cannot be reached.
    """

    def __init__(self, address: Address, count: int) -> None:
        self._address = address
        self._handles: list[Any] = []
        self._free: LifoQueue[Any] = LifoQueue()
        self._flushing = threading.Lock()
        try:
            for _ in range(count):
                handle = _connect(address)
                self._handles.append(handle)
                self._free.put(handle)
        except BaseException:
            self.close()
            raise
        self.size_bytes: int = self._handles[0].get_size()
        self._unit_bytes: int = max(self._handles[0].get_block_size(nbd.SIZE_MINIMUM), 1)

    def close(self) -> None:
        """End all connections; later calls fail. May be repeated."""
        for handle in self._handles:
            with contextlib.suppress(nbd.Error):
                handle.shutdown()

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        """Fill ``buffer``. Raises ``ReadFailed`` with the offset that failed."""
        view = buffer.cast("B")
        if offset_bytes < 0 or offset_bytes + len(view) > self.size_bytes:
            raise self._read_failed(offset_bytes, len(view), Message("outside of the volume"))
        end = offset_bytes + len(view)
        start_aligned = offset_bytes // self._unit_bytes * self._unit_bytes
        end_aligned = min(-(-end // self._unit_bytes) * self._unit_bytes, self.size_bytes)
        if (start_aligned, end_aligned) == (offset_bytes, end):
            self._transfer(offset_bytes, view, _read_piece, self._read_failed)
            return
        # The server serves whole units only, so read around what was asked for.
        around = memoryview(bytearray(end_aligned - start_aligned))
        self._transfer(start_aligned, around, _read_piece, self._read_failed)
        view[:] = around[offset_bytes - start_aligned :][: len(view)]

    def write(self, offset_bytes: int, data: memoryview) -> None:
        """Write all of ``data``. Raises ``WriteFailed`` or ``NoSpace``."""
        view = data.cast("B")
        self._refuse_outside(offset_bytes, len(view))
        self._transfer(offset_bytes, view, _write_piece, self._write_failed)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make a range zero, giving its space back where possible."""
        self._refuse_outside(offset_bytes, length_bytes)
        with self._borrowed() as handle:
            for start in range(offset_bytes, offset_bytes + length_bytes, _ZERO_BYTES):
                length = min(_ZERO_BYTES, offset_bytes + length_bytes - start)
                try:
                    handle.zero(length, start)
                except nbd.Error as error:
                    raise self._write_failed(start, length, error) from error

    def flush(self) -> None:
        """Make everything written so far durable."""
        # Only a server that promises "multi-conn" flushes for all connections at once. Each is
        # flushed by whoever has it to himself: a flush beside another thread's transfer would
        # take that thread's replies, and leave it waiting for ever.
        with self._flushing, contextlib.ExitStack() as stack:
            for _ in self._handles:
                handle = stack.enter_context(self._borrowed())
                try:
                    handle.flush()
                except nbd.Error as error:
                    raise self._write_failed(0, self.size_bytes, error) from error

    def data_extents(self) -> Iterator[Extent]:
        """The extents that are not known to be zero; everything if the server cannot tell."""
        return block_status(self._address, ALLOCATION, _is_data, self.size_bytes)

    def dirty_extents(self, bitmap: str) -> Iterator[Extent]:
        """The extents that a bitmap marks. Raises ``BitmapMissing`` before the first."""
        return block_status(self._address, bitmap_context(bitmap), _is_dirty, self.size_bytes)

    def require_bitmap(self, bitmap: str) -> None:
        """Raises ``BitmapMissing`` when the export does not offer it."""
        handle = _connect(self._address, bitmap_context(bitmap))
        try:
            if not handle.can_meta_context(bitmap_context(bitmap)):
                raise BitmapMissing(self._address.name, bitmap)
        finally:
            _disconnect(handle)

    def _transfer(
        self,
        offset_bytes: int,
        view: memoryview,
        begin: Callable[[Any, memoryview, int], int],
        failed: Callable[[int, int, Any], VolumeError],
    ) -> None:
        """Move ``view`` in pieces, several of them under way at a time, without copying."""
        failure: VolumeError | None = None
        under_way: deque[tuple[int, int, int]] = deque()
        position = 0
        with self._borrowed() as handle:
            while under_way or (position < len(view) and failure is None):
                while (
                    failure is None and position < len(view) and len(under_way) < _PIECES_IN_FLIGHT
                ):
                    piece = view[position : position + _PIECE_BYTES]
                    start = offset_bytes + position
                    try:
                        under_way.append((begin(handle, piece, start), start, len(piece)))
                    except nbd.Error as error:
                        failure = failed(start, len(piece), error)
                    position += len(piece)
                if not under_way:
                    break
                # After a failure too, wait for the rest: the buffer is the caller's again
                # as soon as we return.
                cookie, start, length = under_way.popleft()
                try:
                    while not handle.aio_command_completed(cookie):
                        handle.poll(_POLL_MS)
                except nbd.Error as error:
                    failure = failure or failed(start, length, error)
        if failure is not None:
            raise failure

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Any]:
        handle = self._free.get()
        try:
            yield handle
        except nbd.Error:
            raise
        except VolumeError:
            raise
        except BaseException:
            # Interrupted: replies that are still to come must not reach the buffer any more.
            with contextlib.suppress(nbd.Error):
                handle.shutdown(nbd.SHUTDOWN_ABANDON_PENDING)
            raise
        finally:
            self._free.put(handle)

    def _refuse_outside(self, offset_bytes: int, length_bytes: int) -> None:
        # libnbd would call it "no space left", which it is not.
        if offset_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            raise self._write_failed(offset_bytes, length_bytes, Message("outside of the volume"))

    def _read_failed(self, offset_bytes: int, length_bytes: int, reason: Any) -> VolumeError:
        return ReadFailed(self._address.name, offset_bytes, length_bytes, _reason(reason))

    def _write_failed(self, offset_bytes: int, length_bytes: int, reason: Any) -> VolumeError:
        if isinstance(reason, nbd.Error) and reason.errnum == errno.ENOSPC:
            return NoSpace(self._address.name, os.strerror(errno.ENOSPC))
        return WriteFailed(self._address.name, offset_bytes, length_bytes, _reason(reason))


def bitmap_context(bitmap: str) -> str:
    """The name under which QEMU offers a dirty bitmap."""
    return f"qemu:dirty-bitmap:{bitmap}"


def block_status(
    address: Address, context: str, wanted: Callable[[int], bool], size_bytes: int
) -> Iterator[Extent]:
    """Extents whose flags are ``wanted``, merged, asked for as they are consumed.

    It has a connection of its own, so it may be suspended for any time while others
    read. Where the server does not know ``base:allocation`` the whole volume is data.
    """

    def pieces() -> Iterator[Extent]:
        handle = _connect(address, context)
        try:
            if not handle.can_meta_context(context):
                if context != ALLOCATION:
                    raise BitmapMissing(address.name, context.split(":", 2)[2])
                yield Extent(0, size_bytes)
                return
            position = 0
            while position < size_bytes:
                for length, flags in _status(handle, address, context, position, size_bytes):
                    # The last extent of an answer may reach further than the question.
                    extent = Extent(position, min(length, size_bytes - position))
                    position = extent.end_bytes
                    if wanted(flags):
                        yield extent
        finally:
            _disconnect(handle)

    return merge_sorted(pieces())


def _status(
    handle: Any, address: Address, context: str, position: int, size_bytes: int
) -> list[tuple[int, int]]:
    answer: list[int] = []

    def receive(name: str, _offset: int, entries: list[int], _error: Any) -> None:
        if name == context:
            answer.extend(entries)

    count = min(_STATUS_BYTES, size_bytes - position)
    try:
        handle.block_status(count, position, receive)
    except nbd.Error as error:
        raise ReadFailed(address.name, position, count, _reason(error)) from error
    pairs = list(zip(answer[::2], answer[1::2], strict=True))
    if sum(length for length, _flags in pairs) == 0:
        raise ReadFailed(address.name, position, count, Message("no block status in the answer"))
    return pairs


def _is_data(flags: int) -> bool:
    return not flags & nbd.STATE_ZERO


def _is_dirty(flags: int) -> bool:
    return bool(flags & _DIRTY)


def _connect(address: Address, context: str | None = None) -> Any:
    handle = nbd.NBD()
    try:
        handle.set_export_name(address.export)
        # A failed read raises, so nobody looks at the bytes that clearing would protect.
        handle.set_pread_initialize(False)
        if context is not None:
            handle.add_meta_context(context)
        else:
            # With structured replies QEMU's server answers a failed read by closing the
            # connection, and asks the image for its allocation before each read.
            handle.set_request_structured_replies(False)
        handle.connect_unix(str(address.socket))
    except nbd.Error as error:
        raise ExportUnavailable(address.name, _reason(error)) from error
    return handle


def _disconnect(handle: Any) -> None:
    with contextlib.suppress(nbd.Error):
        handle.shutdown()


def _read_piece(handle: Any, piece: memoryview, offset_bytes: int) -> int:
    cookie: int = handle.aio_pread(nbd.Buffer.from_buffer(piece), offset_bytes)
    return cookie


def _write_piece(handle: Any, piece: memoryview, offset_bytes: int) -> int:
    cookie: int = handle.aio_pwrite(nbd.Buffer.from_buffer(piece), offset_bytes)
    return cookie


def _reason(error: Any) -> str:
    return str(error)
