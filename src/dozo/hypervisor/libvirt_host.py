"""The port by libvirt: each promise is kept by the module of its subject."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dozo.hypervisor import (
    attachment,
    begin,
    guest_program,
    inventory,
    leftovers,
    machines,
    metadata,
    qemu_user,
    server_state,
    tracking,
)
from dozo.hypervisor.agent import wait_agent
from dozo.hypervisor.attachment import DiskAttachment
from dozo.hypervisor.cleanup import CleanReport
from dozo.hypervisor.connection import Host
from dozo.hypervisor.definition import Network
from dozo.hypervisor.guest_program import ProgramEnd
from dozo.hypervisor.in_use import Unmounted
from dozo.hypervisor.inventory import ServerInfo
from dozo.hypervisor.live import DiskPlan, LiveCapture, LiveSettings
from dozo.hypervisor.metadata import RestoringMark
from dozo.hypervisor.offline_watch import OfflineWatch
from dozo.hypervisor.server_state import ServerState
from dozo.hypervisor.tracking import Checkpoint, Untracked
from dozo.model.change_token import BitmapState
from dozo.model.states import Identity, Tracking


class LibvirtHost(Host):
    """One libvirt daemon as a :class:`~dozo.hypervisor.port.Hypervisor`."""

    simulated = False

    def folder_refusal(self, folder: Path) -> str | None:
        return qemu_user.qemu_user_refusal(self, folder)

    def servers(self) -> list[ServerInfo]:
        return inventory.servers(self)

    def server(self, name: str) -> ServerInfo:
        return inventory.server(self, name)

    def read_state(self, server: str) -> ServerState:
        return server_state.read_state(self, server)

    def start(self, server: str) -> None:
        machines.start(self, server)

    def stop(
        self,
        server: str,
        *,
        timeout_s: float = 120,
        force: bool = False,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        machines.stop(self, server, timeout_s=timeout_s, force=force, look=look)

    def destroy(self, server: str) -> None:
        machines.destroy(self, server)

    def define_server(
        self,
        definition: str,
        *,
        name: str,
        identity: Identity,
        disks: Mapping[str, tuple[Path, str]],
        nvram: bytes | None = None,
        tpm: Mapping[str, bytes] | None = None,
        network: str = Network.SAME,
    ) -> str:
        return machines.define_server(
            self,
            definition,
            name=name,
            identity=identity,
            disks=disks,
            nvram=nvram,
            tpm=tpm,
            network=network,
        )

    def undefine(self, server: str) -> None:
        machines.undefine(self, server)

    def attach(self, server: str, disk: DiskAttachment) -> str:
        return attachment.attach(self, server, disk)

    def detach(self, server: str, device: str, *, timeout_s: float = 60) -> None:
        attachment.detach(self, server, device, timeout_s=timeout_s)

    def set_tracking(self, server: str, tracking: Tracking) -> None:
        metadata.set_tracking(self, server, tracking)

    def mark_restoring(self, server: str, mark: RestoringMark) -> None:
        metadata.mark_restoring(self, server, mark)

    def clear_restoring(self, server: str, path: str) -> None:
        metadata.clear_restoring(self, server, path)

    def checkpoints(self, server: str) -> list[Checkpoint]:
        return tracking.checkpoints(self, server)

    def live_bitmaps(self, server: str) -> dict[str, tuple[BitmapState, ...]]:
        return tracking.live_bitmaps(self, server)

    def live_internal_snapshots(self, server: str) -> dict[str, tuple[str, ...]]:
        return tracking.live_internal_snapshots(self, server)

    def untrack(self, server: str) -> Untracked:
        return tracking.untrack(self, server)

    def begin_live(
        self,
        server: str,
        disks: Sequence[DiskPlan],
        *,
        settings: LiveSettings,
        unmounted: Unmounted | None = None,
    ) -> LiveCapture:
        return begin.begin_live(self, server, disks, settings=settings, unmounted=unmounted)

    def standstill(self, server: str) -> OfflineWatch:
        return OfflineWatch(self, server)

    def clean_leftovers(self, note_dir: Path) -> list[CleanReport]:
        return leftovers.clean_leftovers(self, note_dir)

    def wait_agent(self, server: str, *, timeout_s: float) -> None:
        wait_agent(self, server, timeout_s=timeout_s)

    def run_program(
        self,
        server: str,
        command: Sequence[str],
        *,
        timeout_s: float,
        started: Callable[[int], None] = lambda _pid: None,
    ) -> ProgramEnd:
        return guest_program.run_program(
            self, server, command, timeout_s=timeout_s, started=started
        )

    def stop_program(self, server: str, pid: int, *, posix: bool, timeout_s: float) -> None:
        guest_program.stop_program(self, server, pid, posix=posix, timeout_s=timeout_s)
