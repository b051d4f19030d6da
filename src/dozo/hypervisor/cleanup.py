"""Undoing a capture from its note: by its own process, by its watchdog, or by a later start."""

from dataclasses import dataclass
from pathlib import Path

from dozo.hypervisor import note as notes
from dozo.hypervisor import scratch, tracking
from dozo.hypervisor.agent import GuestAgent
from dozo.hypervisor.backup_job import end_job, resume_after_io_error
from dozo.hypervisor.connection import Host, translated
from dozo.hypervisor.errors import AgentError, ServerUnknown
from dozo.hypervisor.note import CaptureNote, Stage
from dozo.hypervisor.tracking import StaleBitmap
from dozo.model import clock
from dozo.model.message import Message, joined

_THAW_TIMEOUT_S = 5


@dataclass(frozen=True, kw_only=True)
class CleanReport:
    """What was found of one capture and removed. ``thawed`` is False if that is still open.

    ``stale_bitmaps`` lie in images of a stopped server; the caller removes them with
    ``dozo.volumes.remove_bitmap``.
    """

    capture: str
    server: str
    found: tuple[str, ...]
    thawed: bool
    stale_bitmaps: tuple[StaleBitmap, ...]

    def __str__(self) -> str:
        what = joined(self.found) or Message("nothing but its note")
        still = "" if self.thawed else Message("; a watchdog goes on thawing the guest")
        return Message(
            "an interrupted capture of server {server} was undone: {what}{still}",
            server=self.server,
            what=what,
            still=still,
        )


def try_thaw(host: Host, note: CaptureNote) -> bool:
    """Try once to thaw; True only when the agent then says *thawed*, or nothing runs."""
    if not runs_on(host, note):
        return True
    try:
        agent = GuestAgent.of(host, note.server_uuid)
        agent.thaw(_THAW_TIMEOUT_S)
        return not agent.is_frozen(_THAW_TIMEOUT_S)
    except (AgentError, ServerUnknown):
        return not runs_on(host, note)


def thaw_within(host: Host, note: CaptureNote, limit_s: float) -> bool:
    """Thaw again and again until the status says so, at most ``limit_s``."""
    deadline = clock.monotonic() + limit_s
    pause_s = 0.1
    while not try_thaw(host, note):
        if clock.monotonic() >= deadline:
            return False
        clock.sleep(pause_s)
        pause_s = min(pause_s * 2, 2.0)
    return True


def runs_on(host: Host, note: CaptureNote) -> bool:
    """Whether the very run of the server that was captured is still on."""
    try:
        with translated(host, Message("look after"), note.server):
            domain = host.connection.lookupByUUIDString(note.server_uuid)
            return bool(domain.isActive()) and domain.ID() == note.domain_id
    except ServerUnknown:
        return False


def clean_up(
    host: Host, note: CaptureNote, note_dir: Path, *, thaw_limit_s: float | None
) -> CleanReport:
    """Undo what the note says may be there; safe to repeat, and after any part of it was done.

    The note goes last, and stays while the guest could not be thawed. With no ``thaw_limit_s``
    the thaw is somebody else's affair.
    """
    found: list[str] = []
    thawed = note.stage is not Stage.FREEZING
    if not thawed and thaw_limit_s is not None:
        thawed = thaw_within(host, note, thaw_limit_s)
        found.append(Message("frozen guest"))
    stale = _clean_server(host, note, found)
    directory = Path(note.scratch)
    if directory.exists():
        found.append(Message("scratch files"))
        scratch.remove(directory)
    if thawed:
        notes.remove(note, note_dir)
    return CleanReport(
        capture=note.capture,
        server=note.server,
        found=tuple(found),
        thawed=thawed,
        stale_bitmaps=stale,
    )


def _clean_server(host: Host, note: CaptureNote, found: list[str]) -> tuple[StaleBitmap, ...]:
    try:
        with translated(host, Message("clean up after the capture of"), note.server):
            domain = host.connection.lookupByUUIDString(note.server_uuid)
            if domain.isActive():
                if end_job(domain, note.socket):
                    found.append(Message("backup job"))
                if note.was_running and resume_after_io_error(domain):
                    found.append(Message("paused guest"))
        if note.stage is Stage.FINISHED:
            return tracking.delete_superseded(host, note.server_uuid)
        if note.checkpoint is None:
            return ()
        known = {each.name for each in tracking.checkpoints(host, note.server_uuid)}
        if note.checkpoint in known:
            found.append("checkpoint")
        return tracking.delete_checkpoint(host, note.server_uuid, note.checkpoint)
    except ServerUnknown:
        return ()
