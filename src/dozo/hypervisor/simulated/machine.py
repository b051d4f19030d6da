"""One simulated server at a moment: its row, its definition, its power, its guest's writes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

from dozo.hypervisor import metadata
from dozo.hypervisor.definition import size_of
from dozo.hypervisor.disks import DiskInfo, disks_of, parse_xml
from dozo.hypervisor.errors import ServerUnknown, SimulationFailed
from dozo.hypervisor.inventory import AGENT_CHANNEL, ServerInfo
from dozo.hypervisor.simulated import guest as guests
from dozo.hypervisor.simulated import images
from dozo.hypervisor.simulated.images import ImageFailed
from dozo.hypervisor.simulated.store import ServerRow, Store
from dozo.model import clock
from dozo.model.message import Message


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A server's row and what its definition says, parsed."""

    row: ServerRow
    tree: ET.Element

    @classmethod
    def of(cls, row: ServerRow) -> "Machine":
        """The machine of a row, its power as it is by now."""
        return cls(row=_by_now(row), tree=parse_xml(row.definition))

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return self.row.run > 0

    @property
    def guest(self) -> guests.Guest:
        """How its guest behaves."""
        return guests.from_definition(self.tree)

    @property
    def agent(self) -> bool:
        """Whether a guest agent answers."""
        return self.active and self._has_channel and self.guest.agent

    @property
    def _has_channel(self) -> bool:
        return self.tree.find(f"devices/channel/target[@name='{AGENT_CHANNEL}']") is not None

    def written_disks(self) -> list[DiskInfo]:
        """The disks that a guest may write to."""
        return [
            disk
            for disk in disks_of(self.tree)
            if disk.path and disk.excluded_reason is None and disk.kind in {"file", "block"}
        ]

    def info(self, writers: dict[str, str]) -> ServerInfo:
        """What the inventory says; ``writers`` are running servers by the real paths they use."""
        paths = {disk.path for disk in disks_of(self.tree) if disk.path}
        elsewhere = {
            path: user
            for path in paths
            if (user := writers.get(os.path.realpath(path), self.row.name)) != self.row.name
        }
        sized = size_of(self.tree)
        return ServerInfo(
            uuid=self.row.uuid,
            name=self.row.name,
            state="running" if self.active else "stopped",
            not_clean=self._not_clean(),
            persistent=True,
            managed_save=False,
            has_agent_channel=self._has_channel,
            agent_connected=self.agent,
            internal_snapshots=False,
            metadata=metadata.from_definition(self.tree),
            disks=tuple(
                replace(disk, size_bytes=images.size_bytes(disk.path or "", disk.format))
                for disk in disks_of(self.tree, used_elsewhere=elsewhere)
            ),
            cpus=sized.cpus,
            memory_bytes=sized.memory_bytes,
        )

    def _not_clean(self) -> str:
        if self.active:
            return Message("it is not stopped")
        return "" if self.row.clean else Message("nobody has seen it shut down")


def _by_now(row: ServerRow) -> ServerRow:
    """A guest that was told to shut down has done so when its time is over."""
    if row.run and row.stop_due_s is not None and row.stop_due_s <= clock.now().timestamp():
        return replace(row, run=0, clean=True, frozen=False, capture="")
    return row


class Machines:
    """All servers of a folder, and the only place that changes them."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.uri = uri
        (folder / "locks").mkdir(exist_ok=True)
        self.store = Store(folder)

    def all(self) -> list[Machine]:
        """Sorted by name."""
        return [Machine.of(row) for row in self.store.servers()]

    def get(self, server: str) -> Machine:
        """By name or UUID; raises ``ServerUnknown``."""
        row = self.store.find(server)
        if row is None:
            known = tuple(one.name for one in self.store.servers())
            raise ServerUnknown(server=server, known=known)
        return Machine.of(row)

    @contextmanager
    def held(self, server: str) -> Iterator[Machine]:
        """A server that nobody else changes meanwhile; one that has shut down is recorded so."""
        uuid = self.get(server).row.uuid
        # It stays when the server goes: somebody may be waiting for it.
        lock = self.folder / "locks" / uuid
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            stored = self.store.find(uuid)
            if stored is not None and Machine.of(stored).row.run != stored.run:
                self.write_until(uuid, stored.stop_due_s or 0.0)
                self.record_stop(uuid, clean=True)
            yield self.get(uuid)
        finally:
            os.close(descriptor)

    def record_stop(self, uuid: str, *, clean: bool) -> None:
        """It is off; its live capture, if any, has lost its source."""
        self.store.change(uuid, run=0, stop_due_s=None, clean=clean, frozen=False, capture="")

    def write_until(self, uuid: str, until_s: float) -> None:
        """Put into the images what the guest has written up to a moment.

        A frozen guest writes nothing. An image that cannot be written to, as a real guest would
        see as an I/O error, keeps what it has.
        """
        stored = self.store.find(uuid)
        if stored is None or not stored.run or stored.frozen:
            return
        if stored.stop_due_s is not None:
            until_s = min(until_s, stored.stop_due_s)
        machine = Machine(row=stored, tree=parse_xml(stored.definition))
        guest = machine.guest
        for disk in machine.written_disks():
            if disk.device in guest.unmounted or disk.path is None:
                continue
            due = guests.writes(
                guest,
                seed=f"{uuid}/{disk.device}",
                size_bytes=images.size_bytes(disk.path, disk.format) or 0,
                since_s=stored.written_until_s,
                until_s=until_s,
            )
            try:
                images.write(disk.path, disk.format, list(due))
            except ImageFailed:
                continue
        self.store.change(uuid, written_until_s=max(until_s, stored.written_until_s))

    def redefine(self, uuid: str, tree: ET.Element) -> None:
        """Replace a definition."""
        self.store.change(uuid, definition=ET.tostring(tree, encoding="unicode"))

    def failed(self, action: str, server: str, error: Exception) -> SimulationFailed:
        """What to raise where one of QEMU's programs refused."""
        return SimulationFailed(action=action, server=server, reason=str(error))


def writers(machines: list[Machine]) -> dict[str, str]:
    """The running servers by the real paths of the images that they write to."""
    return {
        os.path.realpath(disk.path): machine.row.name
        for machine in machines
        if machine.active
        for disk in machine.written_disks()
        if disk.path
    }
