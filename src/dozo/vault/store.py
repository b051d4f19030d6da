"""Reading frames through the index: what restore, verify, copy and removal share."""

from collections import OrderedDict
from threading import Lock

from dozo.blobs import BlobMissing, Blobs, BlobTruncated, BlobUnreadable, Buffer
from dozo.vault.errors import ChunkDamaged, ChunkMissing
from dozo.vault.frames import (
    FrameInvalid,
    FrameKind,
    attachment_id,
    chunk_id,
    open_clear,
    open_sealed,
    stored_hash,
    tree_id,
)
from dozo.vault.index import Index, Location
from dozo.vault.keys import TenantKeys
from dozo.vault.layout import pack_key

CACHED_SEGMENTS = 256


class Store:
    """The frames of a vault. Safe to use from several threads."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.index = Index(blobs)
        self._segments: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()

    def frame(self, object_id: bytes) -> tuple[bytes, Location]:
        """A frame as it is stored, its hash checked, from any place that has it whole.

        Needs no keys. Raises :class:`ChunkMissing`, :class:`ChunkDamaged`.
        """
        damaged: Location | None = None
        for attempt in range(2):
            for location in self.index.find_all(object_id):
                data = self._read(location)
                if data is not None and stored_hash(data) == location.stored_hash:
                    return data, location
                if data is not None or damaged is None:
                    damaged = location
            if attempt == 0:
                # Another process may have moved the frame to a new pack.
                self.index.refresh()
        if damaged is None:
            raise ChunkMissing(url=self.blobs.url, chunk=object_id.hex())
        raise self._damaged(object_id, damaged)

    def chunk(self, object_id: bytes, tenant: TenantKeys, kind: FrameKind) -> bytes:
        """The content of a chunk or attachment, opened and hashed back to its id.

        Raises :class:`ChunkMissing`, :class:`ChunkDamaged`.
        """
        data, location = self.frame(object_id)
        return self.open_chunk(object_id, data, location, tenant, kind)

    def open_chunk(
        self,
        object_id: bytes,
        data: Buffer,
        location: Location,
        tenant: TenantKeys,
        kind: FrameKind,
    ) -> bytes:
        """Open a frame that was read. Raises :class:`ChunkDamaged`."""
        try:
            plain = open_sealed(data, kind, object_id, tenant)
        except FrameInvalid as error:
            raise self._damaged(object_id, location) from error
        id_of = attachment_id if kind is FrameKind.ATTACHMENT else chunk_id
        if id_of(plain, tenant) != object_id:
            raise self._damaged(object_id, location)
        return plain

    def segment(self, object_id: bytes) -> bytes:
        """The content of a tree segment, checked against its id. Needs no keys.

        Raises :class:`ChunkMissing`, :class:`ChunkDamaged`.
        """
        with self._lock:
            known = self._segments.get(object_id)
            if known is not None:
                self._segments.move_to_end(object_id)
                return known
        data, location = self.frame(object_id)
        try:
            content = open_clear(data, FrameKind.TREE)
        except FrameInvalid as error:
            raise self._damaged(object_id, location) from error
        if tree_id(content) != object_id:
            raise self._damaged(object_id, location)
        with self._lock:
            self._segments[object_id] = content
            if len(self._segments) > CACHED_SEGMENTS:
                self._segments.popitem(last=False)
        return content

    def _read(self, location: Location) -> bytes | None:
        try:
            return self.blobs.get_range(
                pack_key(location.pack_id), location.offset_bytes, location.length_bytes
            )
        except (BlobMissing, BlobTruncated, BlobUnreadable):
            return None

    def _damaged(self, object_id: bytes, location: Location) -> ChunkDamaged:
        return ChunkDamaged(url=self.blobs.url, chunk=object_id.hex(), pack=location.pack_id.hex())
