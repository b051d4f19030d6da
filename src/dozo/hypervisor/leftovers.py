"""What killed processes left behind: found by their notes, and undone."""

import os
from pathlib import Path

from dozo.hypervisor import note as notes
from dozo.hypervisor.cleanup import CleanReport, clean_up
from dozo.hypervisor.connection import Host
from dozo.hypervisor.watchdog_pipe import WatchdogPipe

_THAW_LIMIT_S = 15.0


def clean_leftovers(host: Host, note_dir: Path) -> list[CleanReport]:
    """Undo every capture whose process and watchdog are both gone; safe at any time.

    A guest that does not thaw within seconds gets a watchdog of its own, which goes on; its
    report says so. Raises ``LibvirtUnavailable`` or ``LibvirtFailed``; what was not undone
    then is found again.
    """
    reports = []
    for path in notes.notes_in(note_dir):
        lock = notes.take_lock(path)
        if lock is None:
            continue
        try:
            note = notes.read(path)
            if note is None:
                _drop(path)
                continue
            report = clean_up(host, note, note_dir, thaw_limit_s=_THAW_LIMIT_S)
            if not report.thawed:
                WatchdogPipe(note.server, path, lock).dismiss("leave")
            reports.append(report)
        finally:
            os.close(lock)
    return reports


def _drop(path: Path) -> None:
    """A note that was never finished: nothing was begun before it was durable."""
    for each in (path, notes.lock_path(path), path.with_suffix(".new")):
        each.unlink(missing_ok=True)
