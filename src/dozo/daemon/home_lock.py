"""One service a home, one worker an SQLite file: a lock that ends with its process."""

import fcntl
import os
from pathlib import Path
from typing import Self

from dozo.daemon.errors import ServiceRuns, WorkerRuns
from dozo.model.message import Message

SERVE = "serve.lock"
WORKER = "worker.lock"


class HomeLock:
    """A lock on a file in the home; the operating system takes it away from a dead process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def of_service(cls, home: Path) -> Self:
        """The lock of the one service of a home. Raises :class:`ServiceRuns`."""
        descriptor, holder = _take(home / SERVE)
        if descriptor is None:
            raise ServiceRuns(str(home), holder)
        return cls(descriptor)

    @classmethod
    def of_worker(cls, home: Path) -> Self:
        """The lock of the one worker of an SQLite catalog. Raises :class:`WorkerRuns`."""
        descriptor, holder = _take(home / WORKER)
        if descriptor is None:
            raise WorkerRuns(str(home), holder)
        return cls(descriptor)

    def release(self) -> None:
        """Give it up. The file stays: removing it would let two processes hold it."""
        os.close(self._descriptor)


def _take(path: Path) -> tuple[int | None, str]:
    """The locked file; or None and who has it, as far as the file tells."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        return None, Message(" (process {holder})", holder=holder) if holder.isdigit() else ""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor, ""
