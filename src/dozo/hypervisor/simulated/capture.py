"""Live capture of a simulated server: a copy of each image at the instant, offered over NBD."""

import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from dozo.hypervisor import note as notes
from dozo.hypervisor import scratch
from dozo.hypervisor.cleanup import CleanReport
from dozo.hypervisor.errors import (
    BackupJobGone,
    CaptureFailed,
    HypervisorError,
    ServerStopped,
    ServerUnknown,
)
from dozo.hypervisor.live import LiveExport
from dozo.hypervisor.note import CaptureNote, Stage
from dozo.hypervisor.simulated import images
from dozo.hypervisor.simulated.images import ImageFailed
from dozo.hypervisor.simulated.machine import Machines
from dozo.hypervisor.tracking import StaleBitmap, is_ours
from dozo.model import clock
from dozo.model.message import Message
from dozo.model.states import Consistency

_READY_S = 30.0

# The kernel sends the signal when the thread that started the child ends, so that children are
# started by one that lives as long as the process.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dozo-simulated-starter")


def _forget_starter() -> None:
    global _starter  # noqa: PLW0603  a forked child has no thread behind the old one
    _starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dozo-simulated-starter")


os.register_at_fork(after_in_child=_forget_starter)


@dataclass(frozen=True, kw_only=True)
class Export:
    """One copy, its format, and the bitmap to be offered with it."""

    device: str
    copy: Path
    format: str
    bitmap: str | None


@dataclass(frozen=True, kw_only=True)
class Instant:
    """What a capture found out when its instant was fixed."""

    at: datetime
    consistency: Consistency
    exports: tuple[Export, ...]
    freeze_ms: int | None = None
    agent_ms: int | None = None
    problem: str | None = None


class SimulatedCapture:
    """See :class:`~dozo.hypervisor.port.Capture`."""

    def __init__(
        self,
        machines: Machines,
        note: CaptureNote,
        note_dir: Path,
        lock: int,
        instant: Instant,
    ) -> None:
        self.server = note.server
        self.server_uuid = note.server_uuid
        self.instant = instant.at
        self.consistency = instant.consistency
        self.freeze_ms = instant.freeze_ms
        self.agent_ms = instant.agent_ms
        self.freeze_problem = instant.problem
        self.checkpoint = note.checkpoint
        self.exports: Mapping[str, LiveExport] = {}
        self._machines = machines
        self._note = note
        self._note_dir = note_dir
        self._lock = lock
        self._ended = False
        self._ending = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self.exports = {one.device: self._offer(one) for one in instant.exports}
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        if error is None:
            self.abort()
        else:
            with suppress(HypervisorError):
                self.abort()

    def check(self, *, now: bool = False) -> None:  # noqa: ARG002  looking costs little here
        """Raise ``ServerStopped`` or ``BackupJobGone``."""
        try:
            row = self._machines.get(self.server_uuid).row
        except ServerUnknown as error:
            reason = Message("it no longer exists")
            raise ServerStopped(server=self.server, reason=reason) from error
        if row.run != self._note.domain_id:
            reason = Message("it was restarted") if row.run else Message("it was shut down")
            raise ServerStopped(server=self.server, reason=reason)
        if row.capture != self._note.capture:
            raise BackupJobGone(server=self.server, reason=Message("somebody ended it"))
        if any(one.poll() is not None for one in self._processes):
            raise BackupJobGone(server=self.server, reason=Message("its export ended"))

    def finish(self, *, keep_checkpoint: bool) -> tuple[StaleBitmap, ...]:
        """End the capture after its data are stored."""
        self.check(now=True)
        if keep_checkpoint and self.checkpoint is not None:
            self._note = replace(self._note, stage=Stage.FINISHED)
            notes.write(self._note, self._note_dir)
        return self.abort()

    def abort(self) -> tuple[StaleBitmap, ...]:
        """End the capture; a second call does nothing."""
        with self._ending:
            if self._ended:
                return ()
            self._ended = True
        try:
            for process in self._processes:
                process.kill()
                process.wait()
            clean_up(self._machines, self._note, self._note_dir)
        finally:
            os.close(self._lock)
        return ()

    def _offer(self, export: Export) -> LiveExport:
        listener = Path(self._note.socket) / export.device
        command = ["qemu-nbd", "--read-only", "--persistent", "--shared=0"]
        command += [f"--socket={listener}", f"--export-name={export.device}"]
        if export.bitmap is not None:
            command.append(f"--bitmap={export.bitmap}")
        command += ["-f", export.format, str(export.copy)]
        process = _starter.submit(_start, command).result()
        self._processes.append(process)
        deadline = clock.monotonic() + _READY_S
        while not _answers(listener):
            if process.poll() is not None or clock.monotonic() >= deadline:
                reason = Message("qemu-nbd did not offer disk {device}", device=export.device)
                raise CaptureFailed(server=self.server, reason=reason)
            clock.sleep(0.005)
        return LiveExport(
            device=export.device,
            socket=listener,
            export_name=export.device,
            bitmap_name=export.bitmap,
        )


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A Ctrl-C of the terminal is for us; we end the child in order.
        start_new_session=True,
    )


def clean_up(machines: Machines, note: CaptureNote, note_dir: Path) -> CleanReport:
    """Undo what the note says may be there; safe to repeat. The note goes last."""
    found: list[str] = []
    with suppress(ServerUnknown), machines.held(note.server_uuid) as machine:
        if machine.row.capture == note.capture:
            found += [Message("frozen guest")] if machine.row.frozen else []
            found.append(Message("backup job"))
            machines.store.change(note.server_uuid, frozen=False, capture="")
        if note.stage is Stage.FINISHED:
            drop_superseded(machines, note.server_uuid)
        elif note.checkpoint is not None and drop(machines, note.server_uuid, note.checkpoint):
            found.append("checkpoint")
    directory = Path(note.scratch)
    if directory.exists():
        found.append(Message("scratch files"))
        scratch.remove(directory)
    # The folder of the sockets.
    scratch.remove(Path(note.socket))
    notes.remove(note, note_dir)
    return CleanReport(
        capture=note.capture,
        server=note.server,
        found=tuple(found),
        thawed=True,
        stale_bitmaps=(),
    )


def clean_leftovers(machines: Machines, note_dir: Path) -> list[CleanReport]:
    """Undo every capture whose process is gone; another hypervisor's are left to it."""
    reports = []
    for path in notes.notes_in(note_dir):
        lock = notes.take_lock(path)
        if lock is None:
            continue
        try:
            note = notes.read(path)
            if note is None:
                for each in (path, notes.lock_path(path), path.with_suffix(".new")):
                    each.unlink(missing_ok=True)
            elif note.uri == machines.uri:
                reports.append(clean_up(machines, note, note_dir))
        finally:
            os.close(lock)
    return reports


def drop(machines: Machines, uuid: str, checkpoint: str) -> tuple[str, ...]:
    """Remove a checkpoint and its bitmaps, of a server that is held; the images it was in."""
    removed = []
    for disk in machines.get(uuid).written_disks():
        path = disk.path or ""
        if any(one.name == checkpoint for one in images.bitmaps(path, disk.format)):
            with suppress(ImageFailed):
                images.remove_bitmap(path, checkpoint)
                removed.append(path)
    known = any(one.name == checkpoint for one in machines.store.checkpoints(uuid))
    machines.store.remove_checkpoint(uuid, checkpoint)
    return tuple(removed) or (("record",) if known else ())


def drop_superseded(machines: Machines, uuid: str) -> None:
    """Remove Dozo's checkpoints that are the newest of no volume, of a server that is held."""
    ours = [one for one in machines.store.checkpoints(uuid) if is_ours(one.name)]
    newest = {device: one.name for one in ours for device in one.devices}
    for one in ours:
        if one.name not in newest.values():
            drop(machines, uuid, one.name)
