"""Bringing a catalog's schema up to date: one process at a time, and with a way back."""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import connections

from dozo.catalog.errors import CatalogNewer

if TYPE_CHECKING:
    from django.db.migrations.executor import MigrationExecutor

_APP = "catalog"
_COPIES_KEPT = 3


def bring_up_to_date(alias: str, path: Path, shown: str) -> None:
    """Apply the migrations that the database lacks; whoever comes meanwhile waits.

    An SQLite file that has something in it is copied first, to ``NAME.before-NNNN`` beside it:
    NNNN is the first migration that it lacks, and the last three copies stay. Raises
    :class:`CatalogNewer` for a database that newer code has written, and changes nothing.
    """
    with _alone(alias, path):
        executor = _executor(alias)
        _refuse_newer(executor, shown)
        lacking = [
            one for one, _back in executor.migration_plan(executor.loader.graph.leaf_nodes())
        ]
        if not lacking:
            return
        own = [one.name for one in lacking if one.app_label == _APP]
        if _is_sqlite(alias):
            if executor.loader.applied_migrations and own:
                _keep_copy(path, own[0].partition("_")[0])
            _migrate(alias)
            path.chmod(0o600)
        else:
            _migrate(alias)


def _is_sqlite(alias: str) -> bool:
    return connections[alias].vendor == "sqlite"


def _executor(alias: str) -> "MigrationExecutor":
    from django.db.migrations.executor import MigrationExecutor  # noqa: PLC0415  slow to load

    return MigrationExecutor(connections[alias])


def _migrate(alias: str) -> None:
    from django.core.management import call_command  # noqa: PLC0415  slow to load, seldom needed

    call_command("migrate", database=alias, verbosity=0, interactive=False)


def _refuse_newer(executor: "MigrationExecutor", shown: str) -> None:
    known = executor.loader.disk_migrations
    unknown = sorted(
        name
        for app, name in executor.loader.applied_migrations or ()
        if app == _APP and (app, name) not in known
    )
    if unknown:
        raise CatalogNewer(shown, unknown[-1])


@contextmanager
def _alone(alias: str, path: Path) -> Iterator[None]:
    """Keep other processes out; a dead one's lock is gone with it."""
    if _is_sqlite(alias):
        # Before the first connection: two that make the same file get in each other's way.
        with _file_lock(path.with_name(f"{path.name}.lock")):
            yield
        return
    with _database_lock(connections[alias]):
        yield


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _database_lock(connection: Any) -> Iterator[None]:
    digest = hashlib.sha256(b"dozo.catalog.migrate").digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [key])
    try:
        yield
    finally:
        # The end of the session gives it up too.
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


def _keep_copy(path: Path, number: str) -> None:
    """A durable copy of the file as it is before migration ``number``."""
    temporary = path.with_name(f"{path.name}.before-new")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(temporary)) as target:
        source.backup(target)
        # One file that needs no log beside it.
        target.execute("PRAGMA journal_mode=DELETE")
    _fsync(temporary)
    temporary.replace(path.with_name(f"{path.name}.before-{number}"))
    _fsync(path.parent)
    for old in sorted(path.parent.glob(f"{path.name}.before-[0-9]*"))[:-_COPIES_KEPT]:
        old.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
