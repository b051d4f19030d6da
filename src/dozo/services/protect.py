"""Taking snapshots: a volume, or all volumes of a server at one instant.

The plan says which disks, in which mode, against which parent; the capture (``capture_live``,
``capture_offline``) opens them at one instant; storing them is the same for every mode.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dozo.hypervisor import DiskInfo, ServerInfo
from dozo.model import change_token, clock
from dozo.model.change_token import Reason
from dozo.model.message import Message
from dozo.model.states import CaptureMode, Consistency
from dozo.model.words import word
from dozo.services import capture_live, capture_offline, hints, inventory, notes, storing
from dozo.services.capture_plan import CapturePlan, ParentPlan, VolumePlan
from dozo.services.errors import (
    ModeImpossible,
    NothingToSnapshot,
    VolumeGone,
    VolumeRefused,
    VolumeRestoring,
)
from dozo.services.facts import LeftOut
from dozo.services.pool import checked_name
from dozo.services.site import Site
from dozo.services.storing import Taken
from dozo.services.work import Unheard, Work

if TYPE_CHECKING:
    from dozo.catalog import models


@dataclass(frozen=True, kw_only=True)
class Protected:
    """A recovery point or snapshot that is in the vault."""

    name: str
    recovery_point: str | None
    server: str | None
    created_at: datetime
    mode: CaptureMode
    consistency: Consistency
    freeze_ms: int | None
    agent_ms: int | None
    snapshots: tuple[Taken, ...]
    left_out: tuple[LeftOut, ...]
    # What the capture has to say about itself, by name, as in `SnapshotView`.
    notes: Mapping[str, str] = field(default_factory=dict)


def plan_server(
    site: Site,
    reference: str,
    *,
    name: str | None = None,
    mode: CaptureMode | None = None,
    volumes: Sequence[str] = (),
    stated_unmounted: bool = False,
    freeze: bool = True,
    full: bool = False,
    schedule_id: str | None = None,
    keep: dict[str, Any] | None = None,
) -> CapturePlan:
    """A recovery point of a server: all its volumes, or those named; nothing is touched.

    Raises ``ServerUnknown``, ``VolumeUnknown``, :class:`VolumeRefused`, :class:`ModeImpossible`,
    :class:`NothingToSnapshot`, :class:`VolumeRestoring`.
    """
    inventory.sync(site)
    row = site.catalog.server(reference, present=True)
    info = site.host.server(str(row.uuid))
    wanted = [_volume_of(site, row, one) for one in volumes]
    chosen = {one.device for one in wanted}
    left_out = [
        LeftOut(device=disk.device, reason=disk.excluded_reason)
        for disk in info.disks
        if disk.excluded_reason
    ]
    left_out += [
        LeftOut(device=disk.device, reason=Message("not asked for"))
        for disk in info.disks
        if not disk.excluded_reason and chosen and disk.device not in chosen
    ]
    devices = [
        disk.device
        for disk in info.disks
        if not disk.excluded_reason and (not chosen or disk.device in chosen)
    ]
    if not devices:
        raise NothingToSnapshot(
            row.name, ", ".join(one.device for one in left_out) or Message("no disks")
        )
    return _plan_attached(
        site,
        row,
        info,
        devices,
        name=checked_name(name) if name else f"{row.name}-{_stamp()}",
        point=secrets.token_hex(16),
        left_out=tuple(left_out),
        mode=mode,
        stated_unmounted=stated_unmounted,
        freeze=freeze,
        full=full,
        schedule_id=schedule_id,
        keep=keep,
    )


def plan_volume(
    site: Site,
    reference: str,
    *,
    name: str | None = None,
    mode: CaptureMode | None = None,
    stated_unmounted: bool = False,
    freeze: bool = True,
    full: bool = False,
    schedule_id: str | None = None,
    keep: dict[str, Any] | None = None,
) -> CapturePlan:
    """A snapshot of one volume, attached or not; nothing is touched.

    Raises as :func:`plan_server`, and :class:`VolumeGone`.
    """
    inventory.sync(site)
    volume = site.catalog.volume(reference)
    if volume.state in {"gone", "creating"}:
        raise VolumeGone(volume.name)
    if volume.server is None or volume.state != "attached":
        return _plan_unattached(
            site, volume, name=name, mode=mode, full=full, schedule_id=schedule_id, keep=keep
        )
    row = volume.server
    info = site.host.server(str(row.uuid))
    return _plan_attached(
        site,
        row,
        info,
        [volume.device],
        name=checked_name(name) if name else f"{row.name}-{volume.device}-{_stamp()}",
        point=None,
        left_out=(),
        mode=mode,
        stated_unmounted=stated_unmounted,
        freeze=freeze,
        full=full,
        schedule_id=schedule_id,
        keep=keep,
    )


def _plan_attached(
    site: Site,
    row: "models.Server",
    info: ServerInfo,
    devices: Sequence[str],
    *,
    name: str,
    point: str | None,
    left_out: tuple[LeftOut, ...],
    mode: CaptureMode | None,
    stated_unmounted: bool,
    freeze: bool,
    full: bool,
    schedule_id: str | None,
    keep: dict[str, Any] | None,
) -> CapturePlan:
    volumes = []
    for device in devices:
        disk = info.disk(device)
        volume = site.catalog.volumes.get(server=row, device=device, state="attached")
        _refuse_disk(volume, disk)
        volumes.append(_volume_plan(site, volume, disk, full=full, single=point is None, name=name))
    return CapturePlan(
        name=name,
        recovery_point=point,
        server_uuid=str(row.uuid),
        server_name=row.name,
        mode=_mode(info, volumes, mode),
        volumes=tuple(volumes),
        left_out=left_out,
        freeze=freeze,
        stated_unmounted=stated_unmounted,
        track=info.tracking_allowed,
        scheduled=schedule_id is not None,
        schedule_id=schedule_id or "",
        keep=keep,
    )


def _plan_unattached(
    site: Site,
    volume: "models.Volume",
    *,
    name: str | None,
    mode: CaptureMode | None,
    full: bool,
    schedule_id: str | None,
    keep: dict[str, Any] | None,
) -> CapturePlan:
    if mode not in {None, CaptureMode.OFFLINE}:
        raise ModeImpossible(
            str(mode),
            Message("volume {volume}", volume=volume.name),
            Message("it is attached to no server"),
        )
    if volume.restoring_snapshot:
        raise VolumeRestoring(volume.name, volume.restoring_snapshot[:12])
    chosen = checked_name(name) if name else f"{volume.name}-{_stamp()}"
    return CapturePlan(
        name=chosen,
        recovery_point=None,
        server_uuid=None,
        server_name=None,
        mode=CaptureMode.OFFLINE,
        volumes=(_volume_plan(site, volume, None, full=full, single=True, name=chosen),),
        left_out=(),
        freeze=False,
        stated_unmounted=False,
        track=False,
        scheduled=schedule_id is not None,
        schedule_id=schedule_id or "",
        keep=keep,
    )


def _refuse_disk(volume: "models.Volume", disk: DiskInfo) -> None:
    if disk.excluded_reason or disk.refused_reason:
        raise VolumeRefused(
            volume.name,
            disk.refused_reason or Message("it is {reason}", reason=disk.excluded_reason),
        )
    if volume.restoring_snapshot:
        raise VolumeRestoring(volume.name, volume.restoring_snapshot[:12])


def _mode(info: ServerInfo, volumes: Sequence[VolumePlan], mode: CaptureMode | None) -> CaptureMode:
    fitting = CaptureMode.LIVE if info.active else CaptureMode.OFFLINE
    chosen = mode or fitting
    what = Message("server {server}", server=info.name)
    if chosen is CaptureMode.FILE:
        raise ModeImpossible(chosen.value, what, Message("it is for image files alone"))
    if chosen is CaptureMode.OFFLINE and info.active:
        raise ModeImpossible(
            chosen.value, what, Message("it is {state}", state=word("server", info.state))
        )
    if chosen is not CaptureMode.OFFLINE and not info.active:
        raise ModeImpossible(
            chosen.value, what, Message("it is {state}", state=word("server", info.state))
        )
    if chosen is CaptureMode.UNMOUNTED:
        for volume in volumes:
            if volume.is_root:
                raise ModeImpossible(
                    chosen.value,
                    Message("volume {volume}", volume=volume.name),
                    Message("the guest runs from a root volume"),
                )
    return chosen


def _volume_plan(
    site: Site,
    volume: "models.Volume",
    disk: DiskInfo | None,
    *,
    full: bool,
    single: bool,
    name: str,
) -> VolumePlan:
    parent = None if full else newest_parent(site, volume)
    return VolumePlan(
        volume_id=str(volume.volume_id),
        name=volume.name,
        snapshot_name=name if single else f"{name}-{volume.device}",
        tenant=volume.tenant.name,
        device=volume.device,
        bus=volume.bus,
        serial=volume.serial,
        is_root=volume.is_root,
        format=volume.format,
        path=volume.path,
        encrypted=bool(disk and disk.encrypted),
        parent=parent,
        full_reason=hints.ASKED_FOR if full else ("" if parent else Reason.NO_PARENT.value),
    )


def newest_parent(site: Site, volume: "models.Volume") -> ParentPlan | None:
    """The newest snapshot of a volume that this site's vault has and can open.

    One from before the volume changed hands is sealed under its old tenant's keys: no parent.
    """
    here = site.catalog.copies.filter(
        site=site.own_row, state__in=("stored", "verified")
    ).values_list("snapshot_id", flat=True)
    usable = volume.snapshots.filter(
        deleted_at=None, readable=True, snapshot_id__in=here, tenant_id=volume.tenant_id
    )
    row = usable.first()
    if row is None:
        return None
    capture = row.facts.get("capture", {})
    token = change_token.from_json(capture.get("change_token"))
    base = None
    if token is not None:
        since = token.since or row.snapshot_id
        base = since if usable.filter(snapshot_id=since).exists() else None
    return ParentPlan(
        snapshot=row.snapshot_id,
        base=base,
        created_at=row.created_at,
        bytes_volume=row.bytes_volume,
        change_token=capture.get("change_token"),
        reread_next_bytes=int(capture.get("reread_next_bytes", 0)),
    )


def _volume_of(site: Site, server: "models.Server", reference: str) -> "models.Volume":
    """A volume of the server by its device, name or id."""
    row = server.volumes.filter(device=reference, state="attached").first()
    if row is None:
        row = site.catalog.volume(reference)
    if row.server_id != server.uuid:
        raise VolumeRefused(
            row.name, Message("it is not attached to server {server}", server=server.name)
        )
    return row


def made_name(of: str, what: str) -> str:
    """A name for a snapshot that nobody named."""
    return f"{of}-{what}-{_stamp()}"


def _stamp() -> str:
    return clock.now().strftime("%Y%m%d-%H%M%S")


def apply(site: Site, plan: CapturePlan, *, work: Work | None = None) -> Protected:
    """Take the snapshots; all of them, or none is left in the vault.

    Raises ``Busy``, ``GaveWay``, the hypervisor's errors about captures, the vault's.
    """
    work = work or Unheard()
    with notes.hold(
        site.settings.notes,
        plan.note_name,
        what=Message("server {server}", server=plan.server_name)
        if plan.server_name
        else plan.volumes[0].name,
        work=Message("{mode} snapshot {name!r}", mode=plan.mode.value, name=plan.name),
        kind="snapshot",
        mode=plan.mode.value,
        snapshot=plan.name,
        recovery_point=plan.recovery_point,
    ) as note:
        return take(site, plan, note, work)


def take(site: Site, plan: CapturePlan, note: notes.HeldNote, work: Work) -> Protected:
    """As :func:`apply`, for a caller that holds the note of the server or volume already."""
    work.step(Message("take {mode} snapshot {name}", mode=plan.mode.value, name=plan.name))
    capture = (
        capture_offline.opened(site, plan)
        if plan.mode is CaptureMode.OFFLINE
        else capture_live.opened(site, plan, work)
    )
    with capture as opened:
        work.fact("instant_at", clock.to_text(opened.instant))
        taken = storing.store_all(site, plan, opened, note, work)
        opened.stored()
    return Protected(
        name=plan.name,
        recovery_point=plan.recovery_point,
        server=plan.server_name,
        created_at=opened.instant,
        mode=plan.mode,
        consistency=opened.consistency,
        freeze_ms=opened.freeze_ms,
        agent_ms=opened.agent_ms,
        snapshots=tuple(taken),
        left_out=plan.left_out,
        notes=dict(opened.notes),
    )
