"""The vault's public face: everything that the layers above, and other programs, may call."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from dozo.blobs import Blobs, ReadOnlyBlobs, ReserveBlobs
from dozo.model import clock
from dozo.model.extents import Extent
from dozo.model.message import Message
from dozo.model.progress import Progress, Silent
from dozo.model.volume_io import ByteSource, ByteTarget
from dozo.vault import deletion as deletions
from dozo.vault import manifest as manifests
from dozo.vault import pending as pendings
from dozo.vault.backup import Backup, HintDisproved, Parent
from dozo.vault.copying import (
    CopyReport,
    carry_deletions_and_holds,
    copy_snapshot,
    is_kept,
    is_there,
)
from dozo.vault.deletion import Hold
from dozo.vault.errors import (
    ChunkDamaged,
    ChunkMissing,
    ChunkSizesDiffer,
    KeysMissing,
    ObjectDamaged,
    ParentUnsuitable,
    SnapshotDeleted,
    SnapshotUnknown,
    VolumeSizeInvalid,
)
from dozo.vault.frames import FrameKind, attachment_id, seal, stored_hash
from dozo.vault.header import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_LEVEL,
    create_header,
    load_header,
    require_empty,
)
from dozo.vault.keyring import Keyring
from dozo.vault.keys import PublicKey, SiteKey, TenantKeys
from dozo.vault.layout import SNAPSHOTS
from dozo.vault.lookup import Lookup
from dozo.vault.manifest import Manifest, SealedRoot
from dozo.vault.pending import Root
from dozo.vault.prune import DEFAULT_GRACE_SECONDS, PruneReport, prune
from dozo.vault.repair import rebuild_index, scrub_and_repair
from dozo.vault.restore import ReadableTarget, Restore, SnapshotSource
from dozo.vault.roots import Marks, Roots, look, root_of
from dozo.vault.scrub import ScrubReport, look_at_what_is_readable, scrub
from dozo.vault.store import Store
from dozo.vault.tenants import Tenants
from dozo.vault.values import (
    BackupResult,
    RestoreResult,
    SnapshotDraft,
    SnapshotInfo,
    VaultStats,
)
from dozo.vault.verify import Check, Scope, load_check, verify
from dozo.vault.writer import Writer, no_crash

SECTOR_BYTES = 512
MAX_ROUNDS = 5
ATTACHMENT_LEVEL = 3


class Vault:
    """A site's backup storage. Safe to use from several threads and processes."""

    def __init__(self, blobs: Blobs, keyring: Keyring | None) -> None:
        self.header = load_header(blobs)
        if self.header.read_only:
            blobs = ReadOnlyBlobs(blobs)
        self.blobs = blobs
        self.tenants = Tenants(
            blobs, keyring, vault_id=self.header.vault_id, recipient=self.header.recipient
        )
        # Where notes are written that remove something: they find room on a full disk, too.
        self._notes = ReserveBlobs(blobs)
        self._keyring = keyring
        self._lookup = Lookup(blobs, self.tenants)

    @classmethod
    def init(
        cls,
        blobs: Blobs,
        keyring: Keyring,
        *,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        level: int = DEFAULT_LEVEL,
    ) -> "Vault":
        """Make a vault in an empty place and add its key to the keys file.

        Raises :class:`VaultExists`.
        """
        require_empty(blobs)
        key, vault_id = SiteKey.generate(), secrets.token_hex(16)
        # The key first: a key without a vault harms nobody, a vault without a key is lost.
        keyring.add_site(vault_id, key)
        create_header(
            blobs,
            vault_id=vault_id,
            recipient=key.public.fingerprint,
            chunk_bytes=chunk_bytes,
            level=level,
        )
        blobs.keep_reserve()
        return cls(blobs, keyring)

    @classmethod
    def open(cls, blobs: Blobs, keyring: Keyring | None = None) -> "Vault":
        """Raises :class:`NotAVault`, ``FormatUnsupported``, :class:`ObjectDamaged`."""
        return cls(blobs, keyring)

    @property
    def vault_id(self) -> str:
        """32 hexadecimal digits."""
        return self.header.vault_id

    @property
    def chunk_bytes(self) -> int:
        """How long the pieces are that volumes are cut into."""
        return self.header.chunk_bytes

    @property
    def public_key(self) -> PublicKey:
        """The public half of this vault's key. Raises :class:`KeysMissing`."""
        return self.tenants.site_key.public

    def grant(self, peer: PublicKey) -> int:
        """Pin another site's key, and wrap all tenants' secrets for it, now and later.

        Returns the number of wrappings made now. Raises :class:`KeysMissing`.
        """
        if self._keyring is None:
            raise KeysMissing(keys=Message("no keys file"), what=self.blobs.url)
        count = self.tenants.grant(peer)
        self._keyring.pin(self.vault_id, peer)
        return count

    def revoke(self, peer: PublicKey) -> None:
        """Stop wrapping for a site. What it was given before stays readable to it."""
        if self._keyring is not None:
            self._keyring.unpin(self.vault_id, peer)

    def backup(
        self,
        source: ByteSource,
        draft: SnapshotDraft,
        *,
        parent: str | None = None,
        changed: Sequence[Extent] | None = None,
        recheck: Sequence[Extent] = (),
        progress: Progress | None = None,
        crash: Callable[[str], None] = no_crash,
        finish_draft: Callable[[str | None], SnapshotDraft] | None = None,
    ) -> BackupResult:
        """Store a volume as a new snapshot.

        ``changed`` names what may differ from ``parent``; without it everything that is
        allocated is read. ``recheck`` is read although the hint calls it unchanged; one
        difference there, and the hint is not used. ``finish_draft`` is called with the
        reason of a full read just before publication. Nothing is visible unless the
        call returns.
        """
        size = source.size_bytes
        if size <= 0 or size % SECTOR_BYTES:
            raise VolumeSizeInvalid(size_bytes=size)
        started = clock.monotonic()
        tenant = self.tenants.for_writing(draft.tenant)
        if parent is not None:
            parent = self._lookup.visible(parent).snapshot
        base = self._parent(parent, changed, tenant)
        progress = progress or Silent()
        progress.total(size)
        store = Store(self.blobs)
        snapshot = secrets.token_hex(16)
        parents = () if base is None else (Root(base.root, base.depth),)
        full_reason = None if base is not None else ("no-parent" if parent is None else "no-hint")
        with Writer(store, snapshot, pendings.BACKUP, parents, crash) as writer:
            work = Backup(
                store=store,
                writer=writer,
                source=source,
                tenant=tenant,
                chunk_bytes=self.header.chunk_bytes,
                level=self.header.level,
                progress=progress,
            )
            if parent is not None and base is not None and not is_kept(self.blobs, parent):
                base, full_reason = None, "parent-deleted"
            if base is not None and recheck:
                try:
                    work.recheck(recheck, base)
                except (HintDisproved, ChunkMissing, ChunkDamaged):
                    base, full_reason = None, "hint-disproved"
            final = draft
            # With anything lost or damaged about, nothing is taken over unseen.
            check_all = bool(writer.avoided) or store.index.lacks_something
            for _round in range(MAX_ROUNDS):
                root = work.run(base, check_all=check_all)
                if finish_draft is not None:
                    final = finish_draft(full_reason)
                attachments = self._attach(writer, final, tenant)
                complete = Root(root.object_id, work.depth, tuple(attachments.values()))
                if not writer.complete(complete):
                    break
                check_all = True
            else:
                raise ChunkMissing(url=self.blobs.url, chunk=root.object_id.hex())
            manifest = self._manifest(
                final,
                tenant,
                snapshot=snapshot,
                size=size,
                root=complete,
                chunks=root.chunks,
                parent=parent if base is not None else None,
                attachments=attachments,
            )
            writer.publish(manifest)
        return BackupResult(
            snapshot=snapshot,
            bytes_volume=size,
            bytes_read=work.counts.read_bytes,
            bytes_new=work.counts.new_bytes,
            bytes_stored=writer.bytes_stored,
            seconds=clock.monotonic() - started,
            full_reason=full_reason,
        )

    def clone(self, snapshot: str, draft: SnapshotDraft) -> str:
        """A new snapshot of the same bytes, which stands on its own; its id.

        ``facts`` and ``attachments`` of the draft are taken as given.
        """
        original, tenant, _sealed = self._lookup.opened(snapshot)
        store = Store(self.blobs)
        name = secrets.token_hex(16)
        base = root_of(original)
        with Writer(store, name, pendings.CLONE, (base,)) as writer:
            if not is_kept(self.blobs, original.snapshot):
                raise SnapshotUnknown(url=self.blobs.url, snapshot=snapshot)
            attachments = self._attach(writer, draft, tenant)
            root = Root(original.root, original.depth, tuple(attachments.values()))
            if writer.complete(root):
                marks = Marks(store)
                marks.mark([root])
                marks.require_complete()
            manifest = self._manifest(
                replace(draft, tenant=tenant.name),
                tenant,
                snapshot=name,
                size=original.bytes_volume,
                root=root,
                chunks=original.chunks,
                parent=None,
                attachments=attachments,
            )
            writer.publish(manifest)
        return name

    def snapshots(
        self, *, tenant: str | None = None, include_deleted: bool = False
    ) -> list[SnapshotInfo]:
        """What is visible, oldest first; damaged snapshot objects are left out (see scrub)."""
        roots = look_at_what_is_readable(self.blobs)
        found = []
        for snapshot, manifest in roots.manifests().items():
            deleted = roots.deletions.get(snapshot)
            if deleted is not None and (deleted.purged or not include_deleted):
                continue
            info = self._lookup.info(manifest, deleted)
            if tenant is None or (info.sealed is not None and info.sealed.tenant == tenant):
                found.append(info)
        return sorted(found, key=lambda info: (info.created_at, info.snapshot))

    def snapshot_ids(self) -> frozenset[str]:
        """The ids of everything under ``snapshots``, without opening any: a cheap look for news.

        Deleted, damaged and abandoned ones are among them.
        """
        return frozenset(info.key.split("/")[1] for info in self.blobs.list(SNAPSHOTS))

    def snapshot(self, given: str, *, include_deleted: bool = False) -> SnapshotInfo:
        """One snapshot, by its id or the unambiguous start of it.

        Raises :class:`SnapshotUnknown`, :class:`SnapshotAmbiguous`, :class:`SnapshotDeleted`.
        """
        manifest = self._lookup.find(given)
        deleted = deletions.deletion_of(self.blobs, manifest.snapshot)
        if deleted is not None and (deleted.purged or not include_deleted):
            raise SnapshotDeleted(
                url=self.blobs.url,
                snapshot=manifest.snapshot,
                when=clock.to_text(deleted.deleted_at),
            )
        return self._lookup.info(manifest, deleted)

    def attachments(self, snapshot: str) -> dict[str, bytes]:
        """The sealed attachments of a snapshot, by name."""
        _manifest, tenant, sealed = self._lookup.opened(snapshot)
        store = Store(self.blobs)
        return {
            name: store.chunk(bytes.fromhex(object_id), tenant, FrameKind.ATTACHMENT)
            for name, object_id in sealed.attachments.items()
        }

    def restore(
        self, snapshot: str, target: ByteTarget, *, progress: Progress | None = None
    ) -> RestoreResult:
        """Write a snapshot to a target and flush it; every chunk is hashed on the way."""
        started = clock.monotonic()
        work = self._restore(snapshot, target, progress)
        written = work.run()
        return RestoreResult(bytes_written=written, seconds=clock.monotonic() - started)

    def restore_in_place(
        self, snapshot: str, target: ReadableTarget, *, progress: Progress | None = None
    ) -> RestoreResult:
        """Bring a target to a snapshot's state; only what differs is written."""
        started = clock.monotonic()
        work = self._restore(snapshot, target, progress)
        written = work.run_in_place(target)
        return RestoreResult(bytes_written=written, seconds=clock.monotonic() - started)

    def open_snapshot(self, snapshot: str) -> SnapshotSource:
        """A snapshot as a volume that can be read at random."""
        manifest, tenant, _sealed = self._lookup.opened(snapshot)
        return SnapshotSource(Store(self.blobs), manifest, tenant)

    def delete(
        self, snapshots: Iterable[str], *, reason: str = "user", scope: str = deletions.EVERYWHERE
    ) -> list[str]:
        """Delete snapshots; the ids that were not deleted before. All, or none if one is held.

        Raises :class:`SnapshotUnknown`, :class:`SnapshotHeld`.
        """
        names = [self._lookup.name(given) for given in snapshots]
        for name in names:
            deletions.require_not_held(self.blobs, name)
        return [
            name
            for name in names
            if deletions.delete(self._notes, name, reason=reason, scope=scope)
        ]

    def undelete(self, snapshots: Iterable[str]) -> list[str]:
        """Bring deleted snapshots back; the ids that were. Raises :class:`UndeleteTooLate`."""
        names = [self._lookup.name(given) for given in snapshots]
        return [name for name in names if deletions.undelete(self._notes, name)]

    def hold(self, snapshot: str, until: datetime, note: str = "") -> Hold:
        """Forbid the deletion of a snapshot until a date; can only be extended."""
        return deletions.hold(self._notes, self._lookup.visible(snapshot).snapshot, until, note)

    def holds(self, snapshot: str | None = None) -> list[Hold]:
        """The holds on one snapshot, or all."""
        name = None if snapshot is None else self._lookup.find(snapshot).snapshot
        return deletions.list_holds(self.blobs, name)

    def prune(
        self, *, grace_seconds: int = DEFAULT_GRACE_SECONDS, dry_run: bool = False
    ) -> PruneReport:
        """Remove what was deleted longer ago than the grace period. Needs no keys."""
        return prune(Store(self.blobs), grace_seconds=grace_seconds, dry_run=dry_run)

    def scrub(
        self, *, repair_from: "Vault | None" = None, progress: Progress | None = None
    ) -> ScrubReport:
        """Read everything back, and repair it from another vault if one is given. No keys."""
        store = Store(self.blobs)
        if repair_from is None:
            return scrub(store, progress or Silent())
        return scrub_and_repair(store, Store(repair_from.blobs), progress or Silent())

    def rebuild_index(self) -> int:
        """Index again the packs that no index object names; how many there were."""
        return rebuild_index(Store(self.blobs))

    def copy_to(
        self,
        target: "Vault",
        snapshots: Iterable[str] | None = None,
        *,
        progress: Progress | None = None,
        crash: Callable[[str], None] = no_crash,
    ) -> CopyReport:
        """Copy snapshots, all visible ones by default; deletions and holds travel along.

        Raises ``GrantMissing``, :class:`ChunkSizesDiffer`.
        """
        started = clock.monotonic()
        if self.header.chunk_bytes != target.header.chunk_bytes:
            raise ChunkSizesDiffer(
                source=self.blobs.url,
                target=target.blobs.url,
                source_bytes=self.header.chunk_bytes,
                target_bytes=target.header.chunk_bytes,
            )
        if snapshots is None:
            wanted = [info.snapshot for info in self.snapshots()]
            self._carry_all_deletions(target)
        else:
            wanted = [self.snapshot(given).snapshot for given in snapshots]
        source_store, target_store = Store(self.blobs), Store(target.blobs)
        copied, there, stored = [], [], 0
        skipped: dict[str, str] = {}
        for snapshot in wanted:
            deletions.copy_undeletion(self.blobs, target._notes, snapshot)  # noqa: SLF001  its class
            deleted = deletions.deletion_of(target.blobs, snapshot)
            if deleted is not None:
                skipped[snapshot] = Message("deleted there: {reason}", reason=deleted.reason)
            elif is_there(target.blobs, snapshot):
                there.append(snapshot)
                carry_deletions_and_holds(self.blobs, target.blobs, snapshot)
            else:
                manifest = self._lookup.visible(snapshot)
                self.tenants.carry(target.tenants, manifest.tenant, target_url=target.blobs.url)
                stored += copy_snapshot(
                    source_store,
                    target_store,
                    manifest,
                    progress or Silent(),
                    base=self._base_for_copy(manifest, target),
                    crash=crash,
                )
                carry_deletions_and_holds(self.blobs, target.blobs, snapshot)
                copied.append(snapshot)
        return CopyReport(
            copied=tuple(copied),
            already_there=tuple(there),
            skipped=skipped,
            bytes_copied=stored,
            seconds=clock.monotonic() - started,
        )

    def carry_deletions(self, target: "Vault", snapshots: Iterable[str]) -> None:
        """Bring the deletions of snapshots that are meant for everywhere to another vault."""
        for snapshot in snapshots:
            if is_there(target.blobs, snapshot):
                carry_deletions_and_holds(self.blobs, target.blobs, snapshot)

    def verify(
        self, snapshot: str, *, scope: Scope = Scope.ADDED, progress: Progress | None = None
    ) -> Check:
        """Open and re-hash a snapshot's frames in this vault; the result is kept here."""
        manifest, tenant, _sealed = self._lookup.opened(snapshot)
        attempts = [
            attempt for _name, attempt in manifests.list_attempts(self.blobs, manifest.snapshot)
        ]
        return verify(
            Store(self.blobs),
            manifest,
            attempts,
            tenant,
            scope=scope,
            progress=progress or Silent(),
        )

    def check(self, snapshot: str) -> Check | None:
        """What the last verification of a snapshot in this vault has shown."""
        return load_check(self.blobs, snapshot)

    def stats(self) -> VaultStats:
        """Sizes and counts. Needs no keys."""
        store = Store(self.blobs)
        roots: Roots = look(self.blobs)
        live = [
            manifest for name, manifest in roots.manifests().items() if name not in roots.deletions
        ]
        return VaultStats(
            vault_id=self.vault_id,
            chunk_bytes=self.header.chunk_bytes,
            snapshots=len(live),
            deleted_snapshots=sum(not each.purged for each in roots.deletions.values()),
            packs=len(store.index.pack_sizes),
            bytes_stored=sum(store.index.pack_sizes.values()),
            bytes_protected=sum(manifest.bytes_volume for manifest in live),
            frames=sum(segment.count for segment in store.index.segments),
        )

    def _restore(self, snapshot: str, target: ByteTarget, progress: Progress | None) -> Restore:
        manifest, tenant, _sealed = self._lookup.opened(snapshot)
        return Restore(
            store=Store(self.blobs),
            manifest=manifest,
            tenant=tenant,
            target=target,
            progress=progress or Silent(),
        )

    def _parent(
        self, given: str | None, changed: Sequence[Extent] | None, tenant: TenantKeys
    ) -> Parent | None:
        if given is None or changed is None:
            return None
        manifest = self._lookup.visible(given)
        if manifest.tenant != tenant.number:
            raise ParentUnsuitable(parent=given, reason=Message("it is another tenant's"))
        manifests.open_root(manifest, tenant, url=self.blobs.url)
        return Parent(
            root=manifest.root,
            depth=manifest.depth,
            size_bytes=manifest.bytes_volume,
            changed=tuple(changed),
        )

    def _attach(self, writer: Writer, draft: SnapshotDraft, tenant: TenantKeys) -> dict[str, bytes]:
        ids = {}
        for name, data in draft.attachments.items():
            object_id = attachment_id(data, tenant)
            if writer.claim(object_id):
                frame = seal(data, FrameKind.ATTACHMENT, object_id, tenant, ATTACHMENT_LEVEL)
                writer.add(object_id, FrameKind.ATTACHMENT, frame, stored_hash(frame))
            ids[name] = object_id
        return ids

    def _manifest(
        self,
        draft: SnapshotDraft,
        tenant: TenantKeys,
        *,
        snapshot: str,
        size: int,
        root: Root,
        chunks: int,
        parent: str | None,
        attachments: dict[str, bytes],
    ) -> Manifest:
        manifest = Manifest(
            snapshot=snapshot,
            tenant=tenant.number,
            kind=draft.kind,
            created_at=draft.created_at,
            bytes_volume=size,
            chunk_bytes=self.header.chunk_bytes,
            root=root.root,
            depth=root.depth,
            chunks=chunks,
            parent=parent,
            origin=draft.origin or self.vault_id,
            group=draft.group,
            attachments=root.attachments,
        )
        sealed = SealedRoot(
            name=draft.name,
            tenant=tenant.name,
            facts=draft.facts,
            attachments={name: object_id.hex() for name, object_id in attachments.items()},
        )
        return replace(manifest, sealed=manifests.sealed_root(manifest, sealed, tenant))

    def _base_for_copy(self, manifest: Manifest, target: "Vault") -> Manifest | None:
        """The parent, where both vaults have it."""
        parent = manifest.parent
        if parent is None or not is_there(target.blobs, parent):
            return None
        if deletions.deletion_of(target.blobs, parent) is not None:
            return None
        try:
            ours = self._lookup.visible(parent)
            theirs = target._lookup.visible(parent)  # noqa: SLF001  one of the same class
        except (SnapshotUnknown, SnapshotDeleted, ObjectDamaged):
            return None
        # Of two that differ one was tampered with; then nothing counts as shared.
        return ours if root_of(ours) == root_of(theirs) else None

    def _carry_all_deletions(self, target: "Vault") -> None:
        self.carry_deletions(target, deletions.deletions(self.blobs))
