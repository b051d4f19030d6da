"""Images of the pool are whole, or known to be half-made; none is anonymous."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dozo.services.errors import NameInvalid, PoolFull, VolumeNameTaken
from dozo.services.pool import Pool, PoolImage, checked_name

ID = "5b0f9a55-0000-4000-8000-000000000001"


def image_in(folder: Path, name: str = "data") -> PoolImage:
    return PoolImage(
        volume_id=ID,
        name=name,
        path=str(folder / f"{name}.raw"),
        format="raw",
        bytes_volume=512,
        tenant="default",
    )


def test_a_complete_image_has_a_record(tmp_path: Path) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)
    with pool.making(image):
        assert pool.leftovers() == []
        Path(image.path).write_bytes(bytes(512))
    found = pool.find(ID)
    assert found is not None
    assert found.state == "ready"
    assert pool.leftovers() == []


def test_a_failure_leaves_neither_image_nor_record(tmp_path: Path) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)

    def fail() -> None:
        with pool.making(image):
            Path(image.path).write_bytes(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not Path(image.path).exists()
    assert pool.images() == []


def test_a_killed_maker_leaves_a_leftover_and_nothing_else_is_one(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from dozo.services.pool import Pool, PoolImage
        image = PoolImage(volume_id={ID!r}, name="data", path={str(tmp_path / "data.raw")!r},
                          format="raw", bytes_volume=512, tenant="t")
        with Pool(Path({str(tmp_path)!r})).making(image):
            Path(image.path).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    pool = Pool(tmp_path)
    (left,) = pool.leftovers()
    pool.discard(left)
    assert not (tmp_path / "data.raw").exists()
    assert pool.images() == []


def test_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)
    with pool.making(image):
        Path(image.path).touch()
    with pytest.raises(VolumeNameTaken, match="volume 5b0f"):
        pool.require_free_name("data", "qcow2")
    (tmp_path / "other.qcow2").touch()
    with pytest.raises(VolumeNameTaken, match="the file"):
        pool.require_free_name("other", "qcow2")
    assert pool.require_free_name("third", "raw") == tmp_path / "third.raw"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-rf", "a b", "x" * 201, "n\n"])
def test_names_that_commands_trip_over_are_refused(name: str) -> None:
    with pytest.raises(NameInvalid):
        checked_name(name)


def test_japanese_names_are_fine() -> None:
    assert checked_name("データ-1") == "データ-1"


def test_too_little_space_is_refused_with_numbers(tmp_path: Path) -> None:
    with pytest.raises(PoolFull, match="bytes free"):
        Pool(tmp_path).require_space(1 << 60)
