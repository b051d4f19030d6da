"""The newest row of each of many: for all volumes, or schedules, in one query.

Django cannot say it without reading every row of a table, so these queries are written by hand; the
same text runs on SQLite and on PostgreSQL. Each of many is one look into an index.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connections

from dozo.catalog.store import Catalog
from dozo.model.states import Copy

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

# Every snapshot is younger. SQLite counts from the index of what is there only if asked for a part.
EVER = datetime(1, 1, 2, tzinfo=UTC)

# SQLite binds at most a few ten thousand values in one query.
_PART = 5000
# PostgreSQL is asked about so many of a volume's snapshots, the newest first: without a limit it
# would ask about all of them before it takes the newest.
_MOST = 1000


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run of a schedule: which row it is, when it was planned, and what became of it."""

    run: int
    planned_at: datetime
    outcome: str


def protected_snapshots(
    catalog: Catalog, volumes: Iterable[UUID], sites: Sequence[str]
) -> dict[UUID, datetime]:
    """When the newest snapshot was taken that is verified at all ``sites``, by volume."""
    there = "volume_id = given.volume AND deleted_at IS NULL"
    text = f"SELECT given.volume, ({_newest(catalog, there, sites)}) FROM given"  # noqa: S608
    rows = _ask(catalog, ("volume",), [(one,) for one in volumes], text, _sites(sites))
    return {_uuid(volume): _time(at) for volume, at in rows if at is not None}


def protected_by_schedule(
    catalog: Catalog, pairs: Iterable[tuple[UUID, str]], sites: Sequence[str], *, until: datetime
) -> dict[tuple[UUID, str], datetime]:
    """The same by volume and schedule, of snapshots taken ``until`` then."""
    there = (
        "volume_id = given.volume AND schedule_id = given.schedule"
        " AND deleted_at IS NULL AND created_at <= %s"
    )
    newest = _newest(catalog, there, sites)
    text = f"SELECT given.volume, given.schedule, ({newest}) FROM given"  # noqa: S608
    rows = _ask(catalog, ("volume", "schedule"), pairs, text, [until, *_sites(sites)])
    return {(_uuid(volume), schedule): _time(at) for volume, schedule, at in rows if at is not None}


def runs(
    catalog: Catalog, pairs: Iterable[tuple[str, str]], *, until: datetime, most: int
) -> dict[tuple[str, str], list[PlannedRun]]:
    """The newest runs, ``most`` of them, planned ``until`` then, by schedule and target."""
    places = ", ".join(
        f"""(
            SELECT r.id FROM catalog_schedulerun r
            WHERE r.schedule_id = given.schedule AND r.target = given.target AND r.planned_at <= %s
            ORDER BY r.planned_at DESC LIMIT 1 OFFSET {int(place)}
        )"""  # noqa: S608  a number
        for place in range(most)
    )
    text = f"SELECT {places} FROM given"  # noqa: S608  of fixed words
    ids = [
        run
        for row in _ask(catalog, ("schedule", "target"), pairs, text, [until] * most)
        for run in row
        if run is not None
    ]
    found: dict[tuple[str, str], list[PlannedRun]] = {}
    for start in range(0, len(ids), _PART):
        rows = catalog.schedule_runs.filter(pk__in=ids[start : start + _PART])
        columns = ("schedule_id", "target", "pk", "planned_at", "outcome")
        for schedule, target, run, at, outcome in rows.order_by("-planned_at").values_list(
            *columns
        ):
            planned = PlannedRun(run=run, planned_at=at, outcome=outcome)
            found.setdefault((schedule, target), []).append(planned)
    return found


def _newest(catalog: Catalog, there: str, sites: Sequence[str]) -> str:
    """A query for when the newest snapshot of those ``there`` was taken that is at all sites."""
    if connections[catalog.alias].vendor == "sqlite":
        # It goes along the index and ends with the first that fits.
        return (
            f"SELECT s.created_at FROM catalog_snapshot s WHERE {there} AND {_at_all(sites)}"  # noqa: S608
            " ORDER BY s.created_at DESC LIMIT 1"
        )
    return f"""
        SELECT s.created_at FROM (
            SELECT snapshot_id, created_at FROM catalog_snapshot
            WHERE {there} ORDER BY created_at DESC LIMIT {_MOST}
        ) s WHERE {_at_all(sites)} ORDER BY s.created_at DESC LIMIT 1
    """  # noqa: S608  of fixed words


def _at_all(sites: Sequence[str]) -> str:
    # Not EXISTS: PostgreSQL would join all copies of the site for it.
    return " AND ".join(
        "(SELECT c.state FROM catalog_copy c WHERE c.snapshot_id = s.snapshot_id"
        " AND c.site_id = %s) = %s"
        for _ in sites
    )


def _sites(sites: Sequence[str]) -> list[Any]:
    return [value for site in sites for value in (site, Copy.VERIFIED.value)]


def _ask(
    catalog: Catalog,
    columns: Sequence[str],
    given: Iterable[Sequence[Any]],
    text: str,
    values: Sequence[Any],
) -> Iterator[tuple[Any, ...]]:
    """Run a query over rows that stand in no table, ``given``; in parts if they are many."""
    rows = list(given)
    mark = f"({', '.join(['%s'] * len(columns))})"
    for start in range(0, len(rows), _PART):
        part = rows[start : start + _PART]
        head = f"WITH given ({', '.join(columns)}) AS (VALUES {', '.join([mark] * len(part))})"
        with connections[catalog.alias].cursor() as cursor:
            bound = [value for row in part for value in row]
            cursor.execute(f"{head} {text}", [_bound(cursor, one) for one in (*bound, *values)])
            yield from cursor.fetchall()


def _bound(cursor: "CursorWrapper", value: Any) -> Any:
    if cursor.db.vendor != "sqlite":
        return value
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return cursor.db.ops.adapt_datetimefield_value(value)
    return value


def _uuid(found: Any) -> UUID:
    return found if isinstance(found, UUID) else UUID(found)


def _time(found: Any) -> datetime:
    if isinstance(found, datetime):
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return datetime.fromisoformat(found).replace(tzinfo=UTC)
