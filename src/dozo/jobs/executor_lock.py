"""Who runs jobs under a name: at most one living process.

Recovery runs again whatever a name left unfinished, so a second process of that name, or one that
adopts its jobs, must be sure that the first is dead. A lock that the operating system, or the
database, takes away from a dead process says so without any clock.
"""

import fcntl
import hashlib
import os
import threading
from pathlib import Path
from typing import Protocol

import psycopg

from dozo.jobs.database import libpq_address, shown, sqlite_path
from dozo.jobs.errors import ExecutorAlive, JobsUnavailable
from dozo.model import clock


class ExecutorLock(Protocol):
    """A name that this process holds."""

    @property
    def held_since(self) -> float | None:
        """Since when, by the monotonic clock, it was held without a break; None while it is not."""

    def keep(self) -> None:
        """Take it again where the database lost it; to be called again and again."""

    def release(self) -> None:
        """Give it up; ending the process does so too."""


def hold(database: str, executor: str) -> ExecutorLock:
    """Hold the name ``executor`` at this database.

    Raises :class:`ExecutorAlive` if a process holds it, :class:`JobsUnavailable` if the database
    cannot say.
    """
    path = sqlite_path(database)
    if path is None:
        return DatabaseLock(database, executor)
    return FileLock(path.with_name(f"{path.name}.{executor}.lock"), executor)


class FileLock:
    """A lock on a file beside the database: held until the process ends, however it ends."""

    def __init__(self, path: Path, executor: str) -> None:
        try:
            self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JobsUnavailable(database=str(path), reason=str(error)) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise ExecutorAlive(executor=executor) from error
        self.held_since: float | None = clock.monotonic()

    def keep(self) -> None:
        """Nothing takes it away from a living process."""

    def release(self) -> None:
        """Give the name up. The file stays: removing it would let two processes hold it."""
        os.close(self._fd)


class DatabaseLock:
    """An advisory lock of one database session; the server frees it when the session ends.

    That is also when the server is started anew: :meth:`keep` takes it again.
    """

    def __init__(self, database: str, executor: str) -> None:
        digest = hashlib.sha256(f"dozo.jobs.executor.{executor}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._database = database
        self._executor = executor
        self._guard = threading.Lock()
        self._released = False
        self.held_since: float | None = None
        self._session = self._connect()
        if not self._take():
            self._session.close()
            raise ExecutorAlive(executor=executor)

    def _connect(self) -> psycopg.Connection:
        try:
            session = psycopg.connect(
                libpq_address(self._database),
                autocommit=True,
                connect_timeout=10,
                application_name="dozo jobs executor",
            )
            # A host that lost its power closes nothing: the server has to notice by itself.
            session.execute("SET tcp_keepalives_idle = 10")
            session.execute("SET tcp_keepalives_interval = 5")
            session.execute("SET tcp_keepalives_count = 3")
        except psycopg.Error as error:
            raise JobsUnavailable(
                database=shown(self._database), reason=str(error).strip()
            ) from error
        return session

    def _take(self) -> bool:
        row = self._session.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
        held = row is not None and bool(row[0])
        self.held_since = clock.monotonic() if held else None
        return held

    def keep(self) -> None:
        """Take the name again if the session has ended; quick while it has not."""
        with self._guard:
            if self._released:
                return
            try:
                if self.held_since is None:
                    self._renew()
                else:
                    self._session.execute("SELECT 1")
            except (psycopg.Error, JobsUnavailable):
                self.held_since = None

    def _renew(self) -> None:
        if self._session.closed:
            self._session = self._connect()
        self._take()

    def release(self) -> None:
        """Give the name up."""
        with self._guard:
            self._released = True
            self._session.close()
