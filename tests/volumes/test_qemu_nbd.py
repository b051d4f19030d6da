"""The private qemu-nbd lives exactly as long as it is needed."""

import os
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from dozo.volumes import (
    ExportUnavailable,
    ImageSource,
    ReadFailed,
    ServerFailed,
    open_image,
    open_target,
    qemu_nbd,
)

from .support import MIB, is_alive, run, until


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "4M")
    return path


@pytest.fixture
def temp(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process and its children put temporary folders."""
    monkeypatch.setenv("TMPDIR", str(short_folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return short_folder


def servers_of(path: Path) -> list[int]:
    """The qemu-nbd processes that serve an image."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"qemu-nbd" in command[0] and str(path).encode() in command[-2]:
                found.append(int(entry.name))
    return found


HOLD = """
import sys
from dozo.volumes import open_image, open_target
opening = open_target if sys.argv[2] == "write" else open_image
with opening(sys.argv[1], format="qcow2") as volume:
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("mode", ["read", "write"])
def test_it_dies_with_a_killed_process(image: Path, temp: Path, mode: str) -> None:
    command = [sys.executable, "-c", HOLD, str(image), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (server,) = servers_of(image)
        process.kill()
    assert until(lambda: not is_alive(server))

    run("qemu-io", "-f", "qcow2", "-c", "write 0 512", image)
    assert len(list(temp.iterdir())) == 1
    with open_image(image, format="qcow2"):
        (folder,) = temp.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(temp.iterdir()) == [], "what the killed process left is gone too"


def test_it_ends_with_the_block(image: Path, temp: Path) -> None:
    for opening in (open_image, open_target):
        with opening(image, format="qcow2"):
            assert len(servers_of(image)) == 1
        assert servers_of(image) == []
    assert list(temp.iterdir()) == []


def test_it_outlives_the_thread_that_opened_the_image(image: Path) -> None:
    with ExitStack() as stack:
        opened: list[ImageSource] = []
        thread = threading.Thread(
            target=lambda: opened.append(stack.enter_context(open_image(image, format="qcow2")))
        )
        thread.start()
        thread.join()
        for _ in range(20):
            opened[0].read_into(0, memoryview(bytearray(MIB)))
        assert len(servers_of(image)) == 1


def test_it_can_be_started_in_a_forked_process(image: Path) -> None:
    with open_image(image, format="qcow2"):
        pass
    script = "import os, sys\nfrom dozo.volumes import open_image\n"
    script += "with open_image(sys.argv[1], format='qcow2'): pass\n"
    script += "pid = os.fork()\n"
    script += "with open_image(sys.argv[1], format='qcow2'): pass\n"
    script += "sys.exit(os.waitpid(pid, 0)[1] if pid else 0)\n"
    run(sys.executable, "-c", script, image)


def test_a_killed_server_is_an_error_not_a_wrong_result(image: Path) -> None:
    with open_image(image, format="qcow2") as source:
        (server,) = servers_of(image)
        os.kill(server, 9)
        for _ in range(10):
            with pytest.raises(ReadFailed):
                source.read_into(0, memoryview(bytearray(MIB)))
        with pytest.raises(ExportUnavailable):
            list(source.data_extents())


def test_a_killed_writable_server_fails_the_block(image: Path) -> None:
    def fail() -> None:
        with open_target(image, format="qcow2"):
            (server,) = servers_of(image)
            os.kill(server, 9)

    with pytest.raises(ServerFailed):
        fail()


def test_a_long_temporary_folder(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with open_image(image, format="qcow2") as source:
        source.read_into(0, memoryview(bytearray(MIB)))


def test_folders_of_others_are_left_alone(temp: Path, image: Path) -> None:
    with qemu_nbd._private_folder() as young:
        with open_image(image, format="qcow2"):
            assert young.exists(), "nothing in it yet"
        (young / "messages").touch()
        with open_image(image, format="qcow2"):
            assert young.exists(), "locked by its owner"
