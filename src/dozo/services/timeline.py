"""What was taken of a server or a volume over time, for a picture of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Max, Min

from dozo.services.access import Operation, Scope

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog import models

# More than any picture shows apart; what is older is seen by looking at a shorter time.
MOST_SNAPSHOTS = 3000
_FIELDS = (
    "snapshot_id",
    "name",
    "volume_id",
    "recovery_point_id",
    "created_at",
    "mode",
    "consistency",
    "scheduled",
    "bytes_volume",
    "bytes_stored",
    "origin_site__name",
)


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A volume, which has a lane of its own; ``attached`` False: it was the server's once."""

    volume: str
    name: str
    device: str
    root: bool
    attached: bool


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A snapshot; ``copies`` maps site names to states."""

    snapshot: str
    name: str
    volume: str
    recovery_point: str | None
    created_at: datetime
    mode: str
    consistency: str
    scheduled: bool
    bytes_volume: int
    bytes_stored: int | None
    origin: str
    copies: Mapping[str, str] = field(default_factory=dict)

    @property
    def instant(self) -> str:
        """What it belongs to: its recovery point, or itself."""
        return self.recovery_point or self.snapshot


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The newest snapshots of a time, newest first, and the volumes that they are of.

    ``points`` are the names of their recovery points by id, ``total`` the number of snapshots in
    that time.
    """

    lanes: tuple[Lane, ...]
    snapshots: tuple[Taken, ...]
    points: Mapping[str, str]
    total: int


def bounds_of_server(scope: Scope, row: "models.Server") -> tuple[datetime | None, datetime | None]:
    """When a server's oldest and newest snapshots were taken."""
    return _bounds(_of_server(scope, row))


def bounds_of_volume(scope: Scope, row: "models.Volume") -> tuple[datetime | None, datetime | None]:
    """When a volume's oldest and newest snapshots were taken."""
    return _bounds(_of_volume(scope, row))


def of_server(scope: Scope, row: "models.Server", since: datetime, until: datetime) -> Timeline:
    """A server's snapshots from ``since`` to before ``until``. Raises ``Forbidden``.

    A few queries, however many there are. Volumes that are attached have a lane even where nothing
    was taken of them.
    """
    scope.permit(Operation.SERVER_SHOW, row)
    attached = list(row.volumes.filter(state="attached").order_by("-is_root", "device"))
    return _timeline(scope, _of_server(scope, row), attached, since, until)


def of_volume(scope: Scope, row: "models.Volume", since: datetime, until: datetime) -> Timeline:
    """As :func:`of_server` for one volume, whichever server it was attached to."""
    scope.permit(Operation.VOLUME_SHOW, row)
    return _timeline(scope, _of_volume(scope, row), [row], since, until)


def _of_server(scope: Scope, row: "models.Server") -> "QuerySet[models.Snapshot]":
    return scope.snapshots.filter(server=row, deleted_at=None, volume__isnull=False)


def _of_volume(scope: Scope, row: "models.Volume") -> "QuerySet[models.Snapshot]":
    return scope.snapshots.filter(volume=row, deleted_at=None)


def _bounds(rows: "QuerySet[models.Snapshot]") -> tuple[datetime | None, datetime | None]:
    found = rows.order_by().aggregate(first=Min("created_at"), last=Max("created_at"))
    return found["first"], found["last"]


def _timeline(
    scope: Scope,
    rows: "QuerySet[models.Snapshot]",
    attached: "list[models.Volume]",
    since: datetime,
    until: datetime,
) -> Timeline:
    within = rows.filter(created_at__gte=since, created_at__lt=until)
    plain = list(within.order_by("-created_at", "snapshot_id").values(*_FIELDS)[:MOST_SNAPSHOTS])
    copies = _copies(scope, [one["snapshot_id"] for one in plain])
    snapshots = tuple(_taken(one, copies.get(one["snapshot_id"], {})) for one in plain)
    lanes = [_lane(one, attached=True) for one in attached]
    there = {one.volume for one in lanes}
    others = sorted({one.volume for one in snapshots} - there)
    once = scope.volumes.filter(volume_id__in=[UUID(one) for one in others[:100]])
    lanes += [_lane(one, attached=False) for one in once.order_by("device", "name")]
    point_ids = {one.recovery_point for one in snapshots if one.recovery_point}
    return Timeline(
        lanes=tuple(lanes),
        snapshots=snapshots,
        points=_points(scope, sorted(point_ids)),
        total=len(plain) if len(plain) < MOST_SNAPSHOTS else within.count(),
    )


def _taken(row: Mapping[str, Any], copies: Mapping[str, str]) -> Taken:
    return Taken(
        snapshot=row["snapshot_id"],
        name=row["name"],
        volume=str(row["volume_id"]),
        recovery_point=row["recovery_point_id"],
        created_at=row["created_at"],
        mode=row["mode"],
        consistency=row["consistency"],
        scheduled=row["scheduled"],
        bytes_volume=row["bytes_volume"],
        bytes_stored=row["bytes_stored"],
        origin=row["origin_site__name"],
        copies=copies,
    )


def _lane(row: "models.Volume", *, attached: bool) -> Lane:
    return Lane(
        volume=str(row.volume_id),
        name=row.name,
        device=row.device,
        root=row.is_root,
        attached=attached,
    )


def _copies(scope: Scope, snapshots: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for part in _parts(snapshots):
        rows = scope.site.catalog.copies.filter(snapshot_id__in=part)
        for snapshot, site, state in rows.values_list("snapshot_id", "site__name", "state"):
            found.setdefault(snapshot, {})[site] = state
    return found


def _points(scope: Scope, points: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in _parts(points):
        rows = scope.site.catalog.recovery_points.filter(recovery_point_id__in=part)
        found |= dict(rows.values_list("recovery_point_id", "name"))
    return found


def _parts(keys: list[str]) -> Iterator[list[str]]:
    """SQLite binds at most a few ten thousand values in one query."""
    for start in range(0, len(keys), 5000):
        yield keys[start : start + 5000]
