"""Live capture: all chosen disks of a running server at one instant, exported over NBD."""

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import libvirt

from dozo.hypervisor import note as notes
from dozo.hypervisor import scratch
from dozo.hypervisor.backup_job import socket_of_job
from dozo.hypervisor.cleanup import clean_up
from dozo.hypervisor.connection import Host, is_gone, message
from dozo.hypervisor.errors import (
    BackupJobGone,
    CaptureLost,
    HypervisorError,
    LibvirtUnavailable,
    ScratchFull,
    ServerStopped,
    WatchdogFailed,
)
from dozo.hypervisor.freeze import Freeze, FreezeTimes
from dozo.hypervisor.note import CaptureNote, Stage
from dozo.hypervisor.tracking import StaleBitmap
from dozo.hypervisor.watchdog_pipe import WatchdogPipe
from dozo.model import clock
from dozo.model.message import Message
from dozo.model.states import Consistency

_CHECK_EVERY_S = 0.25


@dataclass(frozen=True, kw_only=True)
class DiskPlan:
    """One disk to be captured.

    ``since_checkpoint`` asks for the changes since one of Dozo's checkpoints as well; the
    caller has made sure that it can be trusted. ``track`` begins a new checkpoint here.
    """

    device: str
    since_checkpoint: str | None = None
    track: bool = False


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """Where captures keep their things, and their limits.

    ``scratch_dir`` must be usable by QEMU's user; ``scratch_quota_bytes`` bounds one capture,
    ``scratch_reserve_bytes`` is what its file system must keep free. The guest is thawed
    ``freeze_limit_s`` after the agent's answer at the latest.
    """

    note_dir: Path
    scratch_dir: Path
    scratch_quota_bytes: int | None = None
    scratch_reserve_bytes: int = scratch.DEFAULT_RESERVE_BYTES
    freeze: Freeze = Freeze.IF_POSSIBLE
    agent_timeout_s: int = 30
    freeze_limit_s: float = 10.0
    busy_wait_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class LiveExport:
    """Where one disk's bytes of the instant can be read; ``bitmap_name`` if changes too."""

    device: str
    socket: Path
    export_name: str
    bitmap_name: str | None


class LiveCapture:
    """A capture whose instant is fixed. End it with :meth:`finish` or :meth:`abort`.

    As a context manager it aborts when the block ends without :meth:`finish`.
    ``freeze_problem`` says why the guest was not frozen, or not properly, if it was to be.
    """

    def __init__(
        self,
        host: Host,
        note: CaptureNote,
        note_dir: Path,
        watchdog: WatchdogPipe,
        lock: int,
        *,
        instant: datetime,
        consistency: Consistency,
        times: FreezeTimes,
        thawed: bool,
        exports: Mapping[str, LiveExport],
    ) -> None:
        self.server = note.server
        self.server_uuid = note.server_uuid
        self.instant = instant
        self.consistency = consistency
        self.freeze_ms = times.freeze_ms
        self.agent_ms = times.agent_ms
        self.freeze_problem = times.problem
        self.exports = exports
        self.checkpoint = note.checkpoint
        self._host = host
        self._note = note
        self._note_dir = note_dir
        self._watchdog = watchdog
        self._lock = lock
        self._thawed = thawed
        self._ended = False
        self._failure: HypervisorError | None = None
        self._checking = threading.Lock()
        self._checked_at = clock.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ended:
            return
        if error is None:
            self.abort()
        else:
            # The error under way says more than one from the clean-up, which the next start
            # makes up for.
            with suppress(HypervisorError):
                self.abort()

    def check(self, *, now: bool = False) -> None:
        """Raise if the capture cannot be trusted any more; call it often, from any thread.

        Cheap: it really looks a few times a second at most, unless ``now`` is set. Raises
        ``ServerStopped``, ``ScratchFull``, ``BackupJobGone``, ``WatchdogFailed`` or
        ``LibvirtUnavailable``.
        """
        if self._failure is None and self._checking.acquire(blocking=now):
            try:
                if now or clock.monotonic() - self._checked_at >= _CHECK_EVERY_S:
                    self._failure = self._find_failure()
                    self._checked_at = clock.monotonic()
            finally:
                self._checking.release()
        if self._failure is not None:
            raise type(self._failure)(**self._failure.details())

    def finish(self, *, keep_checkpoint: bool) -> tuple[StaleBitmap, ...]:
        """End the capture after its data are stored; raises what :meth:`check` raises.

        With ``keep_checkpoint`` the new checkpoint stays and older ones that are the newest of
        no volume go. Returns bitmaps that only the caller can remove (of a server that has
        stopped meanwhile).
        """
        self.check(now=True)
        if keep_checkpoint and self.checkpoint is not None:
            self._note = replace(self._note, stage=Stage.FINISHED)
            notes.write(self._note, self._note_dir)
        return self._end()

    def abort(self) -> tuple[StaleBitmap, ...]:
        """End the capture and leave nothing of it behind; a second call does nothing."""
        return () if self._ended else self._end()

    def _end(self) -> tuple[StaleBitmap, ...]:
        self._ended = True
        # What is frozen is left to the watchdog, which has been at it all the time.
        thawed = self._thawed or self._watchdog.said("thawed") is not None
        note = self._note
        if thawed and note.stage is Stage.FREEZING:
            note = replace(note, stage=Stage.CAPTURING)
        try:
            report = clean_up(self._host, note, self._note_dir, thaw_limit_s=None)
        except BaseException:
            # libvirt may be restarting: the watchdog tries again until it is done.
            self._watchdog.abandon()
            raise
        else:
            self._watchdog.dismiss("bye" if thawed else "leave")
        finally:
            os.close(self._lock)
        return report.stale_bitmaps

    def _find_failure(self) -> HypervisorError | None:
        full = self._watchdog.said("scratch-full")
        if full is not None:
            _, used_bytes, free_bytes = full.split(" ")
            return ScratchFull(
                server=self.server,
                directory=self._note.scratch,
                used_bytes=int(used_bytes),
                free_bytes=int(free_bytes),
            )
        try:
            lost = self._job_lost()
        except libvirt.libvirtError as error:
            if is_gone(error):
                return ServerStopped(server=self.server, reason=Message("it no longer exists"))
            if not self._host.is_alive():
                return LibvirtUnavailable(uri=self._host.uri, reason=message(error))
            return BackupJobGone(server=self.server, reason=message(error))
        if lost is None and not self._watchdog.is_alive():
            return WatchdogFailed(server=self.server, reason=Message("it ended"))
        return lost

    def _job_lost(self) -> CaptureLost | None:
        domain = self._host.connection.lookupByUUIDString(self.server_uuid)
        has_job = socket_of_job(domain) == self._note.socket
        # Asked in this order: a server that stops loses its job first.
        if domain.ID() != self._note.domain_id:
            return ServerStopped(server=self.server, reason=_why_stopped(domain))
        if not has_job:
            return BackupJobGone(server=self.server, reason=Message("somebody ended it"))
        return None


def _why_stopped(domain: Any) -> str:
    """libvirt's reason for the stop, in a word; *restarted* if it runs again."""
    state, reason = domain.state()
    if state != libvirt.VIR_DOMAIN_SHUTOFF:
        return Message("it was restarted")
    return _SHUTOFF_REASONS.get(reason, Message("for an unknown reason"))


_SHUTOFF_REASONS = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: Message("it was shut down"),
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: Message("it was forced off"),
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: Message("QEMU was killed or crashed"),
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: Message("QEMU was killed or crashed"),
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: Message("it moved to another host"),
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: Message("it was saved"),
}
