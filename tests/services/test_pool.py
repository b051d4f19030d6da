"""Images of the pool are whole, or known to be half-made; none is anonymous."""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from dozo.services.errors import NameInvalid, PoolFull, VolumeNameTaken
from dozo.services.pool import Pool, PoolImage, checked_name

ID = "5b0f9a55-0000-4000-8000-000000000001"
OTHER_ID = "5b0f9a55-0000-4000-8000-000000000002"


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
    with pool.making(image, Path(image.path).touch):
        assert pool.leftovers() == []
        Path(image.path).write_bytes(bytes(512))
    found = pool.find(ID)
    assert found is not None
    assert found.state == "ready"
    assert pool.leftovers() == []


def test_a_failure_leaves_neither_image_nor_record(tmp_path: Path) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)

    def fail() -> None:
        with pool.making(image, Path(image.path).touch):
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
        with Pool(Path({str(tmp_path)!r})).making(image, Path(image.path).touch):
            Path(image.path).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    pool = Pool(tmp_path)
    (left,) = pool.leftovers()
    assert pool.discard_leftover(left)
    assert not (tmp_path / "data.raw").exists()
    assert pool.images() == []


def test_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)
    with pool.making(image, Path(image.path).touch):
        pass
    with pytest.raises(VolumeNameTaken, match="volume 5b0f"):
        pool.require_free_name("data", "qcow2")
    (tmp_path / "other.qcow2").touch()
    with pytest.raises(VolumeNameTaken, match="the file"):
        pool.require_free_name("other", "qcow2")
    assert pool.require_free_name("third", "raw") == tmp_path / "third.raw"


def make(pool: Pool, image: PoolImage) -> None:
    with pool.making(image, partial(Path(image.path).touch, exist_ok=False)):
        pass


@pytest.mark.parametrize("other", [{"volume_id": OTHER_ID}, {"name": "else", "path": "else.raw"}])
def test_what_another_made_since_the_plan_stays(tmp_path: Path, other: dict[str, str]) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)
    make(pool, image)
    Path(image.path).write_bytes(b"made first")
    if "path" in other:
        other = {**other, "path": str(tmp_path / other["path"])}
    second = replace(image, **other)
    with pytest.raises(VolumeNameTaken):
        make(pool, second)
    assert Path(image.path).read_bytes() == b"made first"
    assert [one.state for one in pool.images()] == ["ready"]


def test_a_foreign_file_that_comes_at_the_last_moment_stays(tmp_path: Path) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)

    def create() -> None:
        Path(image.path).write_bytes(b"foreign")
        Path(image.path).touch(exist_ok=False)

    with pytest.raises(FileExistsError), pool.making(image, create):
        pass
    assert Path(image.path).read_bytes() == b"foreign"
    assert pool.images() == []


def test_a_volume_whose_image_is_gone_can_come_back(tmp_path: Path) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)
    make(pool, image)
    Path(image.path).unlink()
    make(pool, image)
    assert [one.state for one in pool.images()] == ["ready"]


def test_an_image_completed_while_somebody_looks_for_leftovers_stays(tmp_path: Path) -> None:
    pool, image = Pool(tmp_path), image_in(tmp_path)
    with pool.making(image, Path(image.path).touch):
        (listed,) = pool.images()
        assert listed.state == "creating"
        assert not pool.discard_leftover(listed)
    assert not pool.discard_leftover(listed)
    assert Path(image.path).exists()


def test_of_many_makers_one_makes_it(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    images = [replace(image_in(tmp_path), volume_id=str(UUID(int=n % 3))) for n in range(12)]

    def attempt(image: PoolImage) -> bool:
        try:
            make(pool, image)
        except VolumeNameTaken:
            return False
        return True

    with ThreadPoolExecutor(12) as threads:
        assert sum(threads.map(attempt, images)) == 1
    assert Path(images[0].path).exists()
    assert pool.leftovers() == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-rf", "a b", "x" * 201, "n\n"])
def test_names_that_commands_trip_over_are_refused(name: str) -> None:
    with pytest.raises(NameInvalid):
        checked_name(name)


def test_japanese_names_are_fine() -> None:
    assert checked_name("データ-1") == "データ-1"


def test_too_little_space_is_refused_with_numbers(tmp_path: Path) -> None:
    with pytest.raises(PoolFull, match="bytes free"):
        Pool(tmp_path).require_space(1 << 60)
