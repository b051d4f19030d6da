"""Packs: frames gathered into immutable files, each with its own directory at the end.

Source: ``docs/vault-format.md``, section "Packs".
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from dozo.blobs import BlobMissing, Blobs, BlobTruncated, BlobUnreadable, Buffer
from dozo.model.message import Message
from dozo.vault.errors import ObjectDamaged
from dozo.vault.format import (
    HASH_BYTES,
    ID_BYTES,
    PROLOGUE,
    ObjectKind,
    pack_prologue,
    read_prologue,
)
from dozo.vault.frames import stored_hash
from dozo.vault.layout import pack_key

WRITER_BYTES = 16
HEAD_BYTES = PROLOGUE.size + WRITER_BYTES
# 0 id[32]  32 hash of the stored frame[32]  64 offset u32  68 length u32  72 kind u8  73 zero[3]
ENTRY = struct.Struct("<32s32sIIB3x")
# 0 number of entries u32  4 zero u32  8 pack id[32]
FOOTER = struct.Struct("<II32s")
TARGET_BYTES = 32 * 1024 * 1024
MAX_ENTRIES = 1 << 20
READ_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One frame of a pack; offsets and lengths in bytes."""

    object_id: bytes
    stored_hash: bytes
    offset_bytes: int
    length_bytes: int
    kind: int


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack's directory."""

    pack_id: bytes
    writer: bytes
    size_bytes: int
    entries: tuple[Entry, ...]


class PackBuilder:
    """Gathers frames in memory until they are worth a file. Not thread-safe."""

    def __init__(self, writer: bytes) -> None:
        self._head = pack_prologue(ObjectKind.PACK, 0) + writer
        self._writer = writer
        self._frames: list[Buffer] = []
        self._entries: list[Entry] = []
        self.size_bytes = HEAD_BYTES

    def add(self, object_id: bytes, kind: int, frame: Buffer, frame_hash: bytes) -> None:
        """Append a frame; the caller gives up the buffer."""
        self._entries.append(Entry(object_id, frame_hash, self.size_bytes, len(frame), kind))
        self._frames.append(frame)
        self.size_bytes += len(frame)

    @property
    def is_full(self) -> bool:
        """Whether the pack has reached its size."""
        return self.size_bytes >= TARGET_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self._entries

    def store(self, blobs: Blobs) -> Pack:
        """Write the pack; it is durable on return."""
        directory = b"".join(_pack_entry(entry) for entry in self._entries)
        pack_id = _pack_id(self._head, directory)
        footer = FOOTER.pack(len(self._entries), 0, pack_id)
        blobs.put(pack_key(pack_id), [self._head, *self._frames, directory, footer])
        size = self.size_bytes + len(directory) + len(footer)
        return Pack(pack_id, self._writer, size, tuple(self._entries))


def read_directory(blobs: Blobs, pack_id: bytes, size_bytes: int) -> Pack:
    """A pack's directory, checked against the pack's id, without reading its frames.

    Raises :class:`ObjectDamaged`, :class:`~dozo.blobs.BlobMissing`.
    """
    key = pack_key(pack_id)
    if size_bytes < HEAD_BYTES + FOOTER.size:
        raise ObjectDamaged(url=blobs.url, key=key, reason=Message("it is too short"))
    try:
        footer = blobs.get_range(key, size_bytes - FOOTER.size, FOOTER.size)
        head = blobs.get_range(key, 0, HEAD_BYTES)
        start, count = _directory_at(blobs.url, pack_id, size_bytes, footer)
        directory = blobs.get_range(key, start, count * ENTRY.size)
    except BlobUnreadable as error:
        raise ObjectDamaged(url=blobs.url, key=key, reason=Message("it cannot be read")) from error
    except BlobTruncated as error:
        raise ObjectDamaged(url=blobs.url, key=key, reason=Message("it ends early")) from error
    return _parse(blobs.url, pack_id, size_bytes, head, directory)


def _directory_at(url: str, pack_id: bytes, size_bytes: int, footer: bytes) -> tuple[int, int]:
    """Where a pack's directory starts, and its number of entries."""
    count, zero, found_id = FOOTER.unpack(footer)
    start = size_bytes - FOOTER.size - count * ENTRY.size
    if zero or found_id != pack_id or count > MAX_ENTRIES or start < HEAD_BYTES:
        raise ObjectDamaged(
            url=url, key=pack_key(pack_id), reason=Message("its end is not as written")
        )
    return start, count


@dataclass(frozen=True, kw_only=True, slots=True)
class PackCheck:
    """What reading a pack whole has shown; no directory means that it is damaged itself."""

    pack_id: bytes
    directory: Pack | None
    damaged: tuple[Entry, ...]
    size_bytes: int

    @property
    def problem(self) -> str:
        """What is wrong, in words; empty if the pack is whole."""
        if self.directory is None:
            return Message("its directory is damaged")
        if self.damaged:
            return Message(
                "{damaged} of its {count} frames are damaged",
                damaged=len(self.damaged),
                count=len(self.directory.entries),
            )
        return ""


def check_pack(blobs: Blobs, pack_id: bytes) -> PackCheck | None:
    """Read a pack whole and compare all its hashes; None if there is no such pack any more.

    Needs no keys. A range that cannot be read damages the frames in it, and no others. The
    pack is read piece by piece, never mapped: a bad sector is then an error of one read.
    """
    key = pack_key(pack_id)
    try:
        size = blobs.size(key)
        directory = read_directory(blobs, pack_id, size)
        damaged = tuple(
            entry for group in _groups(directory.entries) for entry in _bad(blobs, key, group)
        )
    except BlobMissing:
        return None
    except ObjectDamaged:
        return PackCheck(pack_id=pack_id, directory=None, damaged=(), size_bytes=size)
    return PackCheck(pack_id=pack_id, directory=directory, damaged=damaged, size_bytes=size)


def _groups(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Frames that stand side by side, as many as are worth one read."""
    group: list[Entry] = []
    length = 0
    for entry in entries:
        if group and length + entry.length_bytes > READ_BYTES:
            yield group
            group, length = [], 0
        group.append(entry)
        length += entry.length_bytes
    if group:
        yield group


def _bad(blobs: Blobs, key: str, group: list[Entry]) -> Iterator[Entry]:
    """Those frames that are not what was written, or that cannot be read."""
    first, last = group[0], group[-1]
    length = last.offset_bytes + last.length_bytes - first.offset_bytes
    try:
        data = memoryview(blobs.get_range(key, first.offset_bytes, length))
    except (BlobTruncated, BlobUnreadable):
        if len(group) == 1:
            yield first
            return
        for entry in group:
            yield from _bad(blobs, key, [entry])
        return
    for entry in group:
        start = entry.offset_bytes - first.offset_bytes
        if stored_hash(data[start : start + entry.length_bytes]) != entry.stored_hash:
            yield entry


def read_writer(blobs: Blobs, pack_id: bytes) -> bytes:
    """Which attempt wrote a pack (16 bytes)."""
    return blobs.get_range(pack_key(pack_id), PROLOGUE.size, WRITER_BYTES)


def list_packs(blobs: Blobs) -> Iterator[tuple[bytes, int]]:
    """The id and size of every pack."""
    for info in blobs.list("packs"):
        try:
            pack_id = bytes.fromhex(info.key.rsplit("/", 1)[-1])
        except ValueError:
            continue
        if len(pack_id) == ID_BYTES and info.key == pack_key(pack_id):
            yield pack_id, info.size_bytes


def _parse(url: str, pack_id: bytes, size_bytes: int, head: bytes, directory: bytes) -> Pack:
    key = pack_key(pack_id)
    if _pack_id(head, directory) != pack_id:
        raise ObjectDamaged(url=url, key=key, reason=Message("its directory is not as written"))
    read_prologue(head, key, expected=ObjectKind.PACK, url=url)
    entries = tuple(Entry(*fields) for fields in ENTRY.iter_unpack(directory))
    position = HEAD_BYTES
    for entry in entries:
        if entry.offset_bytes != position:
            raise ObjectDamaged(
                url=url, key=key, reason=Message("its frames do not follow each other")
            )
        position += entry.length_bytes
    if position + len(directory) + FOOTER.size != size_bytes:
        raise ObjectDamaged(url=url, key=key, reason=Message("its length is not as written"))
    return Pack(pack_id, head[PROLOGUE.size :], size_bytes, entries)


def _pack_entry(entry: Entry) -> bytes:
    return ENTRY.pack(
        entry.object_id, entry.stored_hash, entry.offset_bytes, entry.length_bytes, entry.kind
    )


def _pack_id(head: bytes, directory: bytes) -> bytes:
    hasher = blake3(derive_key_context="dozo vault 1 pack")
    return hasher.update(head).update(directory).digest(HASH_BYTES)
