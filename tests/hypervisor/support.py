"""Servers that boot nothing, and ways to write into their disks and to read what is exported."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import libvirt
import libvirt_qemu
import nbd

from dozo import hypervisor
from dozo.hypervisor import DiskPlan, Host, LiveCapture, LiveExport, LiveSettings
from dozo.model import clock

MIB = 1024 * 1024
IMAGES = Path("/var/lib/libvirt/images")


def run(*command: str | Path) -> str:
    """Run a program; its output, or an error with what it said."""
    done = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def until(condition: Callable[[], bool], *, timeout_s: float = 30, what: str = "") -> None:
    """Wait for something that must come true."""
    deadline = clock.monotonic() + timeout_s
    while not condition():
        assert clock.monotonic() < deadline, f"did not come true: {what or condition}"
        clock.sleep(0.05)


@dataclass(kw_only=True)
class Disk:
    """One disk of a test server. ``extra`` is XML inside its element."""

    device: str
    format: str = "qcow2"
    size_bytes: int = 32 * MIB
    bus: str = "virtio"
    backing: Path | None = None
    extra: str = ""
    path: Path = field(default=Path())

    def create(self, folder: Path) -> None:
        """Make the image."""
        self.path = folder / f"{self.device}.{self.format}"
        command: list[str | Path] = ["qemu-img", "create", "-q", "-f", self.format]
        if self.backing is not None:
            command += ["-b", self.backing, "-F", "raw"]
        run(*command, self.path, str(self.size_bytes))

    def xml(self) -> str:
        """Its element in the definition."""
        return (
            f"<disk type='file' device='disk'><driver name='qemu' type='{self.format}'/>"
            f"<source file='{self.path}'/><target dev='{self.device}' bus='{self.bus}'/>"
            f"<serial>test-{self.device}</serial>{self.extra}</disk>"
        )


@dataclass(kw_only=True)
class Server:
    """A test server; its folder may be used by QEMU's user."""

    host: Host
    name: str
    folder: Path
    disks: Sequence[Disk]
    devices: str = ""
    os: str = "<os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>"
    memory_mib: int = 16

    def xml(self) -> str:
        """The definition."""
        return (
            f"<domain type='qemu'><name>{self.name}</name>"
            f"<memory unit='MiB'>{self.memory_mib}</memory><vcpu>1</vcpu>"
            f"{self.os}<features><acpi/></features>"
            "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
            + "".join(disk.xml() for disk in self.disks)
            + "<controller type='usb' model='none'/><memballoon model='none'/>"
            + f"{self.devices}</devices></domain>"
        )

    def create(self) -> None:
        """Make the images and the definition."""
        self.folder.mkdir(mode=0o755)
        self.folder.chmod(0o755)
        for disk in self.disks:
            disk.create(self.folder)
        self.host.connection.defineXML(self.xml())

    @property
    def domain(self) -> libvirt.virDomain:
        """libvirt's domain."""
        return self.host.connection.lookupByName(self.name)

    @property
    def uuid(self) -> str:
        """Its UUID."""
        return str(self.domain.UUIDString())

    def start(self) -> None:
        """Start it if it is stopped."""
        if not self.domain.isActive():
            self.domain.create()

    def pid(self) -> int:
        """QEMU's process id."""
        return int(Path(f"/run/libvirt/qemu/{self.name}.pid").read_text())

    def kill(self) -> None:
        """Kill QEMU, and wait until libvirt has noticed."""
        os.kill(self.pid(), signal.SIGKILL)
        until(lambda: not self.domain.isActive(), what="the domain is inactive")

    def disk(self, device: str) -> Disk:
        """One of its disks."""
        return next(disk for disk in self.disks if disk.device == device)

    def write(self, device: str, offset: int, data: int, length: int) -> None:
        """Write a pattern of one byte as the guest would: through the disk's own device."""
        number = [disk.device for disk in self.disks].index(device)
        answer = self.hmp(
            f"qemu-io -d /machine/peripheral/virtio-disk{number}/virtio-backend "
            f'"write -P {data} {offset} {length}"'
        )
        assert "error" not in answer.lower(), answer

    def hmp(self, command: str) -> str:
        """A command to QEMU's human monitor."""
        flags = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        return str(libvirt_qemu.qemuMonitorCommand(self.domain, command, flags))

    def bitmaps(self) -> set[str]:
        """The names of all bitmaps of the running server."""
        states = hypervisor.live_bitmaps(self.host, self.name).values()
        return {bitmap.name for found in states for bitmap in found}

    def checkpoints(self) -> set[str]:
        """The names of its checkpoints."""
        return {each.getName() for each in self.domain.listAllCheckpoints()}

    def remove(self) -> None:
        """Remove the domain with everything that libvirt keeps of it."""
        remove_domain(self.domain)


def remove_domain(domain: libvirt.virDomain) -> None:
    """Remove a domain in whatever state."""
    if domain.isActive():
        domain.destroy()
    domain.undefineFlags(
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )


def stale_bitmap_names(path: Path) -> set[str]:
    """The bitmaps in a closed image."""
    info = json.loads(run("qemu-img", "info", "--output=json", path))
    found = info["format-specific"]["data"].get("bitmaps", [])
    return {bitmap["name"] for bitmap in found}


def read(export: LiveExport, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of an export."""
    with connected(export) as handle:
        size = handle.get_size() if length is None else length
        return b"".join(
            bytes(handle.pread(min(MIB, offset + size - at), at))
            for at in range(offset, offset + size, MIB)
        )


def changed(export: LiveExport) -> list[tuple[int, int]]:
    """The extents of an export that its bitmap calls changed."""
    found: list[tuple[int, int]] = []
    context = f"qemu:dirty-bitmap:{export.bitmap_name}"

    with connected(export, context) as handle:
        position = 0

        def take(name: str, offset: int, entries: Sequence[int], error: object) -> int:
            nonlocal position
            if name == context:
                for length, flags in zip(entries[::2], entries[1::2], strict=True):
                    if flags & 1:
                        found.append((offset, length))
                    offset += length
                position = offset
            return 0

        size = handle.get_size()
        while position < size:
            handle.block_status(size - position, position, take)
    return found


class connected:  # noqa: N801  used as a context manager
    """A connection to an export."""

    def __init__(self, export: LiveExport, context: str | None = None) -> None:
        self.handle = nbd.NBD()
        self.handle.set_export_name(export.export_name)
        if context is not None:
            self.handle.add_meta_context(context)
        self.handle.connect_unix(str(export.socket))

    def __enter__(self) -> "nbd.NBD":
        return self.handle

    def __exit__(self, *args: object) -> None:
        self.handle.shutdown()


def begin(server: Server, settings: LiveSettings, *plans: DiskPlan | str) -> LiveCapture:
    """Begin a capture of some disks."""
    disks = [plan if isinstance(plan, DiskPlan) else DiskPlan(device=plan) for plan in plans]
    return hypervisor.begin_live(server.host, server.name, disks, settings=settings)


def nothing_left(server: Server, settings: LiveSettings) -> None:
    """Assert that no trace of a capture is there."""
    assert list(settings.note_dir.iterdir()) == []
    if settings.scratch_dir.exists():
        assert list(settings.scratch_dir.iterdir()) == []
    if server.domain.isActive():
        assert server.domain.jobStats(0)["type"] == libvirt.VIR_DOMAIN_JOB_NONE


def alive(pid: int) -> bool:
    """Whether a process runs, or one of its threads is still on its way out."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except FileNotFoundError:
        return False
    return state != "Z" or threads > 1


def writing_boot_sector(first_sector: int, end_sector: int) -> bytes:
    """A guest of 45 bytes: writes 32 KiB at a time over a range of its disk, for ever.

    It uses the firmware's own disk service, so its writes are a guest's writes: QEMU's error
    policy applies to them.
    """
    code = bytes.fromhex(
        "fa 31c0 8ed8 fb"  # ds = 0
        "be407c b443 30c0 b280 cd13"  # again: int 13h, extended write, packet at 7c40
        "668306487c40"  # sector += 64
        "66813e487c" + end_sector.to_bytes(4, "little").hex() + "72e4"  # below the end: again
        "66c706487c" + first_sector.to_bytes(4, "little").hex() + "ebd9"  # from the start
    )
    # 64 sectors, out of the firmware's own code at f000:0000
    packet = bytes.fromhex("1000 4000 0000 00f0") + first_sector.to_bytes(8, "little")
    return (code.ljust(0x40, b"\0") + packet).ljust(510, b"\0") + b"\x55\xaa"
