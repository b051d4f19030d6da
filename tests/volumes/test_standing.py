"""Images of stopped servers: read without a lock, and no write goes unseen."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dozo.model import clock
from dozo.volumes import ImageCorrupt, ImageInUse, open_standing

from .support import MIB, RunningServer, refused, run


@pytest.fixture(params=["raw", "qcow2"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(kind: str, tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-q", "-f", kind, path, str(MIB))
    run("qemu-io", "-f", kind, "-c", "write -P 7 0 64k", path)
    return path


def test_what_stands_still_is_read_and_not_doubted(image: Path, kind: str) -> None:
    with open_standing(image, format=kind) as standing:
        buffer = bytearray(512)
        standing.source.read_into(0, memoryview(buffer))
        # Readers are no reason for doubt.
        run("qemu-img", "info", image)
        with open_standing(image, format=kind):
            assert (standing.locked, standing.doubt()) == (False, "")
    assert buffer == b"\x07" * 512


def test_a_server_may_start_and_is_noticed(
    image: Path, kind: str, start_server: Callable[[Path, str], RunningServer]
) -> None:
    with open_standing(image, format=kind) as standing:
        start_server(image, kind)
        assert "open for writing" in standing.doubt()
    with pytest.raises(ImageInUse), open_standing(image, format=kind):
        pass


def test_a_write_that_is_over_is_noticed_whatever_the_file_claims(image: Path, kind: str) -> None:
    was = image.stat()
    with open_standing(image, format=kind) as standing:
        run("qemu-io", "-f", kind, "-c", "write -P 8 0 512", image)
        os.utime(image, ns=(was.st_atime_ns, was.st_mtime_ns))
        assert "changed" in standing.doubt()


def test_a_write_right_after_another_is_noticed(image: Path, kind: str) -> None:
    """Time stamps move in steps; one that was just made cannot tell two writes apart."""
    for _ in range(5):
        os.utime(image)
        with open_standing(image, format=kind) as standing:
            assert clock.now().timestamp() - image.stat().st_ctime > 0.05
            os.utime(image)
            assert "changed" in standing.doubt()


def test_another_file_in_its_place_is_noticed(image: Path, kind: str) -> None:
    copy = image.with_name("copy")
    run("cp", "--preserve=all", image, copy)
    with open_standing(image, format=kind) as standing:
        copy.replace(image)
        assert "changed" in standing.doubt()
    with open_standing(image, format=kind) as standing:
        image.unlink()
        assert "cannot be looked at" in standing.doubt()


def test_a_backing_file_is_locked_and_other_servers_on_it_are_no_reason_for_doubt(
    image: Path, kind: str, start_server: Callable[[Path, str], RunningServer]
) -> None:
    mine, other = image.with_name("mine"), image.with_name("other")
    for overlay in (mine, other):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", kind, overlay)
    with open_standing(mine, format="qcow2") as standing:
        assert "lock" in refused("qemu-io", "-f", kind, "-c", "write 0 512", image)
        assert "lock" in refused("qemu-img", "commit", "-q", "-f", "qcow2", mine)
        start_server(other, "qcow2")
        # As libvirt does to the files of a server that it starts.
        os.chown(image, 0, 0)
        assert standing.doubt() == ""


def test_an_external_data_file_may_be_written_and_is_watched(tmp_path: Path) -> None:
    path, data = tmp_path / "disk", tmp_path / "data"
    options = f"data_file={data},data_file_raw=on"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, str(MIB))
    with open_standing(path, format="qcow2") as standing:
        run("qemu-io", "-f", "raw", "-c", "write -P 8 0 512", data)
        assert str(data) in standing.doubt()


def test_a_cut_off_image_is_refused_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, str(MIB))
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ImageCorrupt), open_standing(path, format="qcow2"):
        pass


@pytest.fixture
def shared_folder(tmp_path: Path) -> Iterator[Path]:
    """A file system that is not known to be this host's alone: here ramfs stands for it."""
    folder = tmp_path / "shared"
    folder.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.libvirt  # as root, like what needs libvirt
def test_where_files_may_not_show_writes_the_image_is_locked(
    shared_folder: Path, kind: str
) -> None:
    path = shared_folder / "disk"
    run("qemu-img", "create", "-q", "-f", kind, path, str(MIB))
    with open_standing(path, format=kind) as standing:
        assert standing.locked
        assert "lock" in refused("qemu-io", "-f", kind, "-c", "write 0 512", path)
        assert standing.doubt() == ""
