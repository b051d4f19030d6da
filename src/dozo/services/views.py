"""What people and programs are shown of the catalog: plain values, newest first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.db.models import Count, Max

from dozo.model.message import known
from dozo.services.hints import in_words
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models


@dataclass(frozen=True, kw_only=True)
class VolumeView:
    """A volume."""

    volume: str
    name: str
    state: str
    server: str | None
    device: str
    bus: str
    serial: str
    root: bool
    format: str
    bytes_volume: int | None
    path: str
    restoring: str | None
    origin_snapshot: str | None
    refused_reason: str | None
    snapshots: int
    newest_snapshot_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ServerView:
    """A server; ``volumes`` are those attached to it."""

    server: str
    name: str
    tenant: str
    present: bool
    state: str
    tracking: str
    volumes: tuple[VolumeView, ...]
    newest_recovery_point_at: datetime | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SnapshotView:
    """A snapshot; ``copies`` maps site names to states.

    ``notes`` are remarks of the capture by name: why it is not clean (``not_clean``), why the guest
    was not frozen (``freeze_problem``), what the hypervisor showed of the guest.
    """

    snapshot: str
    name: str
    created_at: datetime
    bytes_volume: int
    server: str | None
    server_uuid: str | None
    volume: str | None
    volume_id: str | None
    device: str
    root: bool
    mode: str
    # Taken by a schedule, and by which; else by hand.
    scheduled: bool
    schedule: str | None
    consistency: str
    full_reason: str | None
    full_reason_words: str | None
    freeze_ms: int | None
    agent_ms: int | None
    bytes_read: int | None
    bytes_stored: int | None
    recovery_point: str | None
    origin: str
    tenant: str
    readable: bool
    deleted_at: datetime | None
    copies: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RecoveryPointView:
    """A recovery point, with those of its snapshots that this site knows.

    ``notes`` are its snapshots' notes; each says what is true of the whole server.
    """

    recovery_point: str
    name: str
    server: str
    server_uuid: str
    created_at: datetime
    complete: bool
    missing: tuple[str, ...]
    left_out: tuple[Mapping[str, str], ...]
    copies: Mapping[str, str]
    snapshots: tuple[SnapshotView, ...]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TemplateView:
    """A template."""

    template: str
    name: str
    created_at: datetime
    bytes_volume: int
    source_snapshot: str
    source_server: str | None
    tenant: str
    copies: Mapping[str, str]


# The order in which states get worse: a recovery point is as good as its worst snapshot.
_WORST_FIRST = ("damaged", "missing", "copying", "stored", "verified")


def volume_view(row: "models.Volume") -> VolumeView:
    """One volume."""
    taken = row.snapshots.filter(deleted_at=None).aggregate(
        count=Count("pk"), newest=Max("created_at")
    )
    return _volume_view(row, (taken["count"], taken["newest"]))


def volume_views(site: Site, rows: Iterable["models.Volume"]) -> list[VolumeView]:
    """Volumes in the order given, with as many queries for many as for one."""
    rows = list(rows)
    taken = _taken_of(site, [row.volume_id for row in rows])
    return [_volume_view(row, taken.get(row.volume_id, (0, None))) for row in rows]


_Taken = tuple[int, datetime | None]


def _taken_of(site: Site, volume_ids: "list[UUID]") -> "dict[UUID, _Taken]":
    """How many snapshots each volume has, and when the newest was taken."""
    found: dict[UUID, _Taken] = {}
    for part in _parts(volume_ids):
        counted = (
            site.catalog.snapshots.filter(volume_id__in=part, deleted_at=None)
            .order_by()
            .values("volume_id")
            .annotate(count=Count("pk"), newest=Max("created_at"))
        )
        found |= {one["volume_id"]: (one["count"], one["newest"]) for one in counted}
    return found


def _volume_view(row: "models.Volume", taken: _Taken) -> VolumeView:
    return VolumeView(
        volume=str(row.volume_id),
        name=row.name,
        state=row.state,
        server=row.server.name if row.server else None,
        device=row.device,
        bus=row.bus,
        serial=row.serial,
        root=row.is_root,
        format=row.format,
        bytes_volume=row.bytes_volume,
        path=row.path,
        restoring=row.restoring_snapshot or None,
        origin_snapshot=row.origin_snapshot or None,
        refused_reason=known(row.excluded_reason) or None,
        snapshots=taken[0],
        newest_snapshot_at=taken[1],
    )


def server_view(row: "models.Server") -> ServerView:
    """One server with its volumes."""
    newest = row.recovery_points.first()
    attached = row.volumes.filter(state="attached").select_related("server")
    return _server_view(
        row, [volume_view(volume) for volume in attached], newest.created_at if newest else None
    )


def server_views(site: Site, rows: Iterable["models.Server"]) -> list[ServerView]:
    """Servers in the order given, with as many queries for many as for one."""
    rows = list(rows)
    volumes: dict[UUID, list[models.Volume]] = {}
    newest: dict[UUID, datetime] = {}
    for part in _parts([row.uuid for row in rows]):
        attached = site.catalog.volumes.filter(server_id__in=part, state="attached")
        for volume in attached.select_related("server"):
            assert volume.server_id is not None  # noqa: S101  they were looked for by it
            volumes.setdefault(volume.server_id, []).append(volume)
        points = site.catalog.recovery_points.filter(server_id__in=part).order_by()
        for one in points.values("server_id").annotate(newest=Max("created_at")):
            newest[one["server_id"]] = one["newest"]
    flat = [volume for group in volumes.values() for volume in group]
    shown = {view.volume: view for view in volume_views(site, flat)}
    return [
        _server_view(
            row,
            [shown[str(volume.volume_id)] for volume in volumes.get(row.uuid, ())],
            newest.get(row.uuid),
        )
        for row in rows
    ]


def _server_view(
    row: "models.Server", volumes: list[VolumeView], newest: datetime | None
) -> ServerView:
    return ServerView(
        server=str(row.uuid),
        name=row.name,
        tenant=row.tenant.name,
        present=row.present,
        state=row.state if row.present else "gone",
        tracking=row.tracking,
        volumes=tuple(volumes),
        newest_recovery_point_at=newest,
        tags=tuple(row.tags),
    )


def snapshot_views(site: Site, rows: Iterable["models.Snapshot"]) -> list[SnapshotView]:
    """Snapshots with their copies, in the order given."""
    rows = list(rows)
    copies = _copies(site, [row.snapshot_id for row in rows])
    return [_snapshot_view(row, copies.get(row.snapshot_id, {})) for row in rows]


def _snapshot_view(row: "models.Snapshot", copies: dict[str, str]) -> SnapshotView:
    capture: dict[str, Any] = row.facts.get("capture", {})
    return SnapshotView(
        snapshot=row.snapshot_id,
        name=row.name,
        created_at=row.created_at,
        bytes_volume=row.bytes_volume,
        server=row.server.name if row.server else None,
        server_uuid=str(row.server.uuid) if row.server else None,
        volume=row.volume.name if row.volume else None,
        volume_id=str(row.volume.volume_id) if row.volume else None,
        device=str(row.facts.get("volume", {}).get("device", "")),
        root=row.is_root,
        mode=row.mode,
        scheduled=row.scheduled,
        schedule=row.schedule_id or None,
        consistency=row.consistency,
        full_reason=row.full_reason or None,
        full_reason_words=in_words(row.full_reason) if row.full_reason else None,
        freeze_ms=capture.get("freeze_ms"),
        agent_ms=capture.get("agent_ms"),
        bytes_read=row.bytes_read,
        bytes_stored=row.bytes_stored,
        recovery_point=row.recovery_point_id,
        origin=row.origin_site.name,
        tenant=row.tenant.name,
        readable=row.readable,
        deleted_at=row.deleted_at,
        copies=copies,
        notes={name: known(text) for name, text in (row.facts.get("notes") or {}).items()},
    )


def recovery_point_view(site: Site, row: "models.RecoveryPoint") -> RecoveryPointView:
    """One recovery point; *complete* when every member is in this site's vault."""
    return recovery_point_views(site, [row])[0]


def recovery_point_views(
    site: Site, rows: Iterable["models.RecoveryPoint"]
) -> list[RecoveryPointView]:
    """Recovery points in the order given, with as many queries for many as for one."""
    rows = list(rows)
    members: list[models.Snapshot] = []
    for part in _parts([row.recovery_point_id for row in rows]):
        members += (
            site.catalog.snapshots.filter(recovery_point_id__in=part, deleted_at=None)
            .select_related(*_SNAPSHOT_RELATED)
            .order_by("name")
        )
    grouped: dict[str, list[SnapshotView]] = {}
    for view in snapshot_views(site, members):
        grouped.setdefault(str(view.recovery_point), []).append(view)
    return [_recovery_point_view(site, row, grouped.get(row.recovery_point_id, [])) for row in rows]


def _recovery_point_view(
    site: Site, row: "models.RecoveryPoint", views: list[SnapshotView]
) -> RecoveryPointView:
    own = site.settings.name
    here = {view.volume_id for view in views if view.copies.get(own, "missing") in _USABLE}
    missing = tuple(one["device"] for one in row.members if one["volume_id"] not in here)
    names = {name for view in views for name in view.copies}
    copies = {
        name: min((view.copies.get(name, "missing") for view in views), key=_WORST_FIRST.index)
        for name in sorted(names)
    }
    return RecoveryPointView(
        recovery_point=row.recovery_point_id,
        name=row.name,
        server=row.server.name,
        server_uuid=str(row.server.uuid),
        created_at=row.created_at,
        complete=not missing,
        missing=missing,
        left_out=tuple({**one, "reason": known(one["reason"])} for one in row.left_out),
        copies=copies,
        snapshots=tuple(sorted(views, key=lambda view: view.device)),
        notes={name: text for view in views for name, text in view.notes.items()},
    )


_SNAPSHOT_RELATED = ("server", "volume", "origin_site", "tenant")
_USABLE = ("stored", "verified")


def template_view(site: Site, row: "models.Template") -> TemplateView:
    """One template."""
    return template_views(site, [row])[0]


def template_views(site: Site, rows: Iterable["models.Template"]) -> list[TemplateView]:
    """Templates in the order given."""
    rows = list(rows)
    copies = _copies(site, [row.snapshot_id for row in rows])
    return [_template_view(row, copies.get(row.snapshot_id, {})) for row in rows]


def _template_view(row: "models.Template", copies: dict[str, str]) -> TemplateView:
    server = row.facts.get("server") or {}
    return TemplateView(
        template=row.snapshot_id,
        name=row.name,
        created_at=row.created_at,
        bytes_volume=row.bytes_volume,
        source_snapshot=row.source_snapshot,
        source_server=server.get("name"),
        tenant=row.tenant.name,
        copies=copies,
    )


def list_servers(site: Site, *, gone: bool = False) -> list[ServerView]:
    """The servers on the hypervisor; with ``gone`` those that only snapshots know too."""
    rows = site.catalog.servers.select_related("tenant")
    return server_views(site, rows.all() if gone else rows.filter(present=True))


def list_volumes(site: Site, *, gone: bool = False) -> list[VolumeView]:
    """The volumes at this site; with ``gone`` those that only snapshots know too."""
    rows = site.catalog.volumes.select_related("server")
    return volume_views(site, rows.all() if gone else rows.exclude(state="gone"))


def list_snapshots(
    site: Site,
    *,
    server: str | None = None,
    volume: str | None = None,
    deleted: bool = False,
) -> list[SnapshotView]:
    """Snapshots, newest first. Raises ``ServerUnknown``, ``VolumeUnknown``."""
    rows = site.catalog.snapshots.select_related(*_SNAPSHOT_RELATED)
    if not deleted:
        rows = rows.filter(deleted_at=None)
    if server is not None:
        rows = rows.filter(server=site.catalog.server(server))
    if volume is not None:
        rows = rows.filter(volume=site.catalog.volume(volume))
    return snapshot_views(site, rows)


def list_recovery_points(site: Site, *, server: str | None = None) -> list[RecoveryPointView]:
    """Recovery points that still have a snapshot, newest first."""
    rows = site.catalog.recovery_points.select_related("server")
    if server is not None:
        rows = rows.filter(server=site.catalog.server(server))
    return [view for view in recovery_point_views(site, rows) if view.snapshots]


def list_templates(site: Site) -> list[TemplateView]:
    """Templates, newest first."""
    rows = site.catalog.templates.filter(deleted_at=None).select_related("tenant")
    return template_views(site, rows)


def _copies(site: Site, snapshot_ids: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for part in _parts(snapshot_ids):
        for copy in site.catalog.copies.filter(snapshot_id__in=part).select_related("site"):
            found.setdefault(copy.snapshot_id, {})[copy.site.name] = copy.state
    return found


_Key = TypeVar("_Key")


def _parts(keys: list[_Key]) -> Iterator[list[_Key]]:
    """SQLite binds at most a few ten thousand values in one query."""
    for start in range(0, len(keys), 5000):
        yield keys[start : start + 5000]
