"""What a dirty bitmap marks, and when it may not be used."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dozo.model.errors import ErrorKind
from dozo.model.extents import Extent
from dozo.volumes import (
    BitmapMissing,
    BitmapUnusable,
    ExportUnavailable,
    ImageInUse,
    NbdSource,
    inspect,
    open_image,
    open_target,
    remove_bitmap,
)

from .support import MIB, covered, run
from .test_source_contract import offered

GRAIN = 65536


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "6T")
    run("qemu-io", "-f", "qcow2", "-c", "write 0 1M", path)
    run("qemu-img", "bitmap", "--add", "-f", "qcow2", path, "since")
    return path


def write(path: Path, *places: tuple[int, int]) -> None:
    commands = [part for offset, length in places for part in ("-c", f"write {offset} {length}")]
    run("qemu-io", "-f", "qcow2", *commands, path)


def changed(path: Path, bitmap: str = "since") -> list[Extent]:
    with open_image(path, format="qcow2") as source:
        return list(source.changed_extents(bitmap))


def test_nothing_changed(image: Path) -> None:
    assert changed(image) == []


def test_writes_are_marked(image: Path) -> None:
    end = 6 << 40
    write(image, (MIB, 512), (MIB + GRAIN, 512), (5 * MIB - 512, 1024), (end - 512, 512))

    assert changed(image) == [
        Extent(MIB, 2 * GRAIN),
        Extent(5 * MIB - GRAIN, 2 * GRAIN),
        Extent(end - GRAIN, GRAIN),
    ]


def test_writing_through_a_target_is_marked(image: Path) -> None:
    with open_target(image, format="qcow2") as target:
        target.write(3 * MIB, memoryview(b"x" * 512))
        target.zero(0, GRAIN)
        target.flush()

    assert changed(image) == [Extent(0, GRAIN), Extent(3 * MIB, GRAIN)]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 100)), min_size=1, max_size=6))
def test_all_that_was_written_is_marked(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("m") / "disk"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "1M")
    run("qemu-img", "bitmap", "--add", "-g", "4k", "-f", "qcow2", path, "since")
    write(path, *((sector * 512, length * 512) for sector, length in places))

    written = {s for sector, length in places for s in range(sector, sector + length)}
    grains = {s // 8 for s in written}
    assert covered(changed(path)) == {g * 8 + s for g in grains for s in range(8)}


def test_unknown_bitmap(image: Path, tmp_path: Path) -> None:
    with pytest.raises(BitmapMissing) as caught:
        changed(image, "other")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    run("qemu-img", "create", "-q", "-f", "raw", tmp_path / "raw", "1M")
    with (
        open_image(tmp_path / "raw", format="raw") as source,
        pytest.raises(BitmapMissing),
    ):
        source.changed_extents("since")


def test_a_bitmap_of_the_backing_file_does_not_count(image: Path) -> None:
    overlay = image.with_name("overlay")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", overlay)
    with pytest.raises(BitmapMissing):
        changed(overlay)


def test_a_bitmap_that_was_not_saved(image: Path) -> None:
    run("sh", "-c", f"! qemu-io -f qcow2 -c 'write 0 512' -c flush -c abort {image}")

    assert inspect(image).bitmaps[0].in_use
    with pytest.raises(BitmapUnusable) as caught:
        changed(image)
    assert caught.value.kind is ErrorKind.DAMAGED
    remove_bitmap(image, "since")
    assert inspect(image).bitmaps == ()


def test_remove(image: Path) -> None:
    with open_image(image, format="qcow2"), pytest.raises(ImageInUse):
        remove_bitmap(image, "since")
    remove_bitmap(image, "since")
    assert inspect(image).bitmaps == ()
    with pytest.raises(BitmapMissing):
        remove_bitmap(image, "since")


def test_a_live_export_with_a_bitmap(image: Path, short_folder: Path) -> None:
    write(image, (7 * MIB, 512))
    with offered(image, "qcow2", short_folder, "-B", "since") as socket:
        with NbdSource(socket=socket, export="vda", bitmap="since") as source:
            assert list(source.changed_extents()) == [Extent(7 * MIB, GRAIN)]
            assert list(source.changed_extents()) == [Extent(7 * MIB, GRAIN)]
        with NbdSource(socket=socket, export="vda") as source, pytest.raises(BitmapMissing):
            source.changed_extents()
        with pytest.raises(BitmapMissing):
            NbdSource(socket=socket, export="vda", bitmap="other")
        with pytest.raises(ExportUnavailable):
            NbdSource(socket=socket, export="vdb")
    with pytest.raises(ExportUnavailable) as caught:
        NbdSource(socket=short_folder / "nothing", export="vda")
    assert caught.value.kind is ErrorKind.UNAVAILABLE
