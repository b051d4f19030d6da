"""What deleting snapshots would mean, site by site, before anybody confirms it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dozo.model import clock
from dozo.services.access import Operation, Scope
from dozo.services.lists.snapshots import held_until
from dozo.services.views import SnapshotView, snapshot_views

if TYPE_CHECKING:
    from dozo.catalog import models

_THERE = ("copying", "stored", "verified", "damaged")
_RELATED = ("server", "volume", "origin_site", "tenant")


@dataclass(frozen=True, kw_only=True)
class SiteOutlook:
    """What becomes of the copies at one site: ``copies`` are there now."""

    site: str
    own: bool
    copies: int


@dataclass(frozen=True, kw_only=True)
class DeletionOutlook:
    """What would be deleted. ``undo_until`` is how long this site surely keeps it.

    ``held`` are those that nobody may delete yet; all are refused because of one.
    ``last_of`` are volumes that would have no snapshot any more.
    """

    snapshots: tuple[SnapshotView, ...]
    held: tuple[tuple[SnapshotView, datetime], ...]
    sites: tuple[SiteOutlook, ...]
    last_of: tuple[str, ...]
    undo_until: datetime

    @property
    def count(self) -> int:
        """How many."""
        return len(self.snapshots)


def outlook(scope: Scope, rows: "Iterable[models.Snapshot]") -> DeletionOutlook:
    """Look at what deleting these would mean; nothing is changed."""
    ids = [row.snapshot_id for row in rows]
    found = scope.snapshots.filter(snapshot_id__in=ids, deleted_at=None)
    views = snapshot_views(
        scope.site, found.select_related(*_RELATED).order_by("-created_at", "pk")
    )
    until = held_until(scope)
    own = scope.site.settings.name
    names = sorted({name for view in views for name in view.copies} | {own})
    return DeletionOutlook(
        snapshots=tuple(views),
        held=tuple((one, until[one.snapshot]) for one in views if one.snapshot in until),
        sites=tuple(
            SiteOutlook(
                site=name,
                own=name == own,
                copies=sum(view.copies.get(name) in _THERE for view in views),
            )
            for name in sorted(names, key=lambda name: (name != own, name))
        ),
        last_of=_last_of(scope, views),
        undo_until=undo_until(scope, clock.now()),
    )


def _last_of(scope: Scope, views: list[SnapshotView]) -> tuple[str, ...]:
    going = {view.snapshot for view in views}
    volumes = {view.volume_id: view.volume or "" for view in views if view.volume_id}
    left = scope.snapshots.filter(volume_id__in=list(volumes), deleted_at=None)
    staying = set(
        left.exclude(snapshot_id__in=going).values_list("volume_id", flat=True).distinct()
    )
    kept = {str(one) for one in staying}
    return tuple(sorted(name for one, name in volumes.items() if one not in kept))


def undo_until(scope: Scope, deleted_at: datetime) -> datetime:
    """Until when something deleted at that time can surely be brought back at this site."""
    return deleted_at + timedelta(days=scope.site.settings.undelete_days)


def chosen(
    scope: Scope, references: Iterable[str], operation: Operation
) -> "list[models.Snapshot]":
    """The snapshots that are named, each once. Raises ``SnapshotUnknown``, ``Forbidden``."""
    return [scope.snapshot(one, operation) for one in dict.fromkeys(references)]
