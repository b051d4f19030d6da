"""The images that Dozo makes: one record beside each, so that none is ever anonymous.

A record is written before its image and says *creating* until the image is complete. After a
crash an image is therefore either known and complete, or known to be half-done and removed.
Records lie in the pool itself: they outlive the catalog and the home.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from dozo.model.message import Message
from dozo.services.errors import NameInvalid, PoolFull, VolumeNameTaken
from dozo.services.notes import fsync_directory

CREATING = "creating"
READY = "ready"
_RECORDS = ".dozo"
_TENANTS = "tenants"
_NAMES = "names"


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
    # The snapshots of an in-place restore that has begun and not ended: of a volume that is
    # attached to nothing, only this and the catalog know.
    restoring: str = ""
    safety: str = ""
    # The job that made it, by which a later run of the same job knows it as its own.
    job: str = ""


class Pool:
    """The folder that a site's new images go to."""

    def __init__(self, folder: Path, default_tenant: str = "default") -> None:
        self.folder = folder
        self._default_tenant = default_tenant

    def image_path(self, name: str, format: str, tenant: str | None = None) -> Path:
        """Where the image of a tenant's volume called ``name`` lies.

        Each tenant but the default one has a folder, so that no name is taken by another's.
        """
        folder = self.folder
        if tenant not in {None, self._default_tenant}:
            folder = self.folder / _TENANTS / str(tenant)
        return folder / f"{checked_name(name)}.{format}"

    def taken_names(self, tenant: str) -> set[str]:
        """What a tenant's images are called."""
        return {image.name for image in self.images() if image.tenant == tenant}

    def require_space(self, need_bytes: int) -> None:
        """Raises :class:`PoolFull` where ``need_bytes`` do not fit."""
        free = shutil.disk_usage(self.folder).free
        if free < need_bytes:
            raise PoolFull(str(self.folder), free, need_bytes)

    def require_free_name(self, name: str, format: str, tenant: str | None = None) -> Path:
        """The path for a new image; :class:`VolumeNameTaken` where something is there already."""
        path = self.image_path(name, format, tenant)
        self._require_free(name, path, tenant or self._default_tenant)
        return path

    def _require_free(self, name: str, path: Path, tenant: str) -> None:
        if path.exists():
            raise VolumeNameTaken(name, Message("the file {path}", path=path))
        for image in self.images():
            if (image.name, image.tenant) == (name, tenant) or image.path == str(path):
                raise VolumeNameTaken(name, Message("volume {volume}", volume=image.volume_id))

    @contextmanager
    def making(self, image: PoolImage, create: Callable[[], None]) -> Iterator[None]:
        """Make the image within the block: whole when the block ends, gone when it raises.

        ``create`` makes the empty file, refuses one that exists, and leaves none when it fails;
        the block fills it and leaves it durable. The record says *creating* until then, locked
        by this process, so that whoever finds it later knows whether its maker still lives.

        Only what this call created is ever removed. Raises :class:`VolumeNameTaken` where the
        name, the path or the volume's id was taken since the plan.
        """
        self._records().mkdir(mode=0o700, exist_ok=True)
        with _locked(self._lock(image.volume_id), wait=True, unlink=True):
            # The record reserves the name: it is written under a lock that all makers share.
            with _locked(self._lock(_NAMES), wait=True):
                self._require_unmade(image)
                self._write(replace(image, state=CREATING))
            try:
                self._make_folder(Path(image.path).parent)
                create()
            except BaseException:
                self.forget(image)
                raise
            try:
                yield
            except BaseException:
                self.discard(image)
                raise
            fsync_directory(Path(image.path).parent)
            self._write(replace(image, state=READY))

    def _require_unmade(self, image: PoolImage) -> None:
        before = self.find(image.volume_id)
        if before is not None and Path(before.path).exists():
            raise VolumeNameTaken(
                image.name,
                Message("volume {volume} ({path})", volume=before.volume_id, path=before.path),
            )
        if before is not None:
            # A volume that comes back: of its old image only the record is left.
            self.forget(before)
        self._require_free(image.name, Path(image.path), image.tenant)

    def _make_folder(self, folder: Path) -> None:
        """The folder of a tenant, which QEMU's user may enter."""
        for one in (self.folder / _TENANTS, folder):
            if folder != self.folder and self.folder in one.parents and not one.exists():
                one.mkdir(mode=0o711, exist_ok=True)
                one.chmod(0o711)
                fsync_directory(one.parent)

    def discard(self, image: PoolImage) -> None:
        """Remove the image and its record; nothing is wrong if they are gone already."""
        Path(image.path).unlink(missing_ok=True)
        if Path(image.path).parent.exists():
            fsync_directory(Path(image.path).parent)
        self.forget(image)

    def mark_restoring(self, volume_id: UUID | str, *, restoring: str, safety: str) -> None:
        """Note an in-place restore beside the image, durably; empty texts when it has ended.

        Nothing happens for a volume that has no record.
        """
        image = self.find(volume_id)
        if image is not None and (image.restoring, image.safety) != (restoring, safety):
            self._write(replace(image, restoring=restoring, safety=safety))

    def assign(self, volume_id: UUID | str, tenant: str) -> None:
        """Note who owns the image now, durably. Nothing happens for a volume without a record."""
        image = self.find(volume_id)
        if image is not None and image.tenant != tenant:
            self._write(replace(image, tenant=tenant))

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
        return [image for image in self.images() if self._is_left(image)]

    def _is_left(self, image: PoolImage) -> bool:
        if image.state != CREATING:
            return False
        with self._left(image) as found:
            return found is not None

    def discard_leftover(self, image: PoolImage) -> bool:
        """Remove an image whose maker is dead; False where it turns out to live or to be done."""
        with self._left(image) as found:
            if found is not None:
                self.discard(found)
            return found is not None

    @contextmanager
    def _left(self, image: PoolImage) -> Iterator[PoolImage | None]:
        """The record, held, if nobody is making its image and nobody completed it."""
        with _locked(self._lock(image.volume_id), wait=False, unlink=True) as held:
            # Read under the lock: before it, the maker may have been about to finish.
            found = self.find(image.volume_id) if held else None
            yield found if found is not None and found.state == CREATING else None

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


@contextmanager
def _locked(path: Path, *, wait: bool, unlink: bool = False) -> Iterator[bool]:
    """Hold the lock file for the block; False, without ``wait``, where somebody else has it.

    With ``unlink`` its file goes with the block. Whoever waited for it then holds a lock that
    nobody else can find, notices it by the inode, and tries again.
    """
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            if not _is_at(lock, path):
                continue
            try:
                yield True
            finally:
                if unlink:
                    path.unlink(missing_ok=True)
            return
        finally:
            os.close(lock)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


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
        raise NameInvalid(name, Message("it is empty or too long"))
    if name.startswith((".", "-")) or not all(
        letter.isalnum() or letter in "._-+" for letter in name
    ):
        raise NameInvalid(name, Message("it has characters that file names or commands trip over"))
    return name
