"""Who runs jobs under a name: at most one living process.

Recovery runs again whatever a name left unfinished, so a second process of that name, or one that
adopts its jobs, must be sure that the first is dead. A lock that the operating system, or the
database, takes away from a dead process says so without any clock.
"""

import fcntl
import hashlib
import os
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

import psycopg

from dozo.jobs.database import libpq_address, shown, sqlite_path
from dozo.jobs.errors import ExecutorAlive, JobsUnavailable
from dozo.model import clock

# Whoever looks whether a name is free holds it for a moment.
_TRIES: Final = 10
_TRY_S: Final = 0.1


class Holding(Enum):
    """What became of a name that was taken."""

    HELD = "held"
    RETAKEN = "lost and taken back"
    LOST = "held by another process"
    UNKNOWN = "the database does not answer"


class ExecutorLock(Protocol):
    """A name that this process holds."""

    def look(self) -> Holding:
        """Whether it still does; takes the name back if it can."""

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
        if not any(self._take() for _ in range(_TRIES)):
            os.close(self._fd)
            raise ExecutorAlive(executor=executor)

    def _take(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            clock.sleep(_TRY_S)
            return False
        return True

    def look(self) -> Holding:
        """Nobody can take it away."""
        return Holding.HELD

    def release(self) -> None:
        """Give the name up. The file stays: removing it would let two processes hold it."""
        os.close(self._fd)


class DatabaseLock:
    """An advisory lock of one database session; the server frees it when the session ends."""

    def __init__(self, database: str, executor: str) -> None:
        digest = hashlib.sha256(f"dozo.jobs.executor.{executor}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._database = database
        self._session = self._connect()
        try:
            taken = self._take()
        except psycopg.Error as error:
            self._session.close()
            raise self._unavailable(error) from error
        if not taken:
            self._session.close()
            raise ExecutorAlive(executor=executor)

    def _unavailable(self, error: psycopg.Error) -> JobsUnavailable:
        return JobsUnavailable(database=shown(self._database), reason=str(error).strip())

    def _connect(self) -> psycopg.Connection:
        try:
            session = psycopg.connect(
                libpq_address(self._database),
                autocommit=True,
                connect_timeout=10,
                application_name="dozo jobs executor",
            )
            # A host that lost its power closes nothing: each side has to notice by itself.
            session.execute("SET tcp_keepalives_idle = 10")
            session.execute("SET tcp_keepalives_interval = 5")
            session.execute("SET tcp_keepalives_count = 3")
        except psycopg.Error as error:
            raise self._unavailable(error) from error
        return session

    def _take(self) -> bool:
        for _ in range(_TRIES):
            row = self._session.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
            if row is not None and row[0]:
                return True
            clock.sleep(_TRY_S)
        return False

    def look(self) -> Holding:
        """Ask the session; after a broken one, take the name in a new one."""
        try:
            self._session.execute("SELECT 1")
        except psycopg.Error:
            self._session.close()
        else:
            return Holding.HELD
        try:
            self._session = self._connect()
            return Holding.RETAKEN if self._take() else Holding.LOST
        except (JobsUnavailable, psycopg.Error):
            return Holding.UNKNOWN

    def release(self) -> None:
        """Give the name up."""
        self._session.close()
