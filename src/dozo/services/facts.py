"""What a snapshot says about itself, sealed in the vault: enough to restore without a catalog.

The JSON form is part of what a vault keeps for ever. Fields are only ever added, with a default;
``VERSION`` goes up when an older Dozo must not try to understand the facts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, cast

from dozo.model.errors import DozoError, ErrorKind
from dozo.model.message import Message
from dozo.model.states import CaptureMode, Consistency

VERSION = 1

Json = dict[str, Any]


@dataclass(eq=False)
class FactsUnreadable(DozoError):
    """A snapshot's facts are not what this version of Dozo can understand."""

    code = "snapshot.facts_unreadable"
    kind = ErrorKind.DAMAGED
    text = "the facts of snapshot {self.snapshot} cannot be understood: {self.reason}"
    hint = "A newer Dozo may have written them: upgrade, or restore the volume to a file."
    snapshot: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """The server that the volume was attached to."""

    uuid: str
    name: str


@dataclass(frozen=True, kw_only=True)
class VolumeFacts:
    """The volume, and how it was attached."""

    volume_id: str
    name: str
    device: str = ""
    bus: str = ""
    serial: str = ""
    is_root: bool = False
    format: str = "raw"
    path: str = ""
    # The image was encrypted; the snapshot holds what the guest saw.
    encrypted: bool = False


@dataclass(frozen=True, kw_only=True)
class CaptureFacts:
    """How the snapshot was taken, and what that promises."""

    mode: CaptureMode
    consistency: Consistency
    scheduled: bool = False
    schedule_id: str = ""
    # What the schedule kept when it took this: {"here": …, "peer": …} in retention's JSON form,
    # so that a peer, and a site that lost its database, can go on counting generations.
    keep: Json | None = None
    # Time during which the guest's file systems were frozen, and the agent's own share.
    freeze_ms: int | None = None
    agent_ms: int | None = None
    # The code of why the volume was read in full; empty when the hint was used.
    full_reason: str = ""
    # Where the next snapshot goes on re-reading what its hint calls unchanged.
    reread_next_bytes: int = 0
    # What the tracking says and stands on (dozo.model.change_token); None without tracking.
    change_token: Json | None = None


@dataclass(frozen=True, kw_only=True)
class MemberFacts:
    """A volume that belongs to a recovery point."""

    volume_id: str
    device: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A disk that the recovery point does not contain, and why."""

    device: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RecoveryPointFacts:
    """The recovery point; every member carries the whole list, so a missing one shows."""

    recovery_point_id: str
    name: str
    members: tuple[MemberFacts, ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TemplateFacts:
    """What a template remembers of the snapshot that it was made from."""

    source_snapshot: str
    source_created_at: str


@dataclass(frozen=True, kw_only=True)
class SnapshotFacts:
    """Everything about a snapshot that is not its bytes."""

    name: str
    volume: VolumeFacts
    capture: CaptureFacts
    server: ServerFacts | None = None
    recovery_point: RecoveryPointFacts | None = None
    template: TemplateFacts | None = None
    # The job that made it, by which a later run of the same job knows it as its own.
    job: str = ""
    # The guest as the hypervisor showed it, for people: host, operating system.
    notes: tuple[tuple[str, str], ...] = ()
    version: ClassVar[int] = VERSION

    def to_json(self) -> Json:
        """Plain JSON values."""
        plain = asdict(self)
        plain["notes"] = dict(self.notes)
        plain["version"] = VERSION
        return cast("Json", _listed(plain))


def _listed(value: object) -> object:
    """Tuples as lists, so that what is read back compares equal to what was written."""
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_listed(inner) for inner in value]
    return value


def from_json(snapshot: str, plain: Mapping[str, Any]) -> SnapshotFacts:
    """The facts that :meth:`SnapshotFacts.to_json` wrote.

    Unknown fields are ignored. Raises :class:`FactsUnreadable`, naming ``snapshot``.
    """
    version = plain.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise FactsUnreadable(
            snapshot,
            Message(
                "version {version!r}, this Dozo knows up to {known}", version=version, known=VERSION
            ),
        )
    try:
        return _decoded(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise FactsUnreadable(snapshot, f"{type(error).__name__} {error}") from error


def _decoded(plain: Mapping[str, Any]) -> SnapshotFacts:
    server, point, template = (
        plain.get("server"),
        plain.get("recovery_point"),
        plain.get("template"),
    )
    return SnapshotFacts(
        name=_text(plain["name"]),
        volume=VolumeFacts(**_known(VolumeFacts, plain["volume"])),
        capture=_capture(plain["capture"]),
        server=ServerFacts(**_known(ServerFacts, server)) if server else None,
        recovery_point=_point(point) if point else None,
        template=TemplateFacts(**_known(TemplateFacts, template)) if template else None,
        job=_text(plain.get("job", "")),
        notes=tuple(sorted((_text(k), _text(v)) for k, v in plain.get("notes", {}).items())),
    )


def _capture(plain: Mapping[str, Any]) -> CaptureFacts:
    known = _known(CaptureFacts, plain)
    known["mode"] = CaptureMode(known["mode"])
    known["consistency"] = Consistency(known["consistency"])
    return CaptureFacts(**known)


def _point(plain: Mapping[str, Any]) -> RecoveryPointFacts:
    return RecoveryPointFacts(
        recovery_point_id=_text(plain["recovery_point_id"]),
        name=_text(plain["name"]),
        members=tuple(MemberFacts(**_known(MemberFacts, one)) for one in plain["members"]),
        left_out=tuple(LeftOut(**_known(LeftOut, one)) for one in plain.get("left_out", ())),
    )


def _known(cls: type[Any], plain: Mapping[str, Any]) -> Json:
    """The entries of ``plain`` that ``cls`` has fields for."""
    return {name: plain[name] for name in cls.__dataclass_fields__ if name in plain}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value
