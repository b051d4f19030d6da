"""The promises that every hypervisor makes: libvirt, and the simulated one."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from dozo.hypervisor.attachment import DiskAttachment
from dozo.hypervisor.cleanup import CleanReport
from dozo.hypervisor.definition import Network
from dozo.hypervisor.guest_program import ProgramEnd
from dozo.hypervisor.in_use import Unmounted
from dozo.hypervisor.inventory import ServerInfo
from dozo.hypervisor.live import DiskPlan, LiveExport, LiveSettings
from dozo.hypervisor.metadata import RestoringMark
from dozo.hypervisor.server_state import ServerState
from dozo.hypervisor.tracking import Checkpoint, StaleBitmap, Untracked
from dozo.model.change_token import BitmapState
from dozo.model.states import Consistency, Identity, Tracking


class Capture(Protocol):
    """A live capture whose instant is fixed. End it with :meth:`finish` or :meth:`abort`.

    As a context manager it aborts when the block ends without :meth:`finish`.
    ``freeze_problem`` says why the guest was not frozen, or not properly, if it was to be;
    ``checkpoint`` is the one that begins here, if any.
    """

    server: str
    server_uuid: str
    instant: datetime
    consistency: Consistency
    freeze_ms: int | None
    agent_ms: int | None
    freeze_problem: str | None
    exports: Mapping[str, LiveExport]
    checkpoint: str | None

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def check(self, *, now: bool = False) -> None:
        """Raise if the capture cannot be trusted any more; call it often, from any thread."""

    def finish(self, *, keep_checkpoint: bool) -> tuple[StaleBitmap, ...]:
        """End the capture after its data are stored; raises what :meth:`check` raises.

        With ``keep_checkpoint`` the new checkpoint stays and older ones that are the newest of
        no volume go. Returns bitmaps that only the caller can remove.
        """

    def abort(self) -> tuple[StaleBitmap, ...]:
        """End the capture and leave nothing of it behind; a second call does nothing."""


class Standstill(Protocol):
    """Evidence, for the length of a block, that a stopped server stayed stopped.

    Entering raises ``ServerRunning`` unless it is stopped.
    """

    server: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def check(self, *, now: bool = False) -> None:
        """Raise ``ServerStarted`` or ``StandstillUnproven`` if the server may have run.

        A start by any route counts, also if the server is stopped again before anybody looks, and
        the start of another server that has one of the disks. Cheap unless ``now`` is set, which
        belongs before the result is published.
        """


class Hypervisor(Protocol):
    """The servers of one site, named by name or UUID. Safe for use from several threads.

    What changes something is durable when the call returns. Every method that takes a server
    raises ``ServerUnknown``; every one may raise ``LibvirtUnavailable`` or ``LibvirtFailed``.
    """

    uri: str

    @property
    def simulated(self) -> bool:
        """Whether nobody's real server is here, so that nothing is protected."""

    def close(self) -> None:
        """Let go; running servers and captures are not touched."""

    def is_alive(self) -> bool:
        """Whether it still answers."""

    def folder_refusal(self, folder: Path) -> str | None:
        """Why no image, scratch file and socket can be kept there; None where they can."""

    def servers(self) -> list[ServerInfo]:
        """All servers, sorted by name."""

    def server(self, name: str) -> ServerInfo:
        """One server."""

    def read_state(self, server: str) -> ServerState:
        """What the server is besides its disks, running or stopped."""

    def start(self, server: str) -> None:
        """Start it; one that runs already is fine. Raises ``ServerRestoring``."""

    def stop(
        self,
        server: str,
        *,
        timeout_s: float = 120,
        force: bool = False,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Press the power button and wait until the server is off; stopped already is fine.

        Raises ``StopTimedOut`` if the guest does not obey, unless ``force`` then cuts the power,
        and whatever ``look`` raises while it waits.
        """

    def destroy(self, server: str) -> None:
        """Cut its power; stopped already is fine."""

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
        """Define a stopped server from a stored definition; returns its UUID.

        ``disks`` gives path and format by device name; disks that it does not name are left out.
        *Keep* takes the old UUID, MAC addresses and TPM state; *copy* makes them new. Raises
        ``NameTaken``, ``UuidTaken``, ``DefinitionUnusable``; then nothing is left behind.
        """

    def undefine(self, server: str) -> None:
        """Remove a stopped server; its disks stay. Raises ``ServerRunning``."""

    def attach(self, server: str, disk: DiskAttachment) -> str:
        """Attach a disk, running or stopped; its device name.

        Raises ``AlreadyAttached``, ``DeviceTaken``.
        """

    def detach(self, server: str, device: str, *, timeout_s: float = 60) -> None:
        """Detach a disk, and return when the guest has let go of it.

        Raises ``DeviceUnknown``, ``DetachTimedOut``.
        """

    def set_tracking(self, server: str, tracking: Tracking) -> None:
        """Say whether checkpoints may be kept on this server's volumes."""

    def mark_restoring(self, server: str, mark: RestoringMark) -> None:
        """Mark a volume as half restored; one mark an image, the newest counts."""

    def clear_restoring(self, server: str, path: str) -> None:
        """Take the mark of an image away; nothing happens if there is none."""

    def checkpoints(self, server: str) -> list[Checkpoint]:
        """All checkpoints, the oldest first."""

    def live_bitmaps(self, server: str) -> dict[str, tuple[BitmapState, ...]]:
        """The bitmaps in a running server's images by image path."""

    def live_internal_snapshots(self, server: str) -> dict[str, tuple[str, ...]]:
        """The internal snapshots in a running server's images by image path."""

    def untrack(self, server: str) -> Untracked:
        """Remove every trace of change tracking, running or stopped."""

    def begin_live(
        self,
        server: str,
        disks: Sequence[DiskPlan],
        *,
        settings: LiveSettings,
        unmounted: Unmounted | None = None,
    ) -> Capture:
        """Fix the instant of the chosen disks of a running or paused server.

        With ``unmounted`` the disks must not be in use inside the guest, and nothing is frozen.
        Raises ``DeviceUnknown``, ``DiskRefused``, ``ServerNotRunning``, ``ServerBusy``,
        ``ScratchFull``, ``DiskInUse``, ``NotKnownUnmounted``, ``AgentError`` (if a freeze is
        required), ``CaptureFailed``; then nothing is left behind.
        """

    def standstill(self, server: str) -> Standstill:
        """Watch a stopped server from the beginning of the block on."""

    def clean_leftovers(self, note_dir: Path) -> list[CleanReport]:
        """Undo every capture whose process is gone; safe at any time."""

    def wait_agent(self, server: str, *, timeout_s: float) -> None:
        """Return when the guest agent answers; raises ``AgentAbsent`` after ``timeout_s``."""

    def run_program(
        self,
        server: str,
        command: Sequence[str],
        *,
        timeout_s: float,
        started: Callable[[int], None] = lambda _pid: None,
    ) -> ProgramEnd:
        """Run a program inside the guest and wait for its end.

        ``started`` is told its number. Raises ``AgentCannotExec``, ``AgentRefused``,
        ``AgentAbsent``, ``AgentHung``.
        """

    def stop_program(self, server: str, pid: int, *, posix: bool, timeout_s: float) -> None:
        """Wait for the end of a program that somebody else started, then stop it if possible."""
