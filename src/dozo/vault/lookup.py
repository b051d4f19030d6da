"""Finding snapshots: by their ids or what they start with, deleted or not, opened or not."""

from contextlib import suppress

from dozo.blobs import BlobMissing, Blobs
from dozo.model import clock
from dozo.vault import deletion as deletions
from dozo.vault import manifest as manifests
from dozo.vault.deletion import Deletion
from dozo.vault.errors import (
    KeysMissing,
    ObjectDamaged,
    SnapshotAmbiguous,
    SnapshotDeleted,
    SnapshotUnknown,
)
from dozo.vault.keys import TenantKeys
from dozo.vault.manifest import Manifest, SealedRoot
from dozo.vault.tenants import Tenants
from dozo.vault.values import SnapshotInfo

MIN_PREFIX = 4


class Lookup:
    """A vault's snapshots, by name."""

    def __init__(self, blobs: Blobs, tenants: Tenants) -> None:
        self._blobs = blobs
        self._tenants = tenants

    def info(self, manifest: Manifest, deleted: Deletion | None) -> SnapshotInfo:
        """What a manifest says, with its sealed part where a key opens it."""
        sealed = None
        try:
            tenant = self._tenants.get(manifest.tenant)
            sealed = manifests.open_root(manifest, tenant, url=self._blobs.url)
        except (KeysMissing, ObjectDamaged):
            # Without keys, or when tampered with, a snapshot is listed without its name.
            pass
        return SnapshotInfo(
            snapshot=manifest.snapshot,
            tenant_number=manifest.tenant,
            created_at=manifest.created_at,
            bytes_volume=manifest.bytes_volume,
            kind=manifest.kind,
            origin=manifest.origin,
            group=manifest.group,
            parent=manifest.parent,
            chunks=manifest.chunks,
            deleted=deleted,
            sealed=sealed,
            read_back_at=manifest.read_back_at,
        )

    def name(self, given: str) -> str:
        """The id of a snapshot, also of one whose object is damaged: that may be deleted too."""
        try:
            return self.find(given).snapshot
        except ObjectDamaged as error:
            return error.key.split("/")[1]

    def find(self, given: str) -> Manifest:
        """A snapshot by its id or the unambiguous start of it, deleted or not.

        Raises :class:`SnapshotUnknown`, :class:`SnapshotAmbiguous`, :class:`ObjectDamaged`.
        """
        wanted = given.strip().lower()
        names = {name for name, _attempt in manifests.list_attempts(self._blobs)}
        fitting = sorted(name for name in names if name.startswith(wanted))
        if not fitting or len(wanted) < MIN_PREFIX:
            raise SnapshotUnknown(url=self._blobs.url, snapshot=given)
        if len(fitting) > 1:
            raise SnapshotAmbiguous(url=self._blobs.url, snapshot=given, count=len(fitting))
        for name, attempt in manifests.list_attempts(self._blobs, fitting[0]):
            # A prune may remove it between the listing and now.
            with suppress(BlobMissing):
                found = manifests.load_publication(self._blobs, name, attempt).manifest
                if found is not None:
                    return found
        raise SnapshotUnknown(url=self._blobs.url, snapshot=given)

    def opened(self, given: str) -> tuple[Manifest, TenantKeys, SealedRoot]:
        """A visible snapshot whose clear fields are what its sealed root says.

        Raises :class:`ObjectDamaged` where they are not, :class:`KeysMissing`.
        """
        manifest = self.visible(given)
        tenant = self._tenants.get(manifest.tenant)
        return manifest, tenant, manifests.open_root(manifest, tenant, url=self._blobs.url)

    def visible(self, given: str) -> Manifest:
        """As :meth:`find`, of what is not deleted. Raises :class:`SnapshotDeleted`."""
        manifest = self.find(given)
        deleted = deletions.deletion_of(self._blobs, manifest.snapshot)
        if deleted is not None:
            raise SnapshotDeleted(
                url=self._blobs.url,
                snapshot=manifest.snapshot,
                when=clock.to_text(deleted.deleted_at),
            )
        return manifest
