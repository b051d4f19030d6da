"""What became of the planned times of schedules: the last one of each, and every one in detail."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import F, OuterRef, Subquery

from dozo.model.job_states import JobState
from dozo.services import job_queue
from dozo.services.access import Scope
from dozo.services.job_queue import JobView
from dozo.services.scheduler import SKIPPED

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog.models_jobs import Schedule, ScheduleRun

# The worst first: what a planned time with many jobs is called by.
_WORST = (
    JobState.FAILED,
    JobState.INTERRUPTED,
    JobState.RUNNING,
    JobState.CANCELLING,
    JobState.WAITING,
    JobState.QUEUED,
    JobState.CANCELLED,
)
LIVE = frozenset(
    one.value for one in (JobState.RUNNING, JobState.CANCELLING, JobState.WAITING, JobState.QUEUED)
)
"""The states of runs that still go on."""
DONE = JobState.DONE.value


@dataclass(frozen=True, kw_only=True)
class Went:
    """How one planned time of a schedule went, over all that it covered.

    ``state`` is ``skipped`` or the state of its worst job; ``count`` of ``targets`` are in it.
    """

    planned_at: datetime
    state: str
    count: int
    targets: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RunDetail:
    """One planned time for one server or volume, with its jobs."""

    planned_at: datetime
    decided_at: datetime
    target_kind: str
    target: str
    target_name: str
    state: str
    reason: str
    jobs: tuple[JobView, ...]


def worst(states: Iterable[str]) -> str:
    """The state by which several are called: what failed before what runs before what is done."""
    found = set(states)
    for one in _WORST:
        if one.value in found:
            return one.value
    if SKIPPED in found:
        return SKIPPED
    return DONE


def of(row: "Schedule", *, outcome: str | None = None) -> "QuerySet[ScheduleRun]":
    """The runs of a schedule, started and skipped ones or only those; for :func:`details`."""
    runs = row.runs.select_related("schedule").prefetch_related("jobs")
    return runs if outcome is None else runs.filter(outcome=outcome)


def last(scope: Scope, rows: Iterable["Schedule"]) -> dict[str, Went]:
    """How the newest run of each schedule went, by schedule; with two queries for any number."""
    ids = [row.schedule_id for row in rows]
    runs = scope.site.catalog.schedule_runs
    newest = runs.filter(schedule=OuterRef("schedule")).order_by("-planned_at").values("planned_at")
    found = (
        runs.filter(schedule_id__in=ids)
        .annotate(newest=Subquery(newest[:1]))
        .filter(planned_at=F("newest"))
        .prefetch_related("jobs")
    )
    by_schedule: dict[str, list[ScheduleRun]] = {}
    for run in found:
        by_schedule.setdefault(run.schedule_id, []).append(run)
    return {schedule: _went(runs) for schedule, runs in by_schedule.items()}


def _went(runs: "list[ScheduleRun]") -> Went:
    states = [_state(run) for run in runs]
    state = worst(states)
    reasons = [run.reason_said for run in runs if run.reason]
    return Went(
        planned_at=runs[0].planned_at,
        state=state,
        count=states.count(state),
        targets=len(states),
        reason=reasons[0] if state == SKIPPED and reasons else "",
    )


def _state(run: "ScheduleRun") -> str:
    if run.outcome == SKIPPED:
        return SKIPPED
    return worst(job.state for job in run.jobs.all())


def details(scope: Scope, rows: "Iterable[ScheduleRun]") -> list[RunDetail]:
    """Runs in the order given, with as many queries for many as for one."""
    rows = list(rows)
    catalog = scope.site.catalog
    # What was given to another tenant since has no name for this one.
    tenants = {row.schedule.tenant_id for row in rows}
    targets = [row.target.partition(":") for row in rows]
    servers = catalog.servers.filter(
        uuid__in=[one for kind, _, one in targets if kind == "server"], tenant_id__in=tenants
    )
    volumes = catalog.volumes.filter(
        volume_id__in=[one for kind, _, one in targets if kind == "volume"], tenant_id__in=tenants
    )
    names = {f"server:{one.uuid}": one.name for one in servers}
    names |= {f"volume:{one.volume_id}": one.name for one in volumes}
    jobs = [job.pk for row in rows for job in row.jobs.all()]
    shown = job_queue.views(scope, scope.jobs.filter(pk__in=jobs).select_related("tenant"))
    by_id = {one.job: one for one in shown}
    return [_detail(row, names, by_id) for row in rows]


def _detail(row: "ScheduleRun", names: Mapping[str, str], jobs: Mapping[str, JobView]) -> RunDetail:
    kind, _, target = row.target.partition(":")
    return RunDetail(
        planned_at=row.planned_at,
        decided_at=row.decided_at,
        target_kind=kind,
        target=target,
        target_name=names.get(row.target, ""),
        state=_state(row),
        reason=row.reason_said if row.reason else "",
        jobs=tuple(jobs[job.pk] for job in row.jobs.all() if job.pk in jobs),
    )
