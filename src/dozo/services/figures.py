"""What an operator watches, as numbers: read from the catalog, the vault and the jobs.

Ages are seconds, sizes are bytes. Nothing here changes anything.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Exists, Min, OuterRef, Subquery, Sum

from dozo.model import clock
from dozo.model.job_states import JobState
from dozo.model.states import CaptureMode, Copy
from dozo.services import operations, policies, protection
from dozo.services.job_queue import ACTIVE, ENDED, WAITING
from dozo.services.protection import ServerProtection
from dozo.services.settings import Peer
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job

UPKEEP = ("site.sync", "site.retain", "site.prune", "site.scrub")
# Jobs that end at the same time can become visible one after the other.
_OVERLAP = timedelta(minutes=2)


@dataclass(frozen=True, kw_only=True)
class Behind:
    """What a peer has not verified yet: how many snapshots, and since when the oldest waits."""

    peer: str
    count: int
    oldest_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The jobs that have not ended, by kind and state, and the oldest that waits for its turn."""

    open: Mapping[tuple[str, str], int]
    queued: int
    oldest_queued_at: datetime | None
    stuck: int
    running_bytes: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class VaultFigures:
    """How much the vault holds; ``bytes_free`` None where it cannot be known."""

    bytes_stored: int
    bytes_protected: int
    bytes_free: int | None
    snapshots: int
    deleted_snapshots: int
    packs: int


@dataclass(kw_only=True)
class Ended:
    """Sums over the jobs that ended since the counting began; they only grow."""

    jobs: Counter[tuple[str, str]] = field(default_factory=Counter)
    job_bytes: Counter[str] = field(default_factory=Counter)
    job_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    bytes_read: int = 0
    bytes_stored: int = 0
    full_reads: Counter[str] = field(default_factory=Counter)
    freezes_ms: Counter[int] = field(default_factory=Counter)


def servers(site: Site) -> list[ServerProtection]:
    """The protection of each server on this site's hypervisor."""
    rows = site.catalog.servers.filter(present=True).select_related("tenant")
    return protection.of_servers(site, rows)


def last_freezes(site: Site) -> dict[str, int]:
    """How long the newest live snapshot of each server kept it frozen, in milliseconds."""
    newest = (
        site.catalog.snapshots.filter(
            server=OuterRef("pk"), mode=CaptureMode.LIVE.value, origin_site=site.own_row
        )
        .order_by("-created_at")
        .values("facts")[:1]
    )
    rows = site.catalog.servers.filter(present=True).annotate(newest=Subquery(newest))
    found = {}
    for row in rows:
        capture = (getattr(row, "newest", None) or {}).get("capture") or {}
        if capture.get("freeze_ms") is not None:
            found[str(row.uuid)] = int(capture["freeze_ms"])
    return found


def behind(site: Site, peer: Peer) -> Behind:
    """What this site took, or templates made here, and the peer has not verified."""
    # Asked of each snapshot by the copies' own key: lists of all ids take long where there is much.
    copies = site.catalog.copies.filter(snapshot_id=OuterRef("snapshot_id"))
    verified = copies.filter(site_id=peer.site_id, state=Copy.VERIFIED.value)
    here = copies.filter(site=site.own_row, state__in=(Copy.STORED.value, Copy.VERIFIED.value))
    copied = [
        tenant.pk
        for tenant in site.catalog.tenants.all()
        if policies.copies_at_peers(policies.of(tenant))
    ]
    count = 0
    oldest: list[datetime] = []
    for rows in (site.catalog.snapshots, site.catalog.templates):
        found = (
            rows.filter(
                ~Exists(verified),
                Exists(here),
                deleted_at=None,
                origin_site=site.own_row,
                tenant_id__in=copied,
            )
            .order_by()
            .aggregate(count=Count("pk"), oldest=Min("created_at"))
        )
        count += found["count"]
        oldest += [found["oldest"]] if found["oldest"] else []
    return Behind(peer=peer.name, count=count, oldest_at=min(oldest, default=None))


def damaged(site: Site) -> dict[str, int]:
    """How many copies are damaged, by site."""
    names = {row.site_id: row.name for row in site.catalog.sites.all()}
    found = (
        site.catalog.copies.filter(state=Copy.DAMAGED.value)
        .order_by()
        .values("site_id")
        .annotate(count=Count("pk"))
    )
    known = {site.settings.site_id, *(peer.site_id for peer in site.settings.peers)}
    counts = {row["site_id"]: row["count"] for row in found}
    return {names.get(one, one): counts.get(one, 0) for one in sorted(known | set(counts))}


def queue(site: Site) -> Queue:
    """The jobs that have not ended."""
    rows = site.catalog.jobs.filter(state__in=(*WAITING, *ACTIVE))
    counts = {
        (row["kind"], row["state"]): row["count"]
        for row in rows.order_by().values("kind", "state").annotate(count=Count("pk"))
    }
    waiting = rows.filter(state=JobState.QUEUED)
    oldest = waiting.order_by().aggregate(oldest=Min("created_at"))["oldest"]
    rates: defaultdict[str, float] = defaultdict(float)
    for row in rows.filter(state__in=ACTIVE, bytes_done__gt=0, started_at__isnull=False):
        rates[row.kind] += row.bytes_done / max(_seconds(row), 1)
    return Queue(
        open=counts,
        queued=waiting.count(),
        oldest_queued_at=oldest,
        stuck=rows.filter(stuck_since__isnull=False).count(),
        running_bytes=rates,
    )


def late_by(site: Site) -> float:
    """Seconds by which the most overdue schedule waits for the scheduler; 0 if none does."""
    now = clock.now()
    due = site.catalog.schedules.filter(enabled=True, deleted_at=None, next_at__lt=now)
    oldest = due.order_by().aggregate(oldest=Min("next_at"))["oldest"]
    return (now - oldest).total_seconds() if oldest else 0.0


def last_successes(site: Site) -> dict[str, datetime]:
    """When each kind of upkeep last got through; absent if it never did."""
    found = {}
    for kind in UPKEEP:
        row = site.catalog.jobs.filter(kind=kind, state=JobState.DONE).order_by("-created_at")
        newest = row.first()
        if newest is not None and newest.finished_at is not None:
            found[kind] = newest.finished_at
    return found


def vault(site: Site) -> VaultFigures:
    """How much the vault holds. Reads its index: not for every few seconds."""
    stats = site.vault.stats()
    return VaultFigures(
        bytes_stored=stats.bytes_stored,
        bytes_protected=stats.bytes_protected,
        bytes_free=_free(site.settings.vault),
        snapshots=stats.snapshots,
        deleted_snapshots=stats.deleted_snapshots,
        packs=stats.packs,
    )


def bytes_of_volumes(site: Site) -> int:
    """The sizes of all volumes in all snapshots that are kept here: what restores could give."""
    here = site.catalog.copies.filter(
        site=site.own_row, state__in=(Copy.STORED.value, Copy.VERIFIED.value)
    ).values("snapshot_id")
    kept = site.catalog.snapshots.filter(deleted_at=None, snapshot_id__in=here)
    return int(kept.order_by().aggregate(total=Sum("bytes_volume"))["total"] or 0)


def _free(url: str) -> int | None:
    path = url.removeprefix("file://")
    if "://" in path:
        return None
    try:
        found = os.statvfs(Path(path))
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


class Counting:
    """Counts the jobs that end from its making on, however seldom somebody looks."""

    def __init__(self) -> None:
        self.since = clock.now()
        self.ended = Ended()
        self._seen: dict[str, datetime] = {}
        self._until = self.since
        for kind in operations.KINDS:
            # What has never happened is 0, so that the first time is a rise.
            self.ended.jobs.update({(kind, state.value): 0 for state in ENDED})
            self.ended.job_bytes[kind] += 0
            self.ended.job_seconds[kind] += 0

    def look(self, site: Site) -> Ended:
        """Count what ended since the last look. For one thread at a time."""
        after = max(self.since, self._until - _OVERLAP)
        rows = site.catalog.jobs.filter(state__in=ENDED, finished_at__gte=after)
        for row in rows.order_by("finished_at"):
            if row.job_id not in self._seen and row.finished_at is not None:
                self._seen[row.job_id] = row.finished_at
                self._until = max(self._until, row.finished_at)
                self._count(row)
        oldest = self._until - 2 * _OVERLAP
        self._seen = {job: at for job, at in self._seen.items() if at >= oldest}
        return self.ended

    def _count(self, row: "Job") -> None:
        self.ended.jobs[row.kind, row.state] += 1
        self.ended.job_bytes[row.kind] += row.bytes_done
        self.ended.job_seconds[row.kind] += _seconds(row)
        if not isinstance(row.result, dict):
            return
        if row.result.get("freeze_ms") is not None:
            self.ended.freezes_ms[int(row.result["freeze_ms"])] += 1
        for one in _stored(row.result.get("snapshots")):
            self.ended.bytes_read += int(one.get("bytes_read") or 0)
            self.ended.bytes_stored += int(one.get("bytes_stored") or 0)
            if one.get("full_reason"):
                self.ended.full_reads[str(one["full_reason"])] += 1


def _stored(value: Any) -> Iterable[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _seconds(row: "Job") -> float:
    if row.started_at is None:
        return 0.0
    return max(((row.finished_at or clock.now()) - row.started_at).total_seconds(), 0.0)
