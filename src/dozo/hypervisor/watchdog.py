"""The watchdog of one capture: a process of its own that outlives the one that captures.

It thaws the guest when the time limit is over, gives the capture up before scratch space runs
out, and undoes the capture if the process that began it dies. Started with the path of the
capture's note; commands come in on stdin, one a line:

=============  ======================================================================
``freeze S``   thaw in S seconds unless told otherwise; answered with ``armed``
``frozen S``   the guest is frozen now: thaw in S seconds
``thawed``     the guest was seen thawed
``watch``      the backup job runs: watch the scratch level
``bye``        everything is undone or done: exit
``leave``      everything but the thaw is done: thaw, remove the note, exit
end of file    the capturing process died: undo everything, exit
=============  ======================================================================

It says ``ready``, ``armed``, ``thawed``, or ``scratch-full USED FREE`` on stdout.
"""

import os
import selectors
import sys
from pathlib import Path

from dozo.hypervisor import note as notes
from dozo.hypervisor import scratch
from dozo.hypervisor.backup_job import end_job, resume_after_io_error
from dozo.hypervisor.cleanup import clean_up, runs_on, thaw_within, try_thaw
from dozo.hypervisor.connection import Host, translated
from dozo.hypervisor.errors import HypervisorError
from dozo.hypervisor.note import CaptureNote
from dozo.model import clock
from dozo.model.message import Message

_TICK_S = 0.2
_RETRY_S = 2.0
# How long one round of thawing takes at most; rounds repeat as long as the server runs.
_THAW_ROUND_S = 60.0


class Watchdog:
    """The watchdog's state; one a process."""

    def __init__(self, host: Host, note: CaptureNote, note_dir: Path) -> None:
        self.host = host
        self.note = note
        self.note_dir = note_dir
        self.thaw_at: float | None = None
        self.watching = False

    def run(self) -> int:
        """Serve until told to go or left alone; the process's exit status."""
        say("ready")
        selector = selectors.DefaultSelector()
        selector.register(sys.stdin, selectors.EVENT_READ)
        pending = b""
        while True:
            if selector.select(_TICK_S):
                data = os.read(sys.stdin.fileno(), 4096)
                if not data:
                    return self.undo()
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    verb, _, argument = line.decode().partition(" ")
                    if verb == "bye":
                        return 0
                    if verb == "leave":
                        return self.finish_thaw()
                    self.obey(verb, argument)
            try:
                self.tick()
            except HypervisorError:
                # libvirt may be restarting: the next tick tries again.
                self.reconnect()
                clock.sleep(_TICK_S)

    def obey(self, verb: str, argument: str) -> None:
        """Carry out one command that does not end the process."""
        if verb in {"freeze", "frozen"}:
            self.thaw_at = clock.monotonic() + float(argument)
            if verb == "freeze":
                say("armed")
        elif verb == "thawed":
            self.thaw_at = None
        elif verb == "watch":
            self.watching = True

    def tick(self) -> None:
        """What has to be done by now."""
        if self.thaw_at is not None and clock.monotonic() >= self.thaw_at:
            if try_thaw(self.host, self.note):
                self.thaw_at = None
                say("thawed")
            else:
                self.thaw_at = clock.monotonic() + _RETRY_S
        if self.watching:
            self.look_at_scratch()

    def look_at_scratch(self) -> None:
        """Give the capture up while the guest's writes still succeed."""
        now = scratch.level(Path(self.note.scratch))
        if not now.is_over(self.note.quota_bytes, self.note.reserve_bytes):
            return
        # Said first: whoever then finds the job gone knows why.
        say(f"scratch-full {now.used_bytes} {now.free_bytes}")
        with translated(self.host, Message("end the capture of"), self.note.server):
            domain = self.host.connection.lookupByUUIDString(self.note.server_uuid)
            end_job(domain, self.note.socket)
            if self.note.was_running:
                resume_after_io_error(domain)
        self.watching = False

    def undo(self) -> int:
        """The capturing process died: undo all of it, however long the agent takes."""
        while True:
            # The stage may have changed since this process began.
            self.note = notes.read(self.note.path_in(self.note_dir)) or self.note
            try:
                if clean_up(self.host, self.note, self.note_dir, thaw_limit_s=_THAW_ROUND_S).thawed:
                    return 0
            except HypervisorError:
                self.reconnect()
            clock.sleep(_RETRY_S)

    def finish_thaw(self) -> int:
        """The capture is over but the guest was not seen thawed."""
        while True:
            try:
                done = thaw_within(self.host, self.note, _THAW_ROUND_S)
                if done or not runs_on(self.host, self.note):
                    notes.remove(self.note, self.note_dir)
                    return 0
            except HypervisorError:
                self.reconnect()
            clock.sleep(_RETRY_S)

    def reconnect(self) -> None:
        """Get a new connection if libvirt's daemon was restarted."""
        if self.host.is_alive():
            return
        try:
            self.host = Host.connect(self.host.uri)
        except HypervisorError:
            return


def say(line: str) -> None:
    """Tell the capturing process; it may be gone."""
    try:
        os.write(sys.stdout.fileno(), f"{line}\n".encode())
    except OSError:
        return


def main(arguments: list[str]) -> int:
    """Watch over the capture whose note is named."""
    path = Path(arguments[0])
    note = notes.read(path)
    if note is None:
        return 1
    return Watchdog(Host.connect(note.uri), note, path.parent).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
