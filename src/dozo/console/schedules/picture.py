"""The generations that a schedule would keep, as a picture: what the template draws."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils.translation import pgettext_lazy

from dozo.model.words import word
from dozo.services.schedule_preview import Outlook

WIDTH: Final = 460
_LEFT, _RIGHT, _TOP = 96, 12, 4
_LANE = 24
_FOOT = 26
_DAY = 86400.0
# The newest hours and the oldest years in one picture: the age grows with the distance.
_BEND_DAYS = 0.6
_LANES: Final = ("generation", "hourly", "daily", "weekly", "monthly", "yearly")
_TICKS: Final = (
    (0.0, pgettext_lazy("age", "the newest")),
    (1.0, pgettext_lazy("age", "1 day")),
    (7.0, pgettext_lazy("age", "1 week")),
    (30.4, pgettext_lazy("age", "1 month")),
    (91.3, pgettext_lazy("age", "3 months")),
    (182.6, pgettext_lazy("age", "6 months")),
    (365.25, pgettext_lazy("age", "1 year")),
    (3 * 365.25, pgettext_lazy("age", "3 years")),
    (10 * 365.25, pgettext_lazy("age", "10 years")),
)
_MIN_BETWEEN = 72


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A generation in its lane."""

    x: int
    y: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Lane:
    """All that is kept for one reason."""

    label: str
    y: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True, kw_only=True)
class Tick:
    """An age on the axis below."""

    x: int
    label: object


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture ``width`` units wide; the axis is at ``bottom``."""

    width: int
    height: int
    left: int
    right: int
    bottom: int
    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]


def generations(outlook: Outlook) -> Picture | None:
    """One lane for each reason, the newest generation at the right; None if there are none."""
    if not outlook.kept:
        return None
    newest = outlook.kept[-1].created_at
    most = max((newest - outlook.kept[0].created_at).total_seconds() / _DAY, 1.0)

    def place(age_days: float) -> int:
        bent = math.log1p(age_days / _BEND_DAYS) / math.log1p(most / _BEND_DAYS)
        return round(WIDTH - _RIGHT - bent * (WIDTH - _RIGHT - _LEFT))

    found: dict[str, list[datetime]] = {}
    for one in outlook.kept:
        for reason in one.reasons:
            if reason in _LANES:
                found.setdefault(reason, []).append(one.created_at)
    lanes = []
    for number, reason in enumerate(one for one in _LANES if one in found):
        y = _TOP + _LANE * number + _LANE // 2
        marks = tuple(
            Mark(x=place((newest - at).total_seconds() / _DAY), y=y, at=at) for at in found[reason]
        )
        lanes.append(Lane(label=word("keep", reason), y=y, marks=marks))
    bottom = _TOP + _LANE * len(lanes)
    return Picture(
        width=WIDTH,
        height=bottom + _FOOT,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        bottom=bottom,
        lanes=tuple(lanes),
        ticks=_ticks(most, place),
    )


def _ticks(most: float, place: Callable[[float], int]) -> tuple[Tick, ...]:
    ticks: list[Tick] = []
    for age, label in _TICKS:
        x = place(age)
        if age <= most and (not ticks or ticks[-1].x - x >= _MIN_BETWEEN):
            ticks.append(Tick(x=x, label=label))
    return tuple(ticks)
