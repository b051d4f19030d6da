"""The queue of jobs: asking for one, starting those that may start, cancelling, looking.

A job's row is the truth about it. The runner (``dozo.jobs``) only makes sure that what was
handed to it runs, also after a crash; each attempt is handed over under a name of its own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from django.db import IntegrityError
from django.db.models import Q

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.job_states import JobState
from dozo.model.message import Message
from dozo.model.words import word
from dozo.services import admission, audit
from dozo.services.access import ActorKind
from dozo.services.admission import Candidate, Decision, Lane, Limits
from dozo.services.audit import AuditObject
from dozo.services.job_kinds import JobKind, Prepared
from dozo.services.job_work import error_columns, storable_told
from dozo.services.site import Site

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog.models_jobs import Job, ScheduleRun
    from dozo.services.access import Scope

_SILENT_SECONDS = 15.0
_DISPATCHED = ("attempt", "state", "dispatched_at", "started_at", "executions")
_CANCELLED = ("state", "finished_at", "cancel_asked_at", *error_columns("", "", ""))

ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED)
ACTIVE = (JobState.RUNNING, JobState.CANCELLING)
WAITING = (JobState.QUEUED, JobState.WAITING)

MOST_ASKED_FOR = 500
"""So many jobs of one tenant's people may wait."""

OTHER = Message("another job")
"""What a job waits for that its reader may not see."""


@dataclass(eq=False)
class KeyUsedOtherwise(DozoError):
    """An idempotency key came again with another request."""

    code = "job.key_used_otherwise"
    kind = ErrorKind.REFUSED
    text = "the idempotency key {self.key!r} belongs to another request (job {self.job})"
    hint = "Use a new key for a new request, and the same one only to repeat a request."
    key: str
    job: str


@dataclass(eq=False)
class QueueFull(DozoError):
    """A tenant's people have asked for as much as may wait at a time."""

    code = "job.queue_full"
    kind = ErrorKind.THROTTLED
    retry = Retry.LATER
    text = "{self.limit} jobs that your tenant's people asked for are waiting already"
    hint = "Wait until some have begun, or cancel those that nobody needs."
    limit: int


@dataclass(eq=False)
class JobEnded(DozoError):
    """What has ended cannot be cancelled."""

    code = "job.ended"
    kind = ErrorKind.REFUSED
    text = "job {self.job} has ended already: {self.state}"
    hint = "Nothing is left to cancel."
    job: str
    state: str

    @property
    def state_word(self) -> str:
        """The state in words."""
        return word("job", self.state)


class Runner(Protocol):
    """What the queue asks of the durable runner: see ``dozo.jobs``."""

    def submit(self, run_id: str, queue: str, /) -> None:
        """Run it, once, whatever happens. Doing it again changes nothing."""

    def cancel(self, run_id: str, /) -> object:
        """Do not begin it, if it has not begun."""


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A job that was asked for; ``new`` is False where the key named one that is there already."""

    job_id: str
    new: bool


def submit(
    scope: "Scope",
    kind: JobKind,
    params: Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
    run: "ScheduleRun | None" = None,
    not_after: datetime | None = None,
) -> Queued:
    """Check a request and queue its job, durably.

    The same key from the same actor answers with the first job and does nothing else. Raises
    what the kind's ``prepare`` raises, :class:`KeyUsedOtherwise`, :class:`QueueFull`.
    """
    asked = _digest(params)
    there = known(scope, kind, idempotency_key, asked)
    if there is not None:
        return there
    _refuse_flood(scope)
    try:
        prepared = kind.prepare(scope, params)
        if kind.foresee is not None:
            kind.foresee(scope.site, prepared.params)
    except DozoError as error:
        if _is_audited(scope):
            about = AuditObject(kind=kind.operation.group)
            audit.refused(scope, kind.operation, error, about, detail={"params": params})
        raise
    return enqueue(
        scope,
        kind,
        prepared,
        idempotency_key=idempotency_key,
        asked=asked,
        run=run,
        not_after=not_after,
    )


def _refuse_flood(scope: "Scope") -> None:
    """The queue is gone through several times a second, for everybody.

    What schedules ask for is bounded by themselves, and does not keep people from a restore.
    """
    tenant = scope.actor.tenant
    if tenant is None or not _is_audited(scope):
        return
    waiting = scope.site.catalog.jobs.filter(tenant__name=tenant, state__in=WAITING)
    by_people = Q(actor__startswith="user:") | Q(actor__startswith="token:")
    if waiting.filter(by_people).count() >= MOST_ASKED_FOR:
        raise QueueFull(MOST_ASKED_FOR)


def _digest(params: Mapping[str, Any]) -> str:
    """What tells one request from another."""
    text = json.dumps(params, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_audited(scope: "Scope") -> bool:
    """Whether people are behind it: what schedules and Dozo itself begin stands in the jobs."""
    return scope.actor.kind in {ActorKind.USER, ActorKind.TOKEN}


def plan(scope: "Scope", kind: JobKind, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a request would do, checked as for :func:`submit`; nothing is queued."""
    prepared = kind.prepare(scope, params)
    seen = kind.foresee(scope.site, prepared.params) if kind.foresee is not None else {}
    return {"kind": kind.name, "title": prepared.title, **prepared.plan, **seen}


def enqueue(
    scope: "Scope",
    kind: JobKind,
    prepared: Prepared,
    *,
    idempotency_key: str | None = None,
    asked: str = "",
    run: "ScheduleRun | None" = None,
    not_after: datetime | None = None,
) -> Queued:
    """Queue what was prepared already; ``asked`` is the digest of the request as it came."""
    rows = scope.site.catalog.jobs
    try:
        with scope.site.catalog.transaction():
            row = rows.create(
                kind=kind.name,
                title=prepared.title[:255],
                title_told=storable_told(prepared.title),
                tenant=prepared.tenant,
                actor=scope.actor.name,
                idempotency_key=idempotency_key,
                request_digest=asked,
                params=prepared.params,
                locks=list(prepared.locks),
                lane=kind.lane.value,
                object_kind=prepared.object_kind,
                object_id=prepared.object_id,
                object_name=prepared.object_name[:255],
                run=run,
                not_after=not_after or prepared.not_after,
                created_at=clock.now(),
            )
            if _is_audited(scope):
                audit.record(
                    scope.site,
                    scope.actor,
                    kind.operation,
                    AuditObject(
                        kind=prepared.object_kind,
                        id=prepared.object_id,
                        name=prepared.object_name,
                        tenant=prepared.tenant.name if prepared.tenant else None,
                    ),
                    detail={"job": row.job_id, "params": prepared.params},
                    source=scope.source,
                )
    except IntegrityError:
        # Somebody with the same key was faster.
        there = known(scope, kind, idempotency_key, asked)
        if there is None:
            raise
        return there
    return Queued(job_id=row.job_id, new=True)


def known(scope: "Scope", kind: JobKind, key: str | None, asked: str) -> Queued | None:
    """The job that the actor asked for with this key; None without. :class:`KeyUsedOtherwise`."""
    if key is None:
        return None
    row = scope.site.catalog.jobs.filter(actor=scope.actor.name, idempotency_key=key).first()
    if row is None:
        return None
    if row.kind != kind.name or row.request_digest not in {"", asked}:
        raise KeyUsedOtherwise(key, row.job_id[:12])
    return Queued(job_id=row.job_id, new=False)


def run_id(row: "Job") -> str:
    """The name of the present attempt of a job."""
    return f"{row.job_id}.{row.attempt}"


def dispatch(site: Site, runner: Runner, limits: Limits, queue: str) -> list[str]:
    """Hand those jobs to the runner that may start now; their ids.

    A crash between the decision and the hand-over is mended by :func:`hand_over_again`.
    """
    with site.catalog.turn("dispatch"):
        _expire(site)
        decision = _decide(site, limits)
        rows = {row.job_id: row for row in site.catalog.jobs.filter(job_id__in=decision.start)}
        for job_id in decision.start:
            row = rows[job_id]
            row.attempt += 1
            row.state = JobState.RUNNING
            row.dispatched_at = clock.now()
            row.started_at = None
            row.executions = 0
            # Never the whole row: a beat may be writing its progress.
            row.save(using=site.catalog.alias, update_fields=_DISPATCHED)
    for job_id in decision.start:
        runner.submit(run_id(rows[job_id]), queue)
    return list(decision.start)


def hand_over_again(site: Site, runner: Runner, queue: str) -> None:
    """Hand over every job that is to run; the runner knows those that it has."""
    for row in site.catalog.jobs.filter(state__in=ACTIVE):
        runner.submit(run_id(row), queue)


def silent(site: Site) -> list[str]:
    """The attempts that are to run and have given no sign of life for a while.

    Their hand-over failed, or their run ended and nobody could write it down.
    """
    since = clock.now() - timedelta(seconds=_SILENT_SECONDS)
    rows = site.catalog.jobs.filter(state__in=ACTIVE, dispatched_at__lt=since)
    return [run_id(row) for row in rows.filter(Q(beat_at=None) | Q(beat_at__lt=since))]


def _expire(site: Site) -> None:
    now = clock.now()
    late = site.catalog.jobs.filter(state__in=WAITING, not_after__lt=now)
    late.update(
        state=JobState.FAILED,
        finished_at=now,
        **error_columns(
            "job.expired",
            Message("its window was over before it could begin"),
            Message("Make the window longer, or find out what kept the queue busy."),
        ),
    )


def _decide(site: Site, limits: Limits) -> Decision:
    waiting, running = _candidates(site)
    return admission.decide(waiting, running, limits)


def _candidates(site: Site) -> tuple[list[Candidate], list[Candidate]]:
    now = clock.now()
    jobs = site.catalog.jobs.select_related("tenant").order_by("created_at", "job_id")
    waiting = [
        _candidate(row)
        for row in jobs.filter(state__in=WAITING)
        if row.not_before is None or row.not_before <= now
    ]
    return waiting, [_candidate(row) for row in jobs.filter(state__in=ACTIVE)]


def _candidate(row: "Job") -> Candidate:
    return Candidate(
        job_id=row.job_id,
        lane=Lane(row.lane),
        tenant=row.tenant.name if row.tenant else None,
        locks=tuple(row.locks),
        stuck=row.stuck_since is not None,
    )


def cancel(site: Site, row: "Job", runner: Runner | None = None) -> JobState:
    """End a job: at once if it has not begun, else at its next sign of life.

    Raises :class:`JobEnded`.
    """
    with site.catalog.turn("dispatch"):
        row.refresh_from_db(using=site.catalog.alias)
        if row.state in ENDED:
            raise JobEnded(row.job_id[:12], row.state)
        if row.state in WAITING:
            row.state, row.finished_at = JobState.CANCELLED, clock.now()
            why = error_columns("job.cancelled", Message("cancelled before it began"), "")
            for column, value in why.items():
                setattr(row, column, value)
        elif row.state == JobState.RUNNING:
            row.state = JobState.CANCELLING
        row.cancel_asked_at = row.cancel_asked_at or clock.now()
        row.save(using=site.catalog.alias, update_fields=_CANCELLED)
    if runner is not None:
        runner.cancel(run_id(row))
    return JobState(row.state)


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job. Rate and time left are estimates over the whole run; None where unknown."""

    job: str
    kind: str
    title: str
    tenant: str | None
    actor: str
    state: str
    object_kind: str
    object: str
    object_name: str
    created_at: datetime
    not_before: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    step: str
    facts: Mapping[str, Any]
    bytes_total: int | None
    bytes_done: int
    bytes_per_second: float | None
    seconds_left: float | None
    place_in_queue: int | None
    waits_for: tuple[str, ...]
    stuck_since: datetime | None
    result: Any
    error_code: str | None
    error: str | None
    hint: str | None


def views(
    scope: "Scope", rows: "QuerySet[Job] | list[Job]", limits: Limits | None = None
) -> list[JobView]:
    """Jobs as they are shown to somebody, in the order given; ``limits`` are the site's.

    A job that is not theirs to see is called :data:`OTHER` where theirs wait for it.
    """
    listed = list(rows)
    waiting: list[Candidate] = []
    waits_for: dict[str, tuple[str, ...]] = {}
    shown: dict[str, tuple[str, ...]] = {}
    queued = {row.job_id for row in listed if row.state in WAITING}
    if queued:
        waiting, running = _candidates(scope.site)
        waits_for = admission.decide(waiting, running, limits or scope.site.limits).waits_for
        shown = _masked(scope, {one: waits_for.get(one, ()) for one in queued}, waiting + running)
    return [_view(row, waiting, waits_for, shown.get(row.job_id, ())) for row in listed]


def _masked(
    scope: "Scope", reasons: Mapping[str, tuple[str, ...]], jobs: list[Candidate]
) -> dict[str, tuple[str, ...]]:
    named = {one.job_id for one in jobs} & {one for many in reasons.values() for one in many}
    theirs = set(scope.jobs.filter(job_id__in=named).values_list("job_id", flat=True))
    hidden = named - theirs
    return {
        job_id: tuple(dict.fromkeys(OTHER if one in hidden else one for one in many))
        for job_id, many in reasons.items()
    }


def _view(
    row: "Job",
    waiting: list[Candidate],
    waits_for: dict[str, tuple[str, ...]],
    shown: tuple[str, ...],
) -> JobView:
    queued = row.state in WAITING
    rate, left = _speed(row)
    return JobView(
        job=row.job_id,
        kind=row.kind,
        title=row.title_said,
        tenant=row.tenant.name if row.tenant else None,
        actor=row.actor,
        state=row.state,
        object_kind=row.object_kind,
        object=row.object_id,
        object_name=row.object_name,
        created_at=row.created_at,
        not_before=row.not_before,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempt=row.attempt,
        step=row.step_said,
        facts=row.facts,
        bytes_total=row.bytes_total,
        bytes_done=row.bytes_done,
        bytes_per_second=rate,
        seconds_left=left,
        place_in_queue=admission.place(row.job_id, waiting, waits_for) if queued else None,
        waits_for=shown if queued else (),
        stuck_since=row.stuck_since,
        result=row.result,
        error_code=row.error_code or None,
        error=row.error_said or None,
        hint=row.hint_said or None,
    )


def _speed(row: "Job") -> tuple[float | None, float | None]:
    if row.started_at is None or not row.bytes_done:
        return None, None
    seconds = ((row.finished_at or clock.now()) - row.started_at).total_seconds()
    if seconds < 1:
        return None, None
    rate = row.bytes_done / seconds
    if row.finished_at is not None or row.bytes_total is None:
        return rate, None
    return rate, max(row.bytes_total - row.bytes_done, 0) / rate
