"""What somebody should know: looked up anew each time, from the catalog alone.

A finding has a key that stays the same for as long as the trouble lasts, so that whoever tells
people (``services.notify``) can tell each once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.model.job_states import JobState
from dozo.model.message import Message
from dozo.model.news import News as Kind
from dozo.model.states import Copy
from dozo.model.words import word
from dozo.services import figures, policies, scheduler
from dozo.services.job_queue import ACTIVE
from dozo.services.protection import Protection
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job, ScheduleRun
    from dozo.catalog.models_notify import Incident

# How far back failures are looked for: longer than a service is away without anybody's knowing.
_LOOK_BACK = timedelta(days=3)
_NAMED = 10
QUOTA_NEAR = 0.9
QUOTA_FAR = 0.85


# These happened and are told once; nothing ends them.
ONCE = frozenset({Kind.REQUEST_FAILED, Kind.RUNS_MISSED})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong now. ``size`` grows as it gets worse; ``about`` names the server."""

    kind: Kind
    about: str
    title: str
    text: str
    size: int = 0
    server: str = ""

    @property
    def key(self) -> str:
        """The same for as long as it lasts."""
        return f"{self.kind.value}:{self.about}"[:200]


def look(site: Site) -> list[Finding]:
    """Everything that is wrong now, each once."""
    found = [
        *_failed_jobs(site),
        *_stuck_jobs(site),
        *_skipped_runs(site),
        *_missed_runs(site),
        *_damaged(site),
        *_behind(site),
        *_quotas(site),
    ]
    explained = {one.server for one in found}
    # A server is failing because of what was found already: that is not told twice.
    found += [one for one in _servers(site) if one.server not in explained]
    return list({one.key: one for one in found}.values())


def is_over(site: Site, incident: "Incident") -> bool:
    """Whether an incident that is not found any more is over, rather than just long ago."""
    kind, _, about = incident.key.partition(":")
    if kind in {Kind.JOB_FAILED, Kind.RETENTION_STOPPED}:
        job_kind, _, object_id = about.partition(":")
        newest = _newest_ended(site, job_kind, object_id)
        return newest is None or newest.state == JobState.DONE
    if kind == Kind.RUN_SKIPPED:
        schedule_id, _, target = about.partition(":")
        return not _is_skipped(_newest_run(site, schedule_id, target))
    return True


def _failed_jobs(site: Site) -> Iterator[Finding]:
    rows = site.catalog.jobs.filter(
        state__in=(JobState.FAILED, JobState.INTERRUPTED),
        finished_at__gte=clock.now() - _LOOK_BACK,
    )
    told: set[tuple[str, str]] = set()
    for row in rows.order_by("-finished_at"):
        if row.actor.partition(":")[0] in {"user", "token"}:
            # Whoever asked sees it too; another try of theirs is another request.
            yield _failed(site, row, Kind.REQUEST_FAILED, row.job_id)
            continue
        same = (row.kind, row.object_id)
        if same in told:
            continue
        told.add(same)
        newest = _newest_ended(site, *same)
        if newest is not None and newest.job_id == row.job_id:
            stopped = row.error_code == "retention.stopped"
            kind = Kind.RETENTION_STOPPED if stopped else Kind.JOB_FAILED
            yield _failed(site, row, kind, f"{row.kind}:{row.object_id}")


def _newest_ended(site: Site, kind: str, object_id: str) -> "Job | None":
    ends = (JobState.DONE, JobState.FAILED, JobState.INTERRUPTED)
    rows = site.catalog.jobs.filter(kind=kind, object_id=object_id, state__in=ends)
    return rows.order_by("-finished_at").first()


def _failed(site: Site, row: "Job", kind: Kind, about: str) -> Finding:
    what = row.title_said
    if row.object_name:
        what = Message("{job} ({about})", job=what, about=row.object_name)
    return Finding(
        kind=kind,
        about=about,
        title=Message("{state}: {job}", state=word("job", row.state), job=what),
        text=Message(
            "{error}\n{hint}\nJob {job}, asked for by {actor}.",
            error=row.error_said,
            hint=row.hint_said,
            job=row.job_id,
            actor=row.actor,
        ),
        server=_server_of(site, row.object_kind, row.object_id),
    )


def _server_of(site: Site, kind: str, object_id: str) -> str:
    if kind == "server":
        return object_id
    if kind != "volume":
        return ""
    row = site.catalog.volumes.filter(volume_id=object_id).first()
    return str(row.server_id or "") if row is not None else ""


def _stuck_jobs(site: Site) -> Iterator[Finding]:
    for row in site.catalog.jobs.filter(state__in=ACTIVE, stuck_since__isnull=False):
        yield Finding(
            kind=Kind.JOB_STUCK,
            about=row.job_id,
            title=Message("stuck: {job}", job=row.title),
            text=Message(
                "No progress since {at} in step {step!r}.\nJob {job}; cancel it, or "
                "look at what the step waits for.",
                at=_at(row.stuck_since),
                step=row.step_said,
                job=row.job_id,
            ),
        )


def _newest_run(site: Site, schedule_id: str, target: str) -> "ScheduleRun | None":
    rows = site.catalog.schedule_runs.select_related("schedule")
    return rows.filter(schedule_id=schedule_id, target=target).order_by("-planned_at").first()


def _is_skipped(run: "ScheduleRun | None") -> bool:
    if run is None or not run.schedule.enabled or run.schedule.deleted_at is not None:
        return False
    return run.outcome == scheduler.SKIPPED


def _skipped_runs(site: Site) -> Iterator[Finding]:
    rows = site.catalog.schedule_runs.filter(
        outcome=scheduler.SKIPPED, decided_at__gte=clock.now() - _LOOK_BACK
    )
    pairs = rows.order_by().values_list("schedule_id", "target").distinct()
    for schedule_id, target in pairs:
        run = _newest_run(site, schedule_id, target)
        if run is None or not _is_skipped(run):
            continue
        what, _, object_id = target.partition(":")
        yield Finding(
            kind=Kind.RUN_SKIPPED,
            about=f"{schedule_id}:{target}",
            title=Message("skipped: schedule {schedule}", schedule=run.schedule.name),
            text=Message(
                "The run planned for {at} was skipped: {reason}.{about}",
                at=_at(run.planned_at),
                reason=run.reason_said,
                about=_target_text(site, target),
            ),
            server=_server_of(site, what, object_id),
        )


def _target_text(site: Site, target: str) -> str:
    what, _, object_id = target.partition(":")
    if what == "server":
        server = site.catalog.servers.filter(uuid=object_id).first()
        return Message("\nServer {server}.", server=server.name) if server is not None else ""
    if what == "volume":
        volume = site.catalog.volumes.filter(volume_id=object_id).first()
        return Message("\nVolume {volume}.", volume=volume.name) if volume is not None else ""
    return ""


def _missed_runs(site: Site) -> Iterator[Finding]:
    """Runs that a newer one made up for: the service was away for longer than a turn."""
    rows = site.catalog.schedule_runs.filter(
        outcome=scheduler.SKIPPED,
        reason="superseded",
        target="",
        decided_at__gte=clock.now() - _LOOK_BACK,
    ).select_related("schedule")
    decided: dict[tuple[str, object], list[ScheduleRun]] = {}
    for row in rows.order_by("planned_at"):
        # Decided together, within one transaction.
        minute = row.decided_at.replace(second=0, microsecond=0)
        decided.setdefault((row.schedule_id, minute), []).append(row)
    for runs in decided.values():
        first, last = runs[0], runs[-1]
        yield Finding(
            kind=Kind.RUNS_MISSED,
            about=f"{first.schedule_id}:{last.planned_at:%Y%m%d%H%M}",
            title=Message(
                "missed: {count} runs of schedule {schedule}",
                count=len(runs),
                schedule=first.schedule.name,
            ),
            text=Message(
                "Planned from {first} to {last}; the run after them makes up for them. "
                "Was the service away?",
                first=_at(first.planned_at),
                last=_at(last.planned_at),
            ),
        )


def _damaged(site: Site) -> Iterator[Finding]:
    names = {row.site_id: row.name for row in site.catalog.sites.all()}
    by_site: dict[str, list[str]] = {}
    for row in site.catalog.copies.filter(state=Copy.DAMAGED.value).order_by("snapshot_id"):
        by_site.setdefault(row.site_id, []).append(row.snapshot_id[:12])
    for site_id, ids in by_site.items():
        here = site_id == site.settings.site_id
        more = Message(" and {count} more", count=len(ids) - _NAMED) if len(ids) > _NAMED else ""
        where = Message("this site") if here else names.get(site_id, site_id)
        yield Finding(
            kind=Kind.COPIES_DAMAGED,
            about=site_id,
            title=Message("damaged: {count} copies at {where}", count=len(ids), where=where),
            text=Message(
                "Snapshots {names}{more}.\nMend them there with a scrub that repairs "
                "from the other site.",
                names=", ".join(ids[:_NAMED]),
                more=more,
            ),
            size=len(ids),
        )


def _behind(site: Site) -> Iterator[Finding]:
    allowed = timedelta(hours=site.settings.notify_behind_hours)
    for peer in site.settings.peers:
        lag = figures.behind(site, peer)
        if lag.oldest_at is not None and clock.now() - lag.oldest_at > allowed:
            yield Finding(
                kind=Kind.PEER_BEHIND,
                about=peer.name,
                title=Message(
                    "behind: {count} snapshots are not verified at {peer}",
                    count=lag.count,
                    peer=peer.name,
                ),
                text=Message(
                    "The oldest was taken {at}. Look at the copy jobs here and at the "
                    "peer's own sync.",
                    at=_at(lag.oldest_at),
                ),
            )


def _quotas(site: Site) -> Iterator[Finding]:
    for tenant in site.catalog.tenants.all():
        try:
            policy = policies.of(tenant)
        except DozoError:
            continue
        if policy.quota_stored_bytes is None and policy.quota_snapshots is None:
            continue
        used = policies.used_stored(site, tenant)
        share = max(
            used.stored_bytes / max(policy.quota_stored_bytes or 0, 1)
            if policy.quota_stored_bytes is not None
            else 0,
            used.snapshots / max(policy.quota_snapshots or 0, 1)
            if policy.quota_snapshots is not None
            else 0,
        )
        key = f"{Kind.QUOTA_NEAR.value}:{tenant.name}"
        told = site.catalog.incidents.filter(key=key, closed_at=None).exists()
        # Around the limit it would come and go.
        if share >= (QUOTA_FAR if told else QUOTA_NEAR):
            yield Finding(
                kind=Kind.QUOTA_NEAR,
                about=tenant.name,
                title=Message(
                    "quota: tenant {tenant} has used {share:.0%}", tenant=tenant.name, share=share
                ),
                text=Message(
                    "{snapshots} snapshots, {bytes} bytes are stored. At 100 % its next "
                    "snapshots are refused.",
                    snapshots=used.snapshots,
                    bytes=used.stored_bytes,
                ),
                size=1 if share >= 1 else 0,
            )


def _servers(site: Site) -> Iterator[Finding]:
    sizes = {Protection.BEHIND: 0, Protection.FAILING: 1}
    for one in figures.servers(site):
        if one.state in sizes:
            since = Message(" since {at}", at=_at(one.stalest_at)) if one.stalest_at else ""
            yield Finding(
                kind=Kind.SERVER_UNSAFE,
                about=one.server,
                title=Message("{state}: server {server}", state=one.state.value, server=one.name)[
                    :255
                ],
                text=Message("Not protected{since}: {reason}.", since=since, reason=one.reason),
                size=sizes[one.state],
                server=one.server,
            )


def _at(instant: object) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
