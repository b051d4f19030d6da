"""What a domain definition says about its disks, and which of them can be captured. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from dozo.model.message import Message

# Formats whose dirty bitmaps live in the image and survive a restart of QEMU.
TRACKABLE_FORMATS = frozenset({"qcow2"})

_READABLE_KINDS = frozenset({"file", "block", "network", "volume"})

_UNREADABLE_KINDS = {
    "vhostuser": Message("it is a vhost-user disk, which QEMU cannot read"),
    "nvme": Message("it is passed through to the guest (nvme)"),
    "vhostvdpa": Message("it is passed through to the guest (vhost-vdpa)"),
}


@dataclass(frozen=True, kw_only=True)
class DiskInfo:
    """One disk of a server, as its definition gives it.

    ``excluded_reason`` says why it is left out without anybody asking (CD-ROM, empty…);
    ``refused_reason`` why it cannot be captured although it holds data. Both are None for
    a disk that can be captured. ``kind`` is libvirt's source type, with the protocol in
    place of ``network`` (``rbd``…). ``size_bytes`` is the virtual size, if known.
    """

    device: str
    bus: str
    kind: str
    path: str | None
    format: str
    serial: str | None
    boot_order: int | None
    is_root: bool
    read_only: bool
    shareable: bool
    encrypted: bool
    excluded_reason: str | None
    refused_reason: str | None
    size_bytes: int | None = None

    @property
    def capturable(self) -> bool:
        """Whether a snapshot can be taken of it."""
        return self.excluded_reason is None and self.refused_reason is None

    @property
    def trackable(self) -> bool:
        """Whether its format can hold a checkpoint's bitmap."""
        return self.format in TRACKABLE_FORMATS and self.kind in {"file", "block"}


def parse_xml(text: str) -> ET.Element:
    """A definition as a tree; ``ET.ParseError`` if it is none."""
    return ET.fromstring(text)  # noqa: S314  from libvirt, or from a sealed snapshot


def disks_of(
    domain: ET.Element, *, used_elsewhere: Mapping[str, str] | None = None
) -> list[DiskInfo]:
    """The disks of a domain definition in its own order.

    ``used_elsewhere`` names, by path, another running server that writes to it.
    """
    elements = domain.findall("devices/disk")
    root = _root_device(elements)
    return [_disk(element, root, used_elsewhere or {}) for element in elements]


def source_path(disk: ET.Element) -> str | None:
    """The file, block device or network image of a ``<disk>``; None for an empty drive."""
    source = disk.find("source")
    if source is None:
        return None
    if source.get("volume"):
        return f"{source.get('pool')}/{source.get('volume')}"
    return source.get("file") or source.get("dev") or source.get("dir") or source.get("name")


def device_of(disk: ET.Element) -> str:
    """The target name of a ``<disk>`` (``vda``)."""
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _disk(element: ET.Element, root: str | None, used_elsewhere: Mapping[str, str]) -> DiskInfo:
    target = element.find("target")
    driver = element.find("driver")
    path = source_path(element)
    device = device_of(element)
    order = _boot_order(element)
    return DiskInfo(
        device=device,
        bus="" if target is None else target.get("bus", ""),
        kind=_kind(element),
        path=path,
        format=("" if driver is None else driver.get("type", "")) or "raw",
        serial=element.findtext("serial"),
        boot_order=order,
        is_root=device == root,
        read_only=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        encrypted=element.find("encryption") is not None
        or element.find("source/encryption") is not None,
        excluded_reason=_excluded_reason(element, path),
        refused_reason=_refused_reason(element, path, used_elsewhere),
    )


def _kind(element: ET.Element) -> str:
    kind = element.get("type", "file")
    source = element.find("source")
    if kind == "network" and source is not None:
        return source.get("protocol", kind)
    return kind


def _excluded_reason(element: ET.Element, path: str | None) -> str | None:
    device = element.get("device", "disk")
    if device in {"cdrom", "floppy"}:
        return device
    if element.find("readonly") is not None:
        return "read-only"
    if path is None and element.get("type", "file") in _READABLE_KINDS:
        return "empty"
    return None


def _refused_reason(
    element: ET.Element, path: str | None, used_elsewhere: Mapping[str, str]
) -> str | None:
    if element.get("device", "disk") == "lun":
        return Message("it is passed through to the guest")
    kind = element.get("type", "file")
    if kind not in _READABLE_KINDS:
        return _UNREADABLE_KINDS.get(kind, Message("its kind {kind} is not supported", kind=kind))
    if element.find("transient") is not None:
        return Message("it is transient: what the guest writes is thrown away")
    if path is not None and path in used_elsewhere:
        return Message("it is shared with running server {server}", server=used_elsewhere[path])
    return None


def _boot_order(element: ET.Element) -> int | None:
    boot = element.find("boot")
    return None if boot is None else int(boot.get("order", "0")) or None


def _root_device(elements: list[ET.Element]) -> str | None:
    """The disk with the lowest boot order, or the first one if none has any."""
    candidates = [
        element
        for element in elements
        if element.get("device", "disk") in {"disk", "lun"} and element.find("readonly") is None
    ]
    ordered = [
        (order, device_of(element))
        for element in candidates
        if (order := _boot_order(element)) is not None
    ]
    if ordered:
        return min(ordered)[1]
    return device_of(candidates[0]) if candidates else None
