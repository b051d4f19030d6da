"""The catalog's servers and volumes, brought in step with what the hypervisor has."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from dozo import volumes
from dozo.catalog.store import Catalog
from dozo.hypervisor import DiskInfo, ServerInfo
from dozo.services import tags
from dozo.services.pool import READY, Pool, PoolImage
from dozo.services.site import Site
from dozo.volumes import VolumeError

if TYPE_CHECKING:
    from dozo.catalog import models


@dataclass(frozen=True, kw_only=True)
class InventoryReport:
    """What a look at the hypervisor changed in the catalog; names of servers."""

    servers: int
    appeared: tuple[str, ...]
    disappeared: tuple[str, ...]
    # Servers whose metadata name a tenant that this site does not have: they stay where they are.
    tenant_unknown: tuple[str, ...] = ()


def sync(site: Site) -> InventoryReport:
    """Look at every server of the hypervisor. Raises ``LibvirtUnavailable``."""
    found = site.host.servers()
    with site.catalog.turn("inventory"):
        before = {row.uuid: row.name for row in site.catalog.servers.filter(present=True)}
        matcher = _Matcher(site)
        for info in found:
            matcher.take_server(info)
        matcher.release_the_rest()
    now = {UUID(info.uuid): info.name for info in found}
    return InventoryReport(
        servers=len(found),
        appeared=tuple(sorted(name for uuid, name in now.items() if uuid not in before)),
        disappeared=tuple(sorted(name for uuid, name in before.items() if uuid not in now)),
        tenant_unknown=tuple(sorted(matcher.tenant_unknown)),
    )


class _Before:
    """The catalog's servers and volumes before the look, to see which are still the same."""

    def __init__(self, catalog: Catalog) -> None:
        self._servers = {row.uuid: row for row in catalog.servers.filter(present=True)}
        self._by_path: dict[str, list[models.Volume]] = {}
        for row in catalog.volumes.exclude(state="gone").exclude(path=""):
            self._by_path.setdefault(row.path, []).append(row)

    def server(self, info: ServerInfo) -> "models.Server | None":
        """The row of a server of which nothing but its owner may have changed."""
        row = self._servers.get(UUID(info.uuid))
        if row is None:
            return None
        found = (
            row.name,
            row.present,
            row.state,
            row.tracking,
            row.cpus,
            row.memory_bytes,
            row.tags,
        )
        now = (
            info.name,
            True,
            info.state,
            info.metadata.tracking.value,
            info.cpus,
            info.memory_bytes,
            tags.merged(row.tags_by_hand, info.metadata.tags),
        )
        return row if found == now else None

    def volume(
        self, server: "models.Server", disk: DiskInfo, image: PoolImage | None
    ) -> "models.Volume | None":
        """The row of a disk's volume where nothing has changed."""
        rows = self._by_path.get(disk.path or "", [])
        # Where several have had the path somebody has to look who asks more.
        if len(rows) != 1 or (image is not None and image.volume_id != str(rows[0].volume_id)):
            return None
        row = rows[0]
        found = (
            row.server_id,
            row.tenant_id,
            row.state,
            row.device,
            row.bus,
            row.serial,
            row.is_root,
            row.format,
            row.excluded_reason,
            row.bytes_volume,
        )
        now = (
            server.uuid,
            server.tenant_id,
            "attached",
            disk.device,
            disk.bus,
            disk.serial or "",
            disk.is_root,
            disk.format or "raw",
            disk.refused_reason or "",
            row.bytes_volume if disk.size_bytes is None else disk.size_bytes,
        )
        return row if found == now else None


class _Matcher:
    """Recognises the volumes behind disks.

    A volume is its image: the same path is the same volume, wherever it is attached. A disk
    whose path is new is still the same volume when it sits on the same device and its old image
    is now underneath it (an external snapshot) or gone (moved to another storage).
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.catalog = site.catalog
        self.pool = Pool(site.settings.pool)
        self.images = {image.path: image for image in self.pool.images()}
        self.tenants = {row.name: row for row in self.catalog.tenants.all()}
        self.tenant_unknown: set[str] = set()
        self.seen_servers: set[UUID] = set()
        self.seen_volumes: set[UUID] = set()
        # Almost always nothing has changed: that is found out with few questions for all.
        self.before = _Before(self.catalog)

    def take_server(self, info: ServerInfo) -> None:
        uuid = UUID(info.uuid)
        as_before = self.before.server(info)
        if as_before is not None and not self._changes_owner(as_before, info):
            self.seen_servers.add(uuid)
            self._take_disks(as_before, info)
            return
        # Locked, so that an assignment that comes meanwhile is not written over.
        row = self.catalog.servers.select_for_update().filter(uuid=uuid).first()
        values = {
            "name": info.name,
            "present": True,
            "state": info.state,
            "tracking": info.metadata.tracking.value,
            "cpus": info.cpus,
            "memory_bytes": info.memory_bytes,
        }
        if row is None:
            row = self.catalog.servers.model(uuid=uuid, **self._first_owner(info))
        for field, value in values.items():
            setattr(row, field, value)
        self._take_owner(row, info)
        row.tags = tags.merged(row.tags_by_hand, info.metadata.tags)
        row.save(using=self.catalog.alias)
        self.seen_servers.add(uuid)
        self._take_disks(row, info)

    def _changes_owner(self, row: "models.Server", info: ServerInfo) -> bool:
        name = info.metadata.tenant
        if not name or row.assigned_by in {"hand", "restored"}:
            return False
        tenant = self.tenants.get(name)
        return tenant is None or (row.tenant_id, row.assigned_by) != (tenant.pk, "metadata")

    def _take_disks(self, row: "models.Server", info: ServerInfo) -> None:
        restoring = {mark.path: mark.snapshot for mark in info.metadata.restoring if mark.path}
        for disk in info.disks:
            if disk.excluded_reason:
                continue
            mark = restoring.get(disk.path or "", "")
            as_before = self.before.volume(row, disk, self.images.get(disk.path or ""))
            if as_before is not None and (as_before.restoring_snapshot or not mark):
                self.seen_volumes.add(as_before.volume_id)
            else:
                self._take_disk(row, disk, restoring=mark)

    def _first_owner(self, info: ServerInfo) -> dict[str, Any]:
        """Whose a new server is: of whose volumes Dozo made it, or for now the default tenant's."""
        for disk in info.disks:
            image = self.images.get(disk.path or "")
            if image is not None:
                return {"tenant": self.site.tenant_row(image.tenant), "assigned_by": "restored"}
        return {"tenant": self.site.tenant_row(), "assigned_by": "default"}

    def _take_owner(self, row: "models.Server", info: ServerInfo) -> None:
        """What the domain's metadata say, unless an operator or a restore said otherwise.

        An element that is taken away changes nothing: nobody said who owns the server instead.
        """
        name = info.metadata.tenant
        if not name or row.assigned_by in {"hand", "restored"}:
            return
        tenant = self.tenants.get(name)
        if tenant is None:
            self.tenant_unknown.add(info.name)
            return
        row.tenant, row.assigned_by = tenant, "metadata"

    def _take_disk(self, server: "models.Server", disk: DiskInfo, *, restoring: str) -> None:
        path = disk.path or ""
        row = self._known(server, disk)
        if row is None:
            image = self.images.get(path)
            row = self.catalog.volumes.model(
                volume_id=UUID(image.volume_id) if image else uuid4(),
                name=image.name if image else f"{server.name}-{disk.device}",
                tenant=server.tenant,
                created_here=image is not None,
                origin_snapshot=image.origin_snapshot if image else "",
                restoring_snapshot=image.restoring if image else "",
                safety_snapshot=image.safety if image else "",
            )
        row.server = server
        if row.tenant_id != server.tenant_id:
            # Whoever has the server has its disks.
            row.tenant = server.tenant
            self.pool.assign(row.volume_id, server.tenant.name)
        row.state = "attached"
        row.device = disk.device
        row.bus = disk.bus
        row.serial = disk.serial or ""
        row.is_root = disk.is_root
        row.path = path
        row.format = disk.format or "raw"
        row.excluded_reason = disk.refused_reason or ""
        if disk.size_bytes is not None:
            row.bytes_volume = disk.size_bytes
        if restoring and not row.restoring_snapshot:
            # A catalog that was lost or rebuilt meanwhile learns of it from the domain.
            row.restoring_snapshot = restoring
        row.save(using=self.catalog.alias)
        self.seen_volumes.add(row.volume_id)

    def _known(self, server: "models.Server", disk: DiskInfo) -> "models.Volume | None":
        image = self.images.get(disk.path or "")
        if image is not None:
            row = self.catalog.volumes.filter(volume_id=UUID(image.volume_id)).first()
            if row is not None:
                return row
        if not disk.path:
            return None
        rows = self.catalog.volumes.exclude(volume_id__in=self.seen_volumes)
        # Several volumes may have had one path in turn; the one that has it now comes first.
        for row in sorted(rows.filter(path=disk.path), key=lambda one: one.state == "gone"):
            if row.state != "gone" or row.server_id == server.uuid:
                return row
        same_place = rows.filter(server=server, device=disk.device).exclude(state="unattached")
        for row in same_place:
            if (row.serial or None) != (disk.serial or None):
                continue
            if not Path(row.path).exists() or row.path in _backing_paths(disk):
                return row
        return None

    def release_the_rest(self) -> None:
        """Servers and volumes that no domain has any more."""
        gone = self.catalog.servers.filter(present=True).exclude(uuid__in=self.seen_servers)
        gone.update(present=False, state="")
        for row in self.catalog.volumes.exclude(volume_id__in=self.seen_volumes).exclude(
            state="creating"
        ):
            here = self._is_here(row)
            self._take_mark(row)
            state = "unattached" if here else "gone"
            # A volume keeps its server while it is gone: it is what its snapshots were taken of.
            server = None if here else row.server
            if (row.state, row.server) != (state, server):
                row.state, row.server = state, server
                row.save()
        known = set(self.catalog.volumes.values_list("volume_id", flat=True))
        for image in self.images.values():
            if image.state == READY and UUID(image.volume_id) not in known:
                self._take_image(image)

    def _take_mark(self, row: "models.Volume") -> None:
        """A catalog that was lost meanwhile learns of an in-place restore from the pool."""
        image = self.images.get(row.path)
        if image is None or UUID(image.volume_id) != row.volume_id:
            return
        if image.restoring and not row.restoring_snapshot:
            row.restoring_snapshot = image.restoring
            row.safety_snapshot = image.safety
            row.save()

    def _is_here(self, row: "models.Volume") -> bool:
        """Whether an unattached volume's image is at this site.

        A volume that only snapshots know may have had, at another site, the path of a file that
        is somebody else's here: only a record in the pool brings it back.
        """
        image = self.images.get(row.path)
        ours = image is not None and UUID(image.volume_id) == row.volume_id
        return (ours or row.state != "gone") and bool(row.path) and Path(row.path).exists()

    def _take_image(self, image: PoolImage) -> None:
        here = Path(image.path).exists()
        self.catalog.volumes.create(
            volume_id=UUID(image.volume_id),
            name=image.name,
            tenant=self.site.tenant_row(image.tenant),
            state="unattached" if here else "gone",
            device=image.device,
            bus=image.bus,
            serial=image.serial,
            is_root=image.is_root,
            path=image.path,
            format=image.format,
            bytes_volume=image.bytes_volume,
            created_here=True,
            origin_snapshot=image.origin_snapshot,
            restoring_snapshot=image.restoring,
            safety_snapshot=image.safety,
        )


def _backing_paths(disk: DiskInfo) -> set[str]:
    try:
        info = volumes.inspect(disk.path or "", format=disk.format, in_use_ok=True)
    except VolumeError:
        return set()
    return {file.path for file in info.chain[1:]}
