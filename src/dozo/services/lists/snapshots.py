"""Which snapshots: the filters of the list."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from dozo.catalog.newest import EVER
from dozo.model import clock
from dozo.model.states import Copy
from dozo.services.access import Operation, Scope

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog import models


@dataclass(frozen=True, kw_only=True)
class CopyView:
    """A snapshot's or template's copy at one site; ``oldest_reading_at`` is how long ago the
    oldest of its bytes were read back there.
    """

    site: str
    own: bool
    state: str
    received_at: datetime | None
    verified_at: datetime | None
    oldest_reading_at: datetime | None


SORTS = ("created_at", "-created_at", "name", "-name", "bytes_volume", "-bytes_volume")
# What a query binds at most; nobody holds as many.
_MOST_HELD = 5000


def find(
    scope: Scope,
    *,
    name: str | None = None,
    server: str | None = None,
    volume: str | None = None,
    recovery_point: str | None = None,
    tenant: str | None = None,
    schedule: str | None = None,
    scheduled: bool | None = None,
    mode: str | None = None,
    origin: str | None = None,
    root: bool | None = None,
    held: bool | None = None,
    copy_site: str | None = None,
    copy_state: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    deleted: bool = False,
) -> "QuerySet[models.Snapshot]":
    """The snapshots that the actor may see and that fit everything given.

    ``name`` is a part of it; ``server``, ``volume`` and ``recovery_point`` are references;
    ``since`` is included, ``until`` is not; ``deleted`` adds the deleted ones. ``copy_state`` is
    what the copy at ``copy_site`` is, by the site's name; without a site: at any.
    Raises ``ServerUnknown``, ``VolumeUnknown``, ``RecoveryPointUnknown``.
    """
    scope.permit(Operation.SNAPSHOT_LIST)
    wanted: dict[str, Any] = {
        "name__icontains": name,
        "tenant__name": tenant,
        "schedule_id": schedule,
        "scheduled": scheduled,
        "mode": mode,
        "origin_site__name": origin,
        "is_root": root,
        "created_at__gte": since,
        "created_at__lt": until,
        "server": scope.server(server) if server else None,
        "volume": scope.volume(volume) if volume else None,
        "recovery_point": scope.recovery_point(recovery_point) if recovery_point else None,
    }
    given = {key: value for key, value in wanted.items() if value is not None and value != ""}
    rows = scope.snapshots.filter(**given)
    if not deleted:
        rows = rows.filter(deleted_at=None, created_at__gte=EVER)
    if copy_site or copy_state:
        rows = rows.filter(_has_copy(scope, copy_site or "", copy_state or ""))
    if held is not None:
        among = Q(snapshot_id__in=sorted(held_until(scope))[:_MOST_HELD])
        rows = rows.filter(among if held else ~among)
    return rows.select_related("server", "volume", "origin_site", "tenant")


def _has_copy(scope: Scope, site: str, state: str) -> Q:
    copies = scope.site.catalog.copies.order_by()
    if site:
        named = scope.site.catalog.sites.filter(name=site).values_list("site_id", flat=True)
        copies = copies.filter(site_id__in=list(named))
    if state and state != Copy.MISSING.value:
        return Q(snapshot_id__in=copies.filter(state=state).values("snapshot_id"))
    there = Q(snapshot_id__in=copies.exclude(state=Copy.MISSING.value).values("snapshot_id"))
    # There may be no row for what never began.
    return ~there if state else there


def held_until(scope: Scope) -> dict[str, datetime]:
    """The snapshots of this site's vault that nobody may delete now, and until when."""
    found: dict[str, datetime] = {}
    now = clock.now()
    for one in scope.site.vault.holds():
        if one.until > now:
            found[one.snapshot] = max(one.until, found.get(one.snapshot, one.until))
    return found


def site_names(scope: Scope) -> list[str]:
    """The sites that a list of snapshots can tell apart, this one first."""
    return list(scope.site.catalog.sites.values_list("name", flat=True))


def copies_of(scope: Scope, snapshot_id: str) -> list[CopyView]:
    """The copies of a snapshot or template at every site that has one or had one."""
    rows = scope.site.catalog.copies.filter(snapshot_id=snapshot_id).select_related("site")
    return [
        CopyView(
            site=row.site.name,
            own=row.site.is_self,
            state=row.state,
            received_at=row.received_at,
            verified_at=row.verified_at,
            oldest_reading_at=row.oldest_reading_at,
        )
        for row in rows.order_by("-site__is_self", "site__name")
    ]


def peer_names(scope: Scope) -> list[str]:
    """The sites to which snapshots can be copied."""
    return [peer.name for peer in scope.site.settings.peers]
