"""The durable note of a capture: what a killed process would leave behind, written beforehand."""

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Stage(StrEnum):
    """How far a capture has come; says what may have to be undone."""

    PREPARED = "prepared"
    FREEZING = "freezing"
    CAPTURING = "capturing"
    FINISHED = "finished"


@dataclass(frozen=True, kw_only=True)
class CaptureNote:
    """Everything that is needed to undo a capture without the process that began it.

    ``checkpoint`` is kept only once ``stage`` is *finished*. ``was_running`` says that the
    guest ran at the start, so a pause by an I/O error is our doing.
    """

    capture: str
    uri: str
    server_uuid: str
    server: str
    domain_id: int
    devices: tuple[str, ...]
    scratch: str
    socket: str
    checkpoint: str | None
    was_running: bool
    quota_bytes: int | None
    reserve_bytes: int
    stage: Stage = Stage.PREPARED

    def path_in(self, directory: Path) -> Path:
        """Where this note lies."""
        return directory / f"capture-{self.capture}.json"


def write(note: CaptureNote, directory: Path) -> Path:
    """Make the note durable; returns its path. It replaces the capture's earlier one."""
    path = note.path_in(directory)
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(asdict(note), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_directory(directory)
    return path


def read(path: Path) -> CaptureNote | None:
    """The note at ``path``; None if it is gone or was never finished."""
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        plain["devices"] = tuple(plain["devices"])
        plain["stage"] = Stage(plain["stage"])
        return CaptureNote(**plain)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remove(note: CaptureNote, directory: Path) -> None:
    """Forget a capture of which nothing is left; nothing happens if it is forgotten already."""
    path = note.path_in(directory)
    path.unlink(missing_ok=True)
    lock_path(path).unlink(missing_ok=True)
    _sync_directory(directory)


def lock_path(note_path: Path) -> Path:
    """The file that is locked as long as the capture or its watchdog lives."""
    return note_path.with_suffix(".lock")


def take_lock(note_path: Path) -> int | None:
    """Lock a capture; None while somebody has it.

    The lock belongs to the open file description, so it lasts as long as any process that
    inherited the descriptor: the capture's own process or its watchdog.
    """
    descriptor = os.open(lock_path(note_path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def notes_in(directory: Path) -> Iterator[Path]:
    """The paths of all capture notes, in a stable order."""
    yield from sorted(directory.glob("capture-*.json"))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
