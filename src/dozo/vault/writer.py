"""Adding to a vault: packs, then index, then the one object that makes a snapshot visible.

Each pack is read back before the index names it.

The protocol and why it is safe beside removal without any clock:
``docs/vault-format.md``, section "Writers and removal".
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from dozo.blobs import Buffer
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.vault import pending as pendings
from dozo.vault.errors import ReadBackFailed, WriterFenced
from dozo.vault.format import ObjectKind, create_document
from dozo.vault.frames import FrameKind, store_clear, stored_hash, tree_id
from dozo.vault.index import MAX_RECORDS, store_segment
from dozo.vault.layout import pack_key, snapshot_key
from dozo.vault.manifest import Manifest, load_publication, publication_document
from dozo.vault.packs import Pack, PackBuilder, check_pack
from dozo.vault.pending import Pending, Root
from dozo.vault.removal import Unreliable, unreliable
from dozo.vault.store import Store

PACKS_PER_INDEX = 64
PACKS_IN_FLIGHT = 2
TREE_LEVEL = 3


def no_crash(point: str) -> None:
    """Tests put a process's end here."""


class Writer:
    """One attempt at adding something to a vault; a context manager.

    What it stores is read back as stored, and hashed, before anybody can find it; what
    does not come back as it was written raises ``ReadBackFailed``, and nothing is published.
    ``add``, ``claim`` and ``store_tree`` may be called from several threads. Leaving the
    context without ``publish`` or ``finish`` gives up: what was stored stays until a
    prune, invisible.
    """

    def __init__(
        self,
        store: Store,
        snapshot: str,
        purpose: str,
        parents: Iterable[Root] = (),
        crash: Callable[[str], None] = no_crash,
    ) -> None:
        self._store = store
        self._blobs = store.blobs
        self._crash = crash
        self._blobs.keep_reserve()
        self.pending: Pending = pendings.begin(self._blobs, snapshot, purpose, tuple(parents))
        crash("pending")
        # Only what is read after the note was put may be relied on.
        store.index.refresh()
        store.index.seen_packs = set(store.index.pack_sizes)
        self.avoided = unreliable(self._blobs)
        store.index.exclude(self.avoided.packs, self.avoided.frames)
        self._builder = PackBuilder(self.pending.writer)
        self._lock = threading.Lock()
        self._new: set[bytes] = set()
        self._stored: list[Future[Pack]] = []
        self._indexed: list[Pack] = []
        self._index_object: str | None = None
        self._own: set[bytes] = set()
        self._slots = threading.BoundedSemaphore(PACKS_IN_FLIGHT)
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="dozo-pack")
        self.bytes_stored = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._flusher.shutdown(wait=True, cancel_futures=True)
        self._store.index.exclude(())
        try:
            pendings.end(self._blobs, self.pending)
        except DozoError:
            # What went wrong first is what the caller has to know; a note of a dead
            # process is fenced by the next prune.
            if error is None:
                raise
        if isinstance(error, WriterFenced):
            # This attempt never publishes any more, so its fence has nothing left to keep out.
            with suppress(DozoError):
                self._blobs.delete(snapshot_key(self.pending.snapshot, self.pending.attempt))

    @property
    def packs(self) -> frozenset[bytes]:
        """The packs that this attempt has written and indexed."""
        return frozenset(self._own)

    def claim(self, object_id: bytes) -> bool:
        """Whether the caller shall store this frame: nobody has, and it is not there yet."""
        with self._lock:
            if object_id in self._new:
                return False
            self._new.add(object_id)
        if self._store.index.find(object_id) is not None:
            with self._lock:
                self._new.discard(object_id)
            return False
        return True

    def add(self, object_id: bytes, kind: FrameKind, frame: Buffer, frame_hash: bytes) -> None:
        """Append a frame that was claimed. Raises what storing an earlier pack raised."""
        with self._lock:
            self._builder.add(object_id, kind, frame, frame_hash)
            if not self._builder.is_full:
                return
            full, self._builder = self._builder, PackBuilder(self.pending.writer)
        self._submit(full)

    def store_tree(self, content: bytes) -> bytes:
        """Keep a tree segment; its id."""
        object_id = tree_id(content)
        if self.claim(object_id):
            frame = store_clear(content, FrameKind.TREE, TREE_LEVEL)
            self.add(object_id, FrameKind.TREE, frame, stored_hash(frame))
        return object_id

    def flush(self) -> None:
        """Make everything added so far durable, and index it."""
        with self._lock:
            last, self._builder = self._builder, PackBuilder(self.pending.writer)
        if not last.is_empty:
            self._submit(last)
        self._collect(len(self._stored))

    def complete(self, root: Root) -> Unreliable:
        """Flush, announce the finished root, and say what can no longer be relied on.

        An empty answer means that the snapshot may be published. Otherwise the caller
        stores again what it relied on there, and calls this again. Raises
        :class:`WriterFenced`.
        """
        self.flush()
        self._crash("index")
        self.pending = pendings.complete(self._blobs, self.pending, root)
        self._crash("complete")
        # Records before packs: a removal takes its record away only after its packs, so one
        # that ends in between has left its mark in the list.
        found = unreliable(self._blobs)
        self._store.index.refresh()
        present = set(self._store.index.pack_sizes)
        if not self._own <= present:
            # Only of a writer that was declared dead are packs removed that nobody needs yet.
            raise WriterFenced(snapshot=self.pending.snapshot)
        # Any refresh on the way may have brought packs that were relied on from then on.
        gone = self._store.index.seen_packs - present
        # A record of a pack that is gone, or that was avoided from the start, tells nothing new.
        fresh = Unreliable(
            (found.packs & present) - self.avoided.packs | gone,
            found.frames - self.avoided.frames,
        )
        self._store.index.seen_packs = set(present)
        self.avoided = Unreliable(
            self.avoided.packs | found.packs, self.avoided.frames | found.frames
        )
        self._store.index.exclude(self.avoided.packs, self.avoided.frames)
        with self._lock:
            self._new.clear()
        return fresh

    def publish(self, manifest: Manifest) -> None:
        """Make the snapshot visible. Raises :class:`WriterFenced`."""
        key = snapshot_key(manifest.snapshot, self.pending.attempt)
        # Whatever the index names has been read back, by this writer or by the one it is from.
        document = publication_document(manifest, self.pending.attempt, clock.now())
        if not create_document(self._blobs, key, ObjectKind.SNAPSHOT, document):
            # Either another process fenced this attempt, or an answer was lost.
            found = load_publication(self._blobs, manifest.snapshot, self.pending.attempt)
            if found.manifest is None:
                raise WriterFenced(snapshot=manifest.snapshot)
        self._crash("published")

    def _submit(self, builder: PackBuilder) -> None:
        self._slots.acquire()
        # Under the lock: another thread that collects replaces the list meanwhile.
        with self._lock:
            self._stored.append(self._flusher.submit(self._store_pack, builder))
        self._raise_failures()
        if len(self._stored) >= PACKS_PER_INDEX:
            with self._lock:
                ready = len(self._stored) - PACKS_IN_FLIGHT
            self._collect(ready)

    def _store_pack(self, builder: PackBuilder) -> Pack:
        try:
            pack = builder.store(self._blobs)
            self._crash("pack")
            self._read_back(pack)
            self._crash("read-back")
            return pack
        finally:
            self._slots.release()

    def _read_back(self, pack: Pack) -> None:
        """Compare a pack as it is stored with what was written. Raises :class:`ReadBackFailed`."""
        found = check_pack(self._blobs, pack.pack_id)
        if found is None:
            # Only of a writer that was declared dead are packs removed that nobody needs yet.
            raise WriterFenced(snapshot=self.pending.snapshot)
        if found.problem:
            # No index names it, so nobody can have relied on it.
            with suppress(DozoError):
                self._blobs.delete(pack_key(pack.pack_id))
            raise ReadBackFailed(
                url=self._blobs.url, pack=pack.pack_id.hex(), problem=found.problem
            )

    def _raise_failures(self) -> None:
        for future in list(self._stored):
            if future.done():
                future.result()

    def _collect(self, count: int) -> None:
        """Index the first ``count`` packs handed to the flusher, after they are durable."""
        with self._lock:
            ready, self._stored = self._stored[:count], self._stored[count:]
        packs = [future.result() for future in ready]
        if not packs:
            return
        with self._lock:
            before, group = self._index_object, [*self._indexed, *packs]
            if sum(len(pack.entries) for pack in self._indexed) >= MAX_RECORDS:
                before, group = None, packs
            key = store_segment(self._blobs, group)
            if before is not None:
                self._blobs.delete(before)
            self._index_object, self._indexed = key, group
            self._own |= {pack.pack_id for pack in packs}
            self.bytes_stored += sum(pack.size_bytes for pack in packs)
            indexed = {entry.object_id for pack in packs for entry in pack.entries}
        self._store.index.refresh()
        with self._lock:
            self._new -= indexed
