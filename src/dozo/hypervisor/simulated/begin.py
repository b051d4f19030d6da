"""Beginning a live capture of a simulated server: from the request to the instant."""

import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dozo.hypervisor import note as notes
from dozo.hypervisor import scratch, tracking
from dozo.hypervisor.errors import (
    AgentAbsent,
    CaptureFailed,
    DiskInUse,
    DiskRefused,
    NotKnownUnmounted,
    ScratchFull,
    ServerBusy,
    ServerNotRunning,
)
from dozo.hypervisor.freeze import Freeze
from dozo.hypervisor.in_use import Unmounted
from dozo.hypervisor.inventory import ServerInfo
from dozo.hypervisor.live import DiskPlan, LiveSettings
from dozo.hypervisor.note import CaptureNote, Stage
from dozo.hypervisor.simulated import images
from dozo.hypervisor.simulated.capture import Export, Instant, SimulatedCapture, clean_up
from dozo.hypervisor.simulated.images import ImageFailed
from dozo.hypervisor.simulated.machine import Machine, Machines, writers
from dozo.hypervisor.simulated.store import CheckpointRow
from dozo.model import clock
from dozo.model.message import Message
from dozo.model.states import Consistency


def begin_live(
    machines: Machines,
    server: str,
    disks: Sequence[DiskPlan],
    *,
    settings: LiveSettings,
    unmounted: Unmounted | None = None,
) -> SimulatedCapture:
    """See :meth:`dozo.hypervisor.port.Hypervisor.begin_live`."""
    with machines.held(server) as machine:
        others = writers(machines.all())
        info = machine.info(others)
        refuse(info, disks)
        if machine.row.capture:
            raise ServerBusy(server=info.name, job=Message("a live capture"))
        note, lock = _prepare(machines, info, machine.row.run, disks, settings)
        failure: BaseException | None = None
        try:
            instant = _Fixing(machines, machine, info, note, settings).fix(disks, unmounted)
            note = replace(note, stage=Stage.CAPTURING)
            notes.write(note, settings.note_dir)
        except BaseException as error:  # noqa: BLE001  raised again once all is undone
            failure = error
    # The server is let go of before the undoing, which holds it again.
    if failure is not None:
        try:
            clean_up(machines, note, settings.note_dir)
        finally:
            os.close(lock)
        if isinstance(failure, ImageFailed | OSError):
            raise CaptureFailed(server=info.name, reason=str(failure)) from failure
        raise failure
    return SimulatedCapture(machines, note, settings.note_dir, lock, instant)


def refuse(info: ServerInfo, disks: Sequence[DiskPlan]) -> None:
    """Raise unless these disks can be captured now."""
    if not info.active:
        raise ServerNotRunning(server=info.name, state=info.state)
    for plan in disks:
        disk = info.disk(plan.device)
        reason = disk.refused_reason or disk.excluded_reason
        if reason is None and plan.track and not disk.trackable:
            reason = Message("its format {format} cannot keep track of changes", format=disk.format)
        if reason is not None:
            raise DiskRefused(server=info.name, device=plan.device, reason=reason)


def _prepare(
    machines: Machines,
    info: ServerInfo,
    run: int,
    disks: Sequence[DiskPlan],
    settings: LiveSettings,
) -> tuple[CaptureNote, int]:
    """Make the note durable, and lock it; refuse if scratch space is short already."""
    capture = secrets.token_hex(8)
    directory = settings.scratch_dir / f"{scratch.PREFIX}{capture}"
    try:
        settings.note_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CaptureFailed(server=info.name, reason=str(error)) from error
    free_bytes = scratch.free_bytes(directory)
    if free_bytes < settings.scratch_reserve_bytes:
        raise ScratchFull(
            server=info.name,
            directory=str(settings.scratch_dir),
            used_bytes=0,
            free_bytes=free_bytes,
        )
    note = CaptureNote(
        capture=capture,
        uri=machines.uri,
        server_uuid=info.uuid,
        server=info.name,
        domain_id=run,
        devices=tuple(plan.device for plan in disks),
        scratch=str(directory),
        # Scratch folders may lie too deep for the address of a socket.
        socket=tempfile.mkdtemp(prefix="dozo-simulated-"),
        checkpoint=tracking.new_checkpoint_name() if any(one.track for one in disks) else None,
        was_running=True,
        quota_bytes=settings.scratch_quota_bytes,
        reserve_bytes=settings.scratch_reserve_bytes,
    )
    lock = notes.take_lock(note.path_in(settings.note_dir))
    if lock is None:
        raise CaptureFailed(
            server=info.name, reason=Message("note {capture} is locked", capture=capture)
        )
    notes.write(note, settings.note_dir)
    return note, lock


class _Fixing:
    """Fixing the instant once the note is durable, while nobody else changes the server."""

    def __init__(
        self,
        machines: Machines,
        machine: Machine,
        info: ServerInfo,
        note: CaptureNote,
        settings: LiveSettings,
    ) -> None:
        self.machines = machines
        self.machine = machine
        self.info = info
        self.note = note
        self.settings = settings

    def fix(self, disks: Sequence[DiskPlan], unmounted: Unmounted | None) -> Instant:
        scratch.prepare(Path(self.note.scratch), None)
        self.machines.store.change(self.info.uuid, capture=self.note.capture)
        self.machines.write_until(self.info.uuid, clock.now().timestamp())
        if unmounted is not None:
            return self.copy(disks, self.of_unmounted(disks, unmounted))
        if self.settings.freeze is Freeze.OFF:
            return self.copy(disks, Consistency.CRASH)
        if not self.machine.agent:
            absent = AgentAbsent(server=self.info.name, reason=Message("it has none"))
            if self.settings.freeze is Freeze.REQUIRED:
                raise absent
            return replace(self.copy(disks, Consistency.CRASH), problem=str(absent))
        return self.frozen(disks)

    def of_unmounted(self, disks: Sequence[DiskPlan], unmounted: Unmounted) -> Consistency:
        for plan in disks:
            if self.machine.agent and plan.device not in self.machine.guest.unmounted:
                holder = f"ext4 mounted at /{plan.device}"
                raise DiskInUse(server=self.info.name, device=plan.device, holder=holder)
            if not self.machine.agent and not unmounted.stated:
                reason = Message("no guest agent answers")
                raise NotKnownUnmounted(server=self.info.name, device=plan.device, reason=reason)
        return Consistency.CLEAN if self.machine.agent else Consistency.STATED

    def frozen(self, disks: Sequence[DiskPlan]) -> Instant:
        self.note = replace(self.note, stage=Stage.FREEZING)
        notes.write(self.note, self.settings.note_dir)
        begun = clock.monotonic()
        self.machines.store.change(self.info.uuid, frozen=True)
        frozen_at = clock.monotonic()
        instant = self.copy(disks, Consistency.FILESYSTEM)
        thaw_at = clock.monotonic()
        self.machines.store.change(self.info.uuid, frozen=False)
        agent_s = (frozen_at - begun) + (clock.monotonic() - thaw_at)
        return replace(
            instant,
            freeze_ms=round((thaw_at - frozen_at) * 1000),
            agent_ms=round(agent_s * 1000),
        )

    def copy(self, disks: Sequence[DiskPlan], consistency: Consistency) -> Instant:
        """Copy the images, and begin to record changes from here on."""
        instant = clock.now()
        exports = []
        for plan in disks:
            disk = self.info.disk(plan.device)
            path = disk.path or ""
            copy = Path(self.note.scratch) / plan.device
            images.copy(path, copy)
            if plan.track and self.note.checkpoint is not None:
                images.add_bitmap(path, self.note.checkpoint)
            exports.append(
                Export(
                    device=plan.device,
                    copy=copy,
                    format=disk.format,
                    bitmap=plan.since_checkpoint,
                )
            )
        tracked = tuple(plan.device for plan in disks if plan.track)
        if tracked and self.note.checkpoint is not None:
            row = CheckpointRow(
                name=self.note.checkpoint, devices=tracked, created_at_s=instant.timestamp()
            )
            self.machines.store.add_checkpoint(self.info.uuid, row)
        return Instant(at=instant, consistency=consistency, exports=tuple(exports))
