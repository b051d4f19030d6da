"""Libvirt and QEMU: inventory, capture, guest agent, attach, start. The only user of libvirt."""

from dozo.hypervisor.agent import GuestAgent, wait_agent
from dozo.hypervisor.connection import DEFAULT_URI, Host
from dozo.hypervisor.disks import DiskInfo
from dozo.hypervisor.inventory import DiskUse, ServerInfo, disk_uses, server, servers
from dozo.hypervisor.metadata import (
    RestoringMark,
    ServerMetadata,
    clear_restoring,
    mark_restoring,
    set_tracking,
)

__all__ = [
    "DEFAULT_URI",
    "DiskInfo",
    "DiskUse",
    "GuestAgent",
    "Host",
    "RestoringMark",
    "ServerInfo",
    "ServerMetadata",
    "clear_restoring",
    "disk_uses",
    "mark_restoring",
    "server",
    "servers",
    "set_tracking",
    "wait_agent",
]
