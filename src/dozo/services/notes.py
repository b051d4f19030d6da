"""Durable notes about work in flight: who is busy with what, provable after a crash.

A note is a small JSON file that its writer keeps locked (``flock``) for as long as the work
goes on. The lock dies with the process, the file does not: a note that nobody holds is a
leftover of a killed process. Notes lie on the host's own disk, never on a network file system.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.message import Message, from_json, stored

_LOCK_TRIES = 5
_LOCK_PAUSE_SECONDS = 0.02


@dataclass(eq=False)
class Busy(DozoError):
    """Another operation is at work on the same thing."""

    code = "site.busy"
    kind = ErrorKind.REFUSED
    retry = Retry.LATER
    text = "{self.what} is busy: {self.work} (process {self.pid}, since {self.since})"
    hint = "Wait until it is done and try again."
    what: str
    work: str
    pid: int
    since: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a note's file says, and whether its writer is still alive."""

    path: Path
    what: str
    work: str
    pid: int
    since: str
    alive: bool
    body: dict[str, Any]


class HeldNote:
    """A note while its writer holds it."""

    def __init__(self, path: Path, body: dict[str, Any]) -> None:
        self.path = path
        self.body = body
        self.kept = False

    def keep(self) -> None:
        """Leave the note behind when its holder lets go: what it speaks of is not over."""
        self.kept = True

    def update(self, **entries: object) -> None:
        """Add to the note, durably, before doing what the new entries speak of."""
        self.body.update(entries)
        _write(self.path, self.body)

    @property
    def asked_to_stop(self) -> bool:
        """Whether somebody asked this work to give way (:func:`ask_to_stop`)."""
        return _stop_mark(self.path).exists()


@contextmanager
def hold(directory: Path, name: str, *, what: str, work: str, **body: object) -> Iterator[HeldNote]:
    """Keep the note ``name`` while the block runs; raises :class:`Busy` if somebody has it.

    The note is durable before the block starts. A leftover note of a dead process is replaced:
    clean-up (:func:`stale`) has to run before work that could meet one.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{name}.json"
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(lock):
            raise _busy(path, what)
        whole = {
            "what": what,
            "work": work,
            "pid": os.getpid(),
            "since": clock.to_text(clock.now()),
            # In a form that can be said in every language.
            "told": {"what": stored(what), "work": stored(work)},
            **body,
        }
        _stop_mark(path).unlink(missing_ok=True)
        _write(path, whole)
        held = HeldNote(path, whole)
        try:
            yield held
        finally:
            if not held.kept:
                path.unlink(missing_ok=True)
            _stop_mark(path).unlink(missing_ok=True)
    finally:
        os.close(lock)


@contextmanager
def take_over(note: Note) -> Iterator[Note | None]:
    """Hold a leftover while it is cleaned up; it stays unless the block calls :func:`forget`.

    None where somebody else cleans it up, or has begun new work under its name.
    """
    lock = os.open(note.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(lock):
            yield None
            return
        yield _read(note.path, alive=False)
    finally:
        os.close(lock)


def forget(note: Note) -> None:
    """Remove a leftover that was taken over, once nothing more is to be learnt from it."""
    note.path.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool:
    """Lock a note; a few tries, because :func:`_held` locks it for an instant to look."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            clock.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return True
    return False


def read_all(directory: Path, prefix: str = "") -> list[Note]:
    """Every note whose name starts with ``prefix``, sorted by name."""
    found = (_read(path) for path in sorted(directory.glob(f"{prefix}*.json")))
    return [note for note in found if note is not None]


def find(directory: Path, name: str) -> Note | None:
    """The note ``name``, alive or not."""
    return _read(directory / f"{name}.json")


def stale(directory: Path, prefix: str = "") -> list[Note]:
    """The notes that killed processes left behind."""
    return [note for note in read_all(directory, prefix) if not note.alive]


def ask_to_stop(note: Note) -> None:
    """Ask the writer of a live note to give up its work; it looks while it makes progress."""
    _stop_mark(note.path).touch()


def _stop_mark(path: Path) -> Path:
    return path.with_suffix(".stop")


def _read(path: Path, *, alive: bool | None = None) -> Note | None:
    try:
        body = cast("dict[str, Any]", json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except ValueError:
        body = {}
    told = body.get("told")
    told = told if isinstance(told, dict) else {}
    return Note(
        path=path,
        what=from_json(told.get("what"), str(body.get("what", path.stem))),
        work=from_json(told.get("work"), str(body.get("work", Message("unknown work")))),
        pid=int(body.get("pid", 0)),
        since=str(body.get("since", "unknown")),
        alive=_held(path.with_suffix(".lock")) if alive is None else alive,
        body=body,
    )


def _held(lock_path: Path) -> bool:
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _busy(path: Path, what: str) -> Busy:
    note = _read(path)
    if note is None:
        return Busy(what, Message("another operation that has just begun"), 0, "now")
    return Busy(note.what, note.work, note.pid, note.since)


def _write(path: Path, body: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("w") as file:
        json.dump(body, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_directory(path.parent)


def fsync_directory(directory: Path) -> None:
    """Make the entries of a directory durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
