"""Images that cannot be read: each has its own error, and none is read wrongly."""

import os
import random
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dozo.model.errors import DozoError, ErrorKind
from dozo.volumes import (
    BackingFileMissing,
    FormatUnknown,
    ImageCorrupt,
    ImageEmpty,
    ImageEncrypted,
    ImageMissing,
    ImageNotAFile,
    ImageUnreadable,
    PermissionDenied,
    SizeNotSectors,
    ToolMissing,
    VolumeError,
    inspect,
    open_image,
    open_target,
)

from .support import MIB, noise, run


def refusal(path: Path | str, *, format: str | None = None) -> DozoError:
    """The one error with which all ways to open an image refuse it."""
    with pytest.raises(VolumeError) as caught, open_image(path, format=format):
        pass
    if format is not None:
        with pytest.raises(VolumeError) as also, open_target(path, format=format):
            pass
        assert type(also.value) is type(caught.value)
    assert "Traceback" not in str(caught.value)
    return caught.value


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "4M")
    (tmp_path / "scratch").write_bytes(noise(MIB, 1))
    run("qemu-io", "-f", "qcow2", "-c", f"write -s {tmp_path / 'scratch'} 1M 1M", path)
    return path


@pytest.mark.parametrize("format", [None, "raw", "qcow2"])
def test_missing(tmp_path: Path, format: str | None) -> None:
    error = refusal(tmp_path / "nothing", format=format)
    assert isinstance(error, ImageMissing)
    assert error.kind is ErrorKind.NOT_FOUND
    (tmp_path / "file").touch()
    assert isinstance(refusal(tmp_path / "file" / "below", format=format), ImageMissing)


@pytest.mark.parametrize("format", [None, "raw", "qcow2"])
def test_empty(tmp_path: Path, format: str | None) -> None:
    (tmp_path / "empty").touch()
    error = refusal(tmp_path / "empty", format=format)
    assert isinstance(error, ImageEmpty)
    assert error.kind is ErrorKind.USAGE


def test_a_volume_of_no_bytes(tmp_path: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "none", "0")
    assert isinstance(refusal(tmp_path / "none", format="qcow2"), ImageEmpty)


def test_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server, tempfile.TemporaryDirectory() as short:
        server.bind(short + "/s")
        for path, found in [
            (str(tmp_path), "a folder"),
            (str(tmp_path / "pipe"), "a pipe"),
            ("/dev/zero", "a character device"),
            (short + "/s", "a socket"),
        ]:
            error = refusal(path, format="raw")
            assert isinstance(error, ImageNotAFile)
            assert error.kind is ErrorKind.USAGE
            assert found in str(error)


@pytest.mark.parametrize("format", [None, "raw"])
def test_size_is_no_multiple_of_a_sector(tmp_path: Path, format: str | None) -> None:
    (tmp_path / "odd").write_bytes(noise(1000, 1))
    error = refusal(tmp_path / "odd", format=format)
    assert isinstance(error, SizeNotSectors)
    assert error.kind is ErrorKind.USAGE
    assert "1000 bytes" in str(error)


def test_header_is_garbage(image: Path) -> None:
    with image.open("r+b") as file:
        file.write(noise(512, 3))
    for given in (None, "qcow2"):
        error = refusal(image, format=given)
        assert isinstance(error, ImageCorrupt)
        assert error.kind is ErrorKind.DAMAGED


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, b"\0\0\0\0"), (4, b"\0\0\0\x63"), (20, b"\0\0\0\x05"), (36, b"\xff\xff\xff\xff")],
    ids=["magic", "version", "cluster-bits", "l1-size"],
)
def test_header_field_is_damaged(image: Path, offset: int, value: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(value)
    assert isinstance(refusal(image, format="qcow2"), ImageCorrupt)


def test_a_cut_image_is_never_read_wrongly(image: Path) -> None:
    whole = image.read_bytes()
    choose = random.Random(4)
    sizes = [4, 100, 512, 65536, len(whole) // 2, len(whole) - 65536, len(whole) - 1]

    for size in [*sizes, *(choose.randrange(1, len(whole)) for _ in range(10))]:
        image.write_bytes(whole[:size])
        error = refusal(image, format="qcow2")
        assert isinstance(error, ImageCorrupt), f"{size} bytes: {error!r}"


def test_a_cut_backing_file(image: Path) -> None:
    overlay = image.with_name("overlay")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", overlay)
    os.truncate(image, image.stat().st_size - 70_000)
    error = refusal(overlay, format="qcow2")
    assert isinstance(error, ImageCorrupt)
    assert str(image) in str(error)


def test_damaged_tables(image: Path) -> None:
    for format_offset in (65536, 65536 * 2, 65536 * 3, 65536 * 4):
        whole = image.read_bytes()
        with image.open("r+b") as file:
            file.seek(format_offset)
            file.write(noise(64, 5))
        assert isinstance(refusal(image, format="qcow2"), ImageCorrupt), format_offset
        image.write_bytes(whole)


@pytest.mark.parametrize(
    "options",
    ["compat=0.10", "cluster_size=4k", "extended_l2=on,cluster_size=128k", "lazy_refcounts=on"],
)
def test_sound_images_of_all_sorts_are_accepted(tmp_path: Path, options: str) -> None:
    path = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "4M")
    for step in range(3):
        with open_image(path, format="qcow2") as source:
            assert source.size_bytes == 4 * MIB
        run("qemu-io", "-f", "qcow2", "-c", f"write -P 1 {step}M 1000", path)


def test_unclean_stop_with_lazy_refcounts(tmp_path: Path) -> None:
    path = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "4M")
    run("sh", "-c", f"! qemu-io -f qcow2 -c 'write -P 1 0 64k' -c flush -c abort {path}")
    with open_image(path, format="qcow2") as source:
        buffer = bytearray(65536)
        source.read_into(0, memoryview(buffer))
    assert buffer == b"\x01" * 65536


@pytest.mark.parametrize("base", ["raw", "qcow2"])
def test_backing_file_is_missing(tmp_path: Path, base: str) -> None:
    run("qemu-img", "create", "-q", "-f", base, tmp_path / "base", "4M")
    path = tmp_path / "overlay"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", base, path)
    (tmp_path / "base").unlink()
    error = refusal(path, format="qcow2")
    assert isinstance(error, BackingFileMissing)
    assert error.kind is ErrorKind.NOT_FOUND
    assert str(path) in str(error)
    assert str(tmp_path / "base") in str(error)


def test_backing_file_is_not_local(image: Path) -> None:
    overlay = image.with_name("overlay")
    remote = 'json:{"driver":"raw","file":{"driver":"null-co","size":4194304}}'
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", remote, "-F", "raw", overlay, "4M")
    assert isinstance(refusal(overlay, format="qcow2"), ImageUnreadable)


def test_raw_content_that_looks_like_qcow2(image: Path, tmp_path: Path) -> None:
    """A guest can write any header into its raw disk: the format given is what counts."""
    overlay = tmp_path / "evil"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", overlay, "4M")
    os.truncate(overlay, overlay.stat().st_size // 512 * 512 + 512)

    info = inspect(overlay, format="raw")
    assert [file.path for file in info.chain] == [str(overlay)]
    with open_image(overlay, format="raw") as source:
        buffer = bytearray(source.size_bytes)
        source.read_into(0, memoryview(buffer))
    assert buffer == overlay.read_bytes()
    assert inspect(overlay).format == "qcow2", "without a format the content decides"


def luks_header() -> bytes:
    """A LUKS 1 header with one key slot; qemu-img would measure the machine to make one."""
    head = struct.pack(
        ">6sH32s32s32sII20s32sI40s",
        *(b"LUKS\xba\xbe", 1, b"aes", b"xts-plain64", b"sha256"),
        *(4096, 64, noise(20, 1), noise(32, 2), 1000, b"8c6c5cd4-2be3-4d4a-9c3a-3f0c3d6a7d6f"),
    )
    states = [0x00AC71F3] + [0x0000DEAD] * 7
    slots = [
        struct.pack(">II32sII", state, 1000, noise(32, number), 8 + 504 * number, 4000)
        for number, state in enumerate(states)
    ]
    return head + b"".join(slots)


@pytest.mark.parametrize("kind", ["qcow2", "luks", "over-luks"])
def test_encrypted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "secret.img"
    if kind == "qcow2":
        secret = ("--object", "secret,id=s,data=hush")
        options = ("-o", "encrypt.format=aes,encrypt.key-secret=s")
        run("qemu-img", "create", "-q", *secret, "-f", "qcow2", *options, path, "4M")
    else:
        base = path if kind == "luks" else tmp_path / "base"
        base.write_bytes(luks_header())
        os.truncate(base, 8 * MIB)
        if kind == "over-luks":
            run(
                "qemu-img",
                "create",
                "-q",
                "-u",
                "-f",
                "qcow2",
                "-b",
                base,
                "-F",
                "luks",
                path,
                "4M",
            )

    assert inspect(path).encrypted
    with pytest.raises(ImageEncrypted) as caught, open_image(path):
        pass
    assert caught.value.kind is ErrorKind.REFUSED
    assert caught.value.hint_text()


@pytest.mark.parametrize("format", ["vvfat", "nbd", "no-such-format", ""])
def test_unknown_format(image: Path, format: str) -> None:
    error = refusal(image, format=format)
    assert isinstance(error, FormatUnknown)
    assert error.kind is ErrorKind.USAGE


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that everybody may enter, for a test that gives up its rights."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "disk"
        path.write_bytes(bytes(MIB))
        path.chmod(0)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            yield path
        finally:
            os.seteuid(was)


@pytest.mark.parametrize("format", [None, "raw", "qcow2"])
def test_permission_denied(unprivileged: Path, format: str | None) -> None:
    error = refusal(unprivileged, format=format)
    assert isinstance(error, PermissionDenied)
    assert error.kind is ErrorKind.FAILED
    assert str(unprivileged) in str(error)


def test_a_name_that_the_system_does_not_take(tmp_path: Path) -> None:
    assert isinstance(refusal(tmp_path / ("x" * 300), format="raw"), ImageUnreadable)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert isinstance(refusal(tmp_path / "loop", format="raw"), ImageUnreadable)


def test_tool_missing(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    error = refusal(image, format="qcow2")
    assert isinstance(error, ToolMissing)
    assert error.kind is ErrorKind.UNAVAILABLE


def test_names_that_qemu_would_take_for_something_else(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(image.parent)
    for name in ["nbd:localhost:1", "json:{}", "a,format=raw", "with space", "日本.img", "%s"]:
        image.rename(name)
        image = image.parent / name
        with open_image(name, format="qcow2") as source:
            assert source.info.path == str(image)
            assert source.size_bytes == 4 * MIB


def test_inspect_describes(image: Path) -> None:
    run("qemu-img", "bitmap", "--add", "-g", "32k", "-f", "qcow2", image, "b0")
    run("qemu-img", "bitmap", "--add", "--disable", "-f", "qcow2", image, "b1")
    run("qemu-img", "snapshot", "-c", "before", image)
    overlay = image.with_name("overlay")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", overlay, "6M")

    info, top = inspect(image), inspect(overlay)

    assert (info.format, info.virtual_bytes, info.encrypted) == ("qcow2", 4 * MIB, False)
    assert MIB < info.allocated_bytes < 3 * MIB
    assert [(b.name, b.granularity_bytes, b.recording, b.in_use) for b in info.bitmaps] == [
        ("b0", 32768, True, False),
        ("b1", 65536, False, False),
    ]
    assert info.internal_snapshots == ("before",)
    assert [file.path for file in top.chain] == [str(overlay), str(image)]
    assert [file.virtual_bytes for file in top.chain] == [6 * MIB, 4 * MIB]
    status = image.stat()
    described = top.chain[1]
    assert (described.device, described.inode) == (status.st_dev, status.st_ino)
    assert (described.file_bytes, described.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert top.bitmaps == ()
