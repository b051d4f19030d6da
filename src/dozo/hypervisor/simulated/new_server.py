"""The definition of a server that is made for a simulation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree as ET

from dozo.hypervisor import metadata
from dozo.hypervisor.inventory import AGENT_CHANNEL
from dozo.hypervisor.metadata import ServerMetadata
from dozo.hypervisor.simulated import guest as guests
from dozo.hypervisor.simulated.guest import Guest

_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class NewDisk:
    """A disk to be made; the first one of a server is its root."""

    device: str
    size_bytes: int = 64 * _MIB
    format: str = "qcow2"
    # How much of it holds data from the beginning, 16 MiB at most.
    filled_bytes: int = 4 * _MIB


@dataclass(frozen=True, kw_only=True)
class NewServer:
    """A server to be made, with its guest's behaviour and the element of Dozo in its definition."""

    name: str
    uuid: str = ""
    disks: tuple[NewDisk, ...] = (NewDisk(device="vda"), NewDisk(device="vdb"))
    guest: Guest = field(default_factory=Guest)
    metadata: ServerMetadata = field(default_factory=ServerMetadata)
    cpus: int = 1
    memory_bytes: int = 256 * _MIB
    network: str = "default"


def definition(server: NewServer, paths: Sequence[Path]) -> str:
    """The libvirt definition, which is what a snapshot keeps of a server."""
    domain = ET.Element("domain", type="kvm")
    ET.SubElement(domain, "name").text = server.name
    ET.SubElement(domain, "uuid").text = server.uuid or str(uuid4())
    metadata.put_into(domain, server.metadata)
    guests.put_into(domain, server.guest)
    ET.SubElement(domain, "memory", unit="b").text = str(server.memory_bytes)
    ET.SubElement(domain, "vcpu").text = str(server.cpus)
    system = ET.SubElement(domain, "os")
    ET.SubElement(system, "type", arch="x86_64", machine="q35").text = "hvm"
    devices = ET.SubElement(domain, "devices")
    for disk, path in zip(server.disks, paths, strict=True):
        element = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(element, "driver", name="qemu", type=disk.format)
        ET.SubElement(element, "source", file=str(path))
        ET.SubElement(element, "target", dev=disk.device, bus="virtio")
    interface = ET.SubElement(devices, "interface", type="network")
    ET.SubElement(interface, "source", network=server.network)
    if server.guest.agent:
        channel = ET.SubElement(devices, "channel", type="unix")
        ET.SubElement(channel, "target", type="virtio", name=AGENT_CHANNEL)
    return ET.tostring(domain, encoding="unicode")
