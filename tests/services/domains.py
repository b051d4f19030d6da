"""Domains that boot nothing: real libvirt and QEMU, disks that tests write to from outside."""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import libvirt
import libvirt_qemu

IMAGES = Path("/var/lib/libvirt/images")
FAMILY = "dozo-svc-"
PREFIX = f"{FAMILY}{os.getpid()}-"
MIB = 1024 * 1024

_DISK = """<disk type='file' device='disk'><driver name='qemu' type='{format}'{extra}/>
<source file='{path}'/><target dev='{device}' bus='virtio'/><serial>{serial}</serial></disk>"""

_DOMAIN = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>
<memory unit='MiB'>48</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<features><acpi/></features><on_poweroff>destroy</on_poweroff><on_crash>destroy</on_crash>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"""


@dataclass(kw_only=True)
class Disk:
    device: str
    path: Path
    format: str
    size: int


@dataclass(kw_only=True)
class Machine:
    """One domain. Its CPU stands still; writes come from `write`, as if the guest made them."""

    name: str
    uuid: str
    folder: Path
    connection: libvirt.virConnect
    disks: dict[str, Disk] = field(default_factory=dict)

    @property
    def domain(self) -> libvirt.virDomain:
        return self.connection.lookupByUUIDString(self.uuid)

    @property
    def running(self) -> bool:
        return bool(self.domain.isActive())

    def start(self) -> None:
        self.domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)

    def kill(self) -> None:
        self.domain.destroy()

    def write(self, device: str, offset: int, length: int, pattern: int) -> None:
        """Write like the guest, through the disk's own device, when running; else to the file."""
        disk = self.disks[device]
        command = f"write -P {pattern} {offset} {length}"
        if not self.running:
            run("qemu-io", "-f", disk.format, "-c", command, disk.path)
            return
        index = sorted(self.disks).index(device)
        qom = f"/machine/peripheral/virtio-disk{index}/virtio-backend"
        answer = libvirt_qemu.qemuMonitorCommand(
            self.domain,
            f'qemu-io -d {qom} "{command}"',
            libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP,
        )
        assert "rror" not in answer, answer

    def content(self, device: str) -> bytes:
        """The bytes of a stopped machine's disk."""
        disk = self.disks[device]
        return raw_bytes(disk.path, disk.format)


def run(*arguments: str | Path) -> str:
    done = subprocess.run(
        [str(one) for one in arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def raw_bytes(path: Path | str, format: str) -> bytes:
    """An image's volume, by way of qemu-img."""
    out = IMAGES / f"{PREFIX}{secrets.token_hex(4)}.raw"
    try:
        run("qemu-img", "convert", "-f", format, "-O", "raw", path, out)
        return out.read_bytes()
    finally:
        out.unlink(missing_ok=True)


def make_disk(folder: Path, name: str, device: str, format: str, size: int) -> Disk:
    path = folder / f"{name}-{device}.{format}"
    run("qemu-img", "create", "-q", "-f", format, path, str(size))
    return Disk(device=device, path=path, format=format, size=size)


def define(
    connection: libvirt.virConnect,
    folder: Path,
    *,
    disks: dict[str, str],
    size: int = 8 * MIB,
    extra_xml: str = "",
) -> Machine:
    """A stopped domain with one disk for each of ``disks`` (device → format)."""
    name = PREFIX + secrets.token_hex(4)
    machine = Machine(name=name, uuid=str(uuid4()), folder=folder, connection=connection)
    for device, kind in disks.items():
        machine.disks[device] = make_disk(folder, name, device, kind, size)
    xml = "".join(
        _DISK.format(
            format=disk.format, path=disk.path, device=disk.device, serial=f"S-{disk.device}",
            extra="",
        )
        for disk in machine.disks.values()
    )  # fmt: skip
    connection.defineXML(_DOMAIN.format(name=name, uuid=machine.uuid, disks=xml + extra_xml))
    for number, device in enumerate(machine.disks):
        machine.write(device, 0, MIB, 0x11 + number)
    return machine


@contextmanager
def workspace() -> Iterator[tuple[libvirt.virConnect, Path]]:
    """A connection and a folder that QEMU's user may enter; both are cleaned up."""
    remove_leftovers()
    connection = libvirt.open("qemu:///system")
    folder = IMAGES / f"{PREFIX}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o711)
    try:
        yield connection, folder
    finally:
        undefine_all(connection)
        connection.close()
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers() -> None:
    """What killed runs left: names say which process made them."""
    with libvirt.open("qemu:///system") as connection:
        for domain in connection.listAllDomains():
            if _is_leftover(domain.name()):
                remove(domain)
    for path in IMAGES.glob(f"{FAMILY}*"):
        if _is_leftover(path.name):
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)


def _is_leftover(name: str) -> bool:
    if not name.startswith(FAMILY):
        return False
    pid = name.removeprefix(FAMILY).split("-")[0]
    return not Path(f"/proc/{pid}").exists()


def undefine_all(connection: libvirt.virConnect) -> None:
    for domain in connection.listAllDomains():
        if domain.name().startswith(PREFIX):
            remove(domain)


def remove(domain: libvirt.virDomain) -> None:
    # Two seconds quicker than libvirt, which asks politely first.
    with suppress(FileNotFoundError, ValueError, ProcessLookupError):
        os.kill(int(Path(f"/run/libvirt/qemu/{domain.name()}.pid").read_text()), signal.SIGKILL)
    with suppress(libvirt.libvirtError):
        domain.destroy()
    with suppress(libvirt.libvirtError):
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )
