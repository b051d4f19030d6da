"""How a stopped server's last run ended, from the log that libvirt and QEMU keep of it."""

import re
from pathlib import Path

from dozo.model.message import Message

LOG_ROOT = Path("/var/log/libvirt/qemu")

# Enough for the end of a run; a run whose beginning lies further back is not identified.
_TAIL_BYTES = 1 << 20
_BEGIN = "starting up libvirt version"
_SIGNAL = re.compile(r"terminating on signal \d+(?: from pid (?P<pid>\d+)(?: \((?P<who>.*)\))?)?")
_END = re.compile(r"shutting down, reason=(?P<reason>\S+)")
# libvirt ends QEMU itself once the guest has shut down.
_OURS = frozenset({"libvirtd", "virtqemud"})


def doubt(log: str, uuid: str) -> str:
    """Why the log does not show that the guest shut itself down; empty if it does.

    The log shows it where the last run of *that* server has libvirt's ``reason=shutdown``, and
    the only signal that QEMU received came from libvirt: libvirt sends one after the guest's own
    shutdown, and after a forced stop, for which it gives another reason. A QEMU that somebody
    else ended looks to libvirt like a guest that shut down.
    """
    _, begin, run = log.rpartition(_BEGIN)
    if not begin:
        return Message("QEMU's log does not show its last run")
    if f"-uuid {uuid}" not in run:
        return Message("QEMU's log is of another server")
    ends = [found["reason"] for found in _END.finditer(run)]
    if ends != ["shutdown"]:
        return Message("QEMU's log does not say that it was shut down")
    signals = list(_SIGNAL.finditer(run))
    for found in signals:
        who = Path(found["who"] or "").name
        if who not in _OURS:
            by = found["who"] or Message("process {pid}", pid=found["pid"] or "unknown")
            return Message("QEMU was ended from outside, by {by}", by=by)
    if not signals:
        # libvirt keeps QEMU from ending by itself, so that it was told to by its monitor.
        return Message("QEMU ended without libvirt")
    return ""


def read_log(name: str) -> str:
    """The end of a server's log; empty where there is none that may be read."""
    try:
        with (LOG_ROOT / f"{name}.log").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
