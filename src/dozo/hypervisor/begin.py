"""Beginning a live capture: from the request to the instant, with nothing left if it fails."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import libvirt

from dozo.hypervisor import note as notes
from dozo.hypervisor import scratch, tracking
from dozo.hypervisor.agent import GuestAgent
from dozo.hypervisor.backup_job import JobDisk, backup_xml, checkpoint_xml, other_job
from dozo.hypervisor.cleanup import clean_up
from dozo.hypervisor.connection import Host, is_gone, message, parse_dac_label, translated
from dozo.hypervisor.disks import parse_xml
from dozo.hypervisor.errors import (
    AgentError,
    CaptureFailed,
    DiskRefused,
    FrozenAlready,
    ScratchFull,
    ServerBusy,
    ServerNotRunning,
    ServerStopped,
)
from dozo.hypervisor.freeze import Freeze, FreezeTimes, frozen
from dozo.hypervisor.in_use import Unmounted, UnmountedCheck
from dozo.hypervisor.inventory import ServerInfo, state_of
from dozo.hypervisor.inventory import server as server_info
from dozo.hypervisor.live import DiskPlan, LiveCapture, LiveExport, LiveSettings
from dozo.hypervisor.note import CaptureNote, Stage
from dozo.hypervisor.watchdog_pipe import WatchdogPipe
from dozo.model import clock
from dozo.model.message import Message
from dozo.model.states import Consistency


def begin_live(
    host: Host,
    server: str,
    disks: Sequence[DiskPlan],
    *,
    settings: LiveSettings,
    unmounted: Unmounted | None = None,
) -> LiveCapture:
    """Fix the instant of the chosen disks of a running or paused server.

    With ``unmounted`` the disks must not be in use inside the guest, and nothing is frozen.
    Raises ``ServerUnknown``, ``DeviceUnknown``, ``DiskRefused``, ``ServerNotRunning``,
    ``ServerBusy``, ``ScratchFull``, ``DiskInUse``, ``NotKnownUnmounted``, ``AgentError`` (if a
    freeze is required), ``CaptureFailed``; then nothing is left behind.
    """
    return _Beginning(host, server, disks, settings, unmounted).run()


class _Beginning:
    """The steps from the request to the instant."""

    def __init__(
        self,
        host: Host,
        server: str,
        disks: Sequence[DiskPlan],
        settings: LiveSettings,
        unmounted: Unmounted | None,
    ) -> None:
        self.host = host
        self.disks = disks
        self.settings = settings
        self.unmounted = unmounted
        self.info = server_info(host, server)
        self.domain = host.domain(self.info.uuid)
        with translated(host, Message("read the definition of"), self.info.name):
            self.definition = parse_xml(self.domain.XMLDesc(0))

    def run(self) -> LiveCapture:
        self.check_request()
        self.wait_until_free()
        if self.info.tracking_allowed and any(plan.track for plan in self.disks):
            tracking.remove_orphan_bitmaps(self.host, self.info.uuid)
        note, lock = self.prepare()
        try:
            scratch.prepare(Path(note.scratch), self.owner())
            watchdog = WatchdogPipe(note.server, note.path_in(self.settings.note_dir), lock)
        except BaseException as error:
            clean_up(self.host, note, self.settings.note_dir, thaw_limit_s=None)
            os.close(lock)
            if isinstance(error, OSError):
                raise CaptureFailed(server=self.info.name, reason=str(error)) from error
            raise
        return _Instant(self, note, watchdog, lock).take()

    def check_request(self) -> None:
        if self.info.state not in {"running", "paused"}:
            raise ServerNotRunning(server=self.info.name, state=self.info.state)
        for plan in self.disks:
            disk = self.info.disk(plan.device)
            reason = disk.refused_reason or disk.excluded_reason
            if reason is None and plan.track and not disk.trackable:
                reason = Message(
                    "its format {format} cannot keep track of changes", format=disk.format
                )
            if reason is not None:
                raise DiskRefused(server=self.info.name, device=plan.device, reason=reason)

    def wait_until_free(self) -> None:
        deadline = clock.monotonic() + self.settings.busy_wait_s
        while True:
            with translated(self.host, Message("look for jobs of"), self.info.name):
                job = other_job(self.domain, [plan.device for plan in self.disks])
            if job is None:
                return
            if clock.monotonic() >= deadline:
                raise ServerBusy(server=self.info.name, job=job)
            clock.sleep(0.5)

    def prepare(self) -> tuple[CaptureNote, int]:
        """Make the note durable, and lock it; refuse if scratch space is short already."""
        settings = self.settings
        capture = secrets.token_hex(8)
        try:
            directory = scratch.directory_for(settings.scratch_dir, capture)
            settings.note_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except (OSError, ValueError) as error:
            raise CaptureFailed(server=self.info.name, reason=str(error)) from error
        free_bytes = scratch.free_bytes(directory)
        if free_bytes < settings.scratch_reserve_bytes:
            raise ScratchFull(
                server=self.info.name,
                directory=str(settings.scratch_dir),
                used_bytes=0,
                free_bytes=free_bytes,
            )
        tracked = any(plan.track for plan in self.disks)
        note = CaptureNote(
            capture=capture,
            uri=self.host.uri,
            server_uuid=self.info.uuid,
            server=self.info.name,
            domain_id=self.domain.ID(),
            devices=tuple(plan.device for plan in self.disks),
            scratch=str(directory),
            socket=str(scratch.socket_in(directory)),
            checkpoint=tracking.new_checkpoint_name() if tracked else None,
            was_running=self.info.state == "running",
            quota_bytes=settings.scratch_quota_bytes,
            reserve_bytes=settings.scratch_reserve_bytes,
        )
        lock = notes.take_lock(note.path_in(settings.note_dir))
        if lock is None:
            raise CaptureFailed(
                server=self.info.name, reason=Message("note {capture} is locked", capture=capture)
            )
        notes.write(note, settings.note_dir)
        return note, lock

    def owner(self) -> tuple[int, int] | None:
        """The user that this server's QEMU runs as."""
        for label in self.definition.iterfind("seclabel[@model='dac']"):
            found = parse_dac_label(label.findtext("label") or "")
            if found is not None:
                return found
        return self.host.qemu_user()


class _Instant:
    """Fixing the instant once the note is durable and the watchdog watches."""

    def __init__(
        self, beginning: _Beginning, note: CaptureNote, watchdog: WatchdogPipe, lock: int
    ) -> None:
        self.host = beginning.host
        self.info: ServerInfo = beginning.info
        self.domain: Any = beginning.domain
        self.settings = beginning.settings
        self.unmounted = beginning.unmounted
        self.disks = beginning.disks
        self.jobs = [
            JobDisk(device=plan.device, since=plan.since_checkpoint, track=plan.track)
            for plan in beginning.disks
        ]
        self.note = note
        self.watchdog = watchdog
        self.lock = lock
        self.times = FreezeTimes()
        self.thawed = True
        # Written beforehand: nothing that can wait happens while the guest is frozen.
        self.job_xml = backup_xml(self.jobs, Path(note.scratch), Path(note.socket))
        self.checkpoint_xml = None
        if note.checkpoint is not None:
            tracked = frozenset(job.device for job in self.jobs if job.track)
            self.checkpoint_xml = checkpoint_xml(note.checkpoint, tracked, beginning.definition)

    def take(self) -> LiveCapture:
        try:
            consistency, instant = self.fix()
            if self.thawed and self.note.stage is Stage.FREEZING:
                self.enter(Stage.CAPTURING)
        except BaseException:
            self.capture(clock.now(), Consistency.CRASH).abort()
            raise
        return self.capture(instant, consistency)

    def capture(self, instant: datetime, consistency: Consistency) -> LiveCapture:
        return LiveCapture(
            self.host,
            self.note,
            self.settings.note_dir,
            self.watchdog,
            self.lock,
            instant=instant,
            consistency=consistency,
            times=self.times,
            thawed=self.thawed,
            exports={
                job.device: LiveExport(
                    device=job.device,
                    socket=Path(self.note.socket),
                    export_name=job.device,
                    bitmap_name=job.bitmap_name,
                )
                for job in self.jobs
            },
        )

    def fix(self) -> tuple[Consistency, datetime]:
        if self.unmounted is not None:
            return self.fix_unmounted(self.unmounted)
        if self.settings.freeze is Freeze.OFF:
            return Consistency.CRASH, self.begin_job()
        if self.info.state == "paused":
            self.times = FreezeTimes(problem=Message("the server is paused"))
            return Consistency.CRASH, self.begin_job()
        return self.fix_frozen()

    def fix_frozen(self) -> tuple[Consistency, datetime]:
        required = self.settings.freeze is Freeze.REQUIRED
        agent = GuestAgent.of(self.host, self.info.uuid)
        try:
            agent.ping()
            # Before the watchdog is armed: it would end a freeze that is somebody else's.
            if agent.is_frozen():
                raise FrozenAlready(server=self.info.name)
            self.arm()
            instant, self.times = frozen(
                agent,
                self.begin_job,
                on_frozen=lambda: self.watchdog.tell(f"frozen {self.settings.freeze_limit_s}"),
                on_thawed=self.leave_freeze,
                agent_timeout_s=self.settings.agent_timeout_s,
                limit_s=self.settings.freeze_limit_s,
            )
        except AgentError as error:
            if not self.thawed:
                # An agent that hangs in a freeze may still get there: the watchdog thaws on.
                self.leave_freeze(False)
            if required:
                raise
            self.times = FreezeTimes(problem=str(error))
            return Consistency.CRASH, self.begin_job()
        if self.times.problem is not None:
            return Consistency.CRASH, instant
        return Consistency.FILESYSTEM, instant

    def fix_unmounted(self, unmounted: Unmounted) -> tuple[Consistency, datetime]:
        disks = [self.info.disk(plan.device) for plan in self.disks]
        check = UnmountedCheck(self.host, self.info, disks, unmounted)
        checked_before = check.ask()
        instant = self.begin_job()
        checked_after = check.ask()
        checked = checked_before and checked_after
        return (Consistency.CLEAN if checked else Consistency.STATED), instant

    def arm(self) -> None:
        """From here on the watchdog thaws, and a note says that there may be need to."""
        self.enter(Stage.FREEZING)
        self.thawed = False
        limit_s = self.settings.agent_timeout_s + self.settings.freeze_limit_s
        self.watchdog.tell(f"freeze {limit_s}")
        self.watchdog.wait_for("armed", 10.0)

    def leave_freeze(self, thawed: bool) -> None:
        """The guest was seen thawed, or the watchdog has to see to it."""
        self.thawed = thawed
        self.watchdog.tell("thawed" if thawed else "frozen 0")

    def enter(self, stage: Stage) -> None:
        self.note = replace(self.note, stage=stage)
        notes.write(self.note, self.settings.note_dir)

    def begin_job(self) -> datetime:
        """Begin libvirt's job; everything written before the returned instant is in it."""
        instant = clock.now()
        try:
            self.domain.backupBegin(self.job_xml, self.checkpoint_xml, 0)
        except libvirt.libvirtError as error:
            if is_gone(error) or state_of(self.domain) == "stopped":
                raise ServerStopped(server=self.info.name, reason=message(error)) from error
            raise CaptureFailed(server=self.info.name, reason=message(error)) from error
        self.watchdog.tell("watch")
        return instant
