"""Whether KVM really runs guests here: found out by running one."""

import os
import subprocess
import tempfile
from pathlib import Path

from dozo.model import clock

DEVICE = Path("/dev/kvm")

_EXIT_PORT = 0xF4
_EXIT_VALUE = 0x10
# The exit device ends QEMU with this status for the value written to it.
_EXIT_STATUS = (_EXIT_VALUE << 1) | 1
_DISK_BYTES = 1024 * 1024

# A boot sector that waits for three ticks of the timer, so that interrupts have to work too,
# and then ends QEMU.
_CODE = bytes.fromhex(
    "fb"  # sti
    "b400 cd1a 89d3"  # read the tick count into dx; mov bx, dx
    "f4"  # again: hlt
    "b400 cd1a 29da 83fa03 72f4"  # read it; sub dx, bx; cmp dx, 3; jb again
    "b010 e6f4"  # mov al, 0x10; out 0xf4, al
    "f4 ebfd"  # hlt for ever
)

# Where KVM works, it is no slower than emulation; some slack for a busy host.
_SLACK = 5.0
_LEAST_LIMIT_S = 1.5


def kvm_works(*, timeout_s: float = 5.0) -> bool:
    """Boot a tiny guest with and without KVM; True if KVM is not the much slower way.

    A device that can be opened proves nothing: under some hypervisors guests then crawl or
    hang. Takes ``timeout_s`` and a few seconds at most. Never raises.
    """
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return False
    emulated_s = boot_seconds("tcg", timeout_s)
    limit_s = max(_LEAST_LIMIT_S, _SLACK * (emulated_s or 0.0))
    return boot_seconds("kvm", min(limit_s, timeout_s)) is not None


def boot_seconds(accelerator: str, timeout_s: float) -> float | None:
    """How long the tiny guest takes under an accelerator; None if it does not end in time."""
    sector = _CODE.ljust(510, b"\0") + b"\x55\xaa"
    with tempfile.NamedTemporaryFile(prefix="dozo-kvm-") as file:
        file.write(sector.ljust(_DISK_BYTES, b"\0"))
        file.flush()
        begun = clock.monotonic()
        status = _exit_status(file.name, accelerator, timeout_s)
        return clock.monotonic() - begun if status == _EXIT_STATUS else None


def _exit_status(disk: str, accelerator: str, timeout_s: float) -> int | None:
    """QEMU's exit status; None if it did not start, or not end by itself."""
    command = [
        "qemu-system-x86_64",
        *("-accel", accelerator),
        *("-machine", "pc", "-m", "32", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-drive", f"file={disk},format=raw,if=none,id=disk"),
        *("-device", "virtio-blk,drive=disk,bootindex=1"),
        *("-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=4"),
    ]
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError:
        return None
    deadline = clock.monotonic() + timeout_s
    while process.poll() is None and clock.monotonic() < deadline:
        clock.sleep(0.02)
    if process.returncode is not None:
        return process.returncode
    process.kill()
    try:
        process.wait(2.0)
    except subprocess.TimeoutExpired:
        # Stuck in the kernel's KVM code, where no signal reaches it.
        return None
    return None
