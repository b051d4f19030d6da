"""Volumes in memory, small vaults, and checks that every test of the vault uses."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dozo.blobs import Blobs, MemoryBlobs
from dozo.model.errors import DozoError
from dozo.model.extents import Extent, normalized
from dozo.vault import BackupResult, Keyring, SnapshotDraft, Vault
from dozo.vault.format import ObjectKind, load_document, store_document
from dozo.vault.layout import PENDING

CHUNK = 4096
SECTOR = 512


def noise(length: int, seed: int) -> bytes:
    """Bytes without zeros in a row, the same at each call."""
    return random.Random(seed).randbytes(length)


class Volume:
    """A volume in memory: source, target and readable target at once."""

    def __init__(self, data: bytes | bytearray, *, reads_zero: bool = False) -> None:
        self.data = bytearray(data)
        self.reads_zero = reads_zero
        self.allocated: list[Extent] | None = None
        self.bytes_read = 0
        self.bytes_written = 0
        self.flushed = False

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        assert offset_bytes + len(buffer) <= len(self.data)
        buffer[:] = self.data[offset_bytes : offset_bytes + len(buffer)]
        self.bytes_read += len(buffer)

    def data_extents(self) -> Iterator[Extent]:
        if self.allocated is not None:
            yield from normalized(self.allocated)
        elif self.data:
            yield Extent(0, len(self.data))

    def write(self, offset_bytes: int, data: memoryview) -> None:
        assert offset_bytes + len(data) <= len(self.data)
        self.data[offset_bytes : offset_bytes + len(data)] = data
        self.bytes_written += len(data)
        self.flushed = False

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        assert offset_bytes + length_bytes <= len(self.data)
        self.data[offset_bytes : offset_bytes + length_bytes] = bytes(length_bytes)
        self.flushed = False

    def flush(self) -> None:
        self.flushed = True


def keyring(folder: Path, name: str = "keys") -> Keyring:
    return Keyring.load(folder / name)


def new_vault(
    folder: Path, blobs: Blobs | None = None, *, keys: str = "keys", chunk_bytes: int = CHUNK
) -> Vault:
    """A vault of small chunks, in memory unless told otherwise."""
    return Vault.init(
        MemoryBlobs() if blobs is None else blobs, keyring(folder, keys), chunk_bytes=chunk_bytes
    )


def reopened(vault: Vault, blobs: Blobs | None = None) -> Vault:
    """The same vault as another process sees it, perhaps through a wrapper."""
    ring = vault.tenants._keyring
    again = None if ring is None else Keyring.load(ring.path)
    return Vault.open(vault.blobs if blobs is None else blobs, again)


def keep(
    vault: Vault, data: bytes | bytearray, *, name: str = "volume", **options: Any
) -> BackupResult:
    """Back up some bytes."""
    draft = options.pop("draft", None) or SnapshotDraft(
        name=name, tenant=options.pop("tenant", "default")
    )
    return vault.backup(Volume(data), draft, **options)


def restored(vault: Vault, snapshot: str) -> bytes:
    """A snapshot's bytes, written over dirt."""
    target = Volume(b"\xa5" * vault.snapshot(snapshot).bytes_volume)
    vault.restore(snapshot, target)
    assert target.flushed
    return bytes(target.data)


def check_all(vault: Vault, expected: dict[str, bytes], *, exactly: bool = True) -> None:
    """Every visible snapshot restores to what it should hold, and a scrub is clean."""
    seen = reopened(vault, _inner(vault.blobs))
    visible = {info.snapshot for info in seen.snapshots()}
    if exactly:
        assert visible == set(expected)
    else:
        assert visible <= set(expected)
    for snapshot in sorted(visible):
        assert restored(seen, snapshot) == expected[snapshot], snapshot
    report = seen.scrub()
    assert report.is_clean, (report.findings, report.snapshots_touched)


def _inner(blobs: Blobs) -> Blobs:
    return getattr(blobs, "_inner", blobs)


def kill_writers(blobs: Blobs) -> int:
    """Make all notes of writers look as if their processes had died; how many there were."""
    count = 0
    for info in list(blobs.list(PENDING)):
        document = load_document(blobs, info.key, ObjectKind.PENDING)
        document["process_started"] = "0"
        store_document(blobs, info.key, ObjectKind.PENDING, document)
        count += 1
    return count


class At:
    """A crash hook that acts the first time a point is reached."""

    def __init__(self, point: str, act: Callable[[], Any], *, times: int = 1) -> None:
        self._point = point
        self._act = act
        self._left = times
        self.reached: list[str] = []

    def __call__(self, point: str) -> None:
        self.reached.append(point)
        if point == self._point and self._left:
            self._left -= 1
            self._act()


class Killed(Exception):
    """A process ends here."""


def kill() -> None:
    raise Killed


def contents(blobs: Blobs) -> dict[str, bytes]:
    """Every object of a vault."""
    return {info.key: blobs.get(info.key) for info in blobs.list("")}


def copy_of(blobs: Blobs) -> MemoryBlobs:
    """A vault's objects in memory, to be spoilt."""
    twin = MemoryBlobs()
    for key, data in contents(blobs).items():
        twin.put(key, [data])
    return twin


def flipped(data: bytes, position: int, mask: int = 1) -> bytes:
    """The same bytes with one of them changed."""
    changed = bytearray(data)
    changed[position] ^= mask
    return bytes(changed)


def errors_of(act: Callable[[], Any]) -> DozoError | None:
    """The expected error that a call raises, if it raises one."""
    with suppress(Killed):
        try:
            act()
        except DozoError as error:
            return error
    return None


def extents(pairs: Iterable[tuple[int, int]]) -> list[Extent]:
    return [Extent(offset, length) for offset, length in pairs]
