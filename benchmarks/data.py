"""The data that is measured on: real files of this machine, sparse and dense."""

import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SPARSE_BYTES = 16 << 30
CHANGE_SEED = 20


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image: its name in tables, where it is, its size and its allocated bytes."""

    name: str
    path: Path
    size_bytes: int
    data_bytes: int


def sparse_image(folder: Path) -> Image:
    """A sparse 16 GiB ext4 file system that holds this machine's ``/usr``."""
    path = folder / "sparse.raw"
    if not path.exists():
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.truncate(SPARSE_BYTES)
        subprocess.run(
            ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", "/usr", str(part)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        part.rename(path)
    return _described("sparse", path)


def dense_image(folder: Path, limit_bytes: int) -> Image:
    """The bytes of this machine's files in ``/usr``, one after the other, without holes."""
    path = folder / "dense.raw"
    if not path.exists():
        part = path.with_suffix(".part")
        written = 0
        with part.open("wb") as output:
            for name in _files(Path("/usr")):
                if written >= limit_bytes:
                    break
                with name.open("rb") as file:
                    shutil.copyfileobj(file, output, 1 << 20)
                written = output.tell()
            output.truncate(min(written, limit_bytes) // 4096 * 4096)
        part.rename(path)
    return _described("dense", path)


def changed_copy(image: Image, folder: Path, share: float) -> tuple[Image, list[tuple[int, int]]]:
    """A copy of an image in which a share of its 64 KiB pieces was rewritten, and which ones."""
    path = folder / f"{image.name}-changed.raw"
    subprocess.run(
        ["cp", "--sparse=always", "--reflink=auto", str(image.path), str(path)], check=True
    )
    source = random.Random(CHANGE_SEED)
    pieces = image.size_bytes >> 16
    count = max(1, int(image.data_bytes * share) >> 16)
    changed = sorted(source.sample(range(pieces), count))
    with path.open("r+b") as file:
        for piece in changed:
            file.seek(piece << 16)
            file.write(source.randbytes(1 << 16))
        os.fsync(file.fileno())
    return _described(image.name, path), [(piece << 16, 1 << 16) for piece in changed]


def warm(path: Path) -> None:
    """Bring a file into the page cache, so that every tool starts alike."""
    with path.open("rb", buffering=0) as file:
        while file.read(8 << 20):
            pass


def _described(name: str, path: Path) -> Image:
    found = path.stat()
    return Image(name=name, path=path, size_bytes=found.st_size, data_bytes=found.st_blocks * 512)


def _files(folder: Path) -> list[Path]:
    found = (
        Path(where) / name for where, _folders, names in os.walk(folder) for name in sorted(names)
    )
    return [path for path in found if path.is_file() and not path.is_symlink()]
