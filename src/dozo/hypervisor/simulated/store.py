"""Where simulated servers are kept: one SQLite file that several processes may use."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE_NAME = "servers.sqlite3"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS servers (
    uuid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, definition TEXT NOT NULL,
    run INTEGER NOT NULL, stop_due_s REAL, clean INTEGER NOT NULL, frozen INTEGER NOT NULL,
    written_until_s REAL NOT NULL, capture TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS checkpoints (
    number INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, name TEXT NOT NULL,
    devices TEXT NOT NULL, created_at_s REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS checkpoints_of ON checkpoints (uuid);
CREATE TABLE IF NOT EXISTS starts (number INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL);
"""
_BUSY_S = 30.0
# Who watches for starts looks many times a second: older ones are of no use to anybody.
_STARTS_KEPT = 10_000


@dataclass(frozen=True, kw_only=True)
class ServerRow:
    """A simulated server.

    ``run`` numbers its runs and is 0 while it is stopped; ``stop_due_s`` is when its guest will
    have shut down, ``written_until_s`` up to when its guest's writes are in the images (seconds
    since the epoch). ``capture`` is the live capture under way.
    """

    uuid: str
    name: str
    definition: str
    run: int = 0
    stop_due_s: float | None = None
    clean: bool = False
    frozen: bool = False
    written_until_s: float = 0.0
    capture: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """A checkpoint of a simulated server."""

    name: str
    devices: tuple[str, ...]
    created_at_s: float


class Store:
    """The rows; each thread has a connection of its own."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._threads = threading.local()
        with self._writing() as rows:
            for statement in _SCHEMA.split(";"):
                rows.execute(statement)

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._threads, "connection", None)
        if connection is not None:
            connection.close()
            del self._threads.connection

    def servers(self) -> list[ServerRow]:
        """All, sorted by name."""
        return [_row(one) for one in self._read().execute("SELECT * FROM servers ORDER BY name")]

    def find(self, server: str) -> ServerRow | None:
        """By name, else by UUID."""
        found = self._read().execute(
            "SELECT * FROM servers WHERE name = ? OR uuid = ? ORDER BY name = ? DESC",
            (server, server, server),
        )
        first = found.fetchone()
        return None if first is None else _row(first)

    def add(self, row: ServerRow) -> None:
        """Add a server; ``sqlite3.IntegrityError`` where its name or UUID is taken."""
        with self._writing() as rows:
            rows.execute(
                "INSERT INTO servers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.uuid,
                    row.name,
                    row.definition,
                    row.run,
                    row.stop_due_s,
                    row.clean,
                    row.frozen,
                    row.written_until_s,
                    row.capture,
                ),
            )

    def remove(self, uuid: str) -> None:
        """Forget a server and its checkpoints."""
        with self._writing() as rows:
            rows.execute("DELETE FROM servers WHERE uuid = ?", (uuid,))
            rows.execute("DELETE FROM checkpoints WHERE uuid = ?", (uuid,))

    def change(self, uuid: str, **values: Any) -> None:
        """Set fields of a server."""
        assigned = ", ".join(f"{field} = ?" for field in values)
        with self._writing() as rows:
            rows.execute(
                f"UPDATE servers SET {assigned} WHERE uuid = ?",  # noqa: S608  names of fields
                (*values.values(), uuid),
            )

    def begin_run(self, uuid: str, *, at_s: float) -> None:
        """A server starts: a new run, and an event for whoever watches."""
        with self._writing() as rows:
            run = rows.execute("INSERT INTO starts (uuid) VALUES (?)", (uuid,)).lastrowid
            rows.execute("DELETE FROM starts WHERE number <= ?", ((run or 0) - _STARTS_KEPT,))
            rows.execute(
                "UPDATE servers SET run = ?, stop_due_s = NULL, clean = 0, frozen = 0,"
                " written_until_s = ?, capture = '' WHERE uuid = ?",
                (run, at_s, uuid),
            )

    def last_start(self) -> int:
        """The number of the newest start of all; 0 if there was none."""
        return int(self._read().execute("SELECT max(number) FROM starts").fetchone()[0] or 0)

    def starts_after(self, number: int) -> list[str]:
        """The servers that were started since a number, the oldest start first."""
        found = self._read().execute(
            "SELECT uuid FROM starts WHERE number > ? ORDER BY number", (number,)
        )
        return [one["uuid"] for one in found]

    def checkpoints(self, uuid: str) -> list[CheckpointRow]:
        """A server's, the oldest first."""
        found = self._read().execute(
            "SELECT * FROM checkpoints WHERE uuid = ? ORDER BY number", (uuid,)
        )
        return [
            CheckpointRow(
                name=one["name"],
                devices=tuple(json.loads(one["devices"])),
                created_at_s=one["created_at_s"],
            )
            for one in found
        ]

    def add_checkpoint(self, uuid: str, row: CheckpointRow) -> None:
        """Add a server's newest one."""
        with self._writing() as rows:
            rows.execute(
                "INSERT INTO checkpoints (uuid, name, devices, created_at_s) VALUES (?, ?, ?, ?)",
                (uuid, row.name, json.dumps(row.devices), row.created_at_s),
            )

    def remove_checkpoint(self, uuid: str, name: str) -> None:
        """Forget a checkpoint; one that is gone already is fine."""
        with self._writing() as rows:
            rows.execute("DELETE FROM checkpoints WHERE uuid = ? AND name = ?", (uuid, name))

    def _read(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._threads.connection = connection
        return connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._read()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _row(found: sqlite3.Row) -> ServerRow:
    return ServerRow(
        uuid=found["uuid"],
        name=found["name"],
        definition=found["definition"],
        run=found["run"],
        stop_due_s=found["stop_due_s"],
        clean=bool(found["clean"]),
        frozen=bool(found["frozen"]),
        written_until_s=found["written_until_s"],
        capture=found["capture"],
    )
