"""A new volume from a snapshot: an image in the site's pool, attached to nothing at first."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Self
from uuid import UUID, uuid4

from dozo import volumes
from dozo.model.message import Message
from dozo.services.errors import PlaintextNotAccepted, VolumeNameTaken
from dozo.services.facts import VolumeFacts
from dozo.services.pool import Pool, PoolImage
from dozo.services.site import Site
from dozo.services.snapshots import readable
from dozo.services.work import Unheard, Work


@dataclass(frozen=True, kw_only=True)
class VolumePlan:
    """A volume to be made. ``volume_id`` is new, or that of a volume that is gone.

    ``encrypted`` says that the source's image was; the new one is plain.
    """

    snapshot: str
    snapshot_name: str
    created_at: datetime
    image: PoolImage
    device: str
    encrypted: bool

    def made_by(self, job: str) -> Self:
        """The same, as that job makes it."""
        return replace(self, image=replace(self.image, job=job))

    @property
    def warning(self) -> str | None:
        """What whoever asked for it should know before."""
        return (
            Message("encrypted at the source, restored as plain data") if self.encrypted else None
        )

    @property
    def path(self) -> str:
        """Where the image will be."""
        return self.image.path

    @property
    def bytes_volume(self) -> int:
        """The volume's size."""
        return self.image.bytes_volume


@dataclass(frozen=True, kw_only=True)
class VolumeMade:
    """A volume that was made of a snapshot."""

    volume: str
    name: str
    snapshot: str
    path: str
    format: str
    bytes_volume: int
    # None where an earlier run of the job has made it.
    bytes_written: int | None
    seconds: float | None


def plan(
    site: Site,
    reference: str,
    *,
    name: str,
    format: str = "qcow2",
    volume_id: UUID | None = None,
) -> VolumePlan:
    """Check a snapshot or template, the name and the space; nothing is made.

    Raises ``SnapshotUnknown``, ``SnapshotDeleted``, ``NotReadable``, ``VolumeNameTaken``,
    ``PoolFull``.
    """
    return plan_from_id(
        site,
        site.catalog.snapshot(reference).snapshot_id,
        name=name,
        format=format,
        volume_id=volume_id,
    )


def plan_from_id(
    site: Site,
    snapshot_id: str,
    *,
    name: str,
    format: str,
    volume_id: UUID | None = None,
) -> VolumePlan:
    """As :func:`plan`, for a snapshot or template whose id is known."""
    found = readable(site, snapshot_id)
    tenant = found.info.sealed.tenant if found.info.sealed else site.settings.tenant
    pool = Pool(site.settings.pool, site.settings.tenant)
    path = pool.require_free_name(name, format, tenant)
    named = site.catalog.volumes.filter(name=name, tenant__name=tenant)
    for row in named.exclude(state="gone"):
        raise VolumeNameTaken(name, Message("volume {volume}", volume=row.volume_id))
    # Zeros are not written: what is needed are the chunks that are stored.
    size = found.info.bytes_volume
    pool.require_space(min(found.info.chunks * site.vault.header.chunk_bytes, size))
    facts = found.facts.volume if found.facts else VolumeFacts(volume_id="", name=name)
    return VolumePlan(
        snapshot=found.info.snapshot,
        snapshot_name=found.name,
        created_at=found.info.created_at,
        device=facts.device,
        encrypted=facts.encrypted,
        image=PoolImage(
            volume_id=str(volume_id or uuid4()),
            name=name,
            path=str(path),
            format=format,
            bytes_volume=size,
            tenant=tenant,
            origin_snapshot=found.info.snapshot,
            device=facts.device,
            bus=facts.bus,
            serial=facts.serial,
            is_root=facts.is_root,
        ),
    )


def apply(
    site: Site, plan: VolumePlan, *, accept_plaintext: bool = False, work: Work | None = None
) -> VolumeMade:
    """Make the volume; on failure, or after a crash and the next clean-up, no trace is left.

    Raises :class:`PlaintextNotAccepted`.
    """
    require_accepted(plan, accept_plaintext=accept_plaintext)
    made = write_image(site, plan, work or Unheard())
    add_to_catalog(site, plan.image)
    return made


def finish(site: Site, image: PoolImage) -> VolumeMade:
    """What is left to be done for an image that is whole: an earlier run of a job has made it."""
    add_to_catalog(site, image)
    return made_before_of(image)


def made_before_of(image: PoolImage) -> VolumeMade:
    """A volume that was made, but not now."""
    return VolumeMade(
        volume=image.volume_id,
        name=image.name,
        snapshot=image.origin_snapshot,
        path=image.path,
        format=image.format,
        bytes_volume=image.bytes_volume,
        bytes_written=None,
        seconds=None,
    )


def require_accepted(plan: VolumePlan, *, accept_plaintext: bool) -> None:
    """Raises :class:`PlaintextNotAccepted` where encrypted data would become plain unasked."""
    if plan.encrypted and not accept_plaintext:
        raise PlaintextNotAccepted(plan.snapshot_name)


def write_image(site: Site, plan: VolumePlan, work: Work) -> VolumeMade:
    """Make and fill the image. Touches no database: several may run in parallel threads."""
    image = plan.image
    work.step(Message("restore {snapshot} to {path}", snapshot=plan.snapshot_name, path=image.path))
    create = partial(
        volumes.create_image, image.path, format=image.format, size_bytes=image.bytes_volume
    )
    with (
        Pool(site.settings.pool).making(image, create),
        volumes.open_target(image.path, format=image.format, fresh=True) as target,
    ):
        result = site.vault.restore(
            plan.snapshot, target, progress=work.bytes_of(f"restore {image.name}")
        )
        target.flush()
    return VolumeMade(
        volume=image.volume_id,
        name=image.name,
        snapshot=plan.snapshot,
        path=image.path,
        format=image.format,
        bytes_volume=image.bytes_volume,
        bytes_written=result.bytes_written,
        seconds=result.seconds,
    )


def add_to_catalog(site: Site, image: PoolImage) -> None:
    """The volume's row, attached to nothing."""
    site.catalog.volumes.update_or_create(
        volume_id=UUID(image.volume_id),
        defaults={
            "name": image.name,
            "tenant": site.tenant_row(image.tenant),
            "server": None,
            "state": "unattached",
            "device": image.device,
            "bus": image.bus,
            "serial": image.serial,
            "is_root": image.is_root,
            "path": image.path,
            "format": image.format,
            "bytes_volume": image.bytes_volume,
            "created_here": True,
            "origin_snapshot": image.origin_snapshot,
        },
    )
