"""Protection judged one volume after the other, in the plainest way: what the fast way must say."""

from datetime import timedelta
from typing import Any

from dozo.model import clock
from dozo.model.job_states import JobState
from dozo.services import protection, scheduler
from dozo.services.job_queue import ACTIVE, WAITING
from dozo.services.site import Site

WORST = ["unprotected", "failing", "behind", "protected"]
LATE = timedelta(minutes=15)

Verdict = tuple[str, str]


def of_server(site: Site, server: Any) -> tuple[Any, ...]:
    """State, stalest instant, reason, and the same of each volume."""
    rows = site.catalog.schedules.filter(tenant=server.tenant, enabled=True, deleted_at=None)
    covering = [row for row in rows if scheduler.covers(row, server)]
    attached = server.volumes.filter(state="attached").select_related("tenant", "server")
    volumes = [of_volume(site, row, covering) for row in attached]
    scheduled = [one for one in volumes if one[2]]
    if not scheduled:
        return ("unprotected", None, "no schedule covers it", volumes)
    worst = min(scheduled, key=lambda one: WORST.index(one[1]))
    times = [one[3] for one in scheduled]
    return (worst[1], None if None in times else min(times), worst[4], volumes)


def of_volume(site: Site, volume: Any, covering: list[Any]) -> tuple[Any, ...]:
    """Name, state, whether scheduled, newest protected instant, reason."""
    schedules = [
        *covering,
        *site.catalog.schedules.filter(
            target_kind="volume", target=str(volume.volume_id), enabled=True, deleted_at=None
        ),
    ]
    ids = volume.snapshots.filter(deleted_at=None).values_list("snapshot_id", flat=True)
    good = protection.protected_ids(site, volume.tenant, ids)
    newest = volume.snapshots.filter(snapshot_id__in=good).first()
    at = newest.created_at if newest else None
    if not schedules:
        return (volume.name, "unprotected", False, at, "no schedule covers it")
    verdicts = [by_schedule(volume, row, good) for row in schedules]
    state, reason = min(verdicts, key=lambda one: WORST.index(one[0]))
    return (volume.name, state, True, at, reason)


def by_schedule(volume: Any, schedule: Any, good: set[str]) -> Verdict:
    """A volume against one schedule."""
    now = clock.now()
    taken = volume.snapshots.filter(
        snapshot_id__in=good, schedule_id=schedule.schedule_id, created_at__lte=now
    ).first()
    targets = [f"volume:{volume.volume_id}", ""]
    if volume.server_id is not None:
        targets.append(f"server:{volume.server_id}")
    planned = schedule.runs.filter(target__in=targets, planned_at__lte=now)
    runs = list(planned.order_by("-planned_at")[:2])
    if not runs:
        if schedule.next_at is not None and schedule.next_at < now:
            return "behind", f"schedule {schedule.name} is late"
        if taken:
            return "protected", ""
        return "unprotected", f"schedule {schedule.name} has not run yet"
    if schedule.next_at is not None and schedule.next_at < now - LATE:
        return "behind", f"schedule {schedule.name} is late"
    if taken is not None and taken.created_at >= runs[0].planned_at:
        return "protected", ""
    outcome = outcome_of(runs[0])
    if outcome is not None:
        return "failing", f"schedule {schedule.name}: {outcome}"
    since = runs[1].planned_at if len(runs) > 1 else schedule.created_at
    if taken is not None and taken.created_at >= since:
        return "protected", ""
    return "behind", f"the newest run of schedule {schedule.name} is not protected yet"


def outcome_of(run: Any) -> str | None:
    """Why a run came to nothing."""
    if run.outcome == scheduler.SKIPPED:
        return f"the run was skipped: {run.reason}"
    job = run.jobs.order_by("-created_at").first()
    if job is None or job.state in {*ACTIVE, *WAITING, JobState.DONE}:
        return None
    return str(job.error_text or job.state)
