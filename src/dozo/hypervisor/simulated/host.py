"""The simulated hypervisor itself: the port, by rows, files and QEMU's own tools."""

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self
from urllib.parse import unquote
from uuid import uuid4
from xml.etree import ElementTree as ET

from dozo.hypervisor import metadata
from dozo.hypervisor.attachment import DiskAttachment, disk_element, free_device
from dozo.hypervisor.cleanup import CleanReport
from dozo.hypervisor.definition import Network, NewDefinition, rewritten, uuid_of
from dozo.hypervisor.disks import device_of
from dozo.hypervisor.errors import (
    AgentAbsent,
    AgentCannotExec,
    AlreadyAttached,
    DefinitionUnusable,
    DeviceTaken,
    DeviceUnknown,
    LibvirtUnavailable,
    NameTaken,
    ServerRestoring,
    ServerRunning,
    StopTimedOut,
    UuidTaken,
)
from dozo.hypervisor.guest_program import ProgramEnd
from dozo.hypervisor.in_use import Unmounted
from dozo.hypervisor.inventory import ServerInfo
from dozo.hypervisor.live import DiskPlan, LiveSettings
from dozo.hypervisor.metadata import RestoringMark, ServerMetadata
from dozo.hypervisor.server_state import ServerState
from dozo.hypervisor.simulated import begin, capture, images
from dozo.hypervisor.simulated import guest as guests
from dozo.hypervisor.simulated.capture import SimulatedCapture
from dozo.hypervisor.simulated.guest import Guest, Write
from dozo.hypervisor.simulated.images import ImageFailed
from dozo.hypervisor.simulated.machine import Machines, writers
from dozo.hypervisor.simulated.new_server import NewServer, definition
from dozo.hypervisor.simulated.standstill import SimulatedStandstill
from dozo.hypervisor.simulated.store import ServerRow
from dozo.hypervisor.tracking import Checkpoint, Untracked, is_ours
from dozo.model import clock
from dozo.model.change_token import BitmapState
from dozo.model.message import Message
from dozo.model.states import Identity, Tracking

SCHEME = "simulated:"
_POLL_S = 0.05


class SimulatedHost:
    """A folder of simulated servers as a :class:`~dozo.hypervisor.port.Hypervisor`.

    Several processes may have the same folder open.
    """

    simulated = True

    def __init__(self, folder: Path, uri: str) -> None:
        self.uri = uri
        self.folder = folder
        self._machines = Machines(folder, uri)

    @classmethod
    def connect(cls, uri: str) -> Self:
        """Open the folder of ``simulated:///FOLDER``; one that is not there is made.

        Raises ``LibvirtUnavailable``.
        """
        folder = Path(unquote(uri.removeprefix(SCHEME).removeprefix("//")))
        if not folder.is_absolute():
            raise LibvirtUnavailable(uri=uri, reason=Message("the path is not absolute"))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return cls(folder, uri)
        except (OSError, sqlite3.Error) as error:
            raise LibvirtUnavailable(uri=uri, reason=str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection to the store."""
        self._machines.store.close()

    def is_alive(self) -> bool:
        """Whether the store can be read."""
        try:
            self._machines.store.last_start()
        except sqlite3.Error:
            return False
        return True

    def folder_refusal(self, folder: Path) -> str | None:
        """None: what runs here runs as this process."""
        return None if folder.is_dir() else Message("{folder} is not there", folder=folder)

    # ---- what a simulation is set up with, beyond the port

    def add_server(self, server: NewServer) -> str:
        """Make a stopped server with its images, in this folder; its UUID. Raises ``NameTaken``."""
        paths = [
            self.folder / "images" / f"{server.name}-{disk.device}.{disk.format}"
            for disk in server.disks
        ]
        text = definition(server, paths)
        uuid = uuid_of(text)
        self._require_free(server.name, uuid)
        try:
            for disk, path in zip(server.disks, paths, strict=True):
                images.make(path, format=disk.format, size_bytes=disk.size_bytes)
                content = guests.writes(
                    Guest(bytes_per_minute=min(disk.filled_bytes, disk.size_bytes)),
                    seed=f"{uuid}/{disk.device}/first",
                    size_bytes=disk.size_bytes,
                    since_s=0.0,
                    until_s=60.0,
                )
                images.write(str(path), disk.format, list(content))
        except ImageFailed as error:
            raise self._machines.failed("make", server.name, error) from error
        self._add(ServerRow(uuid=uuid, name=server.name, definition=text, clean=True))
        return uuid

    def set_guest(self, server: str, guest: Guest) -> None:
        """Let a guest behave differently from now on."""
        with self._machines.held(server) as machine:
            guests.put_into(machine.tree, guest)
            self._machines.redefine(machine.row.uuid, machine.tree)

    def guest(self, server: str) -> Guest:
        """How a guest behaves."""
        return self._machines.get(server).guest

    def write(self, server: str, device: str, offset_bytes: int, content: bytes) -> None:
        """Write to a disk as the running guest would. Raises ``ServerNotRunning``'s kin."""
        with self._machines.held(server) as machine:
            disk = machine.info({}).disk(device)
            if not machine.active:
                raise self._machines.failed(
                    Message("write to {device} of", device=device),
                    machine.row.name,
                    ImageFailed(Message("it is stopped")),
                )
            one = Write(offset_bytes=offset_bytes, content=content)
            try:
                images.write(disk.path or "", disk.format, [one])
            except ImageFailed as error:
                raise self._machines.failed(
                    Message("write to {device} of", device=device), machine.row.name, error
                ) from error

    # ---- the port

    def servers(self) -> list[ServerInfo]:
        machines = self._machines.all()
        used = writers(machines)
        return [machine.info(used) for machine in machines]

    def server(self, name: str) -> ServerInfo:
        machine = self._machines.get(name)
        return machine.info(writers(self._machines.all()))

    def read_state(self, server: str) -> ServerState:
        machine = self._machines.get(server)
        text = machine.row.definition
        return ServerState(
            definition=text,
            active_definition=text if machine.active else None,
            nvram=None,
            tpm=None,
            secrets={},
        )

    def start(self, server: str) -> None:
        with self._machines.held(server) as machine:
            marks = metadata.from_definition(machine.tree).restoring
            if marks:
                raise ServerRestoring(server=machine.row.name, device=marks[0].device)
            if machine.active:
                return
            try:
                for disk in machine.written_disks():
                    images.require_usable(disk.path or "", disk.format)
            except ImageFailed as error:
                raise self._machines.failed("start", machine.row.name, error) from error
            self._machines.store.begin_run(machine.row.uuid, at_s=clock.now().timestamp())

    def stop(
        self,
        server: str,
        *,
        timeout_s: float = 120,
        force: bool = False,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        name = self._press(server)
        deadline = clock.monotonic() + timeout_s
        while self._machines.get(server).active:
            look()
            if clock.monotonic() >= deadline:
                if not force:
                    raise StopTimedOut(server=name, timeout_s=timeout_s)
                self.destroy(server)
                return
            clock.sleep(_POLL_S)
        with self._machines.held(server):
            # Its last writes and its end are recorded.
            return

    def destroy(self, server: str) -> None:
        with self._machines.held(server) as machine:
            if machine.active:
                self._machines.write_until(machine.row.uuid, clock.now().timestamp())
                self._machines.record_stop(machine.row.uuid, clean=False)

    def define_server(
        self,
        definition: str,
        *,
        name: str,
        identity: Identity,
        disks: Mapping[str, tuple[Path, str]],
        nvram: bytes | None = None,  # noqa: ARG002  a simulated server has no firmware
        tpm: Mapping[str, bytes] | None = None,  # noqa: ARG002
        network: str = Network.SAME,
    ) -> str:
        try:
            old_uuid = uuid_of(definition)
            uuid = (old_uuid if identity is Identity.KEEP else "") or str(uuid4())
            new = NewDefinition(
                name=name, uuid=uuid, identity=identity, disks=disks, network=Network(network)
            )
            text = rewritten(definition, new)
        except ET.ParseError as error:
            raise DefinitionUnusable(server=name, reason=str(error)) from error
        self._require_free(name, uuid)
        self._add(ServerRow(uuid=uuid, name=name, definition=text))
        return uuid

    def undefine(self, server: str) -> None:
        with self._machines.held(server) as machine:
            if machine.active:
                raise ServerRunning(server=machine.row.name, state="running")
            self._machines.store.remove(machine.row.uuid)

    def attach(self, server: str, disk: DiskAttachment) -> str:
        with self._machines.held(server) as machine:
            name = machine.row.name
            real = os.path.realpath(disk.path)
            for other in self._machines.all():
                for one in other.written_disks():
                    if os.path.realpath(one.path or "") == real:
                        raise AlreadyAttached(
                            path=disk.path, server=other.row.name, device=one.device
                        )
            taken = {device_of(one) for one in machine.tree.iterfind("devices/disk")}
            if disk.device in taken:
                raise DeviceTaken(server=name, device=disk.device)
            device = disk.device or free_device(disk.bus, taken)
            if machine.active:
                self._require_usable(name, disk)
            devices = machine.tree.find("devices")
            if devices is None:
                devices = ET.SubElement(machine.tree, "devices")
            devices.append(disk_element(disk, device))
            self._machines.redefine(machine.row.uuid, machine.tree)
            return device

    def detach(self, server: str, device: str, *, timeout_s: float = 60) -> None:  # noqa: ARG002
        with self._machines.held(server) as machine:
            elements = machine.tree.findall("devices/disk")
            found = next((one for one in elements if device_of(one) == device), None)
            if found is None:
                known = tuple(sorted(device_of(one) for one in elements))
                raise DeviceUnknown(server=machine.row.name, device=device, known=known)
            if machine.active:
                self._machines.write_until(machine.row.uuid, clock.now().timestamp())
            for devices in machine.tree.iterfind("devices"):
                devices.remove(found)
            self._machines.redefine(machine.row.uuid, machine.tree)

    def set_tracking(self, server: str, tracking: Tracking) -> None:
        self._change_metadata(server, lambda old: replace(old, tracking=tracking))

    def mark_restoring(self, server: str, mark: RestoringMark) -> None:
        def marked(old: ServerMetadata) -> ServerMetadata:
            others = tuple(one for one in old.restoring if one.path != mark.path)
            return replace(old, restoring=(*others, mark))

        self._change_metadata(server, marked)

    def clear_restoring(self, server: str, path: str) -> None:
        def cleared(old: ServerMetadata) -> ServerMetadata:
            others = tuple(one for one in old.restoring if one.path != path)
            return replace(old, restoring=others)

        self._change_metadata(server, cleared)

    def checkpoints(self, server: str) -> list[Checkpoint]:
        uuid = self._machines.get(server).row.uuid
        return [
            Checkpoint(
                name=one.name,
                ours=is_ours(one.name),
                devices=one.devices,
                created_at_s=int(one.created_at_s),
            )
            for one in self._machines.store.checkpoints(uuid)
        ]

    def live_bitmaps(self, server: str) -> dict[str, tuple[BitmapState, ...]]:
        disks = self._machines.get(server).written_disks()
        found = {one.path or "": images.bitmaps(one.path or "", one.format) for one in disks}
        return {path: bitmaps for path, bitmaps in found.items() if bitmaps}

    def live_internal_snapshots(self, server: str) -> dict[str, tuple[str, ...]]:
        disks = self._machines.get(server).written_disks()
        found = {
            one.path or "": images.internal_snapshots(one.path or "", one.format) for one in disks
        }
        return {path: names for path, names in found.items() if names}

    def untrack(self, server: str) -> Untracked:
        with self._machines.held(server) as machine:
            uuid = machine.row.uuid
            names = tuple(
                one.name for one in self._machines.store.checkpoints(uuid) if is_ours(one.name)
            )
            for name in names:
                capture.drop(self._machines, uuid, name)
            removed = []
            for disk in machine.written_disks():
                for bitmap in images.bitmaps(disk.path or "", disk.format):
                    if is_ours(bitmap.name):
                        with suppress(ImageFailed):
                            images.remove_bitmap(disk.path or "", bitmap.name)
                            removed.append(bitmap.name)
        return Untracked(checkpoints=names, bitmaps=tuple(removed), stale_bitmaps=(), images=())

    def begin_live(
        self,
        server: str,
        disks: Sequence[DiskPlan],
        *,
        settings: LiveSettings,
        unmounted: Unmounted | None = None,
    ) -> SimulatedCapture:
        return begin.begin_live(
            self._machines, server, disks, settings=settings, unmounted=unmounted
        )

    def standstill(self, server: str) -> SimulatedStandstill:
        return SimulatedStandstill(self._machines, server)

    def clean_leftovers(self, note_dir: Path) -> list[CleanReport]:
        return capture.clean_leftovers(self._machines, note_dir)

    def wait_agent(self, server: str, *, timeout_s: float) -> None:  # noqa: ARG002  answers at once
        machine = self._machines.get(server)
        if not machine.agent:
            raise AgentAbsent(server=machine.row.name, reason=Message("it has none"))

    def run_program(
        self,
        server: str,
        command: Sequence[str],  # noqa: ARG002  there is nothing that could run it
        *,
        timeout_s: float,
        started: Callable[[int], None] = lambda _pid: None,  # noqa: ARG002
    ) -> ProgramEnd:
        self.wait_agent(server, timeout_s=timeout_s)
        raise AgentCannotExec(server=self._machines.get(server).row.name, command="guest-exec")

    def stop_program(self, server: str, pid: int, *, posix: bool, timeout_s: float) -> None:
        """No program ever runs here."""

    def _press(self, server: str) -> str:
        """Press the power button; the server's name. One that is off, or ignores it, stays so."""
        with self._machines.held(server) as machine:
            now = clock.now().timestamp()
            if machine.active and machine.guest.obeys and machine.row.stop_due_s is None:
                due_s = now + machine.guest.stop_seconds
                self._machines.store.change(machine.row.uuid, stop_due_s=due_s)
            return machine.row.name

    def _change_metadata(
        self, server: str, change: Callable[[ServerMetadata], ServerMetadata]
    ) -> None:
        with self._machines.held(server) as machine:
            metadata.put_into(machine.tree, change(metadata.from_definition(machine.tree)))
            self._machines.redefine(machine.row.uuid, machine.tree)

    def _require_usable(self, server: str, disk: DiskAttachment) -> None:
        try:
            images.require_usable(disk.path, disk.format)
        except ImageFailed as error:
            raise self._machines.failed(
                Message("attach {path} to", path=disk.path), server, error
            ) from error

    def _require_free(self, name: str, uuid: str) -> None:
        for row in self._machines.store.servers():
            if row.name == name:
                raise NameTaken(name=name)
            if row.uuid == uuid:
                raise UuidTaken(uuid=uuid, existing=row.name)

    def _add(self, row: ServerRow) -> None:
        try:
            self._machines.store.add(row)
        except sqlite3.IntegrityError:
            # Somebody else was quicker, and has one of the two.
            self._require_free(row.name, row.uuid)
            raise
