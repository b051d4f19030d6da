"""Real images and real QEMU: what the tests of this folder are written with."""

import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dozo.model import clock
from dozo.model.extents import Extent

MIB = 1024 * 1024


def run(*command: str | Path) -> str:
    """Run a program that must succeed, and return what it printed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def refused(*command: str | Path) -> str:
    """Run a program that must fail, and return its complaint."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0, f"{command} succeeded: {done.stdout}"
    return done.stdout + done.stderr


def noise(length: int, seed: int) -> bytes:
    """Bytes without zeros in a row, the same at each call."""
    return random.Random(seed).randbytes(length)


@dataclass
class Content:
    """What a volume shall hold, and how to write it with qemu-io."""

    size_bytes: int
    parts: dict[int, bytes] = field(default_factory=dict)

    def bytes(self) -> bytes:
        whole = bytearray(self.size_bytes)
        for offset, part in self.parts.items():
            whole[offset : offset + len(part)] = part
        return bytes(whole)

    def write_to(self, path: Path, format: str, scratch: Path) -> None:
        for offset, part in self.parts.items():
            scratch.write_bytes(part)
            run("qemu-io", "-f", format, "-c", f"write -s {scratch} {offset} {len(part)}", path)


@dataclass
class RunningServer:
    """A QEMU process that has an image open for writing, without a guest in it."""

    pid: int
    qmp: Path


def qemu_command(path: Path, format: str, folder: Path) -> list[str]:
    """QEMU with one disk, which is stopped before its first instruction."""
    return [
        "qemu-system-x86_64",
        *("-machine", "q35", "-accel", "tcg", "-m", "64", "-S"),
        *("-nodefaults", "-display", "none", "-daemonize"),
        *("-pidfile", str(folder / "qemu.pid")),
        *("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"),
        *("-blockdev", f"driver={format},node-name=disk,file.driver=file,file.filename={path}"),
        *("-device", "virtio-blk-pci,drive=disk"),
    ]


def until(condition: Callable[[], bool], limit_s: float = 20) -> bool:
    """Wait until something is true; False when it took too long."""
    end = clock.monotonic() + limit_s
    while not condition():
        if clock.monotonic() > end:
            return False
        clock.sleep(0.01)
    return True


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def covered(extents: list[Extent]) -> set[int]:
    """The numbers of the sectors that extents touch."""
    return {
        sector
        for extent in extents
        for sector in range(extent.offset_bytes // 512, -(-extent.end_bytes // 512))
    }
