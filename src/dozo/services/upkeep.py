"""What the service does by itself: copies, verifying, keeping step, retention, prune, scrub.

Each is a job like any other. Whether one is due is read from the jobs there were and from the
states of the copies, so nothing has to be remembered over a crash.
"""

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, OuterRef, Q

from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.model.job_states import JobState
from dozo.model.retention import HANDFUL
from dozo.model.states import Copy
from dozo.services import job_queue, operations, policies, replicate
from dozo.services.access import Actor, Scope
from dozo.services.job_queue import ACTIVE, ENDED, WAITING
from dozo.services.project import RETENTION
from dozo.services.settings import Peer
from dozo.services.site import Site

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog.models_jobs import Job

log = logging.getLogger(__name__)

# After a run that copied something, and after one that could not.
_COPY_PAUSE = timedelta(seconds=30)
_FAILED_PAUSE = timedelta(minutes=15)
# Ended jobs and decided runs; and the logs of the jobs that got through.
KEPT = timedelta(days=30)
LINES_KEPT = timedelta(days=7)
_REMOVED_AT_ONCE = 500
_COPIED_AT_ONCE = 500
_RETAIN_EVERY = timedelta(minutes=15)


class Arrivals:
    """Notices what came into the vault, once: what no catalog can show is no news again."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()

    def any(self, site: Site) -> bool:
        """Whether the vault has what the catalog has not heard of, or nobody has read back."""
        copies = site.catalog.copies.filter(site=site.own_row)
        heard_of = set(copies.values_list("snapshot_id", flat=True))
        unknown = frozenset(site.vault.snapshot_ids() - heard_of)
        news = bool(unknown - self._known)
        self._known = unknown
        return news


def submit_due(site: Site, arrivals: Arrivals) -> list[str]:
    """Queue the upkeep that is due now; the new jobs' ids."""
    settings = site.settings
    look_at_peers(site)
    queued = [
        job_id
        for kind, every in (
            ("site.sync", timedelta(minutes=settings.sync_minutes)),
            ("site.retain", _RETAIN_EVERY),
            ("site.prune", timedelta(hours=settings.prune_hours)),
            ("site.scrub", timedelta(days=settings.scrub_days)),
        )
        if _is_due(site, kind, every)
        for job_id in _submit(site, kind, {})
    ]
    if not _goes_on(site, "site.sync") and arrivals.any(site):
        queued += _submit(site, "site.sync", {})
    for peer in settings.peers:
        wanted, deleted = missing_at(site, peer), deleted_here(site, peer)
        if (wanted or deleted) and _copy_is_due(site, peer):
            params = {
                "peer": peer.name,
                "snapshots": wanted[:_COPIED_AT_ONCE],
                "deleted": deleted,
            }
            queued += _submit(site, "snapshot.copy", params)
    return queued


def deleted_here(site: Site, peer: Peer) -> list[str]:
    """What was deleted at this site, which took it, and is still shown at a peer.

    Nothing if that is suspiciously much of what the peer has: then an operator copies everything
    by hand, which takes all deletions along.
    """
    there = site.catalog.copies.filter(site_id=peer.site_id).exclude(state=Copy.MISSING.value)
    found = []
    for rows in (site.catalog.snapshots, site.catalog.templates):
        gone = rows.filter(origin_site=site.own_row, deleted_at__isnull=False)
        gone = gone.exclude(deleted_reason=RETENTION)
        found += list(
            gone.filter(snapshot_id__in=there.values("snapshot_id")).values_list(
                "snapshot_id", flat=True
            )
        )
    if len(found) > HANDFUL and len(found) > site.settings.retention_share * there.count():
        log.warning(
            "%d deletions are many for %s: copy everything by hand if they are meant",
            len(found),
            peer.name,
        )
        return []
    return found


def forget_old(site: Site) -> int:
    """Remove what is too old: jobs and tokens that ended, schedules' runs; how many rows.

    What tells whether upkeep is due, and each schedule's newest runs, stay.
    """
    now = clock.now()
    runs = site.catalog.schedule_runs
    newer = runs.filter(
        schedule=OuterRef("schedule"),
        target=OuterRef("target"),
        planned_at__gt=OuterRef("planned_at"),
    )
    old_runs = runs.filter(Exists(newer.order_by("planned_at")[1:2]), planned_at__lt=now - KEPT)
    ended = site.catalog.jobs.filter(state__in=ENDED)
    kinds = ended.order_by().values_list("kind", flat=True).distinct()
    newest = [
        row.pk
        for kind in kinds
        for row in (_newest(site, kind), _newest(site, kind, state=JobState.DONE))
        if row is not None
    ]
    old_jobs = ended.filter(finished_at__lt=now - KEPT, run=None).exclude(pk__in=newest)
    old_lines = site.catalog.job_lines.filter(
        job__state=JobState.DONE, job__finished_at__lt=now - LINES_KEPT
    )
    tokens = site.catalog.tokens
    over = Q(revoked_at__lt=now - KEPT) | Q(expires_at__lt=now - KEPT)
    return (
        _remove(runs, old_runs)
        + _remove(ended, old_jobs)
        + _remove(old_lines, old_lines)
        + _remove(tokens, tokens.filter(over))
    )


def _remove(rows: "QuerySet[Any]", old: "QuerySet[Any]") -> int:
    """A batch at a time: nobody waits long for the database."""
    removed = 0
    while batch := list(old.order_by("pk").values_list("pk", flat=True)[:_REMOVED_AT_ONCE]):
        rows.filter(pk__in=batch).delete()
        removed += len(batch)
    return removed


def look_at_peers(site: Site) -> None:
    """Hear from the peers what they have verified meanwhile; one that is away is none's trouble."""
    for peer in site.settings.peers:
        try:
            replicate.look_at_waiting(site, peer)
        except DozoError as error:
            log.debug("peer %s cannot be looked at: %s", peer.name, error)


def missing_at(site: Site, peer: Peer) -> list[str]:
    """The snapshots and templates of this site that a peer has to get, oldest first."""
    # What the peer's own retention removed has been there and been verified.
    there = site.catalog.copies.filter(site_id=peer.site_id).exclude(
        state=Copy.MISSING.value, verified_at=None
    )
    here = site.catalog.copies.filter(
        site=site.own_row, state__in=(Copy.STORED.value, Copy.VERIFIED.value)
    )
    copied = {
        tenant.pk
        for tenant in site.catalog.tenants.all()
        if policies.copies_at_peers(policies.of(tenant))
    }
    wanted = []
    for rows in (site.catalog.snapshots, site.catalog.templates):
        wanted += list(
            rows.filter(
                deleted_at=None,
                origin_site=site.own_row,
                tenant_id__in=copied,
                snapshot_id__in=here.values("snapshot_id"),
            )
            .exclude(snapshot_id__in=there.values("snapshot_id"))
            .order_by("created_at")
            .values_list("snapshot_id", flat=True)
        )
    return wanted


def _newest(site: Site, kind: str, **more: Any) -> "Job | None":
    return site.catalog.jobs.filter(kind=kind, **more).order_by("-created_at").first()


def _goes_on(site: Site, kind: str) -> bool:
    return site.catalog.jobs.filter(kind=kind, state__in=(*ACTIVE, *WAITING)).exists()


def _is_due(site: Site, kind: str, every: timedelta) -> bool:
    last = _newest(site, kind)
    if last is None:
        return kind != "site.scrub" or bool(site.vault.snapshot_ids())
    if last.finished_at is None:
        return False
    return clock.now() - last.created_at >= every


def _copy_is_due(site: Site, peer: Peer) -> bool:
    last = _newest(site, "snapshot.copy", object_id=peer.site_id, tenant=None)
    if last is None:
        return True
    if last.finished_at is None:
        return False
    moved = last.state == JobState.DONE and bool((last.result or {}).get("snapshots"))
    pause = _COPY_PAUSE if moved else _FAILED_PAUSE
    waited = clock.now() - last.finished_at >= pause
    return waited or (last.state == JobState.DONE and _is_new(site, last))


def _is_new(site: Site, last: "Job") -> bool:
    """Whether a snapshot was taken after the last copy was asked for."""
    return site.catalog.snapshots.filter(
        origin_site=site.own_row, deleted_at=None, created_at__gt=last.created_at
    ).exists()


def _submit(site: Site, kind: str, params: dict[str, Any]) -> list[str]:
    """The new job's id; none if another worker was faster."""
    scope = Scope(site, Actor.system("upkeep"))
    found = operations.kind(kind)
    prepared = found.prepare(scope, params)
    with site.catalog.turn("upkeep"):
        # A tenant's own copies keep nobody else's waiting.
        same = site.catalog.jobs.filter(kind=kind, object_id=prepared.object_id, tenant=None)
        if same.filter(state__in=(*ACTIVE, *WAITING)).exists():
            return []
        return [job_queue.enqueue(scope, found, prepared).job_id]
