"""Removing what nobody needs: first a plan, then, in an order that any crash leaves safe.

Why this is safe beside writers: ``docs/vault-format.md``, section "Writers and removal",
and ``protocol.md`` beside this file.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from dozo.blobs import BlobMissing, Blobs, BlobsFull, BlobTruncated, BlobUnreadable, ReserveBlobs
from dozo.model import clock
from dozo.vault import deletion as deletions
from dozo.vault import pending as pendings
from dozo.vault.deletion import Deletion
from dozo.vault.errors import ChunkDamaged, ChunkMissing, VaultDamaged
from dozo.vault.frames import FrameKind
from dozo.vault.index import Location, select_packs, store_segment
from dozo.vault.layout import SNAPSHOTS, check_key, pack_key, snapshot_key
from dozo.vault.manifest import list_attempts
from dozo.vault.packs import Pack, read_writer
from dozo.vault.removal import (
    Damage,
    announce_removal,
    clear_damage,
    end_removal,
    list_damage,
    list_removals,
    unreliable,
)
from dozo.vault.roots import Marks, Roots, look
from dozo.vault.store import Store
from dozo.vault.writer import Writer, no_crash

DEFAULT_GRACE_SECONDS = 7 * 24 * 3600
# A pack is rewritten when more of it than this is dead: stored bytes then stay within
# 5 % of what is needed.
TOLERATED_DEAD_SHARE = 0.05
PACKS_PER_INDEX = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class PackUse:
    """How much of a pack is needed, in bytes."""

    pack_id: bytes
    size_bytes: int
    live_bytes: int
    dead_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PrunePlan:
    """What a prune would do."""

    purge: tuple[Deletion, ...]
    remove: tuple[PackUse, ...]
    rewrite: tuple[PackUse, ...]
    stored_bytes: int
    roots: Roots
    packs: frozenset[bytes] = field(repr=False)
    marks: Marks = field(repr=False)

    @property
    def freed_bytes(self) -> int:
        """What the removal gives back."""
        freed = sum(use.size_bytes for use in self.remove)
        return freed + sum(use.size_bytes - use.live_bytes for use in self.rewrite)

    @property
    def kept_bytes(self) -> int:
        """What stays."""
        return self.stored_bytes - self.freed_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneReport:
    """What a prune did, or would do; sizes in stored bytes."""

    snapshots_purged: int
    packs_removed: int
    packs_rewritten: int
    bytes_freed: int
    bytes_kept: int
    dry_run: bool


def prune(
    store: Store,
    *,
    grace_seconds: int = DEFAULT_GRACE_SECONDS,
    dry_run: bool = False,
    retire: Iterable[bytes] = (),
    crash: Callable[[str], None] = no_crash,
) -> PruneReport:
    """Remove snapshots deleted longer ago than the grace period, and what only they needed.

    ``retire`` names packs to be rewritten whatever they hold. Raises
    :class:`VaultDamaged`, and removes nothing, when anything that is needed is missing.
    """
    blobs = ReserveBlobs(store.blobs)
    if not dry_run:
        blobs.sweep()
        _fence_the_dead(blobs)
    plan = make_plan(store, grace_seconds=grace_seconds, retire=frozenset(retire))
    if not dry_run:
        plan = apply(store, plan, crash)
        blobs.keep_reserve()
    return PruneReport(
        snapshots_purged=len(plan.purge),
        packs_removed=len(plan.remove),
        packs_rewritten=len(plan.rewrite),
        bytes_freed=plan.freed_bytes,
        bytes_kept=plan.kept_bytes,
        dry_run=dry_run,
    )


def make_plan(store: Store, *, grace_seconds: int, retire: frozenset[bytes]) -> PrunePlan:
    """Mark what is needed and weigh every pack. Raises :class:`VaultDamaged`."""
    try:
        return _plan(store, grace_seconds=grace_seconds, retire=retire)
    except VaultDamaged:
        # What another removal took away between two of our looks is no damage, and the
        # next look does not miss it.
        return _plan(store, grace_seconds=grace_seconds, retire=retire)


def _plan(store: Store, *, grace_seconds: int, retire: frozenset[bytes]) -> PrunePlan:
    index = store.index
    # Packs are listed before writers: a writer that began later has no pack in the list.
    index.refresh()
    candidates = dict(index.pack_sizes)
    roots = look(store.blobs)
    # The index is read after the roots: what a root needs was indexed before it was visible.
    index.refresh()
    purge = tuple(_purgeable(roots, grace_seconds))
    _require_sound(store, roots, (each.snapshot for each in purge))
    damage = list_damage(store.blobs)
    removals = list_removals(store.blobs)
    _exclude_damage(store, damage)
    try:
        marks = Marks(store)
        marks.mark(roots.kept(each.snapshot for each in purge))
        marks.require_complete()
        marks.mark(roots.at_work())
        uses = list(_weigh(store, marks, candidates, {each.writer for each in roots.pendings}))
    finally:
        index.exclude(())
    must_go = retire | {damaged.pack_id for damaged in damage}
    must_go |= {pack_id for removal in removals for pack_id in removal.packs}
    return PrunePlan(
        purge=purge,
        remove=tuple(use for use in uses if use.live_bytes == 0),
        rewrite=tuple(
            use
            for use in uses
            if use.live_bytes and (use.pack_id in must_go or use.dead_share > TOLERATED_DEAD_SHARE)
        ),
        stored_bytes=sum(candidates.values()),
        roots=roots,
        packs=frozenset(candidates),
        marks=marks,
    )


def apply(store: Store, plan: PrunePlan, crash: Callable[[str], None] = no_crash) -> PrunePlan:
    """Do what the plan says, sparing whatever has become needed since; the plan as it was done.

    On a full disk nothing is rewritten: what can go as a whole goes, out of the reserve, and
    the next prune finds room for the rest.
    """
    blobs = ReserveBlobs(store.blobs)
    for deletion in plan.purge:
        deletions.purge(blobs, deletion)
    crash("purged")
    moved = _Moved()
    if plan.rewrite:
        try:
            moved = _rewrite(store, plan, crash)
        except BlobsFull:
            store.index.exclude(())
            plan = replace(plan, rewrite=())
    doomed = {use.pack_id for use in (*plan.remove, *plan.rewrite)}
    left_over = list_removals(blobs)
    if doomed or left_over:
        crash("rewritten")
        removal = announce_removal(blobs, doomed)
        crash("announced")
        doomed -= _needed_after_all(store, plan, doomed, moved)
        removal = announce_removal(blobs, doomed, removal.name)
        crash("spared")
        # Where there is no room for it the packs go first: an index record of a pack that is
        # gone does not count, and only costs writers a look.
        _drop_from_index(store, doomed)
        crash("unindexed")
        for pack_id in sorted(doomed):
            blobs.delete(pack_key(pack_id))
            clear_damage(blobs, pack_id)
            crash("pack-deleted")
        store.index.refresh()
        for old in left_over:
            if not old.packs & store.index.pack_sizes.keys():
                end_removal(blobs, old)
        end_removal(blobs, removal)
    _delete_purged(store)
    store.index.refresh()
    if store.index.lacks_something:
        _drop_from_index(store, set())
        store.index.refresh()
    return plan


def _fence_the_dead(blobs: Blobs) -> None:
    notes, _damaged = pendings.list_pending(blobs)
    for note in notes:
        if note.may_be_fenced():
            if note.publishes:
                pendings.fence(blobs, note.snapshot, note.attempt)
            pendings.end(blobs, note)


def _require_sound(store: Store, roots: Roots, purge: Iterable[str] = ()) -> None:
    """Raises :class:`VaultDamaged` when anything cannot be read but what is to go anyway."""
    gone = roots.gone(purge)
    damaged = [*store.index.damaged_objects, *roots.damaged]
    for error in damaged:
        folder, *names = error.key.split("/")
        if folder != SNAPSHOTS or names[0] not in gone:
            raise VaultDamaged(url=store.blobs.url, what=error.key)


def _purgeable(roots: Roots, grace_seconds: int) -> Iterable[Deletion]:
    limit = clock.now() - timedelta(seconds=grace_seconds)
    for deletion in roots.deletions.values():
        is_due = not deletion.purged and deletion.deleted_at <= limit
        if is_due and deletion.snapshot not in roots.held:
            yield deletion


def _exclude_damage(store: Store, damage: Iterable[Damage]) -> None:
    whole = {each.pack_id for each in damage if each.whole}
    frames = {(each.pack_id, offset) for each in damage for offset in each.offsets}
    store.index.exclude(whole, frames)


def _weigh(
    store: Store, marks: Marks, candidates: dict[bytes, int], spared: set[bytes]
) -> Iterable[PackUse]:
    live: dict[bytes, int] = {}
    total: dict[bytes, int] = {}
    for segment in marks.segments:
        for number in range(segment.count):
            place = segment.location(number)
            if segment.alive[segment.pack_number(number)]:
                total[place.pack_id] = total.get(place.pack_id, 0) + place.length_bytes
            if marks.is_marked(segment, number):
                live[place.pack_id] = live.get(place.pack_id, 0) + place.length_bytes
    writers = store.index.indexed_packs()
    for pack_id, size in candidates.items():
        try:
            writer = writers.get(pack_id) or read_writer(store.blobs, pack_id)
        except BlobMissing:
            continue
        except (BlobTruncated, BlobUnreadable):
            # Whose it is cannot be told; where nobody is at work it is nobody's.
            if spared:
                continue
            writer = b""
        if writer not in spared:
            share = live.get(pack_id, 0) / max(total.get(pack_id, size), 1)
            yield PackUse(
                pack_id=pack_id, size_bytes=size, live_bytes=int(size * share), dead_share=1 - share
            )


@dataclass(frozen=True, slots=True)
class _Moved:
    """New packs, and whether they hold all that was marked.

    They do not where another removal meanwhile took away what it had found needless.
    """

    packs: frozenset[bytes] = frozenset()
    whole: bool = True


def _rewrite(store: Store, plan: PrunePlan, crash: Callable[[str], None]) -> _Moved:
    """Store again what is needed of the packs to be rewritten."""
    whole = True
    wanted = {use.pack_id for use in plan.rewrite}
    with Writer(store, "rewrite", pendings.REWRITE, crash=crash) as writer:
        # Packs named by another removal, alive or left by a crash, are read as well.
        _exclude_damage(store, list_damage(store.blobs))
        # The index may have been written anew since; what is marked stands in the old one.
        for segment in plan.marks.segments:
            for number in range(segment.count):
                object_id = segment.object_id(number)
                place = segment.location(number)
                if place.pack_id in wanted and plan.marks.is_marked(segment, number):
                    try:
                        frame, found = store.frame(object_id)
                    except (ChunkMissing, ChunkDamaged):
                        if not _is_going(store, place.pack_id):
                            raise
                        whole = False
                        continue
                    writer.add(object_id, FrameKind(found.kind), frame, found.stored_hash)
        writer.flush()
        return _Moved(writer.packs, whole)


def _is_going(store: Store, pack_id: bytes) -> bool:
    """Whether another removal takes a pack away, or has done so."""
    named = unreliable(store.blobs).packs
    store.index.refresh()
    return pack_id in named or pack_id not in store.index.pack_sizes


def _needed_after_all(
    store: Store, plan: PrunePlan, doomed: set[bytes], moved: _Moved
) -> set[bytes]:
    """Doomed packs that hold the only copy of something that is needed now.

    Called after the removal was announced: whoever began to rely on a doomed pack before
    that is seen here, and whoever begins later sees the announcement.
    """
    try:
        return _spared(store, plan, doomed, moved)
    except VaultDamaged:
        # As in make_plan: what another removal took away since our look is no damage.
        return _spared(store, plan, doomed, moved)


def _spared(store: Store, plan: PrunePlan, doomed: set[bytes], moved: _Moved) -> set[bytes]:
    roots = look(store.blobs, plan.roots)
    # Records before packs: another removal that ends in between shows in the list.
    others = unreliable(store.blobs)
    store.index.refresh()
    _require_sound(store, roots)
    vanished = (plan.packs | moved.packs) - store.index.pack_sizes.keys()
    # Another removal at work may rely on what this one moved; then everything is weighed anew.
    alone = moved.whole and not vanished and others.packs <= doomed
    earlier = plan.roots.kept(each.snapshot for each in plan.purge) if alone else set()
    # Packs that another removal has named may yet be spared by it: they are read, to find
    # what is needed below, but nothing counts as safe there.
    marks = Marks(store, every=True)
    marks.mark(root for root in roots.kept() if root not in earlier)
    marks.require_complete()
    marks.mark(roots.at_work())

    going = doomed | others.packs

    def is_safe(place: Location) -> bool:
        frame = (place.pack_id, place.offset_bytes)
        return place.pack_id not in going and frame not in others.frames

    spared: set[bytes] = set()
    for segment in marks.segments:
        for number in range(segment.count):
            place = segment.location(number)
            if (
                place.pack_id in doomed
                and place.pack_id not in spared
                and marks.is_marked(segment, number)
                and not any(map(is_safe, store.index.find_all(segment.object_id(number))))
            ):
                spared.add(place.pack_id)
    return spared


def _drop_from_index(store: Store, doomed: set[bytes]) -> None:
    """Write index objects anew without the doomed packs, and only then delete the old ones.

    No change where there is no room for that.
    """
    old = store.index.segments
    present = store.index.pack_sizes
    affected = [
        segment
        for segment in old
        if any(pack_id in doomed or pack_id not in present for pack_id, _w, _s in segment.packs)
    ]
    small = [segment for segment in old if len(segment.packs) < PACKS_PER_INDEX // 2]
    if not affected and len(small) < 2:
        return
    replaced = affected + [segment for segment in small if segment not in affected]

    def keep(pack_id: bytes) -> bool:
        return pack_id in present and pack_id not in doomed

    made: list[str] = []
    try:
        for group in _grouped(select_packs(replaced, keep)):
            made.append(store_segment(store.blobs, group))  # noqa: PERF401  also of a part
    except BlobsFull:
        for key in made:
            store.blobs.delete(key)
        return
    for segment in replaced:
        store.blobs.delete(segment.key)


def _grouped(packs: Iterable[Pack]) -> Iterator[list[Pack]]:
    group: list[Pack] = []
    for pack in packs:
        group.append(pack)
        if len(group) == PACKS_PER_INDEX:
            yield group
            group = []
    if group:
        yield group


def _delete_purged(store: Store) -> None:
    # Writers' notes and damaged objects do not matter here: what is purged goes by its name.
    gone = look(store.blobs).gone()
    for snapshot, attempt in list(list_attempts(store.blobs)):
        if snapshot in gone:
            store.blobs.delete(snapshot_key(snapshot, attempt))
            store.blobs.delete(check_key(snapshot))
