"""Turning a stored definition into that of a restored server. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from xml.etree import ElementTree as ET

from dozo.hypervisor import metadata
from dozo.hypervisor.disks import device_of, parse_xml, source_path
from dozo.model.states import Identity

ISOLATED_NETWORK = "dozo-isolated"

_CHANNEL_DIRECTORY = "/var/lib/libvirt/qemu/"


class Network(StrEnum):
    """What a restored server's network cards are connected to."""

    SAME = "same"
    # A network of this host that leads nowhere: restored servers see each other only.
    ISOLATED = "isolated"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class NewDefinition:
    """What becomes of a stored definition.

    ``disks`` gives path and format by device name; disks that it does not name are left out.
    ``nvram`` is where the UEFI variables lie, None to let libvirt decide.
    """

    name: str
    uuid: str
    identity: Identity
    disks: Mapping[str, tuple[Path, str]]
    network: Network
    nvram: Path | None = None


def disk_devices(definition: str) -> tuple[str, ...]:
    """The device names of a definition's disks that hold data, in its own order."""
    return tuple(
        device_of(disk)
        for disk in parse_xml(definition).iterfind("devices/disk")
        if disk.get("device", "disk") in {"disk", "lun"} and disk.find("readonly") is None
    )


@dataclass(frozen=True, kw_only=True)
class ServerSize:
    """What a server needs of a host besides its disks."""

    cpus: int
    memory_bytes: int


_MEMORY_UNITS = {
    "b": 1,
    "bytes": 1,
    "kb": 1000,
    "k": 1024,
    "kib": 1024,
    "mb": 1000**2,
    "m": 1024**2,
    "mib": 1024**2,
    "gb": 1000**3,
    "g": 1024**3,
    "gib": 1024**3,
    "tb": 1000**4,
    "t": 1024**4,
    "tib": 1024**4,
}


def size_of(definition: "str | ET.Element") -> ServerSize:
    """CPUs and memory of a definition, in libvirt's units; 0 where it does not say."""
    domain = parse_xml(definition) if isinstance(definition, str) else definition
    memory = domain.find("memory")
    unit = (
        _MEMORY_UNITS.get((memory.get("unit") or "KiB").lower(), 1024) if memory is not None else 0
    )
    amount = (memory.text or "0") if memory is not None else "0"
    return ServerSize(
        cpus=int(domain.findtext("vcpu") or 0), memory_bytes=int(amount.strip()) * unit
    )


def uuid_of(definition: str) -> str:
    """The UUID that a definition gives its server; empty if none."""
    return (parse_xml(definition).findtext("uuid") or "").strip()


def rewritten(definition: str, new: NewDefinition) -> str:
    """The definition of the restored server; ``ET.ParseError`` if ``definition`` is no XML."""
    domain = parse_xml(definition)
    domain.attrib.pop("id", None)
    _set_text(domain, "name", new.name)
    _set_text(domain, "uuid", new.uuid)
    _rewrite_metadata(domain)
    _rewrite_firmware(domain, new)
    devices = domain.find("devices")
    if devices is not None:
        _rewrite_disks(devices, new.disks)
        _rewrite_interfaces(devices, new)
        _drop_run_time_details(devices)
        if new.identity is Identity.COPY:
            _drop_what_only_one_can_have(domain, devices)
    for label in domain.findall("seclabel"):
        if label.get("type", "dynamic") == "dynamic":
            domain.remove(label)
    for entry in domain.iterfind("sysinfo/system/entry[@name='uuid']"):
        # libvirt refuses a definition whose two UUIDs differ.
        entry.text = new.uuid
    return ET.tostring(domain, encoding="unicode")


def _set_text(domain: ET.Element, tag: str, text: str) -> None:
    element = domain.find(tag)
    if element is None:
        element = ET.SubElement(domain, tag)
    element.text = text


def _rewrite_metadata(domain: ET.Element) -> None:
    """Keep tracking and tags; nothing of the new server is half restored.

    Whose it is follows from whose the restored volumes are, not from what an old definition says.
    """
    if domain.find("metadata") is None:
        return
    ours = metadata.from_definition(domain)
    metadata.put_into(domain, replace(ours, restoring=(), tenant=""))


def _rewrite_firmware(domain: ET.Element, new: NewDefinition) -> None:
    element = domain.find("os/nvram")
    system = domain.find("os")
    if element is None:
        if system is None or new.nvram is None:
            return
        element = ET.SubElement(system, "nvram")
    for child in list(element):
        element.remove(child)
    element.attrib.pop("type", None)
    # Without a path libvirt makes one out of the server's name.
    element.text = None if new.nvram is None else str(new.nvram)


def _rewrite_disks(devices: ET.Element, disks: Mapping[str, tuple[Path, str]]) -> None:
    for disk in devices.findall("disk"):
        given = disks.get(device_of(disk))
        if given is not None:
            _replace_source(disk, *given)
        elif disk.get("device", "disk") in {"cdrom", "floppy"}:
            _eject_if_missing(disk)
        elif disk.find("readonly") is None or not _exists(disk):
            devices.remove(disk)


def _replace_source(disk: ET.Element, path: Path, format: str) -> None:
    # The restored image is plain: what unlocked or described the old one does not apply.
    for tag in ("source", "backingStore", "encryption", "auth", "mirror", "transient"):
        for element in disk.findall(tag):
            disk.remove(element)
    driver = disk.find("driver")
    if driver is None:
        driver = ET.SubElement(disk, "driver", name="qemu")
    driver.set("type", format)
    kind, attribute = ("block", "dev") if path.is_relative_to("/dev") else ("file", "file")
    disk.set("type", kind)
    if disk.get("device") == "lun":
        disk.set("device", "disk")
    disk.insert(1, ET.Element("source", {attribute: str(path)}))


def _exists(disk: ET.Element) -> bool:
    path = source_path(disk)
    return path is not None and path.startswith("/") and Path(path).exists()


def _eject_if_missing(disk: ET.Element) -> None:
    if _exists(disk):
        return
    for tag in ("source", "backingStore"):
        for element in disk.findall(tag):
            disk.remove(element)
    disk.set("type", "file")


def _rewrite_interfaces(devices: ET.Element, new: NewDefinition) -> None:
    for interface in devices.findall("interface"):
        if new.network is Network.NONE:
            devices.remove(interface)
            continue
        if new.identity is Identity.COPY:
            for mac in interface.findall("mac"):
                interface.remove(mac)
        if new.network is Network.ISOLATED:
            for tag in ("source", "target", "virtualport", "portForwarding", "backend", "vlan"):
                for element in interface.findall(tag):
                    interface.remove(element)
            interface.set("type", "network")
            ET.SubElement(interface, "source", network=ISOLATED_NETWORK)


def _drop_run_time_details(devices: ET.Element) -> None:
    """What libvirt adds to the definition of a running server and makes anew at each start."""
    for interface in devices.findall("interface"):
        for target in interface.findall("target"):
            if target.get("dev", "").startswith(("vnet", "macvtap")):
                interface.remove(target)
    for channel in devices.findall("channel"):
        for source in channel.findall("source"):
            if source.get("path", "").startswith(_CHANNEL_DIRECTORY):
                channel.remove(source)


def _drop_what_only_one_can_have(domain: ET.Element, devices: ET.Element) -> None:
    """Host devices, fixed ports and the generation id stay with the original."""
    for element in domain.findall("genid"):
        domain.remove(element)
    for element in devices.findall("hostdev"):
        devices.remove(element)
    for graphics in devices.findall("graphics"):
        if graphics.get("port") and graphics.get("autoport") != "yes":
            graphics.set("autoport", "yes")
            for attribute in ("port", "tlsPort", "websocket"):
                graphics.attrib.pop(attribute, None)
