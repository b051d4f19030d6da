"""Fixtures of the tests of images and exports."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .support import MIB, Content, RunningServer, is_alive, noise, qemu_command, run, until


@pytest.fixture
def content() -> Content:
    """A volume whose size is no multiple of any page or cluster, with data at both ends."""
    return Content(
        size_bytes=8 * MIB + 3 * 512,
        parts={
            0: noise(4096, 1),
            65536 * 3: noise(200_704, 2),
            3 * MIB: bytes(65536),
            4 * MIB + 512: noise(1024, 3),
            8 * MIB: noise(3 * 512, 4),
        },
    )


@pytest.fixture
def start_server(short_folder: Path) -> Iterator[Callable[[Path, str], RunningServer]]:
    """Start QEMU on an image; it is killed when the test ends."""
    pids: list[int] = []

    def start(path: Path, format: str) -> RunningServer:
        run(*qemu_command(path, format, short_folder))
        pid = int((short_folder / "qemu.pid").read_text())
        pids.append(pid)
        return RunningServer(pid=pid, qmp=short_folder / "qmp")

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        assert until(lambda pid=pid: not is_alive(pid))


@pytest.fixture
def short_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name is short enough for a unix socket."""
    return tmp_path_factory.mktemp("q")
