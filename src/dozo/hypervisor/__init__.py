"""Libvirt and QEMU: inventory, capture, guest agent, attach, start. The only user of libvirt."""

from dozo.hypervisor.agent import GuestAgent, wait_agent
from dozo.hypervisor.begin import begin_live
from dozo.hypervisor.cleanup import CleanReport
from dozo.hypervisor.connection import DEFAULT_URI, Host
from dozo.hypervisor.disks import DiskInfo
from dozo.hypervisor.freeze import Freeze
from dozo.hypervisor.in_use import Unmounted
from dozo.hypervisor.inventory import DiskUse, ServerInfo, disk_uses, server, servers
from dozo.hypervisor.leftovers import clean_leftovers
from dozo.hypervisor.live import DiskPlan, LiveCapture, LiveExport, LiveSettings
from dozo.hypervisor.metadata import (
    RestoringMark,
    ServerMetadata,
    clear_restoring,
    mark_restoring,
    set_tracking,
)
from dozo.hypervisor.tracking import (
    Checkpoint,
    StaleBitmap,
    Untracked,
    checkpoints,
    delete_checkpoint,
    is_ours,
    live_bitmaps,
    live_internal_snapshots,
    untrack,
)

__all__ = [
    "DEFAULT_URI",
    "Checkpoint",
    "CleanReport",
    "DiskInfo",
    "DiskPlan",
    "DiskUse",
    "Freeze",
    "GuestAgent",
    "Host",
    "LiveCapture",
    "LiveExport",
    "LiveSettings",
    "RestoringMark",
    "ServerInfo",
    "ServerMetadata",
    "StaleBitmap",
    "Unmounted",
    "Untracked",
    "begin_live",
    "checkpoints",
    "clean_leftovers",
    "clear_restoring",
    "delete_checkpoint",
    "disk_uses",
    "is_ours",
    "live_bitmaps",
    "live_internal_snapshots",
    "mark_restoring",
    "server",
    "servers",
    "set_tracking",
    "untrack",
    "wait_agent",
]
