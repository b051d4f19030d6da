"""What protection is judged by, read for many volumes at once.

The number of queries does not depend on how many servers, volumes or snapshots there are.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from django.db.models import Exists, OuterRef, Q, Subquery

from dozo.catalog import newest as newest_rows
from dozo.catalog.newest import PlannedRun
from dozo.model import clock
from dozo.model.states import Copy
from dozo.services import policies, scheduler
from dozo.services.site import Site

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from dozo.catalog import models
    from dozo.catalog.models_jobs import Job, Schedule, ScheduleRun

_Key = TypeVar("_Key")

# SQLite binds at most a few ten thousand values in one query.
_PART = 5000
# For so few volumes it is not worth it to read all schedules.
_FEW = 100


def required_sites(site: Site, tenant: "models.Tenant") -> set[str]:
    """The ids of the sites at which a tenant's snapshots have to be verified."""
    own = {site.settings.site_id}
    if not policies.copies_at_peers(policies.of(tenant)):
        return own
    return own | {peer.site_id for peer in site.settings.peers}


class Evidence:
    """Schedules, runs and protected snapshots of some servers' or volumes', each read once."""

    def __init__(
        self,
        site: Site,
        *,
        servers: "Iterable[models.Server]" = (),
        volumes: "Iterable[models.Volume]" = (),
    ) -> None:
        """Of the volumes attached to ``servers``, and of ``volumes``."""
        self.now = clock.now()
        self._site = site
        self._servers = {row.uuid: row for row in servers}
        self._attached: dict[UUID, list[models.Volume]] = defaultdict(list)
        self._volumes = list(volumes)
        for row in self._volumes:
            if row.state == "attached" and row.server is not None:
                self._servers.setdefault(row.server.uuid, row.server)
        self._read_volumes([] if self._volumes else list(self._servers))
        self._covering = self._read_schedules()

    def volumes_of(self, server: "models.Server") -> "list[models.Volume]":
        """The volumes attached to a server."""
        return self._attached.get(server.uuid, [])

    def schedules_of(self, volume: "models.Volume") -> "list[Schedule]":
        """The schedules that cover a volume: with its server, and by itself."""
        return self._covering[volume.volume_id]

    def protected_at(self, volume: "models.Volume") -> "datetime | None":
        """The instant of its newest snapshot that is verified wherever it has to be."""
        return self._protected.get(volume.volume_id)

    def protected_by(self, schedule: "Schedule", volume: "models.Volume") -> "datetime | None":
        """The same of those that a schedule took.

        A clock that was ahead has left dates that nothing will ever be newer than: they do not
        count.
        """
        return self._by_schedule.get((volume.volume_id, schedule.schedule_id))

    def runs(self, schedule: "Schedule", volume: "models.Volume") -> list[PlannedRun]:
        """The newest two runs of a schedule that were for a volume, the newest first."""
        found = [
            run
            for target in _targets(volume)
            for run in self._runs.get((schedule.schedule_id, target), ())
        ]
        return sorted(found, key=lambda one: one.planned_at, reverse=True)[:2]

    def outcome(self, run: PlannedRun) -> "tuple[ScheduleRun, Job | None]":
        """A run's row and its newest job."""
        return self._outcomes[run.run]

    def _read_volumes(self, servers: "list[UUID]") -> None:
        for part in _parts(servers):
            rows = self._site.catalog.volumes.filter(server_id__in=part, state="attached")
            for row in rows.select_related("tenant").order_by("device", "name"):
                # All of one server's, as the ordering of the model has them.
                row.server = self._servers[row.server_id]  # type: ignore[index]
                self._attached[row.server.uuid].append(row)
                self._volumes.append(row)

    def _read_schedules(self) -> "dict[UUID, list[Schedule]]":
        """Every enabled schedule, by the volumes that it covers."""
        by_tenant: dict[int, list[Schedule]] = defaultdict(list)
        by_volume: dict[str, list[Schedule]] = defaultdict(list)
        rows = self._site.catalog.schedules.filter(enabled=True, deleted_at=None)
        if len(self._volumes) <= _FEW:
            tenants = {one.tenant_id for one in self._servers.values()}
            targets = [str(one.volume_id) for one in self._volumes]
            rows = rows.filter(
                Q(tenant_id__in=tenants) | Q(target_kind="volume", target__in=targets)
            )
        for row in rows:
            by_tenant[row.tenant_id].append(row)
            if row.target_kind == "volume":
                by_volume[row.target].append(row)
        of_server = {
            uuid: [row for row in by_tenant[server.tenant_id] if scheduler.covers(row, server)]
            for uuid, server in self._servers.items()
        }
        return {
            one.volume_id: [
                *(of_server.get(one.server_id, ()) if _is_attached(one) else ()),  # type: ignore[arg-type]
                *by_volume[str(one.volume_id)],
            ]
            for one in self._volumes
        }

    @cached_property
    def _by_sites(self) -> "dict[tuple[str, ...], list[models.Volume]]":
        """The volumes by the sites at which their snapshots have to be verified."""
        wanted: dict[int, tuple[str, ...]] = {}
        found: dict[tuple[str, ...], list[models.Volume]] = defaultdict(list)
        for one in self._volumes:
            if one.tenant_id not in wanted:
                wanted[one.tenant_id] = tuple(sorted(required_sites(self._site, one.tenant)))
            found[wanted[one.tenant_id]].append(one)
        return found

    @cached_property
    def _protected(self) -> "dict[UUID, datetime]":
        found: dict[UUID, datetime] = {}
        for sites, volumes in self._by_sites.items():
            ids = [one.volume_id for one in volumes]
            found |= newest_rows.protected_snapshots(self._site.catalog, ids, sites)
        return found

    @cached_property
    def _by_schedule(self) -> "dict[tuple[UUID, str], datetime]":
        found: dict[tuple[UUID, str], datetime] = {}
        for sites, volumes in self._by_sites.items():
            pairs = [
                (one.volume_id, row.schedule_id)
                for one in volumes
                for row in self._covering[one.volume_id]
            ]
            found |= newest_rows.protected_by_schedule(
                self._site.catalog, pairs, sites, until=self.now
            )
        return found

    @cached_property
    def _runs(self) -> dict[tuple[str, str], list[PlannedRun]]:
        pairs = {
            (row.schedule_id, target)
            for one in self._volumes
            for row in self._covering[one.volume_id]
            for target in _targets(one)
        }
        return newest_rows.runs(self._site.catalog, sorted(pairs), until=self.now, most=2)

    @cached_property
    def _outcomes(self) -> "dict[int, tuple[ScheduleRun, Job | None]]":
        """Of every run that may be asked about, which is none where all is well."""
        newest_runs = [
            runs[0].run
            for one in self._volumes
            for row in self._covering[one.volume_id]
            if (runs := self.runs(row, one)) and not self._is_taken(row, one, runs[0])
        ]
        wanted = sorted(set(newest_runs))
        jobs: dict[int, Job] = {}
        rows: dict[int, ScheduleRun] = {}
        for part in _parts(wanted):
            rows |= self._site.catalog.schedule_runs.in_bulk(part)
            found = self._site.catalog.jobs.filter(run_id__in=part).order_by("created_at")
            for job in found.defer("params", "locks", "facts", "result"):
                jobs[job.run_id] = job  # type: ignore[index]
        return {run: (row, jobs.get(run)) for run, row in rows.items()}

    def _is_taken(self, schedule: "Schedule", volume: "models.Volume", run: PlannedRun) -> bool:
        taken_at = self.protected_by(schedule, volume)
        return taken_at is not None and taken_at >= run.planned_at


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


def newest(site: Site, volume_ids: "list[UUID]", good: Q) -> "dict[UUID, datetime]":
    """When the newest snapshot of each volume that fulfils a condition was taken."""
    taken = site.catalog.snapshots.filter(good, volume=OuterRef("pk")).order_by("-created_at")
    rows = site.catalog.volumes.filter(pk__in=volume_ids).order_by()
    found = rows.annotate(newest=Subquery(taken.values("created_at")[:1]))
    return {key: at for key, at in found.values_list("pk", "newest") if at is not None}


def _is_attached(volume: "models.Volume") -> bool:
    return volume.state == "attached" and volume.server_id is not None


def _targets(volume: "models.Volume") -> tuple[str, ...]:
    """How runs name a volume: by itself, with its server, or nothing in particular."""
    own = f"volume:{volume.volume_id}"
    return (own, "") if volume.server_id is None else (own, "", f"server:{volume.server_id}")


def _parts(keys: list[_Key]) -> Iterator[list[_Key]]:
    for start in range(0, len(keys), _PART):
        yield keys[start : start + _PART]
