"""Whether a volume is in use inside a running guest: file systems, swap, what is built on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dozo.hypervisor.agent import GuestAgent, GuestDevice, GuestFileSystem
from dozo.hypervisor.connection import Host
from dozo.hypervisor.disks import DiskInfo
from dozo.hypervisor.errors import AgentError, DiskInUse, NotKnownUnmounted
from dozo.hypervisor.guest_disks import GuestDisks
from dozo.hypervisor.inventory import ServerInfo
from dozo.model.message import Message


@dataclass(frozen=True, kw_only=True)
class Unmounted:
    """A capture of volumes that are attached and not in use inside the guest.

    ``stated``: the caller answers for it where the guest's agent cannot say.
    """

    stated: bool = False


@dataclass(frozen=True, kw_only=True)
class Use:
    """What holds a device inside the guest, in words for people."""

    device: str
    holder: str


class UnmountedCheck:
    """The question to the guest, asked just before the instant and just after."""

    def __init__(
        self, host: Host, server: ServerInfo, disks: Sequence[DiskInfo], unmounted: Unmounted
    ) -> None:
        self._server = server
        self._disks = disks
        self._unmounted = unmounted
        self._agent = GuestAgent.of(host, server.uuid)
        self._guest_disks = GuestDisks.of(host, server.uuid)

    def ask(self) -> bool:
        """True if the agent says that no disk is in use, False if only the caller does.

        Raises ``DiskInUse``, or ``NotKnownUnmounted`` if nobody answers for it.
        """
        try:
            devices = self._agent.devices()
            uses = [
                *_mounts(self._agent.file_systems()),
                *_swaps(self._agent, devices),
                *_holders(devices),
            ]
        except AgentError as error:
            return self._rely_on_statement(self._disks[0], str(error))
        # Each disk is asked about: one that is in use refuses the capture of all.
        answers = [self._ask_about(disk, devices, uses) for disk in self._disks]
        return all(answers)

    def _ask_about(
        self, disk: DiskInfo, devices: Sequence[GuestDevice], uses: Iterable[Use]
    ) -> bool:
        inside = self._guest_disks.name_of(disk, devices)
        if inside is None:
            return self._rely_on_statement(disk, Message("its guest does not say which disk it is"))
        family = descendants(inside, devices)
        for use in uses:
            if use.device in family:
                raise DiskInUse(server=self._server.name, device=disk.device, holder=use.holder)
        return True

    def _rely_on_statement(self, disk: DiskInfo, reason: str) -> bool:
        if not self._unmounted.stated:
            raise NotKnownUnmounted(server=self._server.name, device=disk.device, reason=reason)
        return False


def descendants(name: str, devices: Sequence[GuestDevice]) -> frozenset[str]:
    """A device and everything built on it: partitions, volume groups, encryption."""
    family = {name}
    grown = True
    while grown:
        before = len(family)
        family |= {each.name for each in devices if family.intersection(each.built_on)}
        grown = len(family) > before
    return frozenset(family)


def _mounts(file_systems: Iterable[GuestFileSystem]) -> list[Use]:
    return [
        Use(
            device=device.name,
            holder=Message("{kind} mounted at {place}", kind=each.kind, place=each.mount_point),
        )
        for each in file_systems
        for device in each.devices
    ]


def _swaps(agent: GuestAgent, devices: Sequence[GuestDevice]) -> list[Use]:
    """Swap on block devices. Only Linux lists it; elsewhere swap is a file on a mounted disk."""
    if not any(each.name.startswith("/dev/") for each in devices):
        return []
    lines = agent.read_file("/proc/swaps").splitlines()[1:]
    return [
        Use(device=fields[0], holder=Message("swap on {device}", device=fields[0]))
        for line in lines
        if (fields := line.split()) and fields[1] == "partition"
    ]


def _holders(devices: Iterable[GuestDevice]) -> list[Use]:
    """What is built on disks and partitions, such as a volume group that is active."""
    return [
        Use(device=below, holder=Message("{name} is built on {below}", name=each.name, below=below))
        for each in devices
        if not each.is_partition
        for below in each.built_on
    ]
