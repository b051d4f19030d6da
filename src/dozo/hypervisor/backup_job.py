"""libvirt's pull-mode backup job: its XML, whose it is, ending it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from dozo.hypervisor.disks import device_of, parse_xml
from dozo.model import clock
from dozo.model.message import Message

_ABORT_LIMIT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class JobDisk:
    """One disk of a job. With ``since`` its changes after that checkpoint are exported too."""

    device: str
    since: str | None
    track: bool

    @property
    def bitmap_name(self) -> str | None:
        """The exported bitmap's name (``qemu:dirty-bitmap:NAME``)."""
        return None if self.since is None else f"changed-{self.device}"


def backup_xml(disks: Iterable[JobDisk], scratch: Path, socket: Path) -> str:
    """The ``<domainbackup>`` of a pull-mode job over a unix socket.

    The scratch files are qcow2: they grow with what the guest overwrites and no further.
    """
    root = ET.Element("domainbackup", mode="pull")
    ET.SubElement(root, "server", transport="unix", socket=str(socket))
    listed = ET.SubElement(root, "disks")
    for disk in disks:
        element = ET.SubElement(
            listed, "disk", name=disk.device, backup="yes", type="file", exportname=disk.device
        )
        # The mode is given for each disk: one for the whole job would have to fit raw disks too.
        element.set("backupmode", "full" if disk.since is None else "incremental")
        if disk.since is not None and disk.bitmap_name is not None:
            element.set("incremental", disk.since)
            element.set("exportbitmap", disk.bitmap_name)
        ET.SubElement(element, "driver", type="qcow2")
        ET.SubElement(element, "scratch", file=str(scratch / f"{disk.device}.scratch"))
    return ET.tostring(root, encoding="unicode")


def checkpoint_xml(name: str, tracked: frozenset[str], domain: ET.Element) -> str:
    """The ``<domaincheckpoint>`` over the tracked disks.

    Every other disk of the server says no: libvirt refuses the whole checkpoint if a disk
    that it would take by default cannot have one.
    """
    root = ET.Element("domaincheckpoint")
    ET.SubElement(root, "name").text = name
    listed = ET.SubElement(root, "disks")
    for disk in domain.iterfind("devices/disk"):
        device = device_of(disk)
        if device in tracked:
            ET.SubElement(listed, "disk", name=device, checkpoint="bitmap", bitmap=name)
        else:
            ET.SubElement(listed, "disk", name=device, checkpoint="no")
    return ET.tostring(root, encoding="unicode")


def socket_of_job(domain: Any) -> str | None:
    """The socket of the server's running backup job; None if there is no such job."""
    try:
        text = domain.backupGetXMLDesc(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_JOB:
            return None
        raise
    server = parse_xml(text).find("server")
    return "" if server is None else server.get("socket", "")


def end_job(domain: Any, socket: str) -> bool:
    """End the backup job that listens at ``socket`` and wait until it is gone.

    False if the server has no such job: a job of somebody else's is never touched.
    """
    if socket_of_job(domain) != socket:
        return False
    try:
        domain.abortJob()
    except libvirt.libvirtError:
        # It may have ended between the question and the order.
        if socket_of_job(domain) == socket:
            raise
    deadline = clock.monotonic() + _ABORT_LIMIT_S
    while socket_of_job(domain) == socket and clock.monotonic() < deadline:
        clock.sleep(0.02)
    return True


def resume_after_io_error(domain: Any) -> bool:
    """Let a guest go on that stands still because a write failed; whether it did stand still."""
    if domain.state() != [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]:
        return False
    domain.resume()
    return True


def other_job(domain: Any, devices: Iterable[str]) -> str | None:
    """The word for a job that keeps the server from being captured; None if it is free."""
    info = domain.jobStats(0)
    if info.get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE:
        operation = info.get("operation", libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN)
        return _OPERATIONS.get(operation, Message("another operation"))
    if socket_of_job(domain) is not None:
        return Message("a backup")
    for device in devices:
        if domain.blockJobInfo(device, 0):
            return Message("a block job on {device}", device=device)
    return None


_NO_JOB = (
    libvirt.VIR_ERR_NO_DOMAIN_BACKUP,
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_OPERATION_INVALID,
)

_OPERATIONS = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP: Message("a backup"),
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: Message("a migration"),
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: Message("a migration"),
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: Message("a libvirt snapshot"),
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT: Message("a libvirt snapshot's revert"),
    libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: Message("a save"),
    libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: Message("a dump"),
    libvirt.VIR_DOMAIN_JOB_OPERATION_START: Message("its start"),
}
