"""A stopped server's volume back to a snapshot, in place.

The order is what makes it safe: a safety snapshot of what is there now; then the image is opened,
which keeps others out; then the marks, in the catalog and in the domain itself or beside the
image, that keep the server from starting; then the writing; then the marks go. Interrupted
anywhere, the volume is either untouched or marked, and a marked one is finished with *resume* or
taken back with *go back*.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dozo import volumes
from dozo.hypervisor import RestoringMark, Standstill
from dozo.model.message import Message
from dozo.services import attaching, found, notes, protect
from dozo.services.capture_plan import CapturePlan
from dozo.services.errors import (
    MarkOfOther,
    NoSafetySnapshot,
    NotRestoring,
    SizeDiffers,
    VolumeAttached,
    VolumeGone,
    VolumeNotAttached,
    VolumeRestoring,
)
from dozo.services.found import FoundServer
from dozo.services.pool import Pool
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
    """Put the volume back. Interrupted, it can be resumed or taken back.

    Raises also what the planning raises: the volume may have changed since.
    """
    work = work or Unheard()
    with ExitStack() as stack:
        note = _hold(stack, site, plan)
        row = _again(site, plan)
        watch = _watch(stack, site, plan)
        safety = row.safety_snapshot
        if plan.safety is not None:
            work.step(Message("take a safety snapshot of {volume}", volume=plan.volume))
            safety = protect.take(site, plan.safety, note, work).snapshots[0].snapshot
        # Opened before it is marked: whoever has it opened meanwhile leaves no mark behind.
        with volumes.open_target(plan.path, format=plan.format) as target:
            if watch is not None:
                watch.check(now=True)
            work.step(
                Message(
                    "put {volume} back to {snapshot}",
                    volume=plan.volume,
                    snapshot=plan.snapshot_name,
                )
            )
            note.update(writing=True, path=plan.path, safety=safety)
            _mark(site, row, plan, safety)
            result = site.vault.restore_in_place(
                plan.snapshot, target, progress=work.bytes_of(f"restore {plan.volume}")
            )
            target.flush()
        note.update(written=True)
        _unmark(site, row, plan)
    return PutBack(
        volume=plan.volume,
        volume_id=plan.volume_id,
        snapshot=plan.snapshot,
        safety_snapshot=safety or None,
        bytes_written=result.bytes_written,
        seconds=result.seconds,
    )


def _hold(stack: ExitStack, site: Site, plan: InPlacePlan) -> notes.HeldNote:
    """Keep others off the server, if there is one, and off the volume."""
    work = Message("putting it back to snapshot {snapshot}", snapshot=plan.snapshot_name)
    note = stack.enter_context(
        notes.hold(
            site.settings.notes,
            plan.server.note_name if plan.server else f"volume-{plan.volume_id}",
            what=Message("volume {volume}", volume=plan.volume),
            work=work,
            kind="restore-in-place",
            volume=plan.volume_id,
            snapshot=plan.snapshot,
        )
    )
    if plan.server is not None:
        stack.enter_context(attaching.hold_volume(site, plan.volume_id, plan.volume, work=work))
    return note


def _watch(stack: ExitStack, site: Site, plan: InPlacePlan) -> Standstill | None:
    if plan.server is None:
        return None
    return stack.enter_context(site.host.standstill(plan.server.uuid))


def _again(site: Site, plan: InPlacePlan) -> "models.Volume":
    """The volume's row, if it is still as it was when the plan was made."""
    row, server = _target(site, plan.volume_id)
    if server is not None and (plan.server is None or server.uuid != plan.server.uuid):
        raise VolumeAttached(row.name, server.row.name, row.device)
    if plan.server is not None and server is None:
        raise VolumeNotAttached(row.name, plan.server.row.name)
    if row.path != plan.path:
        raise VolumeGone(row.name)
    if plan.safety is not None and row.restoring_snapshot:
        raise VolumeRestoring(row.name, row.restoring_snapshot[:12])
    resumed = {row.restoring_snapshot, row.safety_snapshot} if row.restoring_snapshot else set()
    if plan.safety is None and plan.snapshot not in resumed:
        raise NotRestoring(row.name)
    return row


def _mark(site: Site, row: "models.Volume", plan: InPlacePlan, safety: str) -> None:
    row.restoring_snapshot = plan.snapshot
    row.safety_snapshot = safety
    row.save()
    pool = Pool(site.settings.pool)
    pool.mark_restoring(plan.volume_id, restoring=plan.snapshot, safety=safety)
    if plan.server is not None:
        site.host.mark_restoring(
            plan.server.uuid,
            RestoringMark(device=plan.device, path=plan.path, snapshot=plan.snapshot),
        )


def _unmark(site: Site, row: "models.Volume", plan: InPlacePlan) -> None:
    # The domain's mark goes first: while the catalog's stays, starting is still refused here.
    if plan.server is not None:
        site.host.clear_restoring(plan.server.uuid, plan.path)
    Pool(site.settings.pool).mark_restoring(plan.volume_id, restoring="", safety="")
    row.restoring_snapshot = ""
    row.safety_snapshot = ""
    row.save()
