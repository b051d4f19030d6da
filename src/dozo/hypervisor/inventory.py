"""Which servers a host has, in what state, and which of their disks can be captured."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from dozo.hypervisor import last_run
from dozo.hypervisor.connection import Host, translated
from dozo.hypervisor.definition import size_of
from dozo.hypervisor.disks import DiskInfo, device_of, disks_of, parse_xml, source_path
from dozo.hypervisor.errors import DeviceUnknown
from dozo.hypervisor.metadata import ServerMetadata, from_definition
from dozo.hypervisor.qemu_user import PROBE_PREFIX
from dozo.model.message import Message
from dozo.model.states import Consistency, Tracking

AGENT_CHANNEL = "org.qemu.guest_agent.0"

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "stopping",
    libvirt.VIR_DOMAIN_SHUTOFF: "stopped",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "suspended",
}


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """A server at the moment of asking.

    ``state`` is running, paused, stopping, stopped, crashed or suspended.
    ``not_clean`` says why a stopped server's volumes may lack what its guest still had in
    memory; empty if the guest shut itself down. ``internal_snapshots`` is what libvirt knows;
    snapshots made behind its back show only in the images.
    """

    uuid: str
    name: str
    state: str
    not_clean: str
    persistent: bool
    managed_save: bool
    has_agent_channel: bool
    agent_connected: bool
    internal_snapshots: bool
    metadata: ServerMetadata
    disks: tuple[DiskInfo, ...]
    cpus: int = 0
    memory_bytes: int = 0

    @property
    def active(self) -> bool:
        """Whether a QEMU process has its disks open."""
        return self.state not in {"stopped", "crashed"}

    @property
    def tracking_allowed(self) -> bool:
        """Whether checkpoints may be kept: the setting, *auto* decided by what is there."""
        if self.metadata.tracking is Tracking.AUTO:
            return not self.internal_snapshots
        return self.metadata.tracking is Tracking.ON

    @property
    def offline_consistency(self) -> Consistency:
        """What an offline snapshot of this stopped server can promise."""
        return Consistency.CRASH if self.not_clean else Consistency.CLEAN

    def disk(self, device: str) -> DiskInfo:
        """The disk of that name; raises ``DeviceUnknown``."""
        for disk in self.disks:
            if disk.device == device:
                return disk
        known = tuple(disk.device for disk in self.disks)
        raise DeviceUnknown(server=self.name, device=device, known=known)


@dataclass(frozen=True, kw_only=True)
class DiskUse:
    """A path and the server that has it as a disk."""

    path: str
    server: str
    device: str
    writing: bool


def servers(host: Host) -> list[ServerInfo]:
    """All servers of the host, sorted by name; Dozo's own short-lived probes are none."""
    uses = disk_uses(host)
    with translated(host, Message("list the servers of"), host.uri):
        domains = host.connection.listAllDomains()
    found = []
    for domain in domains:
        if domain.name().startswith(PROBE_PREFIX):
            continue
        try:
            found.append(_describe(host, domain, uses))
        except libvirt.libvirtError as error:
            # Transient domains end between the listing and the question.
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return sorted(found, key=lambda info: info.name)


def server(host: Host, name: str) -> ServerInfo:
    """One server by name or UUID; raises ``ServerUnknown``."""
    domain = host.domain(name)
    with translated(host, "describe", name):
        return _describe(host, domain, disk_uses(host))


def disk_uses(host: Host) -> list[DiskUse]:
    """Every disk of every server, with whether a running server writes to it."""
    with translated(host, Message("list the servers of"), host.uri):
        domains = host.connection.listAllDomains()
    found: list[DiskUse] = []
    for domain in domains:
        try:
            name, writing = domain.name(), bool(domain.isActive())
            tree = parse_xml(domain.XMLDesc(0))
        except libvirt.libvirtError:
            continue
        for element in tree.iterfind("devices/disk"):
            path = resolved_path(host, element)
            if path is not None:
                read_only = element.find("readonly") is not None
                found.append(
                    DiskUse(
                        path=path,
                        server=name,
                        device=device_of(element),
                        writing=writing and not read_only,
                    )
                )
    return found


def resolved_path(host: Host, disk: ET.Element) -> str | None:
    """The path of a ``<disk>``; a volume of a libvirt pool is looked up."""
    source = disk.find("source")
    if source is None or not source.get("volume"):
        return source_path(disk)
    try:
        pool = host.connection.storagePoolLookupByName(source.get("pool"))
        return str(pool.storageVolLookupByName(source.get("volume")).path())
    except libvirt.libvirtError:
        return source_path(disk)


def state_of(domain: Any) -> str:
    """The word for a domain's state; ``stopped`` for one that no longer exists."""
    try:
        return _STATES.get(domain.state()[0], "unknown")
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return "stopped"
        raise


def _describe(host: Host, domain: Any, uses: Iterable[DiskUse]) -> ServerInfo:
    name = domain.name()
    tree = parse_xml(domain.XMLDesc(0))
    state, reason = domain.state()
    sized = size_of(tree)
    used_elsewhere = {
        _real(use.path): use.server for use in uses if use.writing and use.server != name
    }
    channel = tree.find(f"devices/channel/target[@name='{AGENT_CHANNEL}']")
    return ServerInfo(
        uuid=domain.UUIDString(),
        name=name,
        state=_STATES.get(state, "unknown"),
        not_clean=_not_clean(domain, name, (state, reason)),
        persistent=bool(domain.isPersistent()),
        managed_save=bool(domain.hasManagedSaveImage()),
        has_agent_channel=channel is not None,
        agent_connected=channel is not None and channel.get("state") == "connected",
        internal_snapshots=domain.snapshotNum(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL) > 0,
        metadata=from_definition(tree),
        disks=_disks(host, domain, tree, used_elsewhere),
        cpus=sized.cpus,
        memory_bytes=sized.memory_bytes,
    )


def _not_clean(domain: Any, name: str, state: tuple[int, int]) -> str:
    """Why a server's last run cannot be said to have ended with the guest's own shutdown."""
    if state[0] != libvirt.VIR_DOMAIN_SHUTOFF:
        return Message("it is not stopped")
    if domain.hasManagedSaveImage():
        return Message("a managed-save image holds what the guest has not written yet")
    if state[1] != libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN:
        # Also after a restart of libvirt, which then no longer knows.
        return Message("libvirt has not seen it shut down")
    return last_run.doubt(last_run.read_log(name), domain.UUIDString())


def _disks(
    host: Host, domain: Any, tree: ET.Element, used_elsewhere: Mapping[str, str]
) -> tuple[DiskInfo, ...]:
    for element in tree.iterfind("devices/disk[@type='volume']"):
        source = element.find("source")
        path = resolved_path(host, element)
        if source is not None and path is not None and path.startswith("/"):
            source.attrib = {"file": path}
    paths = [source_path(element) or "" for element in tree.iterfind("devices/disk")]
    # One image may go by several names.
    shared = {path: used_elsewhere[_real(path)] for path in paths if _real(path) in used_elsewhere}
    return tuple(
        replace(disk, size_bytes=_size_bytes(domain, disk))
        for disk in disks_of(tree, used_elsewhere=shared)
    )


def _real(path: str) -> str:
    """A path without symbolic links; the name of a network image stays as it is."""
    return os.path.realpath(path) if path.startswith("/") else path


def _size_bytes(domain: Any, disk: DiskInfo) -> int | None:
    if disk.path is None:
        return None
    try:
        return int(domain.blockInfo(disk.device)[0])
    except libvirt.libvirtError:
        # The image is missing or unreadable: the inventory still lists the disk.
        return None
