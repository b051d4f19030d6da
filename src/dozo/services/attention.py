"""What needs somebody's attention, the worst first: of what the asker may see."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef

from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.model.job_states import JobState
from dozo.model.message import Message, counted
from dozo.model.news import News
from dozo.model.states import Copy
from dozo.model.words import word
from dozo.services import policies, scheduler
from dozo.services.access import Operation, Scope, Verdict, decide
from dozo.services.findings import QUOTA_NEAR
from dozo.services.job_queue import ENDED
from dozo.services.protection import Protection, ServerProtection

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job

MOST = 100
LATELY = timedelta(days=1)
_MOST_JOBS = 50


class Cause(StrEnum):
    """Why something needs attention, the worst first."""

    DAMAGED = "damaged"
    FAILING = "failing"
    UNPROTECTED = "unprotected"
    JOB_STUCK = "job-stuck"
    JOB_FAILED = "job-failed"
    RUN_SKIPPED = "run-skipped"
    QUOTA_NEAR = "quota-near"
    PEER_BEHIND = "peer-behind"
    BEHIND = "behind"
    RUNS_MISSED = "runs-missed"
    SIMULATED = "simulated"


# Nothing of these can wait; the rest is to be watched.
URGENT = frozenset(
    {Cause.DAMAGED, Cause.FAILING, Cause.UNPROTECTED, Cause.JOB_STUCK, Cause.JOB_FAILED}
)
_ORDER = {cause: place for place, cause in enumerate(Cause)}
_SERVERS = {
    Protection.FAILING: Cause.FAILING,
    Protection.UNPROTECTED: Cause.UNPROTECTED,
    Protection.BEHIND: Cause.BEHIND,
}


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that needs attention; ``kind`` and ``object`` say what it is about.

    ``job`` is the job that shows why, ``site`` the name of the site that it is about, where there
    is one.
    """

    kind: str
    object: str
    name: str
    tenant: str | None
    text: str
    since: datetime | None
    cause: str
    job: str | None = None
    site: str | None = None


def look(scope: Scope, judged: Sequence[ServerProtection]) -> list[Notice]:
    """All of it; ``judged`` are the servers that the asker may see."""
    failed = _failed(scope)
    bad = [one for one in judged if one.state is not Protection.PROTECTED]
    failing = {
        object_id: one.server
        for one in bad
        if one.state is Protection.FAILING
        for object_id in (one.server, *(volume.volume for volume in one.volumes))
    }
    found = [
        *_simulated(scope),
        *_damaged(scope),
        *_servers(bad, failed, failing),
        *_stuck(scope),
        # What a server is failing for stands there already.
        *(_job(row, Cause.JOB_FAILED) for row in failed if row.object_id not in failing),
        *_runs(scope),
        *_quotas(scope),
        *_peers(scope),
    ]
    return sorted(found, key=lambda one: _ORDER[Cause(one.cause)])[:MOST]


def _simulated(scope: Scope) -> list[Notice]:
    settings = scope.site.settings
    if not settings.simulated:
        return []
    return [
        Notice(
            kind="site",
            object=settings.site_id,
            name=settings.name,
            tenant=None,
            text=Message("the hypervisor is simulated: no real server is protected"),
            since=None,
            cause=Cause.SIMULATED,
        )
    ]


def _servers(
    bad: Iterable[ServerProtection], failed: Sequence["Job"], failing: dict[str, str]
) -> list[Notice]:
    jobs: dict[str, str] = {}
    for row in failed:
        if row.object_id in failing:
            jobs.setdefault(failing[row.object_id], row.job_id)
    return [
        Notice(
            kind="server",
            object=one.server,
            name=one.name,
            tenant=one.tenant,
            text=Message(
                "{state}: {reason}", state=word("protection", one.state), reason=one.reason
            ),
            since=one.stalest_at,
            cause=_SERVERS[one.state],
            job=jobs.get(one.server),
        )
        for one in bad
    ]


def _failed(scope: Scope) -> list["Job"]:
    """Jobs that failed lately, and that nothing of their kind has made up for since."""
    ended = scope.jobs.filter(state__in=ENDED, finished_at__gte=clock.now() - LATELY)
    failed = ended.filter(state__in=(JobState.FAILED, JobState.INTERRUPTED))
    rows = list(failed.select_related("tenant").order_by("-finished_at")[:_MOST_JOBS])
    if not rows:
        return []
    done = ended.filter(state=JobState.DONE, kind__in={row.kind for row in rows})
    good: dict[tuple[str, str], datetime | None] = {}
    told = done.filter(object_id__in={row.object_id for row in rows}).order_by("finished_at")
    for kind, object_id, at in told.values_list("kind", "object_id", "finished_at"):
        good[kind, object_id] = at
    found: dict[tuple[str, str], Job] = {}
    for row in rows:
        same = (row.kind, row.object_id)
        since = good.get(same)
        if since is not None and row.finished_at is not None and since >= row.finished_at:
            continue
        found.setdefault(same, row)
    return list(found.values())


def _stuck(scope: Scope) -> list[Notice]:
    rows = scope.jobs.filter(stuck_since__isnull=False).exclude(state__in=ENDED)
    return [_job(row, Cause.JOB_STUCK) for row in rows.select_related("tenant")[:_MOST_JOBS]]


def _job(row: "Job", cause: Cause) -> Notice:
    if cause is Cause.JOB_STUCK:
        text: str = Message("stuck")
    elif row.error_text:
        text = Message("{state}: {reason}", state=word("job", row.state), reason=row.error_said)
    else:
        text = word("job", row.state)
    return Notice(
        kind="job",
        object=row.job_id,
        name=row.title_said,
        tenant=row.tenant.name if row.tenant else None,
        text=text,
        since=row.finished_at or row.stuck_since,
        cause=cause,
        job=row.job_id,
    )


def _damaged(scope: Scope) -> list[Notice]:
    # Asked of each damaged copy, of which there are few: not of each snapshot.
    there = scope.snapshots.filter(snapshot_id=OuterRef("snapshot_id"), deleted_at=None)
    found = scope.site.catalog.copies.filter(
        Exists(there.order_by()), state=Copy.DAMAGED.value
    ).select_related("site")
    at = {copy.snapshot_id: copy.site.name for copy in found[:MOST]}
    rows = scope.snapshots.filter(snapshot_id__in=list(at)).select_related("tenant")
    return [
        Notice(
            kind="snapshot",
            object=row.snapshot_id,
            name=row.name,
            tenant=row.tenant.name,
            text=Message("its copy at {site} is damaged", site=at[row.snapshot_id]),
            since=row.created_at,
            cause=Cause.DAMAGED,
            site=at[row.snapshot_id],
        )
        for row in rows
    ]


def _runs(scope: Scope) -> list[Notice]:
    """Runs of schedules that did not happen at all; those of one server make it failing."""
    rows = scope.site.catalog.schedule_runs.filter(
        schedule__in=scope.schedules.filter(enabled=True),
        outcome=scheduler.SKIPPED,
        target="",
        decided_at__gte=clock.now() - LATELY,
    ).select_related("schedule", "schedule__tenant")
    newest: dict[str, tuple[str, datetime]] = {}
    missed: Counter[str] = Counter()
    schedules = {}
    for row in rows.order_by("planned_at")[:1000]:
        schedules[row.schedule_id] = row.schedule
        if row.reason == "superseded":
            missed[row.schedule_id] += 1
        newest[row.schedule_id] = (row.reason, row.planned_at)
    found = []
    for key, (reason, planned_at) in newest.items():
        is_missed = reason == "superseded"
        text = (
            counted(
                missed[key],
                "{count} run was missed; a later one makes up for it",
                "{count} runs were missed; a later one makes up for them",
            )
            if is_missed
            else Message("the run was skipped: {reason}", reason=word("skipped", reason))
        )
        found.append(
            Notice(
                kind="schedule",
                object=key,
                name=schedules[key].name,
                tenant=schedules[key].tenant.name,
                text=text,
                since=planned_at,
                cause=Cause.RUNS_MISSED if is_missed else Cause.RUN_SKIPPED,
            )
        )
    return found


def _quotas(scope: Scope) -> list[Notice]:
    found = []
    for tenant in scope.tenants:
        try:
            policy = policies.of(tenant)
        except DozoError:
            continue
        if policy.quota_stored_bytes is None and policy.quota_snapshots is None:
            continue
        used = policies.used_stored(scope.site, tenant)
        shares = [
            have / max(most, 1)
            for have, most in (
                (used.stored_bytes, policy.quota_stored_bytes),
                (used.snapshots, policy.quota_snapshots),
            )
            if most is not None
        ]
        if max(shares) >= QUOTA_NEAR:
            found.append(
                Notice(
                    kind="tenant",
                    object=tenant.name,
                    name=tenant.name,
                    tenant=tenant.name,
                    text=Message("{share:.0%} of the quota is used", share=max(shares)),
                    since=None,
                    cause=Cause.QUOTA_NEAR,
                )
            )
    return found


def _peers(scope: Scope) -> list[Notice]:
    """Peers that are long behind, for those who run the site."""
    verdict = decide(scope.actor, Operation.SITE_SHOW, scope.actor.tenant)
    if verdict is not Verdict.ALLOWED:
        return []
    # As whoever tells people found it lately: counting takes long where there is much.
    rows = scope.site.catalog.incidents.filter(kind=News.PEER_BEHIND.value, closed_at=None)
    since = {row.key.partition(":")[2]: row.opened_at for row in rows}
    return [
        Notice(
            kind="site",
            object=peer.site_id,
            name=peer.name,
            tenant=None,
            text=Message("snapshots are not verified there in time"),
            since=since[peer.name],
            cause=Cause.PEER_BEHIND,
        )
        for peer in scope.site.settings.peers
        if peer.name in since
    ]
