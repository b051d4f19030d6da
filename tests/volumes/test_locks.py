"""Readers, writers and QEMU keep out of each other's way, in both directions."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dozo.model.errors import ErrorKind
from dozo.volumes import ImageInUse, inspect, open_image, open_target, output_file

from .support import MIB, RunningServer, qemu_command, refused, run

WRITE = ("-c", "write 0 512")
LOCK_MESSAGE = 'Failed to get "write" lock'


@pytest.fixture(params=["raw", "qcow2"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(kind: str, tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-q", "-f", kind, path, str(MIB))
    return path


@pytest.fixture
def overlay(image: Path, kind: str) -> Path:
    path = image.with_name("overlay")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", kind, path)
    return path


def test_what_a_server_uses_is_refused(
    image: Path, kind: str, start_server: Callable[[Path, str], RunningServer]
) -> None:
    start_server(image, kind)

    with pytest.raises(ImageInUse) as caught:
        inspect(image, format=kind)
    assert caught.value.kind is ErrorKind.REFUSED
    assert str(image) in str(caught.value)
    with pytest.raises(ImageInUse), open_image(image, format=kind):
        pass
    with pytest.raises(ImageInUse), open_target(image, format=kind):
        pass
    with (
        pytest.raises(ImageInUse),
        output_file(image, format=kind, size_bytes=MIB, force=True),
    ):
        pass


def test_a_server_can_be_read_without_a_lock(
    image: Path, kind: str, start_server: Callable[[Path, str], RunningServer]
) -> None:
    run("qemu-io", "-f", kind, "-c", "write -P 7 0 512", image)
    start_server(image, kind)

    assert inspect(image, format=kind, in_use_ok=True).virtual_bytes == MIB
    with open_image(image, format=kind, lock=False) as source:
        buffer = bytearray(512)
        source.read_into(0, memoryview(buffer))
    assert buffer == b"\x07" * 512


def test_without_a_lock_a_server_may_start_meanwhile(
    image: Path, kind: str, start_server: Callable[[Path, str], RunningServer]
) -> None:
    with open_image(image, format=kind, lock=False):
        start_server(image, kind)


def test_what_is_read_no_server_can_write(image: Path, kind: str, short_folder: Path) -> None:
    with open_image(image, format=kind):
        assert LOCK_MESSAGE in refused(*qemu_command(image, kind, short_folder))
        assert LOCK_MESSAGE in refused("qemu-io", "-f", kind, *WRITE, image)
        with pytest.raises(ImageInUse), open_target(image, format=kind):
            pass
        with open_image(image, format=kind):
            run("qemu-img", "convert", "-f", kind, "-O", "raw", image, short_folder / "copy")
    run("qemu-io", "-f", kind, *WRITE, image)


def test_the_backing_file_is_locked_too(
    image: Path, kind: str, overlay: Path, short_folder: Path
) -> None:
    with open_image(overlay, format="qcow2"):
        assert LOCK_MESSAGE in refused("qemu-io", "-f", kind, *WRITE, image)
        assert LOCK_MESSAGE in refused(*qemu_command(image, kind, short_folder))
    run("qemu-io", "-f", kind, *WRITE, image)


def test_a_server_on_the_backing_file_is_noticed(
    image: Path, kind: str, overlay: Path, start_server: Callable[[Path, str], RunningServer]
) -> None:
    start_server(image, kind)

    with pytest.raises(ImageInUse), open_image(overlay, format="qcow2"):
        pass


def test_what_is_written_nobody_else_can_open(image: Path, kind: str, short_folder: Path) -> None:
    with open_target(image, format=kind):
        assert LOCK_MESSAGE in refused(*qemu_command(image, kind, short_folder))
        assert LOCK_MESSAGE in refused("qemu-io", "-f", kind, *WRITE, image)
        refused("qemu-nbd", "-r", "-f", "qcow2", "-k", short_folder / "s", image)
        for opening in (open_image, open_target):
            with pytest.raises(ImageInUse), opening(image, format=kind):
                pass
    run("qemu-io", "-f", kind, *WRITE, image)


def test_a_reading_qemu_does_not_hinder(image: Path, kind: str, short_folder: Path) -> None:
    socket = short_folder / "s"
    command = ["qemu-io", "-r", "-f", kind, str(image)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.read(8) == b"qemu-io>"
        with open_image(image, format=kind):
            assert not socket.exists()
        reader.communicate(b"q\n")
