"""Scratch space: where QEMU keeps what the guest overwrites during a capture, and its level."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

PREFIX = "dozo-"
# A unix socket's address has 108 bytes, the terminating zero among them.
_MAX_SOCKET_PATH = 107

DEFAULT_RESERVE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Level:
    """How full scratch space is: what this capture uses, what its file system has left."""

    used_bytes: int
    free_bytes: int

    def is_over(self, quota_bytes: int | None, reserve_bytes: int) -> bool:
        """Whether the capture must be given up before the guest's writes fail."""
        over_quota = quota_bytes is not None and self.used_bytes > quota_bytes
        return over_quota or self.free_bytes < reserve_bytes


def directory_for(root: Path, capture: str) -> Path:
    """The capture's own directory; ``ValueError`` if a socket in it could not be addressed."""
    directory = root / f"{PREFIX}{capture}"
    if len(os.fsencode(socket_in(directory))) > _MAX_SOCKET_PATH:
        raise ValueError(f"the path {root} is too long for a socket")
    return directory


def socket_in(directory: Path) -> Path:
    """Where QEMU listens."""
    return directory / "nbd"


def prepare(directory: Path, owner: tuple[int, int] | None) -> None:
    """Make the capture's directory, usable by QEMU's user and nobody else. Raises ``OSError``."""
    if not directory.parent.exists():
        directory.parent.mkdir(parents=True, mode=0o711)
        directory.parent.chmod(0o711)
    directory.mkdir(mode=0o700)
    if owner is not None and owner != (os.geteuid(), os.getegid()):
        os.chown(directory, *owner)


def level(directory: Path) -> Level:
    """The present level; a directory that is gone uses nothing."""
    used_bytes = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                used_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:
        used_bytes = 0
    return Level(used_bytes=used_bytes, free_bytes=free_bytes(directory))


def free_bytes(directory: Path) -> int:
    """Bytes free on the file system of ``directory`` or of its nearest parent that exists."""
    while not directory.exists():
        directory = directory.parent
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def remove(directory: Path) -> None:
    """Delete the capture's directory and everything in it; gone already is fine."""
    shutil.rmtree(directory, ignore_errors=True)
