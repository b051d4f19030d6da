"""Whether volumes and servers are protected: judged by what was verified where it has to be."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from django.db.models import Q

from dozo.model import clock
from dozo.model.job_states import JobState
from dozo.model.message import Message
from dozo.model.states import Copy
from dozo.model.words import word
from dozo.services import scheduler
from dozo.services.job_queue import ACTIVE, WAITING
from dozo.services.protection_evidence import Evidence, required_sites
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.catalog.models_jobs import Job, Schedule, ScheduleRun


class Protection(StrEnum):
    """A volume's or server's state, the worst last."""

    PROTECTED = "protected"
    BEHIND = "behind"
    FAILING = "failing"
    UNPROTECTED = "unprotected"


# So long after its time a run that nobody has decided about is late.
_LATE = timedelta(minutes=15)
_WORST = (Protection.UNPROTECTED, Protection.FAILING, Protection.BEHIND, Protection.PROTECTED)


@dataclass(frozen=True, kw_only=True)
class VolumeProtection:
    """One volume; ``protected_at`` is the instant of its newest protected snapshot.

    ``scheduled`` False: no schedule covers it, so it is never behind.
    """

    volume: str
    name: str
    state: Protection
    scheduled: bool
    protected_at: datetime | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ServerProtection:
    """A server: as protected as its worst scheduled volume.

    ``stalest_at`` is the oldest of its scheduled volumes' newest protected snapshots; None where
    one of them has none.
    """

    server: str
    name: str
    tenant: str
    state: Protection
    stalest_at: datetime | None
    reason: str
    volumes: tuple[VolumeProtection, ...]


def protected_ids(
    site: Site, tenant: "models.Tenant", ids: Iterable[str], *, or_retired: bool = False
) -> set[str]:
    """Those of the snapshots that are verified wherever the tenant's policy wants it.

    With ``or_retired`` also those that were, until another site's own retention removed them.
    """
    left = set(ids)
    for site_id in required_sites(site, tenant):
        left &= _verified_at(site, site_id, left, or_retired=or_retired)
    return left


def _verified_at(site: Site, site_id: str, ids: set[str], *, or_retired: bool) -> set[str]:
    good = Q(state=Copy.VERIFIED.value)
    if or_retired and site_id != site.settings.site_id:
        good |= Q(state=Copy.MISSING.value, verified_at__isnull=False)
    found: set[str] = set()
    ordered = sorted(ids)
    # SQLite binds at most a few ten thousand values in one query.
    for start in range(0, len(ordered), 5000):
        found |= set(
            site.catalog.copies.filter(
                good, site_id=site_id, snapshot_id__in=ordered[start : start + 5000]
            ).values_list("snapshot_id", flat=True)
        )
    return found


def of_server(site: Site, server: "models.Server") -> ServerProtection:
    """One server."""
    return of_servers(site, [server])[0]


def of_servers(site: Site, servers: Iterable["models.Server"]) -> list[ServerProtection]:
    """Servers in the order given, with as many queries for many as for one."""
    rows = list(servers)
    seen = Evidence(site, servers=rows)
    return [
        _of_server(row, [_of_volume(one, seen) for one in seen.volumes_of(row)]) for row in rows
    ]


def _of_server(server: "models.Server", judged: list[VolumeProtection]) -> ServerProtection:
    volumes = tuple(judged)
    scheduled = [one for one in volumes if one.scheduled]
    if not scheduled:
        return ServerProtection(
            server=str(server.uuid),
            name=server.name,
            tenant=server.tenant.name,
            state=Protection.UNPROTECTED,
            stalest_at=None,
            reason=Message("no schedule covers it"),
            volumes=volumes,
        )
    worst = min(scheduled, key=lambda one: _WORST.index(one.state))
    times = [one.protected_at for one in scheduled]
    return ServerProtection(
        server=str(server.uuid),
        name=server.name,
        tenant=server.tenant.name,
        state=worst.state,
        stalest_at=None if None in times else min(one for one in times if one),
        reason=worst.reason,
        volumes=volumes,
    )


def of_volume(site: Site, volume: "models.Volume") -> VolumeProtection:
    """One volume."""
    return of_volumes(site, [volume])[0]


def of_volumes(site: Site, volumes: Iterable["models.Volume"]) -> list[VolumeProtection]:
    """Volumes in the order given, with as many queries for many as for one.

    Their servers and tenants are to be loaded.
    """
    rows = list(volumes)
    seen = Evidence(site, volumes=rows)
    return [_of_volume(row, seen) for row in rows]


def _of_volume(volume: "models.Volume", evidence: Evidence) -> VolumeProtection:
    schedules = evidence.schedules_of(volume)
    protected_at = evidence.protected_at(volume)
    if not schedules:
        return VolumeProtection(
            volume=str(volume.volume_id),
            name=volume.name,
            state=Protection.UNPROTECTED,
            scheduled=False,
            protected_at=protected_at,
            reason=Message("no schedule covers it"),
        )
    verdicts = [_by_schedule(volume, row, evidence) for row in schedules]
    state, reason = min(verdicts, key=lambda one: _WORST.index(one[0]))
    return VolumeProtection(
        volume=str(volume.volume_id),
        name=volume.name,
        state=state,
        scheduled=True,
        protected_at=protected_at,
        reason=reason,
    )


def _by_schedule(
    volume: "models.Volume", schedule: "Schedule", evidence: Evidence
) -> tuple[Protection, str]:
    """A volume against one of its schedules: the last run that should be over decides."""
    now = evidence.now
    taken_at = evidence.protected_by(schedule, volume)
    runs = evidence.runs(schedule, volume)
    if not runs:
        return _before_first_run(schedule, taken_at is not None)
    newest = runs[0]
    if schedule.next_at is not None and schedule.next_at < now - _LATE:
        return Protection.BEHIND, Message("schedule {schedule} is late", schedule=schedule.name)
    if taken_at is not None and taken_at >= newest.planned_at:
        return Protection.PROTECTED, ""
    outcome = _outcome(*evidence.outcome(newest))
    if outcome is not None:
        return Protection.FAILING, Message(
            "schedule {schedule}: {outcome}", schedule=schedule.name, outcome=outcome
        )
    # It goes on, or its copies do: until the next run is due, the one before it counts.
    since = runs[1].planned_at if len(runs) > 1 else schedule.created_at
    if taken_at is not None and taken_at >= since:
        return Protection.PROTECTED, ""
    return Protection.BEHIND, Message(
        "the newest run of schedule {schedule} is not protected yet", schedule=schedule.name
    )


def _before_first_run(schedule: "Schedule", taken: bool) -> tuple[Protection, str]:
    if schedule.next_at is not None and schedule.next_at < clock.now():
        return Protection.BEHIND, Message("schedule {schedule} is late", schedule=schedule.name)
    if taken:
        return Protection.PROTECTED, ""
    return Protection.UNPROTECTED, Message(
        "schedule {schedule} has not run yet", schedule=schedule.name
    )


def _outcome(run: "ScheduleRun", job: "Job | None") -> str | None:
    """Why a run came to nothing; None if it did not, or goes on."""
    if run.outcome == scheduler.SKIPPED:
        return Message("the run was skipped: {reason}", reason=run.reason_said)
    if job is None or job.state in {*ACTIVE, *WAITING, JobState.DONE}:
        return None
    return job.error_said or word("job", job.state)
