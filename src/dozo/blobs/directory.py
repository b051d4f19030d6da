"""Blobs as files below a directory."""

import errno
import fcntl
import mmap
import os
import secrets
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dozo.blobs.errors import (
    BlobMissing,
    BlobsError,
    BlobsFull,
    BlobsReadOnly,
    BlobsUnavailable,
    BlobTruncated,
    BlobUnreadable,
)
from dozo.blobs.port import BlobInfo, Buffer

TEMPORARY = ".tmp"
RESERVE = ".reserve"
HIDDEN = {TEMPORARY, RESERVE}
# Of a kind that a tombstone, a record of a removal and a folder for each fit into one piece.
RESERVE_PIECES = 8
RESERVE_PIECE_BYTES = 1024 * 1024
# The reserve is never what fills a disk.
RESERVE_SHARE = 4
IOV_MAX = 1024
OPEN_FILES = 64
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# A bad sector, or what a checksumming file system or device makes of one.
UNREADABLE = {errno.EIO, errno.ENODATA, errno.EBADMSG, errno.EUCLEAN, errno.EILSEQ}
READ_BYTES = 1024 * 1024


class DirectoryBlobs:
    """A blob is a file, written under a temporary name, synced, then linked or renamed.

    A temporary file is locked (``flock``) by its writer for as long as that lives, so
    leftovers are told from work in progress without looking at a clock.
    """

    def __init__(self, path: str | Path) -> None:
        self._root = Path(path).absolute()
        self._known_folders: set[Path] = set()
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._open)

    @property
    def url(self) -> str:
        return str(self._root)

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        with self._translated(key):
            target = self._target(key)
            with self._temporary(parts) as temporary:
                temporary.rename(target)
            _sync_folder(target.parent)
        self._forget(key)

    def create(self, key: str, parts: Sequence[Buffer]) -> bool:
        with self._translated(key):
            target = self._target(key)
            created = False
            if not target.exists():
                with self._temporary(parts) as temporary:
                    try:
                        target.hardlink_to(temporary)
                        created = True
                    except FileExistsError:
                        pass
                    finally:
                        temporary.unlink()
            # Also where another was first: it may have died before it had synced, and the
            # caller is about to rely on what is there.
            _sync_folder(target.parent)
        return created

    def get(self, key: str) -> bytes:
        with self._reading(key):
            return (self._root / key).read_bytes()

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        with self._reading(key):
            data = self._pread(key, offset_bytes, length_bytes)
        if len(data) != length_bytes:
            raise BlobTruncated(url=self.url, key=key)
        return data

    def view(self, key: str) -> memoryview:
        with self._reading(key), (self._root / key).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return memoryview(b"")
            # A page that cannot be read kills the process (SIGBUS) where it is mapped; here
            # it is an error. What was read now stays in memory unless that runs short.
            if not _read_through(file.fileno(), size):
                raise BlobTruncated(url=self.url, key=key)
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def size(self, key: str) -> int:
        with self._translated(key):
            return (self._root / key).stat().st_size

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        self._let_go_of_deleted()
        folder = self._root / prefix
        with self._translated(prefix):
            yield from self._walk(folder, prefix.strip("/"))

    def delete(self, key: str) -> None:
        with self._translated(key):
            path = self._root / key
            with suppress(FileNotFoundError):
                path.unlink()
                _sync_folder(path.parent)
        self._forget(key)

    def sweep(self) -> int:
        removed = 0
        with self._translated(TEMPORARY):
            folder = self._root / TEMPORARY
            if not folder.is_dir():
                return 0
            for path in folder.iterdir():
                removed += _remove_if_abandoned(path)
        return removed

    def keep_reserve(self) -> None:
        with suppress(OSError):
            if not self._root.is_dir() or not self._has_plenty():
                return
            folder = self._root / RESERVE
            folder.mkdir(mode=0o700, exist_ok=True)
            for number in range(RESERVE_PIECES):
                _set_aside(folder / str(number))

    def release_reserve(self) -> bool:
        for number in range(RESERVE_PIECES):
            path = self._root / RESERVE / str(number)
            with suppress(OSError):
                # Some file systems free the blocks of a removed file only after a while.
                os.truncate(path, 0)
                path.unlink()
                return True
        return False

    def _has_plenty(self) -> bool:
        found = os.statvfs(self._root)
        wanted = RESERVE_PIECES * RESERVE_PIECE_BYTES * RESERVE_SHARE
        return found.f_bavail * found.f_frsize >= wanted

    def _walk(self, folder: Path, prefix: str) -> Iterator[BlobInfo]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            key = f"{prefix}/{entry.name}" if prefix else entry.name
            if entry.name in HIDDEN:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), key)
            else:
                with suppress(FileNotFoundError):
                    yield BlobInfo(key, entry.stat().st_size)

    def _target(self, key: str) -> Path:
        target = self._root / key
        if target.parent not in self._known_folders:
            _make_durable_folder(target.parent)
            _make_durable_folder(self._root / TEMPORARY)
            self._known_folders.add(target.parent)
        return target

    @contextmanager
    def _temporary(self, parts: Sequence[Buffer]) -> Iterator[Path]:
        path, fd = self._locked_file()
        try:
            _write_all(fd, parts)
            os.fsync(fd)
            if sum(map(len, parts)) >= READ_BYTES:
                # Whoever reads it back now wants to know what the medium holds, not the memory.
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            yield path
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def _locked_file(self) -> tuple[Path, int]:
        while True:
            path = self._root / TEMPORARY / secrets.token_hex(12)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return path, fd
            # A sweep took it for abandoned between its creation and its lock.
            os.close(fd)

    def _pread(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        with self._lock:
            fd = self._open.get(key)
            if fd is not None and os.fstat(fd).st_nlink == 0:
                # Another process has deleted or replaced the file since it was opened.
                os.close(self._open.pop(key))
                fd = None
            if fd is not None:
                self._open.move_to_end(key)
                # A duplicate stays readable if another thread evicts the entry.
                fd = os.dup(fd)
        if fd is None:
            fd = os.open(self._root / key, os.O_RDONLY | os.O_CLOEXEC)
            self._remember(key, os.dup(fd))
        try:
            return _pread_all(fd, offset_bytes, length_bytes)
        finally:
            os.close(fd)

    def _remember(self, key: str, fd: int) -> None:
        with self._lock:
            evicted = [self._open.pop(key)] if key in self._open else []
            self._open[key] = fd
            if len(self._open) > OPEN_FILES:
                evicted.append(self._open.popitem(last=False)[1])
        for old in evicted:
            os.close(old)

    def _let_go_of_deleted(self) -> None:
        """Close what others have deleted: its blocks are not free before that."""
        with self._lock:
            gone = [key for key, fd in self._open.items() if os.fstat(fd).st_nlink == 0]
            for key in gone:
                os.close(self._open.pop(key))

    def _forget(self, key: str) -> None:
        with self._lock:
            fd = self._open.pop(key, None)
        if fd is not None:
            os.close(fd)

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        with self._translated(key):
            try:
                yield
            except OSError as error:
                if error.errno not in UNREADABLE:
                    raise
                reason = error.strerror or str(error)
                raise BlobUnreadable(url=self.url, key=key, reason=reason) from error

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BlobMissing(url=self.url, key=key) from error
        except OSError as error:
            raise self._translate(error) from error

    def _translate(self, error: OSError) -> BlobsError:
        if error.errno in FULL:
            return BlobsFull(url=self.url)
        if error.errno == errno.EROFS:
            return BlobsReadOnly(url=self.url)
        return BlobsUnavailable(url=self.url, reason=error.strerror or str(error))


def _close_all(files: OrderedDict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])


def _set_aside(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_size >= RESERVE_PIECE_BYTES:
            return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, RESERVE_PIECE_BYTES)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _pread_all(fd: int, offset_bytes: int, length_bytes: int) -> bytes:
    """The range, shorter only where the file ends: the kernel stops early before a bad page."""
    data = os.pread(fd, length_bytes, offset_bytes)
    while len(data) < length_bytes:
        more = os.pread(fd, length_bytes - len(data), offset_bytes + len(data))
        if not more:
            break
        data += more
    return data


def _read_through(fd: int, size_bytes: int) -> bool:
    """Read a file from end to end; False where it ends early. Raises ``OSError``."""
    buffer = bytearray(min(size_bytes, READ_BYTES))
    position = 0
    while position < size_bytes:
        count = os.preadv(fd, [buffer], position)
        if not count:
            return False
        position += count
    return True


def _write_all(fd: int, parts: Sequence[Buffer]) -> None:
    waiting = [memoryview(part).cast("B") for part in parts if len(part)]
    while waiting:
        batch = waiting[:IOV_MAX]
        written = os.writev(fd, batch)
        done = 0
        while done < len(batch) and written >= len(batch[done]):
            written -= len(batch[done])
            done += 1
        waiting = waiting[done:]
        if written:
            waiting[0] = waiting[0][written:]


def _make_durable_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_durable_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_if_abandoned(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return 0
    else:
        return 1
    finally:
        os.close(fd)
