"""What every readable volume promises, whatever it is made of."""

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dozo.model.volume_io import ByteSource
from dozo.volumes import NbdSource, ReadFailed, open_image

from .support import MIB, Content, covered, noise, run, until

KINDS = ["raw", "qcow2", "qcow2-compressed", "qcow2-over-qcow2", "qcow2-over-raw", "vmdk", "nbd"]


def make_image(kind: str, content: Content, folder: Path) -> tuple[Path, str]:
    """Store ``content`` in an image of that kind."""
    path = folder / "image, with a comma.img"
    scratch = folder / "scratch"
    if kind in {"raw", "qcow2", "vmdk", "nbd"}:
        image_format = "qcow2" if kind == "nbd" else kind
        make_empty(path, image_format, content.size_bytes)
        content.write_to(path, image_format, scratch)
        return path, image_format
    base, base_format = folder / "base.img", "raw" if kind.endswith("raw") else "qcow2"
    if kind == "qcow2-compressed":
        content.write_to(make_empty(base, "raw", content.size_bytes), "raw", scratch)
        run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", base, path)
        return path, "qcow2"
    make_empty(base, base_format, content.size_bytes // 2 // 512 * 512)
    # The base holds what the overlay hides: other data, and data where zeros shall be.
    under = {3 * MIB: noise(65536, 7), 65536 * 3: content.parts[65536 * 3], 0: noise(8192, 8)}
    Content(size_bytes=content.size_bytes, parts=under).write_to(base, base_format, scratch)
    size = str(content.size_bytes)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", base_format, path, size)
    over = {start: part for start, part in content.parts.items() if start != 65536 * 3}
    over[4096] = bytes(4096)
    Content(size_bytes=content.size_bytes, parts=over).write_to(path, "qcow2", scratch)
    return path, "qcow2"


def make_empty(path: Path, format: str, size_bytes: int) -> Path:
    run("qemu-img", "create", "-q", "-f", format, path, str(size_bytes))
    return path


@contextmanager
def offered(path: Path, format: str, folder: Path, *options: str) -> Iterator[Path]:
    """A live export such as libvirt's, made with qemu-nbd."""
    socket = folder / "live"
    command = ["qemu-nbd", "-r", "-t", "-e", "0", "-x", "vda", "-k", str(socket), *options]
    process = subprocess.Popen([*command, "-f", format, str(path)])
    try:
        assert until(socket.exists)
        yield socket
    finally:
        process.kill()
        process.wait()


@contextmanager
def opened(kind: str, path: Path, format: str, folder: Path) -> Iterator[ByteSource]:
    if kind != "nbd":
        with open_image(path, format=format) as source:
            yield source
        return
    with offered(path, format, folder) as socket, NbdSource(socket=socket, export="vda") as live:
        yield live


@pytest.fixture(params=KINDS)
def source(
    request: pytest.FixtureRequest, content: Content, tmp_path: Path, short_folder: Path
) -> Iterator[ByteSource]:
    path, image_format = make_image(request.param, content, tmp_path)
    with opened(request.param, path, image_format, short_folder) as volume:
        yield volume


def read(source: ByteSource, offset: int, length: int) -> bytes:
    buffer = bytearray(b"\xaa" * length)
    source.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def test_all_bytes_are_those_of_the_volume(source: ByteSource, content: Content) -> None:
    assert source.size_bytes == content.size_bytes
    assert read(source, 0, source.size_bytes) == content.bytes()


def test_any_range_can_be_read(source: ByteSource, content: Content) -> None:
    whole = content.bytes()
    choose = random.Random(5)

    for _ in range(100):
        offset = choose.randrange(source.size_bytes)
        length = choose.choice([0, 1, 511, 4096, choose.randrange(3 * MIB)])
        length = min(length, source.size_bytes - offset)
        assert read(source, offset, length) == whole[offset : offset + length]


def test_outside_of_the_extents_all_is_zero(source: ByteSource, content: Content) -> None:
    extents = list(source.data_extents())
    zeroed = bytearray(content.bytes())
    for extent in extents:
        zeroed[extent.offset_bytes : extent.end_bytes] = bytes(extent.length_bytes)

    assert not any(zeroed)
    assert all(a.end_bytes < b.offset_bytes for a, b in pairwise(extents))
    assert all(extent.length_bytes > 0 for extent in extents)
    assert extents[-1].end_bytes <= source.size_bytes
    assert 2 * MIB // 512 not in covered(extents), "a large hole is left out"
    assert list(source.data_extents()) == extents, "each call starts anew"


def test_many_threads_read_at_once(source: ByteSource, content: Content) -> None:
    whole = content.bytes()
    wrong: list[object] = []
    suspended = source.data_extents()
    next(suspended)

    def work(seed: int) -> None:
        choose = random.Random(seed)
        try:
            for _ in range(30):
                offset = choose.randrange(source.size_bytes - MIB)
                length = choose.randrange(1, MIB)
                if read(source, offset, length) != whole[offset : offset + length]:
                    wrong.append((offset, length))
            list(source.data_extents())
        except Exception as error:  # noqa: BLE001  the thread's errors must reach the test
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    list(suspended)

    assert wrong == []


@pytest.mark.parametrize("place", [(-512, 512), (0, None), (None, 1), (1 << 62, 512)])
def test_reading_outside_of_the_volume_fails(
    source: ByteSource, place: tuple[int | None, int | None]
) -> None:
    offset = source.size_bytes if place[0] is None else place[0]
    length = source.size_bytes + 1 if place[1] is None else place[1]

    with pytest.raises(ReadFailed) as caught:
        read(source, offset, length)

    assert caught.value.offset_bytes == offset


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_sparse_volume_of_6_tib_is_walked_lazily(kind: str, tmp_path: Path) -> None:
    size = 6 << 40
    path = make_empty(tmp_path / "huge", kind, size)
    ends = Content(size_bytes=size, parts={0: noise(512, 1), size - 512: noise(512, 2)})
    ends.write_to(path, kind, tmp_path / "scratch")

    with open_image(path, format=kind) as source:
        first, *_, last = source.data_extents()
        assert source.size_bytes == size
        assert read(source, size - 512, 512) == noise(512, 2)

    assert first.offset_bytes == 0
    assert last.end_bytes == size
    assert first.length_bytes + last.length_bytes <= 4 * MIB


@settings(max_examples=40, deadline=None)
@given(offset=st.integers(0, MIB), length=st.integers(0, MIB))
@pytest.mark.parametrize("unit", [512, 4096])
def test_a_server_that_serves_whole_blocks_only(
    unit: int, blocky: Callable[[int], NbdSource], offset: int, length: int
) -> None:
    source = blocky(unit)
    length = min(length, source.size_bytes - offset)

    assert read(source, offset, length) == noise(MIB, 9)[offset : offset + length]


@pytest.fixture(scope="module")
def blocky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], NbdSource]]:
    """Exports with a minimum block size, as QEMU makes them of images it opens with O_DIRECT."""
    folder = tmp_path_factory.mktemp("b")
    (folder / "image").write_bytes(noise(MIB, 9))
    live: dict[int, NbdSource] = {}
    processes = []
    for unit in (512, 4096):
        options = f"driver=raw,file.driver=blkdebug,file.align={unit}"
        image = f"{options},file.image.driver=file,file.image.filename={folder / 'image'}"
        command = ["qemu-nbd", "-r", "-e", "0", "-k", str(folder / str(unit)), "--image-opts"]
        processes.append(subprocess.Popen([*command, image]))
        assert until((folder / str(unit)).exists)
        live[unit] = NbdSource(socket=folder / str(unit), export="")
    yield live.__getitem__
    for source in live.values():
        source.close()
    assert [process.wait(20) for process in processes] == [0, 0]


def test_a_failed_read_names_its_offset(tmp_path: Path, short_folder: Path) -> None:
    (tmp_path / "image").write_bytes(noise(4 * MIB, 9))
    rule = "file.inject-error.0.event=none,file.inject-error.0.iotype=read"
    rule += f",file.inject-error.0.sector={3 * MIB // 512},file.inject-error.0.errno=5"
    image = f"driver=raw,file.driver=blkdebug,{rule}"
    image += f",file.image.driver=file,file.image.filename={tmp_path / 'image'}"
    socket = short_folder / "bad"
    command = ["qemu-nbd", "-r", "-e", "0", "-k", str(socket), "--image-opts", image]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        assert until(socket.exists)
        with NbdSource(socket=socket, export="") as source:
            with pytest.raises(ReadFailed) as caught:
                read(source, MIB, 3 * MIB)
            assert read(source, 0, MIB) == noise(4 * MIB, 9)[:MIB], "the others still work"
        process.wait(20)

    assert caught.value.offset_bytes == 3 * MIB
    assert "Input/output error" in str(caught.value)


def test_the_end_of_a_live_export_is_an_error(tmp_path: Path, short_folder: Path) -> None:
    path = make_empty(tmp_path / "image", "raw", 4 * MIB)
    with offered(path, "raw", short_folder) as socket:
        source = NbdSource(socket=socket, export="vda")
        read(source, 0, 512)

    for _ in range(10):
        with pytest.raises(ReadFailed):
            read(source, 0, 4 * MIB)
    with nullcontext(source):
        source.close()
        source.close()
