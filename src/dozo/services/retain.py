"""Retention: which generations are over at this site, and removing them.

The numbers of a schedule stand in its row at the site that runs it, and in each of its snapshots
for everybody else: so a peer, or a site that lost its database, goes on counting.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dozo.model import clock, retention
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.message import Message, joined
from dozo.model.retention import Generation, Keep, Limits, RetentionPlan, keep_from_json
from dozo.model.states import Copy
from dozo.services import policies, protection, snapshots
from dozo.services.project import RETENTION
from dozo.services.site import Site
from dozo.services.work import Unheard, Work

if TYPE_CHECKING:
    from dozo.catalog import models


@dataclass(eq=False)
class RetentionStopped(DozoError):
    """Retention removed nothing somewhere, because what it saw cannot be right."""

    code = "retention.stopped"
    kind = ErrorKind.REFUSED
    text = "retention stopped for {self.groups}: {self.reasons}"
    hint = (
        "Look at the site's clock and at the list of what would go (dozo site retain --dry-run);"
        " if it is meant, run it with --allow-many."
    )
    groups: str
    reasons: str


@dataclass(frozen=True, kw_only=True)
class GroupPlan:
    """What becomes of one server's, or one unattached volume's, snapshots."""

    of: str
    plan: RetentionPlan


class _Noted:
    """An instant and what the monotonic clock showed then: the wall clock may jump later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: tuple[datetime, float] | None = None

    def expected_now(self) -> datetime:
        with self._lock:
            if self._noted is None:
                self._noted = (clock.now(), clock.monotonic())
            at, then = self._noted
            return at + timedelta(seconds=clock.monotonic() - then)

    def forget(self) -> None:
        """Believe the wall clock as it is now: somebody has looked at it."""
        with self._lock:
            self._noted = None


_noted = _Noted()


def believe_clock() -> None:
    """Take the wall clock as it is now for right: an operator has looked at it."""
    _noted.forget()


def plan(site: Site, *, allow_many: bool = False) -> list[GroupPlan]:
    """Look at every scheduled snapshot of this site's vault; nothing is changed.

    ``allow_many``: an operator has seen what would go and means it.
    """
    # One that is damaged or still arriving is not over, nor is the recovery point that it is of.
    own = {
        row.snapshot_id: row
        for row in site.catalog.copies.filter(site=site.own_row).exclude(state=Copy.MISSING.value)
    }
    groups: dict[tuple[int, str], list[models.Snapshot]] = defaultdict(list)
    rows = site.catalog.snapshots.filter(deleted_at=None, readable=True, scheduled=True)
    for row in rows.select_related("tenant", "server", "volume", "recovery_point"):
        if row.snapshot_id in own:
            groups[row.tenant_id, _group_of(row)].append(row)
    held: dict[str, datetime] = {}
    for hold in site.vault.holds() if groups else ():
        held[hold.snapshot] = max(hold.until, held.get(hold.snapshot, hold.until))
    for snapshot in _needed(site):
        held[snapshot] = datetime.max.replace(tzinfo=UTC)
    limits = Limits(max_share=site.settings.retention_share, allow_many=allow_many)
    return [
        GroupPlan(of=_name_of(members[0]), plan=_plan_group(site, members, own, held, limits))
        for _, members in sorted(groups.items())
    ]


def _needed(site: Site) -> set[str]:
    """What volumes that are half put back are put back from."""
    marked = site.catalog.volumes.exclude(restoring_snapshot="")
    pairs = marked.values_list("restoring_snapshot", "safety_snapshot")
    return {snapshot for pair in pairs for snapshot in pair if snapshot}


def _incomplete(members: "list[models.Snapshot]") -> set[str]:
    """The recovery points of which a member is not here: they take no other's place."""
    here: dict[str, set[str]] = defaultdict(set)
    wanted: dict[str, set[str]] = {}
    for row in members:
        if row.recovery_point is not None:
            here[row.recovery_point.pk].add(str(row.volume_id))
            wanted[row.recovery_point.pk] = {one["volume_id"] for one in row.recovery_point.members}
    return {point for point, volumes in wanted.items() if volumes - here[point]}


def _group_of(row: "models.Snapshot") -> str:
    if row.server_id is not None:
        return f"server:{row.server_id}"
    return f"volume:{row.volume_id}"


def _name_of(row: "models.Snapshot") -> str:
    if row.server is not None:
        return Message("server {server}", server=row.server.name)
    return Message("volume {volume}", volume=row.volume.name) if row.volume else row.name


def _plan_group(
    site: Site,
    members: "list[models.Snapshot]",
    own: "dict[str, models.Copy]",
    held: dict[str, datetime],
    limits: Limits,
) -> RetentionPlan:
    tenant = members[0].tenant
    ids = [row.snapshot_id for row in members]
    # Where a peer keeps fewer, its own retention takes nothing away from what counts here.
    good = protection.protected_ids(site, tenant, ids, or_retired=True)
    incomplete = _incomplete(members)
    generations = [
        Generation(
            snapshot_id=row.snapshot_id,
            created_at=row.created_at,
            received_at=own[row.snapshot_id].received_at or row.created_at,
            scheduled=True,
            schedule_ids=frozenset({row.schedule_id}),
            verified=own[row.snapshot_id].state == Copy.VERIFIED.value,
            protected=row.snapshot_id in good and row.recovery_point_id not in incomplete,
            held_until=held.get(row.snapshot_id),
            group=row.recovery_point_id,
            volume_id=str(row.volume_id or ""),
        )
        for row in members
    ]
    return retention.plan(
        _keeps(site, members),
        generations,
        clock.now(),
        cap=policies.of(tenant).max_generations,
        cap_since=tenant.generations_lowered_at,
        expected_now=_noted.expected_now(),
        limits=limits,
    )


def _keeps(site: Site, members: "list[models.Snapshot]") -> dict[str, Keep]:
    """Each schedule's numbers: from its row, or from its newest snapshot where there is none.

    A schedule that was deleted here keeps what it has.
    """
    newest: dict[str, models.Snapshot] = {}
    for row in sorted(members, key=lambda one: one.created_at):
        newest[row.schedule_id] = row
    rows = {
        row.schedule_id: row for row in site.catalog.schedules.filter(schedule_id__in=list(newest))
    }
    keeps: dict[str, Keep] = {}
    for schedule_id, snapshot in newest.items():
        schedule = rows.get(schedule_id)
        if schedule is not None:
            if schedule.deleted_at is None:
                keeps[schedule_id] = keep_from_json(schedule.keep)
            continue
        here = snapshot.origin_site_id == site.settings.site_id
        said = (snapshot.facts.get("capture", {}).get("keep") or {}).get("here" if here else "peer")
        if said:
            keeps[schedule_id] = keep_from_json(said)
    return keeps


def apply(site: Site, plans: list[GroupPlan], *, work: Work | None = None) -> dict[str, Any]:
    """Remove what is over; undelete brings it back until the space is reclaimed.

    Raises :class:`RetentionStopped` at the end if somewhere nothing was removed for safety's sake.
    """
    work = work or Unheard()
    removed: list[str] = []
    for group in plans:
        ids = [snapshot_id for snapshot_id, _reason in group.plan.delete]
        if not ids:
            continue
        work.step(
            Message(
                "{group}: remove {count} snapshots whose generation is over",
                group=group.of,
                count=len(ids),
            )
        )
        snapshots.delete(site, ids, reason=RETENTION)
        removed += ids
    stopped = [group for group in plans if group.plan.refused is not None]
    if stopped:
        reasons = sorted({one.plan.refused.value for one in stopped if one.plan.refused})
        raise RetentionStopped(joined(one.of for one in stopped), joined(reasons))
    return {"removed": removed, "kept": sum(len(group.plan.keep) for group in plans)}
