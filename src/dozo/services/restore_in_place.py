"""A stopped server's volume back to a snapshot, in place.

The order is what makes it safe: a safety snapshot of what is there now; then the marks, in the
catalog and in the domain itself, that keep the server from starting; then the writing; then the
marks go. Interrupted anywhere, the volume is either untouched or marked, and a marked one is
finished with *resume* or taken back with *go back*.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dozo import hypervisor, volumes
from dozo.hypervisor import RestoringMark
from dozo.services import found, notes, protect
from dozo.services.capture_plan import CapturePlan
from dozo.services.errors import (
    MarkOfOther,
    NoSafetySnapshot,
    NotRestoring,
    SizeDiffers,
    VolumeGone,
    VolumeRestoring,
)
from dozo.services.found import FoundServer
from dozo.services.site import Site
from dozo.services.snapshots import readable
from dozo.services.work import Unheard, Work

if TYPE_CHECKING:
    from dozo.catalog import models


@dataclass(frozen=True, kw_only=True)
class InPlacePlan:
    """A volume to be put back. ``safety`` is the snapshot to be taken first, if one is."""

    volume_id: str
    volume: str
    path: str
    format: str
    server: FoundServer | None
    device: str
    snapshot: str
    snapshot_name: str
    safety: CapturePlan | None


@dataclass(frozen=True, kw_only=True)
class PutBack:
    """A volume that is at a snapshot again; ``bytes_written`` is what differed."""

    volume: str
    volume_id: str
    snapshot: str
    safety_snapshot: str | None
    bytes_written: int
    seconds: float


def plan(site: Site, reference: str, snapshot: str) -> InPlacePlan:
    """Check that the volume can be put back; nothing is touched.

    Raises ``ServerRunning``, ``ManagedSave``, :class:`SizeDiffers`, :class:`VolumeRestoring`,
    :class:`VolumeGone` and what :func:`readable` raises.
    """
    row, server = _target(site, reference)
    if row.restoring_snapshot:
        raise VolumeRestoring(row.name, row.restoring_snapshot[:12])
    chosen = site.catalog.snapshot(snapshot).snapshot_id
    safety = protect.plan_volume(
        site, str(row.volume_id), name=protect.made_name(row.name, "safety")
    )
    return _plan(site, row, server, chosen, safety)


def plan_resume(site: Site, reference: str) -> InPlacePlan:
    """Finish an interrupted restore. Raises :class:`NotRestoring`, :class:`MarkOfOther`."""
    row, server = _target(site, reference)
    if not row.restoring_snapshot:
        raise NotRestoring(row.name)
    if not row.safety_snapshot:
        _require_own(site, row)
    return _plan(site, row, server, row.restoring_snapshot, None)


def _require_own(site: Site, row: "models.Volume") -> None:
    """Of a mark that this catalog did not write, believe only what fits the volume."""
    facts = readable(site, row.restoring_snapshot).facts
    if facts is None:
        return
    of = facts.volume
    if of.volume_id != str(row.volume_id) and of.path != row.path:
        raise MarkOfOther(row.name, row.restoring_snapshot[:12], of.name)


def plan_go_back(site: Site, reference: str) -> InPlacePlan:
    """Take an interrupted restore back, to the safety snapshot taken before it.

    Raises :class:`NotRestoring`, :class:`NoSafetySnapshot`.
    """
    row, server = _target(site, reference)
    if not row.restoring_snapshot:
        raise NotRestoring(row.name)
    if not row.safety_snapshot:
        raise NoSafetySnapshot(row.name)
    return _plan(site, row, server, row.safety_snapshot, None)


def _target(site: Site, reference: str) -> tuple["models.Volume", FoundServer | None]:
    row = found.volume(site, reference)
    if row.state not in {"attached", "unattached"}:
        raise VolumeGone(row.name)
    if row.state == "unattached" or row.server is None:
        return row, None
    server = found.server(site, str(row.server.uuid))
    server.require_stopped()
    return row, server


def _plan(
    site: Site,
    row: "models.Volume",
    server: FoundServer | None,
    snapshot: str,
    safety: CapturePlan | None,
) -> InPlacePlan:
    source = readable(site, snapshot)
    image = volumes.inspect(row.path, format=row.format)
    if image.virtual_bytes != source.info.bytes_volume:
        raise SizeDiffers(row.name, image.virtual_bytes, source.info.bytes_volume)
    return InPlacePlan(
        volume_id=str(row.volume_id),
        volume=row.name,
        path=row.path,
        format=row.format,
        server=server,
        device=row.device,
        snapshot=source.info.snapshot,
        snapshot_name=source.name,
        safety=safety,
    )


def apply(site: Site, plan: InPlacePlan, *, work: Work | None = None) -> PutBack:
    """Put the volume back. Interrupted, it can be resumed or taken back."""
    work = work or Unheard()
    name = plan.server.note_name if plan.server else f"volume-{plan.volume_id}"
    row = site.catalog.volumes.get(volume_id=plan.volume_id)
    with notes.hold(
        site.settings.notes,
        name,
        what=f"volume {plan.volume}",
        work=f"putting it back to snapshot {plan.snapshot_name}",
        kind="restore-in-place",
        volume=plan.volume_id,
        snapshot=plan.snapshot,
    ) as note:
        if plan.safety is not None:
            work.step(f"take a safety snapshot of {plan.volume}")
            taken = protect.take(site, plan.safety, note, work)
            row.safety_snapshot = taken.snapshots[0].snapshot
        _mark(site, row, plan)
        work.step(f"put {plan.volume} back to {plan.snapshot_name}")
        with volumes.open_target(plan.path, format=plan.format) as target:
            result = site.vault.restore_in_place(
                plan.snapshot, target, progress=work.bytes_of(f"restore {plan.volume}")
            )
            target.flush()
        safety = row.safety_snapshot
        _unmark(site, row, plan)
    return PutBack(
        volume=plan.volume,
        volume_id=plan.volume_id,
        snapshot=plan.snapshot,
        safety_snapshot=safety or None,
        bytes_written=result.bytes_written,
        seconds=result.seconds,
    )


def _mark(site: Site, row: "models.Volume", plan: InPlacePlan) -> None:
    row.restoring_snapshot = plan.snapshot
    row.save()
    if plan.server is not None:
        hypervisor.mark_restoring(
            site.host,
            plan.server.uuid,
            RestoringMark(device=plan.device, path=plan.path, snapshot=plan.snapshot),
        )


def _unmark(site: Site, row: "models.Volume", plan: InPlacePlan) -> None:
    # The domain's mark goes first: while the catalog's stays, starting is still refused here.
    if plan.server is not None:
        hypervisor.clear_restoring(site.host, plan.server.uuid, plan.path)
    row.restoring_snapshot = ""
    row.safety_snapshot = ""
    row.save()
