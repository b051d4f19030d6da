"""What every writable image promises, and how images are made."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dozo.model.errors import ErrorKind
from dozo.volumes import (
    FormatUnknown,
    ImageEmpty,
    ImageTarget,
    NoSpace,
    OutputExists,
    OutputFolderMissing,
    OutputIsDirectory,
    SizeNotSectors,
    VolumeError,
    WriteFailed,
    create_image,
    inspect,
    open_target,
)

from .support import MIB, noise, run

SIZE = 8 * MIB + 512
KINDS = ["raw", "qcow2", "qcow2-over-raw"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(kind: str, tmp_path: Path) -> Path:
    path = tmp_path / "disk, target"
    if kind == "qcow2-over-raw":
        (tmp_path / "base").write_bytes(noise(SIZE, 1))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", path)
        return path
    create_image(path, format=kind, size_bytes=SIZE)
    with open_target(path, format=kind, fresh=True) as target:
        target.write(0, memoryview(noise(SIZE, 1)))
        target.flush()
    return path


def content(path: Path, kind: str) -> bytes:
    """What QEMU itself reads from the image."""
    copy = path.with_name("copy")
    run("qemu-img", "convert", "-f", kind.split("-", maxsplit=1)[0], "-O", "raw", path, copy)
    return copy.read_bytes()


def format_of(kind: str) -> str:
    return kind.split("-", maxsplit=1)[0]


@pytest.fixture
def target(image: Path, kind: str) -> Iterator[ImageTarget]:
    with open_target(image, format=format_of(kind)) as opened:
        yield opened


def read(target: ImageTarget, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    target.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def test_an_existing_image(target: ImageTarget) -> None:
    assert target.size_bytes == SIZE
    assert not target.reads_zero
    assert read(target, 0, SIZE) == noise(SIZE, 1)


def test_what_is_written_is_there(image: Path, kind: str) -> None:
    expected = bytearray(noise(SIZE, 1))
    with open_target(image, format=format_of(kind)) as target:
        for offset, length in [(0, 512), (3 * MIB - 512, 2 * MIB), (SIZE - 512, 512), (4096, 0)]:
            data = noise(length, offset)
            target.write(offset, memoryview(data))
            expected[offset : offset + length] = data
        for offset, length in [(MIB, MIB), (65536, 65536), (512, 1024), (SIZE - 1024, 1024)]:
            target.zero(offset, length)
            expected[offset : offset + length] = bytes(length)
        assert read(target, 0, SIZE) == expected
        target.flush()

    assert content(image, kind) == expected
    if kind != "raw":
        run("qemu-img", "check", "-f", "qcow2", image)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.integers(0, 2050), st.integers(0, 700)), max_size=12
    ),
)
@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_any_sequence_of_writes_and_zeros(
    kind: str, open_targets: dict[str, ImageTarget], steps: list[tuple[bool, int, int]]
) -> None:
    target = open_targets[kind]
    size = target.size_bytes
    target.zero(0, size)
    expected = bytearray(size)
    for number, (is_zero, sector, sectors) in enumerate(steps):
        offset = min(sector * 512, size)
        length = min(sectors * 512, size - offset)
        data = bytes(length) if is_zero else noise(length, number)
        if is_zero:
            target.zero(offset, length)
        else:
            target.write(offset, memoryview(data))
        expected[offset : offset + length] = data
    assert read(target, 0, size) == expected


@pytest.fixture(scope="module")
def open_targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ImageTarget]]:
    folder = tmp_path_factory.mktemp("t")
    for kind in ("raw", "qcow2"):
        create_image(folder / kind, format=kind, size_bytes=MIB)
    with (
        open_target(folder / "raw", format="raw", fresh=True) as raw,
        open_target(folder / "qcow2", format="qcow2", fresh=True) as qcow2,
    ):
        yield {"raw": raw, "qcow2": qcow2}


def test_many_threads_write_at_once(image: Path, kind: str) -> None:
    expected = bytearray(noise(SIZE, 1))
    errors: list[Exception] = []
    step = 128 * 1024

    def work(first: int) -> None:
        try:
            for number in range(first, SIZE // step, 8):
                data = memoryview(noise(step, number))
                if number % 5:
                    target.write(number * step, data)
                else:
                    target.zero(number * step, step)
                target.read_into(number * step, memoryview(bytearray(step)))
            target.flush()
        except VolumeError as error:
            errors.append(error)

    with open_target(image, format=format_of(kind)) as target:
        threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        target.flush()
    for number in range(SIZE // step):
        data = noise(step, number) if number % 5 else bytes(step)
        expected[number * step : (number + 1) * step] = data

    assert errors == []
    assert content(image, kind) == expected


def test_a_flush_beside_transfers_takes_nobodys_reply(image: Path, kind: str) -> None:
    def transfer(first: int) -> None:
        for number in range(first, 400, 4):
            target.read_into(number % 8 * MIB, memoryview(bytearray(128 * 1024)))
            if number % 8 == first:
                target.flush()

    with open_target(image, format=format_of(kind)) as target:
        threads = [
            threading.Thread(target=transfer, args=(first,), daemon=True) for first in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(("offset", "length"), [(SIZE, 512), (SIZE - 512, 1024), (-512, 512)])
def test_an_image_does_not_grow(target: ImageTarget, offset: int, length: int) -> None:
    with pytest.raises(WriteFailed):
        target.write(offset, memoryview(bytes(length)))
    with pytest.raises(WriteFailed):
        target.zero(offset, length)


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_zeroing_gives_space_back(image: Path, kind: str) -> None:
    before = inspect(image, format=kind).allocated_bytes
    with open_target(image, format=kind) as target:
        target.zero(0, 8 * MIB)
        target.flush()

    assert before > 8 * MIB
    assert inspect(image, format=kind).allocated_bytes < MIB


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_new_image(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "new"
    create_image(path, format=kind, size_bytes=6 << 40)

    info = inspect(path, format=kind)
    assert (info.virtual_bytes, info.format) == (6 << 40, kind)
    assert info.allocated_bytes < MIB
    assert path.stat().st_mode & 0o077 == 0
    with open_target(path, format=kind, fresh=True) as target:
        assert target.reads_zero
        target.write((6 << 40) - 512, memoryview(noise(512, 1)))
        target.flush()
    with pytest.raises(OutputExists) as caught:
        create_image(path, format=kind, size_bytes=MIB)
    assert caught.value.kind is ErrorKind.REFUSED
    assert inspect(path, format=kind).virtual_bytes == 6 << 40


def test_images_that_cannot_be_made(tmp_path: Path) -> None:
    for path, image_format, size, expected in [
        (tmp_path, "raw", 512, OutputIsDirectory),
        (tmp_path / "no" / "x", "raw", 512, OutputFolderMissing),
        (tmp_path / "x", "vmdk", 512, FormatUnknown),
        (tmp_path / "x", "raw", 0, ImageEmpty),
        (tmp_path / "x", "qcow2", -512, ImageEmpty),
        (tmp_path / "x", "qcow2", 1000, SizeNotSectors),
        (tmp_path / "x", "qcow2", 1 << 62, WriteFailed),
        (tmp_path / "x", "raw", 1 << 62, NoSpace),
    ]:
        with pytest.raises(expected):
            create_image(path, format=image_format, size_bytes=size)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_target_of_another_format(tmp_path: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "vmdk", tmp_path / "x", "1M")
    with pytest.raises(FormatUnknown), open_target(tmp_path / "x", format="vmdk"):
        pass


def test_a_failed_block_leaves_no_server(image: Path, kind: str) -> None:
    def fail() -> None:
        with open_target(image, format=format_of(kind)) as target:
            target.write(4096, memoryview(bytes(512)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with open_target(image, format=format_of(kind)):
        pass
