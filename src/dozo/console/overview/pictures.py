"""Pictures of the first page, as numbers: the template draws them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dozo.services.capacity import Figure
from dozo.services.freshness import Freshness

WIDTH = 160
"""Of an age's bar, in the picture's own units."""
HEIGHT = 90
"""Of the picture of growth, and its width is 480."""

_GROWTH_WIDTH = 480.0
# From a quarter of an hour to a month: ages are compared by how many times one is the other.
_YOUNGEST, _OLDEST = 900.0, 30 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Age:
    """How old a server's data at one site is; ``at`` None where there is nothing."""

    site: str
    at: datetime | None
    width: int
    tone: str


@dataclass(frozen=True, kw_only=True)
class ServerAges:
    """A server with its age at each site."""

    server: Freshness
    ages: tuple[Age, ...]


def ages(servers: Iterable[Freshness], now: datetime) -> list[ServerAges]:
    """The bars of servers."""
    return [
        ServerAges(
            server=one,
            ages=tuple(_age(site, at, one.state, now) for site, at in one.at.items()),
        )
        for one in servers
    ]


_TONES = {"protected": "good", "behind": "warn", "failing": "bad", "unprotected": "bad"}


def _age(site: str, at: datetime | None, state: str, now: datetime) -> Age:
    if at is None:
        return Age(site=site, at=None, width=0, tone="idle")
    seconds = (now - at).total_seconds()
    return Age(site=site, at=at, width=_width(seconds), tone=_TONES.get(state, "idle"))


def _width(seconds: float) -> int:
    bounded = min(max(seconds, _YOUNGEST * 1.2), _OLDEST)
    return round(WIDTH * math.log(bounded / _YOUNGEST) / math.log(_OLDEST / _YOUNGEST))


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A line over days: points of ``polyline``, and of the area under it."""

    line: str
    area: str
    first: Figure
    last: Figure
    most: int


def growth(figures: Sequence[Figure]) -> Growth | None:
    """The picture of stored bytes over time; None for fewer than two days."""
    if len(figures) < 2:
        return None
    first, last = figures[0], figures[-1]
    days = (last.day - first.day).days
    most = max(one.bytes_stored for one in figures)
    points = [
        (
            round((one.day - first.day).days * _GROWTH_WIDTH / days, 1),
            round(HEIGHT - one.bytes_stored * (HEIGHT - 4) / max(most, 1), 1),
        )
        for one in figures
    ]
    line = " ".join(f"{x},{y}" for x, y in points)
    return Growth(
        line=line,
        area=f"0,{HEIGHT} {line} {_GROWTH_WIDTH},{HEIGHT}",
        first=first,
        last=last,
        most=most,
    )
