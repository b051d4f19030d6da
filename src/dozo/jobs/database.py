"""The database of the jobs: its address, and making its file."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from dozo.jobs.errors import JobsUnavailable
from dozo.model.message import Message


def shown(database: str) -> str:
    """The address without its password."""
    try:
        return make_url(database).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not an address)"


def sqlite_path(database: str) -> Path | None:
    """The file of an SQLite database; None for PostgreSQL.

    Raises :class:`JobsUnavailable` for anything else, and for SQLite in memory.
    """
    try:
        url = make_url(database)
    except ArgumentError as error:
        raise JobsUnavailable(database="(not an address)", reason=str(error)) from error
    backend = url.get_backend_name()
    if backend == "postgresql" and url.database:
        return None
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return Path(url.database)
    raise JobsUnavailable(
        database=shown(database), reason=Message("neither an SQLite file nor a PostgreSQL database")
    )


def libpq_address(database: str) -> str:
    """The address as PostgreSQL's own library reads it."""
    return make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)


def prepare(database: str) -> None:
    """Make an SQLite file that only its owner may read, with a write-ahead log.

    The log lets pollers read while a job is being stored. PostgreSQL needs nothing here.
    Raises :class:`JobsUnavailable`.
    """
    path = sqlite_path(database)
    if path is None:
        return
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    except (OSError, sqlite3.Error) as error:
        raise JobsUnavailable(database=shown(database), reason=str(error)) from error
