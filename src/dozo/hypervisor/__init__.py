"""Libvirt and QEMU: inventory, capture, guest agent, attach, start. The only user of libvirt.

``connect`` gives a :class:`Hypervisor`: libvirt's, or a simulated one for tests and for planning.
"""

from dozo.hypervisor.agent import GuestAgent, wait_agent
from dozo.hypervisor.attachment import DEFAULT_BUS, DiskAttachment, attach, detach
from dozo.hypervisor.begin import begin_live
from dozo.hypervisor.cleanup import CleanReport
from dozo.hypervisor.connection import DEFAULT_URI, Host
from dozo.hypervisor.definition import Network, ServerSize, disk_devices, size_of
from dozo.hypervisor.disks import DiskInfo
from dozo.hypervisor.errors import (
    AgentAbsent,
    AgentCannotExec,
    AgentError,
    AgentHung,
    AgentRefused,
    AlreadyAttached,
    BackupJobGone,
    CaptureFailed,
    CaptureLost,
    DefinitionUnusable,
    DetachTimedOut,
    DeviceTaken,
    DeviceUnknown,
    DiskInUse,
    DiskRefused,
    HypervisorError,
    LibvirtFailed,
    LibvirtUnavailable,
    NameTaken,
    NotKnownUnmounted,
    ScratchFull,
    ServerBusy,
    ServerNotRunning,
    ServerRestoring,
    ServerRunning,
    ServerStarted,
    ServerStopped,
    ServerUnknown,
    SimulationFailed,
    StandstillUnproven,
    StopTimedOut,
    UuidTaken,
    WatchdogFailed,
)
from dozo.hypervisor.freeze import Freeze
from dozo.hypervisor.guest_program import (
    ProgramEnd,
    run_program,
    stop_program,
)
from dozo.hypervisor.in_use import Unmounted
from dozo.hypervisor.inventory import DiskUse, ServerInfo, disk_uses, server, servers
from dozo.hypervisor.kvm import kvm_works
from dozo.hypervisor.leftovers import clean_leftovers
from dozo.hypervisor.libvirt_host import LibvirtHost
from dozo.hypervisor.live import DiskPlan, LiveCapture, LiveExport, LiveSettings
from dozo.hypervisor.machines import define_server, destroy, start, stop, undefine
from dozo.hypervisor.metadata import (
    RestoringMark,
    ServerMetadata,
    clear_restoring,
    mark_restoring,
    set_tracking,
)
from dozo.hypervisor.offline_watch import OfflineWatch
from dozo.hypervisor.opening import connect
from dozo.hypervisor.port import Capture, Hypervisor, Standstill
from dozo.hypervisor.qemu_user import qemu_user_refusal
from dozo.hypervisor.server_state import ServerState, read_state
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
    "DEFAULT_BUS",
    "DEFAULT_URI",
    "AgentAbsent",
    "AgentCannotExec",
    "AgentError",
    "AgentHung",
    "AgentRefused",
    "AlreadyAttached",
    "BackupJobGone",
    "Capture",
    "CaptureFailed",
    "CaptureLost",
    "Checkpoint",
    "CleanReport",
    "DefinitionUnusable",
    "DetachTimedOut",
    "DeviceTaken",
    "DeviceUnknown",
    "DiskAttachment",
    "DiskInUse",
    "DiskInfo",
    "DiskPlan",
    "DiskRefused",
    "DiskUse",
    "Freeze",
    "GuestAgent",
    "Host",
    "Hypervisor",
    "HypervisorError",
    "LibvirtFailed",
    "LibvirtHost",
    "LibvirtUnavailable",
    "LiveCapture",
    "LiveExport",
    "LiveSettings",
    "NameTaken",
    "Network",
    "NotKnownUnmounted",
    "OfflineWatch",
    "ProgramEnd",
    "RestoringMark",
    "ScratchFull",
    "ServerBusy",
    "ServerInfo",
    "ServerMetadata",
    "ServerNotRunning",
    "ServerRestoring",
    "ServerRunning",
    "ServerSize",
    "ServerStarted",
    "ServerState",
    "ServerStopped",
    "ServerUnknown",
    "SimulationFailed",
    "StaleBitmap",
    "Standstill",
    "StandstillUnproven",
    "StopTimedOut",
    "Unmounted",
    "Untracked",
    "UuidTaken",
    "WatchdogFailed",
    "attach",
    "begin_live",
    "checkpoints",
    "clean_leftovers",
    "clear_restoring",
    "connect",
    "define_server",
    "delete_checkpoint",
    "destroy",
    "detach",
    "disk_devices",
    "disk_uses",
    "is_ours",
    "kvm_works",
    "live_bitmaps",
    "live_internal_snapshots",
    "mark_restoring",
    "qemu_user_refusal",
    "read_state",
    "run_program",
    "server",
    "servers",
    "set_tracking",
    "size_of",
    "start",
    "stop",
    "stop_program",
    "undefine",
    "untrack",
    "wait_agent",
]
