"""What the judgement of protection rests on, read for many volumes with a few queries."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from django.db.models import Exists, Max, OuterRef, Q, Subquery

from dozo.model import clock
from dozo.model.states import Copy
from dozo.services import scheduler
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.catalog.models_jobs import Job, Schedule, ScheduleRun

_Key = TypeVar("_Key")
# SQLite binds at most a few ten thousand values in one query.
_AT_ONCE = 5000
# Schedules whose last but one run lies about as far back are asked about together, so that one
# of every month does not make a year of hourly snapshots count.
_AGES = (timedelta(hours=3), timedelta(days=3), timedelta(days=21), timedelta(days=100))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Schedules, their newest runs, and the newest protected snapshots of some volumes."""

    by_tenant: Mapping[int, list["Schedule"]]
    by_volume: Mapping[str, list["Schedule"]]
    runs: Mapping[tuple[str, str], list["ScheduleRun"]] = field(default_factory=dict)
    jobs: Mapping[int, "Job"] = field(default_factory=dict)
    newest: Mapping[UUID, datetime] = field(default_factory=dict)
    newest_by: Mapping[tuple[UUID, str], datetime] = field(default_factory=dict)

    def covering(self, server: "models.Server") -> list["Schedule"]:
        """The schedules that cover a server as a whole."""
        rows = self.by_tenant.get(server.tenant_id, ())
        return [row for row in rows if scheduler.covers(row, server)]

    def schedules(self, volume: "models.Volume") -> list["Schedule"]:
        """All schedules of a volume, those of its server first."""
        attached = volume.server if volume.state == "attached" else None
        found = self.covering(attached) if attached is not None else []
        return found + self.by_volume.get(str(volume.volume_id), [])

    def last_runs(self, volume: "models.Volume", schedule: "Schedule") -> list["ScheduleRun"]:
        """The newest two runs of a schedule that were for this volume, the newest first."""
        targets = [f"volume:{volume.volume_id}", ""]
        if volume.server_id is not None:
            targets.append(f"server:{volume.server_id}")
        found = [row for one in targets for row in self.runs.get((schedule.schedule_id, one), ())]
        return sorted(found, key=lambda row: row.planned_at, reverse=True)[:2]


def gather(
    site: Site, volumes: Collection["models.Volume"], required: Mapping[int, frozenset[str]]
) -> Evidence:
    """Read it. ``required`` has the sites at which each tenant's snapshots have to be verified."""
    rows = [
        row
        for part in _parts(required)
        for row in site.catalog.schedules.filter(tenant_id__in=part, enabled=True, deleted_at=None)
    ]
    by_tenant: defaultdict[int, list[Schedule]] = defaultdict(list)
    by_volume: defaultdict[str, list[Schedule]] = defaultdict(list)
    for row in rows:
        if row.target_kind == "volume":
            by_volume[row.target].append(row)
        else:
            by_tenant[row.tenant_id].append(row)
    now = clock.now()
    runs, since = _runs(site, rows, now)
    newest_runs = [row.pk for many in runs.values() for row in many]
    grouped: defaultdict[frozenset[str], list[UUID]] = defaultdict(list)
    for volume in volumes:
        grouped[required[volume.tenant_id]].append(volume.volume_id)
    newest_of: dict[UUID, datetime] = {}
    newest_by: dict[tuple[UUID, str], datetime] = {}
    for sites, ids in grouped.items():
        good = verified_at(site, sites)
        for part in _parts(ids):
            newest_of |= newest(site, part, good)
            for start, schedule_ids in _by_age(rows, since, now):
                newest_by |= _newest_by(site, part, schedule_ids, good, start=start, now=now)
    return Evidence(
        by_tenant=by_tenant,
        by_volume=by_volume,
        runs=runs,
        jobs=_jobs(site, newest_runs),
        newest=newest_of,
        newest_by=newest_by,
    )


def _runs(
    site: Site, schedules: list["Schedule"], now: datetime
) -> tuple[dict[tuple[str, str], list["ScheduleRun"]], dict[str, datetime]]:
    """The runs of each schedule's last two planned times, and the earlier of the two."""
    runs = site.catalog.schedule_runs
    before = runs.filter(schedule=OuterRef("pk"), planned_at__lte=now).order_by("-planned_at")
    earlier = runs.filter(schedule=OuterRef("pk"), planned_at__lt=OuterRef("last_at")).order_by(
        "-planned_at"
    )
    found: defaultdict[tuple[str, str], list[ScheduleRun]] = defaultdict(list)
    since: dict[str, datetime] = {}
    for part in _parts([row.schedule_id for row in schedules]):
        timed = (
            site.catalog.schedules.filter(pk__in=part)
            .annotate(last_at=Subquery(before.values("planned_at")[:1]))
            .annotate(earlier_at=Subquery(earlier.values("planned_at")[:1]))
            .values_list("pk", "last_at", "earlier_at", "created_at")
        )
        wanted: dict[str, set[datetime]] = {}
        for key, last_at, earlier_at, created_at in timed:
            if last_at is not None:
                wanted[key] = {last_at, earlier_at}
                since[key] = min(earlier_at or created_at, last_at)
        times = {at for pair in wanted.values() for at in pair if at is not None}
        for some in _parts(sorted(times)):
            for row in runs.filter(schedule_id__in=list(wanted), planned_at__in=some):
                if row.planned_at in wanted[row.schedule_id]:
                    found[row.schedule_id, row.target].append(row)
    return dict(found), since


def _by_age(
    schedules: list["Schedule"], since: Mapping[str, datetime], now: datetime
) -> Iterator[tuple[datetime | None, list[str]]]:
    """The schedules in a few groups, each with the time from which its snapshots count."""
    left = {row.schedule_id for row in schedules}
    for age in _AGES:
        start = now - age
        young = {one for one in left if one in since and since[one] >= start}
        left -= young
        if young:
            yield start, sorted(young)
    if left:
        yield None, sorted(left)


def verified_at(site: Site, sites: frozenset[str]) -> Q:
    """A condition: snapshots that were not deleted and are verified at all these sites."""
    good = Q(deleted_at=None)
    for site_id in sites:
        good &= Q(
            Exists(
                site.catalog.copies.filter(
                    snapshot_id=OuterRef("snapshot_id"),
                    site_id=site_id,
                    state=Copy.VERIFIED.value,
                )
            )
        )
    return good


def newest(site: Site, volume_ids: list[UUID], good: Q) -> dict[UUID, datetime]:
    """When the newest snapshot of each volume that fulfils a condition was taken."""
    taken = site.catalog.snapshots.filter(good, volume=OuterRef("pk")).order_by("-created_at")
    rows = site.catalog.volumes.filter(pk__in=volume_ids).order_by()
    found = rows.annotate(newest=Subquery(taken.values("created_at")[:1]))
    return {key: at for key, at in found.values_list("pk", "newest") if at is not None}


def _newest_by(
    site: Site,
    volume_ids: list[UUID],
    schedule_ids: list[str],
    good: Q,
    *,
    start: datetime | None,
    now: datetime,
) -> dict[tuple[UUID, str], datetime]:
    # A clock that was ahead has left dates that nothing will ever be newer than.
    rows = site.catalog.snapshots.filter(
        good, volume_id__in=volume_ids, schedule_id__in=schedule_ids, created_at__lte=now
    )
    if start is not None:
        rows = rows.filter(created_at__gte=start)
    counted = rows.order_by().values_list("volume_id", "schedule_id")
    return {
        (volume_id, schedule_id): at
        for volume_id, schedule_id, at in counted.annotate(newest=Max("created_at"))
    }


def _jobs(site: Site, run_ids: list[int]) -> dict[int, "Job"]:
    """The newest job of each run."""
    found: dict[int, Job] = {}
    for part in _parts(run_ids):
        for row in site.catalog.jobs.filter(run_id__in=part).order_by("created_at"):
            assert row.run_id is not None  # noqa: S101  they were looked for by it
            found[row.run_id] = row
    return found


def _parts(keys: Iterable[_Key]) -> Iterator[list[_Key]]:
    listed = list(keys)
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]
