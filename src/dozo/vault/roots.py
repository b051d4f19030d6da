"""What must stay: every root of a vault, and the marking of everything below the roots."""

from collections.abc import Iterable
from dataclasses import dataclass

from dozo.blobs import Blobs
from dozo.model import clock
from dozo.model.message import Message
from dozo.vault import deletion as deletions
from dozo.vault.deletion import Deletion
from dozo.vault.errors import ChunkDamaged, ChunkMissing, VaultDamaged
from dozo.vault.format import ID_BYTES, ZERO_ID
from dozo.vault.index import Segment
from dozo.vault.manifest import Manifest, Publication, Unreadable, load_manifests
from dozo.vault.pending import Pending, Root, list_pending
from dozo.vault.store import Store
from dozo.vault.tree import walk_segments


@dataclass(frozen=True, slots=True)
class Roots:
    """A vault's writers and snapshots at one look, and what is damaged among them."""

    pendings: tuple[Pending, ...]
    publications: dict[tuple[str, str], Publication]
    deletions: dict[str, Deletion]
    held: frozenset[str]
    damaged: tuple[Unreadable, ...]

    def kept(self, purge: Iterable[str] = ()) -> set[Root]:
        """Every published tree that must stay readable when the snapshots in ``purge`` go."""
        gone = self.gone(purge)
        roots = set()
        for (snapshot, _attempt), publication in self.publications.items():
            if publication.manifest is not None and snapshot not in gone:
                roots.add(root_of(publication.manifest))
        return roots

    def gone(self, purge: Iterable[str] = ()) -> set[str]:
        """The snapshots that need not be kept when those in ``purge`` go; never a held one."""
        purged = {name for name, each in self.deletions.items() if each.purged}
        return (set(purge) | purged) - self.held

    def at_work(self) -> set[Root]:
        """The trees that writers at work rely on.

        They need not be whole: a writer finds out by itself what went before its note was
        seen, and stores it again before it publishes.
        """
        return {root for pending in self.pendings for root in pending.roots}

    def manifests(self) -> dict[str, Manifest]:
        """Every published snapshot, deleted ones included."""
        return {
            snapshot: publication.manifest
            for (snapshot, _attempt), publication in self.publications.items()
            if publication.manifest is not None
        }


def look(blobs: Blobs, before: Roots | None = None, *, tolerant: bool = False) -> Roots:
    """List all roots. Writers first: one that ends meanwhile is then seen as published.

    Raises :class:`ObjectDamaged` for a tombstone or a hold; with ``tolerant`` no snapshot
    then counts as deleted.
    """
    pendings, damaged_notes = list_pending(blobs)
    known = None if before is None else before.publications
    publications, damaged = load_manifests(blobs, known)
    return Roots(
        tuple(pendings),
        publications,
        {} if tolerant else deletions.deletions(blobs),
        frozenset() if tolerant else _held(blobs),
        (*damaged_notes, *damaged),
    )


def _held(blobs: Blobs) -> frozenset[str]:
    now = clock.now()
    return frozenset(hold.snapshot for hold in deletions.list_holds(blobs) if hold.until > now)


def root_of(manifest: Manifest) -> Root:
    """The tree of a snapshot."""
    return Root(manifest.root, manifest.depth, manifest.attachments)


class Marks:
    """Which index records are needed: one byte a record, beside the mapped index objects.

    Of several records of one frame the first is marked, or ``every`` one. Only the index
    objects of the moment when the marking began have marks.
    """

    def __init__(self, store: Store, *, every: bool = False) -> None:
        self._store = store
        self._every = every
        self.segments: list[Segment] = store.index.segments
        self._marks = {segment.key: bytearray(segment.count) for segment in self.segments}
        self.missing: set[bytes] = set()

    def mark(self, roots: Iterable[Root]) -> None:
        """Mark everything below the roots; what is in no pack is added to ``missing``."""
        for root in roots:
            for object_id in root.attachments:
                self.enter(object_id)
            for ids in walk_segments(root.root, root.depth, self._load, self.enter):
                for at in range(0, len(ids), ID_BYTES):
                    object_id = ids[at : at + ID_BYTES]
                    if object_id != ZERO_ID:
                        self.enter(object_id)

    def enter(self, object_id: bytes) -> bool:
        """Mark one id; whether it was new."""
        new: bool | None = None
        for segment in self.segments:
            marks = self._marks[segment.key]
            for number in segment.find(object_id):
                if self._store.index.is_usable(segment, number):
                    new = bool(new) or not marks[number]
                    marks[number] = 1
                    if not self._every:
                        return new
        if new is None:
            self.missing.add(object_id)
        return bool(new)

    def is_marked(self, segment: Segment, number: int) -> bool:
        """Whether a record is needed."""
        return bool(self._marks[segment.key][number])

    def require_complete(self) -> None:
        """Raises :class:`VaultDamaged` when something needed is in no pack."""
        if self.missing:
            raise VaultDamaged(
                url=self._store.blobs.url,
                what=Message("{count} chunks or tree segments", count=len(self.missing)),
            )

    def _load(self, object_id: bytes) -> bytes | None:
        try:
            return self._store.segment(object_id)
        except (ChunkMissing, ChunkDamaged):
            self.missing.add(object_id)
            return None
