"""Attaching volumes to servers, detaching them, and deleting those that are attached to none."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dozo.hypervisor import DiskAttachment
from dozo.model.message import Message
from dozo.services import found, inventory, notes, pool_use
from dozo.services.errors import (
    VolumeAttached,
    VolumeForeign,
    VolumeGone,
    VolumeNotAttached,
    VolumeRestoring,
)
from dozo.services.found import FoundServer
from dozo.services.notes import HeldNote
from dozo.services.pool import Pool
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

_DEFAULT_BUS = "virtio"


@dataclass(frozen=True, kw_only=True)
class AttachPlan:
    """How a volume would be attached; a ``device`` of None means the next free one."""

    volume_id: str
    volume: str
    server: FoundServer
    path: str
    format: str
    device: str | None
    bus: str
    serial: str | None


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A volume and the server that it is attached to, or was."""

    volume: str
    volume_id: str
    server: str
    server_uuid: str
    device: str


@dataclass(frozen=True, kw_only=True)
class VolumeDeleted:
    """A volume whose image is gone."""

    volume: str
    name: str
    path: str


def plan_attach(
    site: Site,
    volume_reference: str,
    server_reference: str,
    *,
    device: str | None = None,
    bus: str | None = None,
    serial: str | None = None,
) -> AttachPlan:
    """Propose the device, bus and serial that the volume had; nothing is changed.

    A device that the server has already is not proposed, but it is refused if asked for.
    Raises :class:`VolumeAttached`, :class:`VolumeGone`, :class:`VolumeRestoring`.
    """
    server = found.server(site, server_reference)
    row = site.catalog.volume(volume_reference)
    require_unattached(row)
    taken = {disk.device for disk in server.info.disks}
    proposed = row.device if row.device and row.device not in taken else None
    return AttachPlan(
        volume_id=str(row.volume_id),
        volume=row.name,
        server=server,
        path=row.path,
        format=row.format,
        device=device or proposed,
        bus=bus or row.bus or _DEFAULT_BUS,
        serial=serial or row.serial or None,
    )


def attach(site: Site, plan: AttachPlan) -> Attachment:
    """Attach the volume, to the running server and to its definition as its state needs.

    Raises what :func:`plan_attach` raises: it may have changed since.
    """
    server = plan.server
    work = Message("attaching volume {volume}", volume=plan.volume)
    with (
        notes.hold(
            site.settings.notes,
            server.note_name,
            what=Message("server {server}", server=server.row.name),
            work=work,
            kind="attach",
        ),
        hold_volume(site, plan.volume_id, plan.volume, work=work),
    ):
        row = found.volume(site, plan.volume_id)
        require_unattached(row)
        if row.path != plan.path:
            raise VolumeGone(row.name)
        site.host.attach(
            server.uuid,
            DiskAttachment(
                path=plan.path,
                format=plan.format,
                device=plan.device,
                bus=plan.bus,
                serial=plan.serial,
            ),
        )
        inventory.sync(site)
    row = site.catalog.volumes.get(volume_id=plan.volume_id)
    return _attachment(row, server)


def hold_volume(
    site: Site, volume_id: str, name: str, *, work: str
) -> AbstractContextManager[HeldNote]:
    """Keep other work off a volume that may change hands; raises ``Busy``.

    Its own note, also while the server's is held: a volume that is attached to nothing is known
    by no other, and before the note is held it may come to a server or leave it.
    """
    return notes.hold(
        site.settings.notes,
        f"volume-{volume_id}",
        what=Message("volume {volume}", volume=name),
        work=work,
        kind="part",
    )


def detach(site: Site, volume_reference: str, server_reference: str) -> Attachment:
    """Detach a volume and wait until the guest has let go of it.

    Raises :class:`VolumeNotAttached`, :class:`VolumeRestoring`, ``DetachTimedOut``.
    """
    server = found.server(site, server_reference)
    row = server.row.volumes.filter(device=volume_reference, state="attached").first()
    row = row or site.catalog.volume(volume_reference)
    _require_attached(row, server)
    work = Message("detaching volume {volume}", volume=row.name)
    with (
        notes.hold(
            site.settings.notes,
            server.note_name,
            what=Message("server {server}", server=server.row.name),
            work=work,
            kind="detach",
        ),
        hold_volume(site, str(row.volume_id), row.name, work=work),
    ):
        row = found.volume(site, str(row.volume_id))
        _require_attached(row, server)
        done = _attachment(row, server)
        site.host.detach(server.uuid, row.device)
        inventory.sync(site)
    return done


def _require_attached(row: "models.Volume", server: FoundServer) -> None:
    if row.state != "attached" or row.server_id != server.row.uuid:
        raise VolumeNotAttached(row.name, server.row.name)
    if row.restoring_snapshot:
        # The mark in the domain is what keeps a half restored volume from being used.
        raise VolumeRestoring(row.name, row.restoring_snapshot[:12])


def delete_volume(site: Site, reference: str) -> VolumeDeleted:
    """Delete the image of a volume that Dozo made and that is attached to nothing.

    Raises :class:`VolumeAttached`, :class:`VolumeGone`, :class:`VolumeForeign`.
    """
    row = found.volume(site, reference)
    require_unattached(row, restoring_too=True)
    if not row.created_here:
        raise VolumeForeign(row.name, row.path)
    return remove(site, row)


def remove(site: Site, row: "models.Volume") -> VolumeDeleted:
    """Remove an image of the pool and its record; the row stays while snapshots need it.

    Raises :class:`VolumeAttached`, :class:`VolumeGone`, :class:`VolumeForeign`.
    """
    with notes.hold(
        site.settings.notes,
        f"volume-{row.volume_id}",
        what=Message("volume {volume}", volume=row.name),
        work=Message("deleting it"),
        kind="delete",
    ):
        row = found.volume(site, str(row.volume_id))
        require_unattached(row, restoring_too=True)
        done = VolumeDeleted(volume=str(row.volume_id), name=row.name, path=row.path)
        pool = Pool(site.settings.pool)
        image = pool.find(row.volume_id)
        if image is None or image.path != row.path:
            raise VolumeForeign(row.name, row.path)
        server = pool_use.user(pool_use.users(site), image.path)
        if server is not None:
            raise VolumeAttached(row.name, server, row.device)
        pool.discard(image)
        if row.snapshots.exists():
            row.state, row.server, row.restoring_snapshot = "gone", None, ""
            row.save()
        else:
            row.delete()
    return done


def require_unattached(row: "models.Volume", *, restoring_too: bool = False) -> None:
    """Raises unless the volume is here and attached to nothing."""
    if row.state == "attached" and row.server is not None:
        raise VolumeAttached(row.name, row.server.name, row.device)
    if row.state != "unattached":
        raise VolumeGone(row.name)
    if row.restoring_snapshot and not restoring_too:
        raise VolumeRestoring(row.name, row.restoring_snapshot[:12])


def _attachment(row: "models.Volume", server: FoundServer) -> Attachment:
    return Attachment(
        volume=row.name,
        volume_id=str(row.volume_id),
        server=server.row.name,
        server_uuid=server.uuid,
        device=row.device,
    )
