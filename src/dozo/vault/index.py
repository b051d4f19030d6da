"""The vault's index: in which pack, and where in it, each frame stands.

An index object is sorted by id and memory-mapped, so that its size does not count
towards the memory of a process. The list of packs is what is true; an index entry whose
pack is gone does not count. Source: ``docs/vault-format.md``, section "Index".
"""

import secrets
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dozo.blobs import BlobMissing, Blobs
from dozo.model.message import Message
from dozo.vault.errors import ObjectDamaged
from dozo.vault.format import ID_BYTES, ObjectKind, fetch, open_object, seal_object
from dozo.vault.layout import INDEX, index_key
from dozo.vault.packs import Entry, Pack, list_packs

# 0 number of packs u32  4 number of records u32
HEAD = struct.Struct("<II")
# 0 pack id[32]  32 writer[16]  48 pack size u64
PACK_ROW = struct.Struct("<32s16sQ")
# 0 hash of the stored frame[32]  32 pack number u32  36 offset u32  40 length u32  44 kind u8
DETAIL = struct.Struct("<32sIIIB3x")
# An index object larger than this is split, so that writing one stays cheap.
MAX_RECORDS = 1 << 18


@dataclass(frozen=True, slots=True)
class Location:
    """Where a frame stands: pack, offset and length in bytes, hash as stored, kind."""

    pack_id: bytes
    offset_bytes: int
    length_bytes: int
    stored_hash: bytes
    kind: int


class Segment:
    """One index object, memory-mapped."""

    def __init__(self, key: str, body: memoryview, *, url: str) -> None:
        self.key = key
        try:
            pack_count, self.count = HEAD.unpack_from(body)
        except struct.error as error:
            raise ObjectDamaged(url=url, key=key, reason=Message("it is too short")) from error
        ids_start = HEAD.size + pack_count * PACK_ROW.size
        details_start = ids_start + self.count * ID_BYTES
        if details_start + self.count * DETAIL.size != len(body):
            raise ObjectDamaged(url=url, key=key, reason=Message("its length does not match"))
        rows = PACK_ROW.iter_unpack(body[HEAD.size : ids_start])
        self.packs = [(pack_id, writer, size) for pack_id, writer, size in rows]
        self._ids = body[ids_start:details_start]
        self._details = body[details_start:]
        self.alive = bytearray(b"\x01" * pack_count)

    def find(self, object_id: bytes) -> Iterator[int]:
        """The numbers of the records with that id, by interpolation: ids are uniform."""
        ids = self._ids
        low, high = 0, self.count
        wanted = int.from_bytes(object_id[:8])
        low_value, high_value = 0, 1 << 64
        while high - low > 8:
            span = high_value - low_value
            middle = low + (wanted - low_value) * (high - low) // span if span else low
            middle = min(max(middle, low), high - 1)
            value = int.from_bytes(ids[middle * ID_BYTES : middle * ID_BYTES + 8])
            if value < wanted:
                low, low_value = middle + 1, value
            elif value > wanted:
                high, high_value = middle, value
            else:
                low = high = middle
        while low > 0 and self.object_id(low - 1) >= object_id:
            low -= 1
        for number in range(low, self.count):
            found = self.object_id(number)
            if found == object_id:
                yield number
            elif found > object_id:
                return

    def object_id(self, number: int) -> bytes:
        """The id in a record."""
        return bytes(self._ids[number * ID_BYTES : (number + 1) * ID_BYTES])

    def location(self, number: int) -> Location:
        """The location in a record."""
        stored, pack, offset, length, kind = DETAIL.unpack_from(self._details, number * DETAIL.size)
        return Location(self.packs[pack][0], offset, length, stored, kind)

    def pack_number(self, number: int) -> int:
        """The row of the pack that a record points into."""
        row: int = DETAIL.unpack_from(self._details, number * DETAIL.size)[1]
        return row


def segment_body(packs: Iterable[Pack]) -> bytes:
    """The body of an index object over some packs."""
    rows: list[bytes] = []
    records: list[tuple[bytes, bytes]] = []
    for number, pack in enumerate(packs):
        rows.append(PACK_ROW.pack(pack.pack_id, pack.writer, pack.size_bytes))
        records.extend((entry.object_id, _detail(entry, number)) for entry in pack.entries)
    records.sort()
    return b"".join(
        (
            HEAD.pack(len(rows), len(records)),
            *rows,
            *(object_id for object_id, _detail_bytes in records),
            *(detail for _object_id, detail in records),
        )
    )


def store_segment(blobs: Blobs, packs: Iterable[Pack]) -> str:
    """Write an index object over packs that are durable; its key."""
    key = index_key(secrets.token_bytes(16))
    blobs.put(key, [seal_object(key, ObjectKind.INDEX, segment_body(packs))])
    return key


def load_segment(blobs: Blobs, key: str) -> Segment:
    """An index object, checked. Raises :class:`ObjectDamaged`, ``BlobMissing``."""
    data = fetch(blobs.view, key, url=blobs.url)
    body = open_object(data, key, ObjectKind.INDEX, url=blobs.url)
    return Segment(key, body, url=blobs.url)


class Index:
    """All index objects of a vault, and which of their packs are there.

    ``find`` may be called from several threads while one thread refreshes. ``seen_packs``
    gathers, over all refreshes, every pack that an answer may have come from.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._segments: dict[str, Segment] = {}
        self._lock = threading.Lock()
        self.pack_sizes: dict[bytes, int] = {}
        self.seen_packs: set[bytes] = set()
        self.damaged_objects: list[ObjectDamaged] = []
        self._excluded: frozenset[bytes] = frozenset()
        self._bad_frames: frozenset[tuple[bytes, int]] = frozenset()
        self.refresh()

    @property
    def segments(self) -> list[Segment]:
        """The index objects that could be read."""
        return list(self._segments.values())

    def refresh(self) -> None:
        """Take up what other processes have written or removed.

        A damaged index object is left out and noted: its packs still have directories.
        """
        with self._lock:
            segments: dict[str, Segment] = {}
            self.damaged_objects = []
            for info in self._blobs.list(INDEX):
                self._load(info.key, segments)
            # Packs after index objects: a pack named by an object that was read exists
            # unless it was removed, and then the list is right.
            self.pack_sizes = dict(list_packs(self._blobs))
            self.seen_packs |= self.pack_sizes.keys()
            self._segments = segments
            self._mark_alive()

    def exclude(self, packs: Iterable[bytes], bad_frames: Iterable[tuple[bytes, int]] = ()) -> None:
        """Do not answer with frames of these packs, nor with these (pack, offset) frames."""
        with self._lock:
            self._excluded = frozenset(packs)
            self._bad_frames = frozenset(bad_frames)
            self._mark_alive()

    def find(self, object_id: bytes) -> Location | None:
        """A place where the frame stands that may be relied on; None if there is none."""
        return next(self.find_all(object_id), None)

    def find_all(self, object_id: bytes) -> Iterator[Location]:
        """Every place where the frame stands that may be relied on."""
        for segment in list(self._segments.values()):
            for number in segment.find(object_id):
                if self.is_usable(segment, number):
                    yield segment.location(number)

    def is_usable(self, segment: Segment, number: int) -> bool:
        """Whether a record names a frame that may be relied on."""
        if not segment.alive[segment.pack_number(number)]:
            return False
        if not self._bad_frames:
            return True
        location = segment.location(number)
        return (location.pack_id, location.offset_bytes) not in self._bad_frames

    def indexed_packs(self) -> dict[bytes, bytes]:
        """Every pack that an index object names and that exists, with its writer."""
        return {
            pack_id: writer
            for segment in self._segments.values()
            for pack_id, writer, _size in segment.packs
            if pack_id in self.pack_sizes
        }

    @property
    def lacks_something(self) -> bool:
        """Whether an index object is damaged, or names a pack that is not there."""
        return bool(self.damaged_objects) or any(
            pack_id not in self.pack_sizes
            for segment in self._segments.values()
            for pack_id, _writer, _size in segment.packs
        )

    def unindexed_packs(self) -> list[bytes]:
        """Packs that exist and that no index object names."""
        indexed = self.indexed_packs()
        return [pack_id for pack_id in self.pack_sizes if pack_id not in indexed]

    def _load(self, key: str, segments: dict[str, Segment]) -> None:
        known = self._segments.get(key)
        if known is not None:
            segments[key] = known
            return
        try:
            segments[key] = load_segment(self._blobs, key)
        except BlobMissing:
            # Replaced by another between the listing and now; the replacement may not
            # have been listed, so list again.
            for info in self._blobs.list(INDEX):
                if info.key not in segments and info.key != key:
                    self._load(info.key, segments)
        except ObjectDamaged as error:
            self.damaged_objects.append(error)

    def _mark_alive(self) -> None:
        for segment in self._segments.values():
            for number, (pack_id, _writer, _size) in enumerate(segment.packs):
                segment.alive[number] = pack_id in self.pack_sizes and pack_id not in self._excluded


def select_packs(segments: Iterable[Segment], keep: Callable[[bytes], bool]) -> Iterator[Pack]:
    """The packs of some index objects, rebuilt from them, each once, that ``keep`` accepts."""
    seen: set[bytes] = set()
    for segment in segments:
        rows: dict[int, list[Entry]] = {}
        for number, (pack_id, _writer, _size) in enumerate(segment.packs):
            if pack_id not in seen and keep(pack_id):
                rows[number] = []
                seen.add(pack_id)
        for number in range(segment.count):
            row = segment.pack_number(number)
            if row in rows:
                place = segment.location(number)
                rows[row].append(
                    Entry(
                        segment.object_id(number),
                        place.stored_hash,
                        place.offset_bytes,
                        place.length_bytes,
                        place.kind,
                    )
                )
        for row, entries in rows.items():
            pack_id, writer, size = segment.packs[row]
            entries.sort(key=lambda entry: entry.offset_bytes)
            yield Pack(pack_id, writer, size, tuple(entries))


def _detail(entry: Entry, pack_number: int) -> bytes:
    return DETAIL.pack(
        entry.stored_hash, pack_number, entry.offset_bytes, entry.length_bytes, entry.kind
    )
