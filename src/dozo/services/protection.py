"""Whether volumes and servers are protected: judged by what was verified where it has to be."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from django.db.models import Q

from dozo.model import clock
from dozo.model.job_states import JobState
from dozo.model.states import Copy
from dozo.services import policies, scheduler
from dozo.services.job_queue import ACTIVE, WAITING
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.catalog.models_jobs import Schedule, ScheduleRun


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


def required_sites(site: Site, tenant: "models.Tenant") -> set[str]:
    """The ids of the sites at which a tenant's snapshots have to be verified."""
    own = {site.settings.site_id}
    if not policies.copies_at_peers(policies.of(tenant)):
        return own
    return own | {peer.site_id for peer in site.settings.peers}


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
    covering = _covering(site, server)
    volumes = tuple(
        of_volume(site, volume, covering)
        for volume in server.volumes.filter(state="attached").select_related("tenant", "server")
    )
    scheduled = [one for one in volumes if one.scheduled]
    if not scheduled:
        return ServerProtection(
            server=str(server.uuid),
            name=server.name,
            tenant=server.tenant.name,
            state=Protection.UNPROTECTED,
            stalest_at=None,
            reason="no schedule covers it",
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


def _covering(site: Site, server: "models.Server | None") -> list["Schedule"]:
    """The schedules that cover a server as a whole."""
    if server is None:
        return []
    rows = site.catalog.schedules.filter(tenant=server.tenant, enabled=True, deleted_at=None)
    return [row for row in rows if scheduler.covers(row, server)]


def of_volume(
    site: Site, volume: "models.Volume", covering: list["Schedule"] | None = None
) -> VolumeProtection:
    """One volume. ``covering``: the schedules of its server, if they are known already."""
    attached = volume.server if volume.state == "attached" else None
    schedules = list(_covering(site, attached) if covering is None else covering)
    schedules += site.catalog.schedules.filter(
        target_kind="volume", target=str(volume.volume_id), enabled=True, deleted_at=None
    )
    ids = volume.snapshots.filter(deleted_at=None).values_list("snapshot_id", flat=True)
    good = protected_ids(site, volume.tenant, ids[:1000])
    newest = volume.snapshots.filter(snapshot_id__in=good).first()
    protected_at = newest.created_at if newest else None
    if not schedules:
        return VolumeProtection(
            volume=str(volume.volume_id),
            name=volume.name,
            state=Protection.UNPROTECTED,
            scheduled=False,
            protected_at=protected_at,
            reason="no schedule covers it",
        )
    verdicts = [_by_schedule(volume, row, good) for row in schedules]
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
    volume: "models.Volume", schedule: "Schedule", good: set[str]
) -> tuple[Protection, str]:
    """A volume against one of its schedules: the last run that should be over decides."""
    now = clock.now()
    # A clock that was ahead has left dates that nothing will ever be newer than.
    taken = volume.snapshots.filter(
        snapshot_id__in=good, schedule_id=schedule.schedule_id, created_at__lte=now
    ).first()
    targets = [f"volume:{volume.volume_id}", ""]
    if volume.server_id is not None:
        targets.append(f"server:{volume.server_id}")
    planned = schedule.runs.filter(target__in=targets, planned_at__lte=now)
    runs = list(planned.order_by("-planned_at")[:2])
    if not runs:
        return _before_first_run(schedule, taken is not None)
    newest = runs[0]
    if schedule.next_at is not None and schedule.next_at < now - _LATE:
        return Protection.BEHIND, f"schedule {schedule.name} is late"
    if taken is not None and taken.created_at >= newest.planned_at:
        return Protection.PROTECTED, ""
    outcome = _outcome(newest)
    if outcome is not None:
        return Protection.FAILING, f"schedule {schedule.name}: {outcome}"
    # It goes on, or its copies do: until the next run is due, the one before it counts.
    since = runs[1].planned_at if len(runs) > 1 else schedule.created_at
    if taken is not None and taken.created_at >= since:
        return Protection.PROTECTED, ""
    return Protection.BEHIND, f"the newest run of schedule {schedule.name} is not protected yet"


def _before_first_run(schedule: "Schedule", taken: bool) -> tuple[Protection, str]:
    if schedule.next_at is not None and schedule.next_at < clock.now():
        return Protection.BEHIND, f"schedule {schedule.name} is late"
    if taken:
        return Protection.PROTECTED, ""
    return Protection.UNPROTECTED, f"schedule {schedule.name} has not run yet"


def _outcome(run: "ScheduleRun") -> str | None:
    """Why a run came to nothing; None if it did not, or goes on."""
    if run.outcome == scheduler.SKIPPED:
        return f"the run was skipped: {run.reason}"
    job = run.jobs.order_by("-created_at").first()
    if job is None or job.state in {*ACTIVE, *WAITING, JobState.DONE}:
        return None
    return job.error_text or job.state
