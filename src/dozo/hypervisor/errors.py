"""What can go wrong between Dozo, libvirt, QEMU and a guest."""

from dataclasses import dataclass
from typing import ClassVar

from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.message import Message, joined
from dozo.model.words import word


@dataclass(eq=False)
class HypervisorError(DozoError):
    """Base of this package's errors."""

    code: ClassVar[str] = "hypervisor.failed"


@dataclass(eq=False)
class LibvirtUnavailable(HypervisorError):
    """No libvirt daemon answers at the address."""

    code = "hypervisor.libvirt_unavailable"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "libvirt does not answer at {self.uri}: {self.reason}"
    hint = "Start the libvirt daemon, and check that this user may use it."
    uri: str
    reason: str


@dataclass(eq=False)
class LibvirtFailed(HypervisorError):
    """libvirt refused an operation for a reason that Dozo does not know better."""

    code = "hypervisor.libvirt_failed"
    retry = Retry.LATER
    text = "libvirt could not {self.action} {self.server}: {self.reason}"
    hint = "The server's log in /var/log/libvirt/qemu may say more."
    action: str
    server: str
    reason: str


@dataclass(eq=False)
class SimulationFailed(HypervisorError):
    """The simulated hypervisor could not do what was asked."""

    code = "hypervisor.simulation_failed"
    retry = Retry.LATER
    text = "the simulated hypervisor could not {self.action} {self.server}: {self.reason}"
    hint = "Look at the image that the message names: is it there, and does nothing else use it?"
    action: str
    server: str
    reason: str


@dataclass(eq=False)
class ServerUnknown(HypervisorError):
    """No server has that name or UUID."""

    code = "hypervisor.server_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "no server is called {self.server}"
    hint = "Known servers: {self.known_text}."
    server: str
    known: tuple[str, ...] = ()

    @property
    def known_text(self) -> str:
        """The candidates in one line, cut short when there are many."""
        if not self.known:
            return Message("none")
        names = joined(self.known[:8])
        if len(self.known) <= 8:
            return names
        return Message("{names} and {count} more", names=names, count=len(self.known) - 8)


@dataclass(eq=False)
class DeviceUnknown(HypervisorError):
    """The server has no disk of that name."""

    code = "hypervisor.device_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "server {self.server} has no disk {self.device}"
    hint = "Its disks: {self.known_text}."
    server: str
    device: str
    known: tuple[str, ...] = ()

    @property
    def known_text(self) -> str:
        """The server's disks in one line."""
        return joined(self.known) if self.known else Message("none")


@dataclass(eq=False)
class DiskRefused(HypervisorError):
    """A disk of a kind, or in a state, that cannot be captured."""

    code = "hypervisor.disk_refused"
    kind = ErrorKind.REFUSED
    text = "disk {self.device} of server {self.server} cannot be captured: {self.reason}"
    hint = "Leave the disk out, or change how it is attached."
    server: str
    device: str
    reason: str


@dataclass(eq=False)
class ServerNotRunning(HypervisorError):
    """A live capture needs a running or paused server."""

    code = "hypervisor.server_not_running"
    kind = ErrorKind.REFUSED
    text = "server {self.server} is {self.state}, not running"
    hint = "Take the snapshot offline, or start the server."
    server: str
    state: str

    @property
    def state_word(self) -> str:
        """The state in words."""
        return word("server", self.state)


@dataclass(eq=False)
class ServerRunning(HypervisorError):
    """The operation needs a stopped server."""

    code = "hypervisor.server_running"
    kind = ErrorKind.REFUSED
    retry = Retry.LATER
    text = "server {self.server} is {self.state}"
    hint = "Stop the server first."
    server: str
    state: str

    @property
    def state_word(self) -> str:
        """The state in words."""
        return word("server", self.state)


@dataclass(eq=False)
class ServerBusy(HypervisorError):
    """Another job (backup, migration, block copy) holds the server."""

    code = "hypervisor.server_busy"
    kind = ErrorKind.REFUSED
    retry = Retry.LATER
    text = "server {self.server} is busy with another job: {self.job}"
    hint = "Wait until that job has ended; `virsh domjobinfo` shows it."
    server: str
    job: str


@dataclass(eq=False)
class CaptureFailed(HypervisorError):
    """libvirt or QEMU did not begin the capture."""

    code = "hypervisor.capture_failed"
    retry = Retry.LATER
    text = "the capture of server {self.server} could not begin: {self.reason}"
    hint = "`dozo doctor` checks that QEMU's user may use the scratch directory."
    server: str
    reason: str


@dataclass(eq=False)
class CaptureLost(HypervisorError):
    """Base: a capture that began and cannot go on. Nothing of it is left behind."""

    code: ClassVar[str] = "hypervisor.capture_lost"
    retry = Retry.LATER


@dataclass(eq=False)
class ServerStopped(CaptureLost):
    """The server was shut down, killed or restarted while it was being captured."""

    code = "hypervisor.server_stopped"
    text = "server {self.server} stopped during the live capture ({self.reason})"
    hint = "Take the snapshot again; a stopped server is captured offline."
    server: str
    reason: str


@dataclass(eq=False)
class ScratchFull(CaptureLost):
    """The guest wrote more during the capture than the scratch space may hold."""

    code = "hypervisor.scratch_full"
    text = (
        "the capture of server {self.server} was given up before scratch space ran out: "
        "{self.used_bytes} bytes used, {self.free_bytes} free in {self.directory}"
    )
    hint = "The server goes on undisturbed. Make room there, or capture when it writes less."
    server: str
    directory: str
    used_bytes: int
    free_bytes: int


@dataclass(eq=False)
class BackupJobGone(CaptureLost):
    """libvirt's backup job ended though nobody here ended it."""

    code = "hypervisor.backup_job_gone"
    text = "libvirt's backup job of server {self.server} is gone: {self.reason}"
    hint = "Somebody may have aborted it (`virsh domjobabort`). Take the snapshot again."
    server: str
    reason: str


@dataclass(eq=False)
class WatchdogFailed(HypervisorError):
    """The process that watches over a capture did not start, or died."""

    code = "hypervisor.watchdog_failed"
    retry = Retry.LATER
    text = "the watchdog of the capture of {self.server} failed: {self.reason}"
    hint = "Nothing was frozen without it. Take the snapshot again."
    server: str
    reason: str


@dataclass(eq=False)
class AgentError(HypervisorError):
    """Base of what a guest agent can do wrong."""

    code: ClassVar[str] = "hypervisor.agent_failed"
    retry = Retry.LATER


@dataclass(eq=False)
class AgentAbsent(AgentError):
    """No guest agent answers."""

    code = "hypervisor.agent_absent"
    kind = ErrorKind.UNAVAILABLE
    text = "no guest agent answers in server {self.server}: {self.reason}"
    hint = "Install and start qemu-guest-agent inside the server, and give it its channel."
    server: str
    reason: str


@dataclass(eq=False)
class AgentHung(AgentError):
    """The agent took a command and did not answer in time."""

    code = "hypervisor.agent_hung"
    kind = ErrorKind.UNAVAILABLE
    text = "the guest agent of server {self.server} hung in {self.command} for {self.timeout_s} s"
    hint = "Look inside the server for a hook or a file system that blocks the freeze."
    server: str
    command: str
    timeout_s: int


@dataclass(eq=False)
class AgentRefused(AgentError):
    """The agent answered a command with an error."""

    code = "hypervisor.agent_refused"
    text = "the guest agent of server {self.server} refused {self.command}: {self.reason}"
    hint = "The agent's configuration inside the server may forbid the command."
    server: str
    command: str
    reason: str


@dataclass(eq=False)
class AgentCannotExec(AgentError):
    """The agent is there, and runs no programs: too old, or told not to."""

    code = "hypervisor.agent_cannot_exec"
    kind = ErrorKind.REFUSED
    retry = Retry.NEVER
    text = (
        "the guest agent of server {self.server} does not run programs: {self.command} is blocked"
    )
    hint = (
        "Allow guest-exec and guest-exec-status in the agent's configuration inside the server"
        " (block-rpcs, allow-rpcs or blacklist), or use no hooks for it."
    )
    server: str
    command: str


@dataclass(eq=False)
class FrozenAlready(AgentError):
    """Something else has frozen the guest, and will thaw it when it sees fit."""

    code = "hypervisor.frozen_already"
    text = "server {self.server} is frozen already, and not by this snapshot"
    hint = "Wait until the other tool is done, or thaw it: `virsh domfsthaw {self.server}`."
    server: str


@dataclass(eq=False)
class DiskInUse(HypervisorError):
    """A volume that should be unmounted is in use inside the guest."""

    code = "hypervisor.disk_in_use"
    kind = ErrorKind.REFUSED
    retry = Retry.LATER
    text = "disk {self.device} of server {self.server} is in use inside it: {self.holder}"
    hint = "Unmount it inside the server first, or take a live snapshot."
    server: str
    device: str
    holder: str


@dataclass(eq=False)
class NotKnownUnmounted(HypervisorError):
    """Nobody could say whether the volume is unmounted."""

    code = "hypervisor.not_known_unmounted"
    kind = ErrorKind.REFUSED
    text = (
        "nothing says that disk {self.device} of server {self.server} is unmounted: {self.reason}"
    )
    hint = "Install the guest agent, or state that the guest has unmounted the volume."
    server: str
    device: str
    reason: str


@dataclass(eq=False)
class ServerStarted(HypervisorError):
    """A server ran while its stopped volume was being read."""

    code = "hypervisor.server_started"
    retry = Retry.LATER
    text = "server {self.server} was started during the offline snapshot"
    hint = "Take the snapshot again while the server stays stopped, or take it live."
    server: str


@dataclass(eq=False)
class StandstillUnproven(HypervisorError):
    """The evidence that a server did not run was lost (libvirt went away)."""

    code = "hypervisor.standstill_unproven"
    retry = Retry.LATER
    text = "cannot prove that server {self.server} stayed stopped: {self.reason}"
    hint = "Take the snapshot again."
    server: str
    reason: str


@dataclass(eq=False)
class ServerRestoring(HypervisorError):
    """A volume of the server is half-way through an in-place restore."""

    code = "hypervisor.server_restoring"
    kind = ErrorKind.REFUSED
    text = "volume {self.device} of server {self.server} is being restored"
    hint = "Let the restore finish, resume it, or go back to the safety snapshot."
    server: str
    device: str


@dataclass(eq=False)
class NameTaken(HypervisorError):
    """Another server has the name."""

    code = "hypervisor.name_taken"
    kind = ErrorKind.REFUSED
    text = "a server called {self.name} exists already"
    hint = "Give the new server another name."
    name: str


@dataclass(eq=False)
class UuidTaken(HypervisorError):
    """The server whose identity is to be kept still exists."""

    code = "hypervisor.uuid_taken"
    kind = ErrorKind.REFUSED
    text = "server {self.existing} still has the identity {self.uuid}"
    hint = "Restore as a copy, or delete that server first."
    uuid: str
    existing: str


@dataclass(eq=False)
class DefinitionUnusable(HypervisorError):
    """A stored server definition is not one that libvirt can use."""

    code = "hypervisor.definition_unusable"
    text = "the definition of server {self.server} cannot be used here: {self.reason}"
    hint = "This host may lack the machine type, the firmware or the network that it names."
    server: str
    reason: str


@dataclass(eq=False)
class AlreadyAttached(HypervisorError):
    """The volume is attached to a server already."""

    code = "hypervisor.already_attached"
    kind = ErrorKind.REFUSED
    text = "{self.path} is attached to server {self.server} already, as {self.device}"
    hint = "Detach it there first."
    path: str
    server: str
    device: str


@dataclass(eq=False)
class DeviceTaken(HypervisorError):
    """The server has another disk of that device name."""

    code = "hypervisor.device_taken"
    kind = ErrorKind.REFUSED
    text = "server {self.server} has a disk {self.device} already"
    hint = "Choose another device name, or none to get the next free one."
    server: str
    device: str


@dataclass(eq=False)
class DetachTimedOut(HypervisorError):
    """The guest did not let go of a disk."""

    code = "hypervisor.detach_timed_out"
    retry = Retry.LATER
    text = "the guest in server {self.server} did not release {self.device} in {self.timeout_s} s"
    hint = "Unmount the volume inside the server and try again, or detach it when stopped."
    server: str
    device: str
    timeout_s: float


@dataclass(eq=False)
class StopTimedOut(HypervisorError):
    """The guest did not shut down when asked."""

    code = "hypervisor.stop_timed_out"
    retry = Retry.LATER
    text = "server {self.server} did not shut down within {self.timeout_s} s"
    hint = "Shut it down from inside, give it more time, or ask for a forced stop."
    server: str
    timeout_s: float
