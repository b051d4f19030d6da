"""A process that captures is killed: its watchdog undoes the capture, or the next start does."""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dozo import hypervisor
from dozo.hypervisor import DiskPlan, LiveSettings
from dozo.hypervisor.errors import WatchdogFailed

from .support import Server, alive, begin, nothing_left, until

pytestmark = pytest.mark.libvirt

CAPTURE = """
import sys, time
from pathlib import Path
from dozo import hypervisor
server, notes, scratch = sys.argv[1:]
capture = hypervisor.begin_live(
    hypervisor.Host.connect(), server, [hypervisor.DiskPlan(device="vda", track=True)],
    settings=hypervisor.LiveSettings(
        note_dir=Path(notes), scratch_dir=Path(scratch), scratch_reserve_bytes=0,
        freeze=hypervisor.Freeze.OFF,
    ),
)
print(capture.checkpoint, capture._watchdog.pid, flush=True)
time.sleep(600)
"""


@dataclass(frozen=True, kw_only=True)
class Capturing:
    """Another process that holds a capture open."""

    process: subprocess.Popen[str]
    checkpoint: str
    watchdog_pid: int

    def kill(self) -> None:
        """Kill it without a chance to clean up."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill_watchdog(self) -> None:
        """Kill its watchdog likewise."""
        subprocess.run(["kill", "-9", str(self.watchdog_pid)], check=True)
        until(lambda: not alive(self.watchdog_pid))


def start_capturing(server: Server, settings: LiveSettings) -> Capturing:
    """Start it and wait for the instant."""
    process = subprocess.Popen(
        [sys.executable, "-c", CAPTURE, server.name, settings.note_dir, settings.scratch_dir],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    checkpoint, pid = process.stdout.readline().split()
    assert server.checkpoints() == {checkpoint}
    return Capturing(process=process, checkpoint=checkpoint, watchdog_pid=int(pid))


def is_undone(server: Server, settings: LiveSettings) -> bool:
    """Whether nothing of a capture is left."""
    try:
        nothing_left(server, settings)
    except AssertionError:
        return False
    return server.checkpoints() == set()


def test_the_watchdog_undoes_the_capture(server: Server, settings: LiveSettings) -> None:
    capturing = start_capturing(server, settings)
    capturing.kill()
    until(lambda: is_undone(server, settings), what="the watchdog has cleaned up")
    until(lambda: not alive(capturing.watchdog_pid), what="the watchdog has ended")
    assert server.bitmaps() == set()
    with begin(server, settings, DiskPlan(device="vda", track=True)) as capture:
        capture.finish(keep_checkpoint=True)


def test_the_next_start_undoes_the_capture_if_the_watchdog_died_too(
    server: Server, settings: LiveSettings
) -> None:
    capturing = start_capturing(server, settings)
    assert hypervisor.clean_leftovers(server.host, settings.note_dir) == []
    capturing.kill_watchdog()
    assert hypervisor.clean_leftovers(server.host, settings.note_dir) == []
    capturing.kill()
    (report,) = hypervisor.clean_leftovers(server.host, settings.note_dir)
    assert report.server == server.name
    assert report.found == ("backup job", "checkpoint", "scratch files")
    assert is_undone(server, settings)
    assert server.bitmaps() == set()
    assert hypervisor.clean_leftovers(server.host, settings.note_dir) == []


def test_a_capture_whose_server_is_gone_too_is_undone(
    server: Server, settings: LiveSettings
) -> None:
    capturing = start_capturing(server, settings)
    capturing.kill_watchdog()
    capturing.kill()
    server.domain.destroy()
    (report,) = hypervisor.clean_leftovers(server.host, settings.note_dir)
    assert [each.name for each in report.stale_bitmaps] == [capturing.checkpoint]
    assert is_undone(server, settings)


def test_a_capture_without_its_watchdog_fails(server: Server, settings: LiveSettings) -> None:
    with begin(server, settings, "vda") as capture:
        capture._watchdog._process.send_signal(signal.SIGKILL)
        capture._watchdog._process.wait()
        with pytest.raises(WatchdogFailed):
            capture.check(now=True)
    nothing_left(server, settings)


def test_a_note_that_was_never_finished_is_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "capture-0123.json").write_text('{"capture": "01')
    assert hypervisor.clean_leftovers(server.host, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
