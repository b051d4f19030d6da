"""Running the schedules: what is due becomes jobs, what is missed is said so.

A planned time of a schedule is decided about once for each server or volume that it covers: the
run's row and its job are written together, and a second row for the same is refused by the
database. So it does no harm to run the scheduler in several processes, or to kill one.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from dozo.model import clock, schedule_times
from dozo.model.errors import DozoError
from dozo.model.message import Message
from dozo.model.schedule_times import Action
from dozo.model.states import CaptureMode
from dozo.model.timing import Timing, timing_from_json
from dozo.services import job_queue, operations
from dozo.services.access import Actor, Scope
from dozo.services.job_kinds import JobKind, Prepared
from dozo.services.job_work import storable_told
from dozo.services.policies import STOP
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.catalog.models_jobs import Schedule, ScheduleRun

log = logging.getLogger(__name__)

STARTED, SKIPPED = "started", "skipped"
NOTHING_COVERED = "nothing-covered"
_MISSED_REPORTED = 100
# By so much the clocks of two workers may differ.
_CLOCKS_DIFFER = timedelta(minutes=1)
NEEDS_WINDOW = frozenset({CaptureMode.OFFLINE.value, CaptureMode.UNMOUNTED.value, STOP})


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """What is to be written about one planned time and target."""

    planned: datetime
    target: str
    outcome: str
    reason: str = ""
    kind: JobKind | None = None
    prepared: Prepared | None = None
    not_after: datetime | None = None


def tick(site: Site) -> list[str]:
    """Start what is due now; the new jobs' ids. One schedule's trouble is not another's."""
    jobs: list[str] = []
    now = clock.now()
    # What was decided in the future comes from a clock that was ahead: nothing would be due until
    # it is there again.
    due = site.catalog.schedules.filter(
        Q(next_at__lte=now) | Q(decided_until__gt=now + _CLOCKS_DIFFER),
        enabled=True,
        deleted_at=None,
    )
    for row in due.select_related("tenant").order_by("next_at"):
        try:
            jobs += _run_schedule(site, row, now)
        except Exception:
            log.exception("schedule %s (%s) could not be run", row.name, row.schedule_id)
    return jobs


def next_start(row: "Schedule", after: datetime) -> datetime | None:
    """When the next run after ``after`` starts, its jitter included; None if there is none."""
    timing = timing_from_json(row.timing)
    following = schedule_times.next_times(timing, after, 1)
    if not following:
        return None
    return schedule_times.starts_at(timing, row.schedule_id, following[0])


def _run_schedule(site: Site, row: "Schedule", now: datetime) -> list[str]:
    timing = timing_from_json(row.timing)
    since = row.decided_until
    if schedule_times.clock_went_back(since, now):
        since = now
    planned = schedule_times.due(timing, since, now, schedule_id=row.schedule_id)
    if planned is None:
        _write(site, row, [], decided_until=since)
        return []
    verdicts = [
        _Verdict(planned=one, target="", outcome=SKIPPED, reason="superseded")
        for one in schedule_times.missed(
            timing, since, now, _MISSED_REPORTED, schedule_id=row.schedule_id
        )
    ]
    decision = schedule_times.decide(
        timing,
        planned,
        now,
        needs_window=row.mode in NEEDS_WINDOW,
        newest=True,
        schedule_id=row.schedule_id,
    )
    if decision.action is Action.WAIT:
        return []
    if decision.action is Action.SKIP:
        reason = decision.reason.value if decision.reason else ""
        verdicts.append(_Verdict(planned=planned, target="", outcome=SKIPPED, reason=reason))
    else:
        verdicts += _verdicts(site, row, timing, planned)
    return _write(site, row, verdicts, decided_until=planned)


def _verdicts(site: Site, row: "Schedule", timing: Timing, planned: datetime) -> list[_Verdict]:
    closes = schedule_times.window_of(timing, planned)[1] if row.mode in NEEDS_WINDOW else None
    scope = Scope(site, Actor.schedule(row.name, row.tenant.name))
    found = [_verdict(scope, row, planned, target, closes) for target in targets(site, row)]
    if not found:
        found = [_Verdict(planned=planned, target="", outcome=SKIPPED, reason=NOTHING_COVERED)]
    return found


def _verdict(
    scope: Scope,
    row: "Schedule",
    planned: datetime,
    target: str,
    closes: datetime | None,
) -> _Verdict:
    jobs = scope.site.catalog.jobs.filter(run__schedule=row, run__target=target)
    overlap = schedule_times.on_overlap(
        timing_from_json(row.timing).overlap,
        running=jobs.filter(state__in=job_queue.ACTIVE).exists(),
        waiting=jobs.filter(state__in=job_queue.WAITING).count(),
    )
    if overlap.action is Action.SKIP:
        reason = overlap.reason.value if overlap.reason else ""
        return _Verdict(planned=planned, target=target, outcome=SKIPPED, reason=reason)
    what, _, reference = target.partition(":")
    kind = operations.kind("recovery-point.create" if what == "server" else "snapshot.create")
    try:
        prepared = kind.prepare(scope, {what: reference, **capture_params(row)})
    except DozoError as error:
        return _Verdict(
            planned=planned,
            target=target,
            outcome=SKIPPED,
            reason=Message("refused: {error}", error=error),
        )
    return _Verdict(
        planned=planned,
        target=target,
        outcome=STARTED,
        kind=kind,
        prepared=prepared,
        not_after=closes,
    )


def capture_params(row: "Schedule") -> dict[str, Any]:
    """What a schedule asks of each of its snapshots."""
    return {
        "mode": row.mode,
        "freeze": row.freeze,
        "stated_unmounted": row.stated_unmounted,
        "schedule_id": row.schedule_id,
        "keep": {"here": row.keep, "peer": row.keep_peer or row.keep},
        "stop_timeout_seconds": row.stop_timeout_seconds,
        "force_stop": row.force_stop,
        "hook_before": row.hook_before,
        "hook_after": row.hook_after,
        "hook_timeout_seconds": row.hook_timeout_seconds,
    }


def targets(site: Site, row: "Schedule") -> list[str]:
    """What a schedule covers now: ``server:UUID`` or ``volume:UUID``, in order of names."""
    if row.target_kind != "tag":
        return [f"{row.target_kind}:{row.target}"]
    servers = site.catalog.servers.filter(tenant=row.tenant, present=True)
    return [f"server:{one.uuid}" for one in servers if covers(row, one)]


def covers(row: "Schedule", server: "models.Server") -> bool:
    """Whether a schedule covers a server of its tenant as a whole."""
    if row.target_kind == "tag":
        return server.present and row.target in {*server.tags, *server.tags_by_hand}
    return row.target_kind == "server" and row.target == str(server.uuid)


def _write(
    site: Site, row: "Schedule", verdicts: list[_Verdict], *, decided_until: datetime
) -> list[str]:
    """Runs and jobs, all or nothing, unless somebody else was here meanwhile."""
    jobs: list[str] = []
    with site.catalog.turn("schedules"):
        same = site.catalog.schedules.filter(
            schedule_id=row.schedule_id,
            version=row.version,
            decided_until=row.decided_until,
            enabled=True,
            deleted_at=None,
        )
        if not same.exists():
            return []
        decided = set(
            site.catalog.schedule_runs.filter(
                schedule=row, planned_at__in={one.planned for one in verdicts}
            ).values_list("planned_at", "target")
        )
        for verdict in verdicts:
            # A clock that went back was here before.
            if (verdict.planned, verdict.target) not in decided:
                jobs += _write_run(site, row, verdict)[1]
        same.update(decided_until=decided_until, next_at=next_start(row, decided_until))
    return jobs


def _write_run(site: Site, row: "Schedule", verdict: _Verdict) -> "tuple[ScheduleRun, list[str]]":
    """One run and its job, within the transaction that is open."""
    run = site.catalog.schedule_runs.create(
        schedule=row,
        planned_at=verdict.planned,
        target=verdict.target,
        outcome=verdict.outcome,
        reason=verdict.reason,
        reason_told=storable_told(verdict.reason),
        decided_at=clock.now(),
    )
    if verdict.kind is None or verdict.prepared is None:
        return run, []
    queued = job_queue.enqueue(
        Scope(site, Actor.schedule(row.name, row.tenant.name)),
        verdict.kind,
        verdict.prepared,
        run=run,
        not_after=verdict.not_after,
    )
    return run, [queued.job_id]


def run_now(site: Site, row: "Schedule") -> "list[ScheduleRun]":
    """Start a run beside the schedule's times; they stay what they are, and no window counts."""
    now = clock.now()
    scope = Scope(site, Actor.schedule(row.name, row.tenant.name))
    verdicts = [_verdict(scope, row, now, target, None) for target in targets(site, row)]
    if not verdicts:
        verdicts = [_Verdict(planned=now, target="", outcome=SKIPPED, reason=NOTHING_COVERED)]
    with site.catalog.turn("schedules"):
        return [_write_run(site, row, verdict)[0] for verdict in verdicts]
