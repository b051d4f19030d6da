"""A raw or qcow2 file as a stream: QEMU takes it, and it goes on anywhere."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from dozo.model.extents import Extent
from dozo.volumes import ImageStream, SizeNotSectors

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Sparse:
    """A volume in memory: bytes at some places, zeros elsewhere."""

    def __init__(self, size_bytes: int, pieces: dict[int, bytes]) -> None:
        self._size = size_bytes
        self.pieces = pieces
        self.fails_at: int | None = None
        self.extents = [Extent(at, len(data)) for at, data in sorted(pieces.items())]

    @property
    def size_bytes(self) -> int:
        return self._size

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        if self.fails_at is not None and offset_bytes <= self.fails_at < offset_bytes + len(buffer):
            raise ZeroDivisionError
        buffer[:] = bytes(len(buffer))
        for at, data in self.pieces.items():
            low, high = max(at, offset_bytes), min(at + len(data), offset_bytes + len(buffer))
            if low < high:
                buffer[low - offset_bytes : high - offset_bytes] = data[low - at : high - at]

    def data_extents(self) -> Iterator[Extent]:
        yield from self.extents

    def plain(self) -> bytes:
        buffer = bytearray(self._size)
        self.read_into(0, memoryview(buffer))
        return bytes(buffer)


def volumes() -> dict[str, Sparse]:
    random = Random(7)
    return {
        "empty": Sparse(3 * MIB, {}),
        "full": Sparse(3 * MIB, {0: random.randbytes(3 * MIB)}),
        "odd": Sparse(
            5 * MIB + 512,
            {
                4 * KIB: random.randbytes(4 * KIB),
                12 * KIB: random.randbytes(8 * KIB),
                60 * KIB: random.randbytes(8 * KIB),
                3 * MIB: random.randbytes(MIB + 4 * KIB),
                5 * MIB: random.randbytes(512),
            },
        ),
        # More than one table of either kind.
        "wide": Sparse(
            2000 * MIB,
            {at * MIB: random.randbytes(4 * KIB) for at in (0, 511, 512, 1300, 1999)},
        ),
    }


@pytest.mark.parametrize("name", ["empty", "full", "odd", "wide"])
def test_qemu_reads_the_volumes_bytes(tmp_path: Path, name: str) -> None:
    source = volumes()[name]
    stream = ImageStream(source, format="qcow2")
    image, raw = tmp_path / "x.qcow2", tmp_path / "x.raw"
    with image.open("wb") as file:
        file.writelines(stream.read_from())
    assert image.stat().st_size == stream.size_bytes
    with raw.open("wb") as file:
        file.truncate(source.size_bytes)
        for at, data in source.pieces.items():
            file.seek(at)
            file.write(data)
    subprocess.run(["qemu-img", "check", "-q", image], check=True)
    subprocess.run(["qemu-img", "compare", "-q", image, raw], check=True)
    # Only what is stored is sent.
    assert stream.size_bytes < sum(map(len, source.pieces.values())) + 2 * MIB


def test_a_raw_stream_is_the_volume() -> None:
    for name in ("empty", "full", "odd"):
        source = volumes()[name]
        stream = ImageStream(source, format="raw")
        assert b"".join(stream.read_from()) == source.plain()
        assert stream.size_bytes == source.size_bytes


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_it_goes_on_anywhere(format: str) -> None:
    stream = ImageStream(volumes()["odd"], format=format)
    whole = b"".join(stream.read_from())
    for start in (1, 64 * KIB, 64 * KIB + 1, 5 * 64 * KIB - 1, MIB, len(whole) - 1):
        assert b"".join(stream.read_from(start)) == whole[start:]


def test_what_cannot_be_read_ends_it_before_its_length() -> None:
    source = volumes()["full"]
    source.fails_at = 2 * MIB
    stream = ImageStream(source, format="qcow2")
    taken: list[int] = []
    with pytest.raises(ZeroDivisionError):
        taken.extend(len(piece) for piece in stream.read_from())
    assert sum(taken) < stream.size_bytes


def test_many_clusters_are_counted(tmp_path: Path) -> None:
    source = Sparse(9 * GIB, {})
    source.extents = [Extent(MIB, 4 * GIB), Extent(6 * GIB, 3 * GIB)]
    stream = ImageStream(source, format="qcow2")
    image = tmp_path / "x.qcow2"
    with image.open("wb") as file:
        for piece in stream.read_from():
            file.write(piece)
            if file.tell() > 4 * MIB:
                # What follows are zeros, as the holes of a file.
                break
        file.truncate(stream.size_bytes)
    subprocess.run(["qemu-img", "check", "-q", image], check=True)


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(SizeNotSectors):
        ImageStream(Sparse(1000, {}), format="raw")
