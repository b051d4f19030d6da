"""Attaching disks to servers and detaching them, running or stopped."""

import os
import string
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from dozo.hypervisor.connection import Host, is_gone, message, translated
from dozo.hypervisor.disks import device_of, parse_xml
from dozo.hypervisor.errors import (
    AlreadyAttached,
    DetachTimedOut,
    DeviceTaken,
    DeviceUnknown,
    LibvirtFailed,
)
from dozo.hypervisor.inventory import disk_uses
from dozo.model import clock
from dozo.model.message import Message

DEFAULT_BUS = "virtio"

_PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd", "fdc": "fd"}
_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class DiskAttachment:
    """A disk to be attached. Without ``device`` it gets the next free name of its bus."""

    path: str
    format: str
    device: str | None = None
    bus: str = DEFAULT_BUS
    serial: str | None = None


def attach(host: Host, server: str, disk: DiskAttachment) -> str:
    """Attach a disk, to the running server and to its definition; returns its device name.

    Raises ``AlreadyAttached`` (to this or another server), ``DeviceTaken``.
    """
    domain = host.domain(server)
    name = domain.name()
    real = os.path.realpath(disk.path)
    for use in disk_uses(host):
        if os.path.realpath(use.path) == real:
            raise AlreadyAttached(path=disk.path, server=use.server, device=use.device)
    with translated(host, Message("read the definition of"), name):
        taken = {device_of(element) for tree in _trees(domain) for element in tree}
    if disk.device in taken:
        raise DeviceTaken(server=name, device=disk.device)
    device: str = disk.device or free_device(disk.bus, taken)
    with translated(host, Message("attach {path} to", path=disk.path), name):
        text = ET.tostring(disk_element(disk, device), encoding="unicode")
        domain.attachDeviceFlags(text, _flags(domain))
    return device


def detach(host: Host, server: str, device: str, *, timeout_s: float = 60) -> None:
    """Detach a disk and return when the guest has let go of it.

    Raises ``DeviceUnknown``, ``DetachTimedOut``; after the latter the disk stays in the
    definition too.
    """
    domain = host.domain(server)
    name = domain.name()
    with translated(host, Message("read the definition of"), name):
        here = [_find(tree, device) for tree in _trees(domain)]
        known = tuple(sorted({device_of(each) for tree in _trees(domain) for each in tree}))
    if not any(element is not None for element in here):
        raise DeviceUnknown(server=name, device=device, known=known)
    if domain.isActive() and here[0] is not None:
        _detach_running(domain, device, timeout_s)
    if domain.isPersistent():
        with translated(host, Message("detach {device} from", device=device), name):
            inactive = parse_xml(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            element = _find(inactive.findall("devices/disk"), device)
            if element is not None:
                text = ET.tostring(element, encoding="unicode")
                domain.detachDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_CONFIG)


def free_device(bus: str, taken: set[str]) -> str:
    """The first device name of a bus that is not taken: vda … vdz, vdaa…"""
    prefix = _PREFIXES.get(bus, "sd")
    letters = string.ascii_lowercase
    names = [*letters, *(first + second for first in letters for second in letters)]
    free = (prefix + name for name in names if prefix + name not in taken)
    return next(free, prefix)


def _detach_running(domain: Any, device: str, timeout_s: float) -> None:
    """Ask the guest for the disk, and wait: libvirt's call returns before the guest has obeyed."""
    deadline = clock.monotonic() + timeout_s
    asked = False
    while True:
        try:
            if not domain.isActive():
                return
            element = _find(parse_xml(domain.XMLDesc(0)).findall("devices/disk"), device)
            if element is None:
                return
            if not asked:
                text = ET.tostring(element, encoding="unicode")
                domain.detachDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)
                asked = True
        except libvirt.libvirtError as error:
            if is_gone(error):
                return
            if error.get_error_code() not in _MAY_COME_YET:
                raise LibvirtFailed(
                    action=Message("detach {device} from", device=device),
                    server=domain.name(),
                    reason=message(error),
                ) from error
            # An earlier request is still with the guest.
            asked = True
        if clock.monotonic() >= deadline:
            raise DetachTimedOut(server=domain.name(), device=device, timeout_s=timeout_s)
        clock.sleep(_POLL_S)


_MAY_COME_YET = (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR)


def _trees(domain: Any) -> list[list[ET.Element]]:
    """The disks in force first, then those of the next start where they may differ."""
    texts = [domain.XMLDesc(0)]
    if domain.isActive() and domain.isPersistent():
        texts.append(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    return [parse_xml(text).findall("devices/disk") for text in texts]


def _find(disks: list[ET.Element], device: str) -> ET.Element | None:
    return next((each for each in disks if device_of(each) == device), None)


def _flags(domain: Any) -> int:
    flags = 0
    if domain.isPersistent():
        flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
    if domain.isActive():
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    return flags


def disk_element(disk: DiskAttachment, device: str) -> ET.Element:
    """The ``<disk>`` of a definition."""
    is_block = disk.path.startswith("/dev/")
    element = ET.Element("disk", type="block" if is_block else "file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type=disk.format)
    ET.SubElement(element, "source", {"dev" if is_block else "file": disk.path})
    ET.SubElement(element, "target", dev=device, bus=disk.bus)
    if disk.serial:
        ET.SubElement(element, "serial").text = disk.serial
    return element
