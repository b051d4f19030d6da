"""Which device inside the guest a server's disk is: by serial number, or by its address."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from dozo.hypervisor.agent import GuestDevice
from dozo.hypervisor.connection import Host, translated
from dozo.hypervisor.disks import DiskInfo, device_of, parse_xml
from dozo.model.message import Message

Pci = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a disk sits: its own or its controller's PCI address, and the unit behind that."""

    pci: Pci
    unit: tuple[int, int, int] | None


class GuestDisks:
    """The places of a running server's disks."""

    def __init__(self, places: dict[str, _Place]) -> None:
        self._places = places

    @classmethod
    def of(cls, host: Host, server: str) -> "GuestDisks":
        """Read the places from the running server's definition."""
        domain = host.domain(server)
        with translated(host, Message("read the definition of"), server):
            return cls.from_definition(parse_xml(domain.XMLDesc(0)))

    @classmethod
    def from_definition(cls, domain: ET.Element) -> "GuestDisks":
        """The same from a definition as libvirt gives it for a running server."""
        places = {}
        for disk in domain.iterfind("devices/disk"):
            place = _place(disk, domain)
            if place is not None:
                places[device_of(disk)] = place
        return cls(places)

    def name_of(self, disk: DiskInfo, devices: Sequence[GuestDevice]) -> str | None:
        """The guest's name of a disk; None unless exactly one device can be meant."""
        disks = [each for each in devices if not each.is_partition and not each.built_on]
        if disk.serial:
            same = [each for each in disks if _same_serial(each.serial, disk.serial)]
            if len(same) == 1:
                return same[0].name
        place = self._places.get(disk.device)
        if place is None or not self._numbered_alike(disks):
            return None
        there = [each for each in disks if each.pci == place.pci]
        if place.unit is not None:
            there = [each for each in there if each.unit == place.unit]
        return there[0].name if len(there) == 1 else None

    def _numbered_alike(self, disks: Sequence[GuestDevice]) -> bool:
        """Whether the guest numbers PCI buses as the definition does.

        Firmware may number them anew; then the address names another disk or none.
        """
        inside = {each.pci for each in disks if each.pci is not None}
        return inside <= {place.pci for place in self._places.values()}


def _same_serial(inside: str | None, outside: str) -> bool:
    # Some buses put vendor and product before the serial number; virtio cuts it to 20 bytes.
    return inside is not None and (
        inside == outside or inside.endswith(f"_{outside}") or inside == outside[:20]
    )


def _place(disk: ET.Element, domain: ET.Element) -> _Place | None:
    address = disk.find("address")
    if address is None:
        return None
    if address.get("type") == "pci":
        return _Place(pci=_pci(address), unit=None)
    if address.get("type") != "drive":
        return None
    target = disk.find("target")
    kind = {"scsi": "scsi", "sata": "sata", "ide": "ide"}.get(
        "" if target is None else target.get("bus", "")
    )
    controller = domain.find(
        f"devices/controller[@type='{kind}'][@index='{address.get('controller', '0')}']/address"
    )
    if controller is None or controller.get("type") != "pci":
        return None
    unit = (
        int(address.get("bus", "0")),
        int(address.get("target", "0")),
        int(address.get("unit", "0")),
    )
    return _Place(pci=_pci(controller), unit=unit)


def _pci(address: ET.Element) -> Pci:
    numbers = [int(address.get(key, "0"), 0) for key in ("domain", "bus", "slot", "function")]
    return numbers[0], numbers[1], numbers[2], numbers[3]
