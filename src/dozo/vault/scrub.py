"""Reading everything back without keys: rot, loss, and which snapshots it touches.

Source: ``docs/vault-format.md``, section "Scrub".
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from dozo.blobs import BlobMissing, Blobs, BlobsFull, BlobsReadOnly
from dozo.model.message import Message
from dozo.model.progress import Progress
from dozo.vault import layout
from dozo.vault.errors import ChunkDamaged, ChunkMissing, FormatUnsupported, ObjectDamaged
from dozo.vault.format import (
    ID_BYTES,
    ZERO_ID,
    ObjectKind,
    fetch,
    open_object,
)
from dozo.vault.header import load_header
from dozo.vault.index import load_segment
from dozo.vault.manifest import load_manifests
from dozo.vault.packs import PackCheck, check_pack
from dozo.vault.readings import record_reading
from dozo.vault.removal import Damage, clear_damage, list_damage, mark_damaged
from dozo.vault.roots import Marks, Roots, look, root_of
from dozo.vault.store import Store
from dozo.vault.tree import walk_segments
from dozo.vault.verify import keep_damage, load_check

READERS = 2
MAX_LOOKS = 3
# A scrub tells what it finds even where it cannot note it down for others.
NO_WRITING = (BlobsFull, BlobsReadOnly)

KINDS = {
    layout.HEADER: ObjectKind.HEADER,
    layout.HEADER_COPY: ObjectKind.HEADER,
    layout.INDEX: ObjectKind.INDEX,
    layout.SNAPSHOTS: ObjectKind.SNAPSHOT,
    layout.KEYS: ObjectKind.WRAPPED_KEY,
    layout.PENDING: ObjectKind.PENDING,
    layout.TOMBSTONES: ObjectKind.TOMBSTONE,
    layout.RESOLUTIONS: ObjectKind.RESOLUTION,
    layout.HOLDS: ObjectKind.HOLD,
    layout.DELETING: ObjectKind.DELETING,
    layout.DAMAGED: ObjectKind.DAMAGED,
    layout.CHECKS: ObjectKind.CHECK,
    layout.READINGS: ObjectKind.READING,
    layout.RECORDS: ObjectKind.RECORD,
    layout.HEADS: ObjectKind.HEAD,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong: which object, and in what way."""

    key: str
    problem: str


@dataclass(kw_only=True)
class ScrubReport:
    """What a scrub has read and found. ``snapshots_touched`` maps ids to damaged chunks.

    ``unreadable`` counts ids that snapshots need and that no pack holds whole.
    """

    bytes_read: int = 0
    packs_read: int = 0
    objects_read: int = 0
    findings: list[Finding] = field(default_factory=list)
    snapshots_touched: dict[str, int] = field(default_factory=dict)
    unreadable: set[bytes] = field(default_factory=set)
    repaired: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings and not self.snapshots_touched


def scrub(store: Store, progress: Progress) -> ScrubReport:
    """Read every object and pack of a vault; record damaged frames. Needs no keys.

    Damage found earlier and since mended is forgotten.
    """
    report = ScrubReport()
    store.index.refresh()
    progress.total(sum(store.index.pack_sizes.values()))
    report.findings.extend(_damaged_objects(store.blobs, report))
    damage = _read_packs(store, report, progress)
    _touch(store, report, damage)
    _keep_verdicts(store, report)
    return report


def _keep_verdicts(store: Store, report: ScrubReport) -> None:
    """Say of each snapshot in the vault itself whether it is damaged; what was, is not any more."""
    with suppress(BlobsFull, BlobsReadOnly):
        for snapshot, chunks in report.snapshots_touched.items():
            if chunks:
                keep_damage(store.blobs, snapshot, chunks)
        for info in list(store.blobs.list(layout.CHECKS)):
            snapshot = info.key.rsplit("/", 1)[-1]
            if report.snapshots_touched.get(snapshot):
                continue
            with suppress(ObjectDamaged):
                known = load_check(store.blobs, snapshot)
                if known is not None and known.damaged:
                    store.blobs.delete(info.key)


def _damaged_objects(blobs: Blobs, report: ScrubReport) -> Iterator[Finding]:
    for info in blobs.list(""):
        folder = info.key.split("/")[0]
        if folder == layout.PACKS:
            continue
        kind = KINDS.get(folder)
        if kind is None:
            yield Finding(key=info.key, problem=Message("it is not an object of a vault"))
            continue
        try:
            data = fetch(blobs.view, info.key, url=blobs.url)
            open_object(data, info.key, kind, url=blobs.url)
            if kind is ObjectKind.INDEX:
                load_segment(blobs, info.key)
            report.objects_read += 1
            report.bytes_read += len(data)
        except BlobMissing:
            continue
        except ObjectDamaged as error:
            yield Finding(key=info.key, problem=error.reason)
        except FormatUnsupported as error:
            yield Finding(key=info.key, problem=str(error))
    for name in (layout.HEADER, layout.HEADER_COPY, *_wrappings_needed(blobs)):
        with suppress(BlobMissing):
            blobs.size(name)
            continue
        yield Finding(key=name, problem=Message("the object is missing"))


def _wrappings_needed(blobs: Blobs) -> Iterator[str]:
    """Without these the vault's own site cannot open what its snapshots hold."""
    recipient = load_header(blobs).recipient
    published, _damaged = load_manifests(blobs)
    manifests = [each.manifest for each in published.values() if each.manifest is not None]
    for tenant in {manifest.tenant for manifest in manifests}:
        yield layout.wrapped_key(tenant, recipient)


def _read_packs(store: Store, report: ScrubReport, progress: Progress) -> list[Damage]:
    whole: list[bytes] = []
    damage: list[Damage] = []
    with ThreadPoolExecutor(READERS, thread_name_prefix="dozo-scrub") as pool:
        names = list(store.index.pack_sizes)
        for found in pool.map(lambda pack_id: check_pack(store.blobs, pack_id), names):
            if found is None:
                # A prune removed the pack while the scrub was under way.
                continue
            report.packs_read += 1
            report.bytes_read += found.size_bytes
            progress.advance(found.size_bytes)
            if not found.problem:
                whole.append(found.pack_id)
                with suppress(*NO_WRITING):
                    clear_damage(store.blobs, found.pack_id)
            else:
                key = layout.pack_key(found.pack_id)
                report.findings.append(Finding(key=key, problem=found.problem))
                damage.append(damage_of(found))
                with suppress(*NO_WRITING):
                    mark_damaged(store.blobs, damage[-1])
    with suppress(*NO_WRITING):
        record_reading(store.blobs, whole, replaces_all=True)
    return damage


def damage_of(found: PackCheck) -> Damage:
    """What must not be relied on in a pack that was read."""
    return Damage(
        pack_id=found.pack_id,
        offsets=frozenset(entry.offset_bytes for entry in found.damaged),
        whole=found.directory is None,
    )


def _touch(store: Store, report: ScrubReport, found: list[Damage]) -> None:
    """Say which snapshots the findings touch, and what is needed but in no pack."""
    damage = [*_readable_damage(store.blobs), *found]
    whole = {each.pack_id for each in damage if each.whole}
    frames = {(each.pack_id, offset) for each in damage for offset in each.offsets}
    try:
        for _look in range(MAX_LOOKS):
            roots = look_at_what_is_readable(store.blobs)
            store.index.refresh()
            store.index.exclude(whole, frames)
            marks = Marks(store)
            marks.mark(roots.kept())
            if not marks.missing:
                break
            # A prune may have removed a snapshot since the look; the next look shows it.
        report.unreadable = marks.missing
        for finding in report.findings:
            for snapshot in _named_by(finding.key, roots):
                report.snapshots_touched.setdefault(snapshot, 0)
        if marks.missing:
            _count_touched(store, roots, report)
    finally:
        store.index.exclude(())


def _count_touched(store: Store, roots: Roots, report: ScrubReport) -> None:
    def load(object_id: bytes) -> bytes | None:
        with suppress(ChunkMissing, ChunkDamaged):
            return store.segment(object_id)
        return None

    for snapshot, manifest in roots.manifests().items():
        deletion = roots.deletions.get(snapshot)
        if deletion is not None and deletion.purged:
            continue
        segments: set[bytes] = set()

        def enter(object_id: bytes, seen: set[bytes] = segments) -> bool:
            seen.add(object_id)
            return True

        root = root_of(manifest)
        count = sum(object_id in report.unreadable for object_id in root.attachments)
        for ids in walk_segments(root.root, root.depth, load, enter):
            for at in range(0, len(ids), ID_BYTES):
                object_id = ids[at : at + ID_BYTES]
                count += object_id != ZERO_ID and object_id in report.unreadable
        count += len(segments & report.unreadable)
        if count:
            report.snapshots_touched[snapshot] = count


def _named_by(key: str, roots: Roots) -> Iterable[str]:
    """The snapshots that an object itself belongs to."""
    parts = key.split("/")
    if parts[0] in (layout.HEADER, layout.HEADER_COPY):
        return [snapshot for snapshot, _attempt in roots.publications]
    if parts[0] == layout.KEYS and len(parts) > 1:
        return [
            name for name, each in roots.manifests().items() if f"{each.tenant:016x}" == parts[1]
        ]
    own = (layout.SNAPSHOTS, layout.TOMBSTONES, layout.RESOLUTIONS, layout.HOLDS, layout.CHECKS)
    return parts[1:2] if parts[0] in own else []


def look_at_what_is_readable(blobs: Blobs) -> Roots:
    """The roots, with deletions and holds left out where their objects are damaged."""
    try:
        return look(blobs)
    except ObjectDamaged:
        return look(blobs, tolerant=True)


def _readable_damage(blobs: Blobs) -> list[Damage]:
    try:
        return list_damage(blobs)
    except ObjectDamaged:
        return []
