"""How full the vault is, and how fast it fills: a figure a day, kept for a good year.

Looking at the vault reads its whole index, so the pages that show it read the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from dozo.model import clock
from dozo.services import figures
from dozo.services.access import Operation, Scope
from dozo.services.site import Site

KEPT = timedelta(days=400)
# Growth is judged by the figures of so many days.
_JUDGED = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """How much the vault held on a day. ``bytes_free`` None where it cannot be known."""

    day: date
    bytes_stored: int
    bytes_protected: int
    bytes_free: int | None
    snapshots: int


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The vault's figures, the newest last.

    ``growth_bytes`` a day is what the last 30 days say, None where there are fewer than two
    figures; ``full_at`` is when the free space would be used up at that rate.
    """

    at: datetime | None
    figures: tuple[Figure, ...]
    growth_bytes: float | None
    full_at: datetime | None

    @property
    def newest(self) -> Figure | None:
        """The last figure."""
        return self.figures[-1] if self.figures else None


def note(site: Site) -> None:
    """Write down how much the vault holds today, over what today said so far; forget old days."""
    found = figures.vault(site)
    now = clock.now()
    rows = site.catalog.vault_figures
    rows.update_or_create(
        day=now.astimezone(UTC).date(),
        defaults={
            "at": now,
            "bytes_stored": found.bytes_stored,
            "bytes_protected": found.bytes_protected,
            "bytes_free": found.bytes_free,
            "snapshots": found.snapshots,
        },
    )
    rows.filter(day__lt=(now - KEPT).date()).delete()


def show(scope: Scope, *, days: int = 90) -> Capacity:
    """The figures of the last days. Raises ``Forbidden``."""
    scope.permit(Operation.SITE_SHOW)
    since = (clock.now() - timedelta(days=days)).date()
    rows = list(scope.site.catalog.vault_figures.filter(day__gte=since).order_by("day"))
    found = tuple(
        Figure(
            day=row.day,
            bytes_stored=row.bytes_stored,
            bytes_protected=row.bytes_protected,
            bytes_free=row.bytes_free,
            snapshots=row.snapshots,
        )
        for row in rows
    )
    growth = growth_of(found)
    at = rows[-1].at if rows else None
    return Capacity(
        at=at,
        figures=found,
        growth_bytes=growth,
        full_at=_full_at(at, found[-1].bytes_free, growth) if at else None,
    )


def growth_of(found: Sequence[Figure]) -> float | None:
    """Bytes a day between the ends of the last 30 days of figures; None for fewer than two."""
    late = [one for one in found if one.day >= found[-1].day - _JUDGED]
    if len(late) < 2:
        return None
    days = (late[-1].day - late[0].day).days
    return (late[-1].bytes_stored - late[0].bytes_stored) / days


def _full_at(at: datetime, free: int | None, growth: float | None) -> datetime | None:
    if free is None or growth is None or growth <= 0:
        return None
    days = free / growth
    # Beyond that nobody plans, and dates end somewhere.
    return at + timedelta(days=days) if days < 3650 else None
