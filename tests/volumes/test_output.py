"""A new file is there completely or not at all."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dozo.model.errors import ErrorKind
from dozo.volumes import (
    NoSpace,
    OutputExists,
    OutputFolderMissing,
    OutputIsDirectory,
    OutputNotAFile,
    PermissionDenied,
    SizeNotSectors,
    VolumeError,
    inspect,
    output_file,
)

from .support import MIB, noise, run, until

SIZE = 32 * MIB


@pytest.fixture(params=["raw", "qcow2"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_file(folder: Path, kind: str) -> None:
    path = folder / ("long name " * 24)
    with output_file(path, format=kind, size_bytes=SIZE) as target:
        assert (target.size_bytes, target.reads_zero) == (SIZE, True)
        target.write(MIB, memoryview(noise(MIB, 1)))
        assert not path.exists()

    assert names(folder) == [path.name]
    assert inspect(path, format=kind).virtual_bytes == SIZE
    run("qemu-img", "convert", "-f", kind, "-O", "raw", path, folder / "raw")
    assert (folder / "raw").read_bytes() == bytes(MIB) + noise(MIB, 1) + bytes(SIZE - 2 * MIB)
    assert (folder / "raw").stat().st_blocks * 512 < 2 * MIB


def test_an_existing_file(folder: Path, kind: str) -> None:
    path = folder / "x"
    path.write_bytes(b"keep")
    with (
        pytest.raises(OutputExists) as caught,
        output_file(path, format=kind, size_bytes=SIZE),
    ):
        pass
    assert caught.value.kind is ErrorKind.REFUSED
    assert (names(folder), path.read_bytes()) == (["x"], b"keep")

    with output_file(path, format=kind, size_bytes=SIZE, force=True) as target:
        target.write(0, memoryview(noise(512, 1)))
        assert path.read_bytes() == b"keep", "replaced only when complete"
    assert names(folder) == ["x"]
    assert inspect(path, format=kind).virtual_bytes == SIZE


def test_a_link_stays(folder: Path) -> None:
    (folder / "real").write_bytes(b"old")
    (folder / "link").symlink_to("real")
    (folder / "dangling").symlink_to("made")
    with output_file(folder / "link", format="raw", size_bytes=512, force=True):
        pass
    with output_file(folder / "dangling", format="raw", size_bytes=512):
        pass
    assert names(folder) == ["dangling", "link", "made", "real"]
    assert (folder / "link").is_symlink()
    assert (folder / "real").stat().st_size == 512


def test_somebody_else_makes_the_file_meanwhile(folder: Path, kind: str) -> None:
    path = folder / "x"
    with pytest.raises(OutputExists), output_file(path, format=kind, size_bytes=SIZE):
        path.write_bytes(b"theirs")
    assert (names(folder), path.read_bytes()) == (["x"], b"theirs")


def test_a_failure_leaves_nothing(folder: Path, kind: str) -> None:
    (folder / "x").write_bytes(b"old")

    def fail() -> None:
        with output_file(folder / "x", format=kind, size_bytes=SIZE, force=True) as target:
            target.write(0, memoryview(noise(512, 1)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (names(folder), (folder / "x").read_bytes()) == (["x"], b"old")


@pytest.mark.parametrize("force", [False, True])
def test_places_that_are_no_output(folder: Path, kind: str, force: bool) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    for path, size, expected, error_kind in [
        (folder, SIZE, OutputIsDirectory, ErrorKind.USAGE),
        (folder / "no" / "x", SIZE, OutputFolderMissing, ErrorKind.NOT_FOUND),
        (folder / "pipe" / "x", SIZE, OutputFolderMissing, ErrorKind.NOT_FOUND),
        (folder / "pipe", SIZE, OutputNotAFile, ErrorKind.USAGE),
        (Path("/dev/null"), SIZE, OutputNotAFile, ErrorKind.USAGE),
        (folder / "x", 1000, SizeNotSectors, ErrorKind.USAGE),
        (folder / ("x" * 300), SIZE, VolumeError, ErrorKind.FAILED),
        (folder / "loop", SIZE, VolumeError, ErrorKind.FAILED),
    ]:
        with (
            pytest.raises(expected) as caught,
            output_file(path, format=kind, size_bytes=size, force=force),
        ):
            pass
        assert caught.value.kind is error_kind
    assert names(folder) == ["loop", "pipe"]


def test_a_folder_without_permission(kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            with (
                pytest.raises(PermissionDenied),
                output_file(Path(name) / "x", format=kind, size_bytes=SIZE),
            ):
                pass
        finally:
            os.seteuid(was)
        assert names(Path(name)) == []


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_on_file_sizes(folder: Path, kind: str) -> None:
    with (
        file_size_limit(8 * MIB),
        pytest.raises(NoSpace) as caught,
        output_file(folder / "x", format=kind, size_bytes=SIZE) as target,
    ):
        target.write(0, memoryview(noise(SIZE, 1)))
    assert caught.value.path == str(folder / "x")
    assert names(folder) == []


FILL = """
import os, sys
from pathlib import Path
from dozo.volumes import NoSpace, output_file
folder, kind = Path(sys.argv[1]), sys.argv[2]
try:
    with output_file(folder / "x", format=kind, size_bytes=32 << 20) as target:
        for offset in range(0, 32 << 20, 1 << 20):
            target.write(offset, memoryview(os.urandom(1 << 20)))
        target.flush()
except NoSpace as error:
    assert error.path == str(folder / "x"), error
    assert os.listdir(folder) == [], os.listdir(folder)
    with output_file(folder / "x", format=kind, size_bytes=1 << 20):
        pass
    print("no space")
"""


def test_the_file_system_is_full(folder: Path, kind: str) -> None:
    """On a small file system of its own, which only this process sees."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    mount = f'mount -t tmpfs -o size=8m none {folder} && exec "$@"'
    inner = ["sh", "-c", mount, "sh", sys.executable, "-c", FILL, str(folder), kind]
    assert run("unshare", "--mount", *as_root, *inner) == "no space\n"


WAIT = """
import sys, time
from dozo.volumes import output_file
with output_file(sys.argv[1], format=sys.argv[2], size_bytes=32 << 20) as target:
    target.write(0, memoryview(b"x" * 4096))
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_leftovers_of_a_killed_process_are_removed(folder: Path, kind: str) -> None:
    command = [sys.executable, "-c", WAIT, str(folder / "x"), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with output_file(folder / "other", format=kind, size_bytes=512):
            pass
        (folder / ".x.notes").touch()
        (in_work,) = [name for name in names(folder) if name.endswith(".part")]
        with (
            pytest.raises(ZeroDivisionError),
            output_file(folder / "x", format=kind, size_bytes=512),
        ):
            raise ZeroDivisionError
        assert in_work in names(folder), "the other process still writes it"
        process.send_signal(signal.SIGKILL)
    assert in_work in names(folder)

    def repeated() -> bool:
        with output_file(folder / "x", format=kind, size_bytes=512, force=True):
            pass
        return in_work not in names(folder)

    assert until(repeated)
    assert names(folder) == [".x.notes", "other", "x"]
