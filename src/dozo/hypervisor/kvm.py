"""Whether KVM really runs guests here: found out by running one."""

import os
import subprocess
import tempfile
from pathlib import Path

from dozo.model import clock

DEVICE = Path("/dev/kvm")

_ROM_BYTES = 64 * 1024
# The processor's first instruction is 16 bytes below the end of the firmware.
_RESET_VECTOR = _ROM_BYTES - 16
_EXIT_PORT = 0xF4
_EXIT_VALUE = 0x10
# mov al, 0x10; out 0xf4, al; then hlt for ever.
_CODE = bytes((0xB0, _EXIT_VALUE, 0xE6, _EXIT_PORT, 0xF4, 0xEB, 0xFD))
# The exit device ends QEMU with this status for the value written to it.
_EXIT_STATUS = (_EXIT_VALUE << 1) | 1


def kvm_works(*, timeout_s: float = 5.0, accelerator: str = "kvm") -> bool:
    """Run a guest of two instructions under KVM and see whether it gets to the second.

    A device that can be opened proves nothing: under some hypervisors guests then never
    progress. Returns after ``timeout_s`` and a little at most. Never raises.
    """
    if accelerator == "kvm" and not os.access(DEVICE, os.R_OK | os.W_OK):
        return False
    firmware = bytearray(b"\xf4" * _ROM_BYTES)
    firmware[_RESET_VECTOR : _RESET_VECTOR + len(_CODE)] = _CODE
    with tempfile.NamedTemporaryFile(prefix="dozo-kvm-") as file:
        file.write(firmware)
        file.flush()
        return _exit_status(file.name, accelerator, timeout_s) == _EXIT_STATUS


def _exit_status(firmware: str, accelerator: str, timeout_s: float) -> int | None:
    """QEMU's exit status; None if it did not start, or not end by itself."""
    command = [
        "qemu-system-x86_64",
        *("-accel", accelerator),
        *("-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-bios", firmware, "-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=4"),
    ]
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError:
        return None
    deadline = clock.monotonic() + timeout_s
    while process.poll() is None and clock.monotonic() < deadline:
        clock.sleep(0.02)
    if process.poll() is not None:
        return process.returncode
    process.kill()
    try:
        process.wait(2.0)
    except subprocess.TimeoutExpired:
        # Stuck in the kernel's KVM code, where no signal reaches it.
        return None
    return None
