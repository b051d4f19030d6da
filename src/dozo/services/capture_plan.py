"""What a capture is asked to do, and what it hands to whoever stores the bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dozo.model.change_token import ChangeToken
from dozo.model.extents import Extent
from dozo.model.states import CaptureMode, Consistency
from dozo.model.volume_io import ByteSource
from dozo.services.facts import LeftOut


@dataclass(frozen=True, kw_only=True)
class ParentPlan:
    """A volume's newest snapshot, and what an incremental one may build on.

    ``base`` is the snapshot that the newest one's change token counts from: itself, or an earlier
    one if it was taken offline. None without a token, or if that snapshot is gone.
    """

    snapshot: str
    base: str | None
    created_at: datetime
    bytes_volume: int
    change_token: dict[str, Any] | None
    reread_next_bytes: int


@dataclass(frozen=True, kw_only=True)
class VolumePlan:
    """One volume to be read. ``full_reason`` is set where no parent is used anyway."""

    volume_id: str
    name: str
    snapshot_name: str
    tenant: str
    device: str
    bus: str
    serial: str
    is_root: bool
    format: str
    path: str
    encrypted: bool
    parent: ParentPlan | None
    full_reason: str


@dataclass(frozen=True, kw_only=True)
class CapturePlan:
    """A recovery point, or a snapshot of one volume; a value that can be shown and refused."""

    name: str
    recovery_point: str | None
    server_uuid: str | None
    server_name: str | None
    mode: CaptureMode
    volumes: tuple[VolumePlan, ...]
    left_out: tuple[LeftOut, ...]
    freeze: bool
    stated_unmounted: bool
    track: bool
    scheduled: bool
    schedule_id: str
    keep: dict[str, Any] | None
    job: str = ""

    @property
    def note_name(self) -> str:
        """The note that keeps others off the server, or off an unattached volume."""
        if self.server_uuid is not None:
            return f"server-{self.server_uuid}"
        return f"volume-{self.volumes[0].volume_id}"


@dataclass(frozen=True, kw_only=True)
class OpenedVolume:
    """A volume at the capture's instant. ``changed`` is None where it is to be read in full."""

    plan: VolumePlan
    source: ByteSource
    changed: list[Extent] | None
    full_reason: str
    token: ChangeToken | None


@dataclass(kw_only=True)
class Opened:
    """A capture under way; ``check`` raises when it cannot be trusted any more."""

    instant: datetime
    consistency: Consistency
    volumes: list[OpenedVolume]
    attachments: Mapping[str, bytes]
    check: Callable[[], None]
    # The same, but it really looks: for the last moment before publication.
    check_now: Callable[[], None]
    # Called once everything is published: now the old evidence may go, the new one stays.
    stored: Callable[[], None]
    freeze_ms: int | None = None
    agent_ms: int | None = None
    notes: dict[str, str] = field(default_factory=dict)
