"""The images that Dozo makes: one record beside each, so that none is ever anonymous.

A record is written before its image and says *creating* until the image is complete. After a
crash an image is therefore either known and complete, or known to be half-done and removed.
Records lie in the pool itself: they outlive the catalog and the home.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from dozo.services.errors import NameInvalid, PoolFull, VolumeNameTaken
from dozo.services.notes import fsync_directory

CREATING = "creating"
READY = "ready"
_RECORDS = ".dozo"


@dataclass(frozen=True, kw_only=True)
class PoolImage:
    """What a record says about an image."""

    volume_id: str
    name: str
    path: str
    format: str
    bytes_volume: int
    tenant: str
    state: str = CREATING
    origin_snapshot: str = ""
    device: str = ""
    bus: str = ""
    serial: str = ""
    is_root: bool = False


class Pool:
    """The folder that a site's new images go to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def image_path(self, name: str, format: str) -> Path:
        """Where the image of a volume called ``name`` lies."""
        return self.folder / f"{checked_name(name)}.{format}"

    def require_space(self, need_bytes: int) -> None:
        """Raises :class:`PoolFull` where ``need_bytes`` do not fit."""
        free = shutil.disk_usage(self.folder).free
        if free < need_bytes:
            raise PoolFull(str(self.folder), free, need_bytes)

    def require_free_name(self, name: str, format: str) -> Path:
        """The path for a new image; :class:`VolumeNameTaken` where something is there already."""
        path = self.image_path(name, format)
        if path.exists():
            raise VolumeNameTaken(name, f"the file {path}")
        for image in self.images():
            if image.name == name:
                raise VolumeNameTaken(name, f"volume {image.volume_id}")
        return path

    @contextmanager
    def making(self, image: PoolImage) -> Iterator[None]:
        """Make the image within the block: whole when the block ends, gone when it raises.

        The block leaves the image durable. Its record says *creating* until then, locked by this
        process, so that whoever finds it later knows whether its maker still lives.
        """
        self._records().mkdir(mode=0o700, exist_ok=True)
        lock_path = self._lock(image.volume_id)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._write(replace(image, state=CREATING))
            try:
                yield
            except BaseException:
                self.discard(image)
                raise
            self._write(replace(image, state=READY))
        finally:
            lock_path.unlink(missing_ok=True)
            os.close(lock)

    def discard(self, image: PoolImage) -> None:
        """Remove the image and its record; nothing is wrong if they are gone already."""
        Path(image.path).unlink(missing_ok=True)
        fsync_directory(self.folder)
        self.forget(image)

    def forget(self, image: PoolImage) -> None:
        """Remove the record alone."""
        self._record(image.volume_id).unlink(missing_ok=True)

    def images(self) -> list[PoolImage]:
        """Every image with a record, whole or not; unreadable records are left alone."""
        found = []
        for path in sorted(self._records().glob("*.json")):
            image = _read(path)
            if image is not None:
                found.append(image)
        return found

    def find(self, volume_id: UUID | str) -> PoolImage | None:
        """The record of a volume."""
        return _read(self._record(str(volume_id)))

    def leftovers(self) -> list[PoolImage]:
        """Images whose maker is dead."""
        return [
            image
            for image in self.images()
            if image.state == CREATING and not self._being_made(image)
        ]

    def _being_made(self, image: PoolImage) -> bool:
        try:
            lock = os.open(self._lock(image.volume_id), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _records(self) -> Path:
        return self.folder / _RECORDS

    def _record(self, volume_id: str) -> Path:
        return self._records() / f"{volume_id}.json"

    def _lock(self, volume_id: str) -> Path:
        return self._records() / f"{volume_id}.lock"

    def _write(self, image: PoolImage) -> None:
        path = self._record(image.volume_id)
        temporary = path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump(asdict(image), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)


def _read(path: Path) -> PoolImage | None:
    try:
        plain: dict[str, Any] = json.loads(path.read_text())
        return PoolImage(
            **{key: plain[key] for key in PoolImage.__dataclass_fields__ if key in plain}
        )
    except (FileNotFoundError, ValueError, TypeError):
        return None


def checked_name(name: str) -> str:
    """``name``, if it can be a file's and a volume's name; :class:`NameInvalid` otherwise."""
    if not name or len(name) > 200:
        raise NameInvalid(name, "it is empty or too long")
    if name.startswith((".", "-")) or not all(
        letter.isalnum() or letter in "._-+" for letter in name
    ):
        raise NameInvalid(name, "it has characters that file names or commands trip over")
    return name
