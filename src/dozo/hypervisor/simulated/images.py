"""A simulated guest's disks: real files, written and tracked by QEMU's own tools."""

import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dozo.hypervisor.simulated.guest import Write
from dozo.model.change_token import BitmapState

_QCOW2_MAGIC = 0x514649FB
# magic, version, backing offset and size, cluster bits, size (docs/interop/qcow2.txt)
_QCOW2 = struct.Struct(">IIQIIQ")
_PROGRAM_S = 300


class ImageFailed(Exception):
    """One of QEMU's programs refused; the words are its own."""


def make(path: Path, *, format: str, size_bytes: int) -> None:
    """A new empty image, sparse."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _run(["qemu-img", "create", "-q", "-f", format, str(path), str(size_bytes)])


def size_bytes(path: str, format: str) -> int | None:
    """The virtual size, from the header; None where there is no such image."""
    try:
        with Path(path).open("rb") as file:
            if format != "qcow2":
                return file.seek(0, os.SEEK_END)
            magic, _, _, _, _, size = _QCOW2.unpack(file.read(_QCOW2.size))
    except (OSError, struct.error):
        return None
    return int(size) if magic == _QCOW2_MAGIC else None


def require_usable(path: str, format: str) -> None:
    """Open an image as a starting server would: ``ImageFailed`` if it is missing or locked."""
    _run(["qemu-io", "-f", format, "-c", "quit", path])


def write(path: str, format: str, writes: Sequence[Write]) -> None:
    """Write as the guest does; every bitmap that records takes note. Durable on return."""
    if not writes:
        return
    commands: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dozo-simulated-")))
        for number, one in enumerate(writes):
            content = folder / str(number)
            content.write_bytes(one.content)
            commands += ["-c", f"write -q -s {content} {one.offset_bytes} {len(one.content)}"]
        _run(["qemu-io", "-f", format, *commands, "-c", "flush", path])


def copy(source: str, target: Path) -> None:
    """The same image again, sharing its blocks where the file system can."""
    _run(["cp", "--reflink=auto", "--sparse=always", "--", source, str(target)])


def bitmaps(path: str, format: str) -> tuple[BitmapState, ...]:
    """The bitmaps in an image; none in one that can have none, or is gone."""
    specific = _info(path, format).get("format-specific", {}).get("data", {})
    return tuple(
        BitmapState(
            name=one["name"],
            recording="auto" in one["flags"],
            inconsistent="in-use" in one["flags"],
        )
        for one in specific.get("bitmaps", ())
    )


def internal_snapshots(path: str, format: str) -> tuple[str, ...]:
    """The names of the snapshots inside an image."""
    return tuple(one["name"] for one in _info(path, format).get("snapshots", ()))


def add_bitmap(path: str, name: str) -> None:
    """Begin to record what is written."""
    _run(["qemu-img", "bitmap", "-f", "qcow2", "--add", path, name])


def remove_bitmap(path: str, name: str) -> None:
    """Remove a bitmap; ``ImageFailed`` if it is not there."""
    _run(["qemu-img", "bitmap", "-f", "qcow2", "--remove", path, name])


def _info(path: str, format: str) -> dict[str, Any]:
    if format != "qcow2" or not Path(path).exists():
        return {}
    answer: dict[str, Any] = json.loads(
        _run(["qemu-img", "info", "--force-share", "--output=json", "-f", format, path])
    )
    return answer


def _run(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        raise ImageFailed(f"{command[0]} is not installed")
    # From fixed words and paths of ours; qemu-io says what went wrong on its standard output.
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROGRAM_S)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise ImageFailed(words.splitlines()[-1] if words else f"{command[0]} failed")
    return done.stdout
