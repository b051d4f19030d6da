"""Definitions of guests, and the disks that they start from."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

import libvirt

from guestlab.agent import AGENT_CHANNEL, CONTROL_CHANNEL

# Needs nothing of the host's network; its boot ROM would only cost seconds.
_INTERFACE = "<interface type='user'><model type='virtio'/><rom enabled='no'/></interface>"

DiskKind = Literal["qcow2", "raw", "overlay"]


@dataclass(frozen=True, kw_only=True)
class GuestDisk:
    """One disk of a guest; serial is what the guest sees under /dev/disk/by-id."""

    device: str
    path: Path
    format: str
    serial: str | None = None
    bus: str = "virtio"


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """A guest as it is defined in libvirt."""

    name: str
    disks: Sequence[GuestDisk]
    kvm: bool
    agent: bool = True
    control: bool = True
    network: bool = True
    memory_mib: int = 512
    cpus: int = 1
    extra_devices: str = ""

    def xml(self) -> str:
        """The definition. It boots from its first disk's boot record, with no file outside."""
        channels = [AGENT_CHANNEL] * self.agent + [CONTROL_CHANNEL] * self.control
        parts = [
            f"<domain type='{'kvm' if self.kvm else 'qemu'}'>",
            f"<name>{escape(self.name)}</name>",
            f"<memory unit='MiB'>{self.memory_mib}</memory><vcpu>{self.cpus}</vcpu>",
            "<os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>",
            "<features><acpi/><apic/></features>",
            "<cpu mode='host-passthrough'/>" if self.kvm else "<cpu mode='maximum'/>",
            "<clock offset='utc'/><on_poweroff>destroy</on_poweroff><on_crash>destroy</on_crash>",
            "<devices>",
            *(_disk_xml(disk) for disk in self.disks),
            "<controller type='usb' model='none'/>",
            "<controller type='virtio-serial' index='0'/>",
            "<interface type='user'><model type='virtio'/><rom enabled='no'/></interface>"
            * self.network,
            "<serial type='pty'><target port='0'/></serial>",
            "<console type='pty'><target type='serial' port='0'/></console>",
            *(_channel_xml(name) for name in channels),
            "<memballoon model='none'/>",
            self.extra_devices,
            "</devices></domain>",
        ]
        return "\n".join(part for part in parts if part)

    def define(self, connection: libvirt.virConnect) -> libvirt.virDomain:
        """Make it known to libvirt, stopped."""
        return connection.defineXML(self.xml())


def _channel_xml(name: str) -> str:
    # No path: libvirt chooses one a start, so a copy of the definition never meets another's.
    return f"<channel type='unix'><target type='virtio' name='{name}'/></channel>"


def _disk_xml(disk: GuestDisk) -> str:
    serial = f"<serial>{escape(disk.serial)}</serial>" if disk.serial else ""
    return (
        "<disk type='file' device='disk'>"
        f"<driver name='qemu' type='{disk.format}' discard='unmap'/>"
        f"<source file={quoteattr(str(disk.path))}/>"
        f"<target dev='{disk.device}' bus='{disk.bus}'/>{serial}</disk>"
    )


def make_disk(image: Path, folder: Path, name: str, kind: DiskKind) -> tuple[Path, str]:
    """A volume of a guest's own, with the image's content: its path and its format.

    `overlay` is a qcow2 file over a backing file, both in the folder.
    """
    if kind == "raw":
        path = folder / f"{name}.raw"
        _qemu_img("convert", "-f", "qcow2", "-O", "raw", str(image), str(path))
        return path, "raw"
    path = folder / f"{name}.qcow2"
    if kind == "qcow2":
        shutil.copyfile(image, path)
        return path, "qcow2"
    base = folder / f"{name}-base.qcow2"
    shutil.copyfile(image, base)
    _qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(path))
    return path, "qcow2"


def blank_disk(
    folder: Path, name: str, *, format: Literal["qcow2", "raw"], size_bytes: int
) -> Path:
    """A new empty volume file."""
    path = folder / f"{name}.{format}"
    _qemu_img("create", "-f", format, str(path), str(size_bytes))
    return path


def _qemu_img(*arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)
