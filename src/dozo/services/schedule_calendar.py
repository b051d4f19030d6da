"""A month of schedules: what ran and how it went, and what is planned, day by day."""

import calendar
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from django.db.models import Count

from dozo.model import clock, schedule_times
from dozo.model.timing import Timing, timing_from_json
from dozo.services.access import Scope
from dozo.services.schedule_runs import worst
from dozo.services.scheduler import SKIPPED

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog.models_jobs import Schedule

MOST_SCHEDULES = 200
"""So many schedules are shown at a time, in the order of their names."""
PLANNED = "planned"
# Every hour of a month; what runs more often is counted up to here day by day.
_MOST_A_MONTH = 31 * 25
_MOST_A_DAY = 25
_MOST_ROWS = 20_000
# What is planned "after" an instant is later than it.
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One schedule on one day: ``state`` is ``planned``, ``skipped`` or that of its worst job.

    ``count`` planned times, the first at ``first``; ``more``: only so many were counted.
    """

    schedule: str
    name: str
    state: str
    first: datetime
    count: int
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day of the visitor's zone; ``inside`` the month."""

    date: date
    inside: bool
    today: bool
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Month:
    """Whole weeks, Monday first. ``left_out``: so many schedules were too many."""

    first: date
    before: date | None
    after: date | None
    weeks: tuple[tuple[Day, ...], ...]
    schedules: int
    left_out: int


@dataclass(kw_only=True)
class _Found:
    states: list[str] = field(default_factory=list)
    times: set[datetime] = field(default_factory=set)
    more: bool = False


def month(scope: Scope, rows: "QuerySet[Schedule]", year: int, number: int, zone: tzinfo) -> Month:
    """What happened and what will happen in a month as the clocks of ``zone`` count it."""
    now = clock.now()
    days = list(calendar.Calendar().itermonthdates(year, number))
    start, end = _instant(days[0], zone), _instant(days[-1] + timedelta(days=1), zone)
    total = rows.count()
    shown = list(rows.order_by("name", "schedule_id")[:MOST_SCHEDULES])
    found: dict[tuple[date, str, bool], _Found] = {}
    for schedule, at, state in _past(scope, [row.schedule_id for row in shown], start, end):
        one = found.setdefault((at.astimezone(zone).date(), schedule, True), _Found())
        one.states.append(state)
        one.times.add(at)
    # Many schedules have the same times: each kind is worked out once.
    planned: dict[str, list[tuple[datetime, bool]]] = {}
    for row in shown:
        if row.enabled:
            key = json.dumps(row.timing, sort_keys=True)
            if key not in planned:
                planned[key] = list(_planned(row, max(start - _SECOND, now), end, zone))
            for at, more in planned[key]:
                one = found.setdefault(
                    (at.astimezone(zone).date(), row.schedule_id, False), _Found()
                )
                one.times.add(at)
                one.more |= more
    names = {row.schedule_id: row.name for row in shown}
    by_day: dict[date, list[Entry]] = {}
    for (day, schedule, past), one in found.items():
        by_day.setdefault(day, []).append(
            Entry(
                schedule=schedule,
                name=names[schedule],
                state=worst(one.states) if past else PLANNED,
                first=min(one.times),
                count=len(one.times),
                more=one.more,
            )
        )
    today = now.astimezone(zone).date()
    made = [
        Day(
            date=day,
            inside=day.month == number,
            today=day == today,
            entries=tuple(sorted(by_day.get(day, ()), key=lambda one: (one.first, one.name))),
        )
        for day in days
    ]
    first = date(year, number, 1)
    return Month(
        first=first,
        before=_other(first, -1),
        after=_other(first, 1),
        weeks=tuple(tuple(made[at : at + 7]) for at in range(0, len(made), 7)),
        schedules=total,
        left_out=total - len(shown),
    )


def _instant(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _other(first: date, step: int) -> date | None:
    year, number = divmod(first.year * 12 + first.month - 1 + step, 12)
    return date(year, number + 1, 1) if 1970 <= year <= 2999 else None


def _past(
    scope: Scope, ids: list[str], start: datetime, end: datetime
) -> Iterator[tuple[str, datetime, str]]:
    runs = scope.site.catalog.schedule_runs.filter(
        schedule_id__in=ids, planned_at__gte=start, planned_at__lt=end
    )
    counted = (
        runs.order_by()
        .values_list("schedule_id", "planned_at", "outcome", "jobs__state")
        .annotate(number=Count("id"))
    )
    for schedule, at, outcome, state, _number in counted[:_MOST_ROWS]:
        # A job that was cleared away long after it ended leaves no state behind.
        yield schedule, at, SKIPPED if outcome == SKIPPED else state or "done"


def _planned(
    row: "Schedule", after: datetime, end: datetime, zone: tzinfo
) -> Iterator[tuple[datetime, bool]]:
    """Planned times between two instants; True beside one after which more of its day follow."""
    timing = timing_from_json(row.timing)
    times = schedule_times.next_times(timing, after, _MOST_A_MONTH)
    if len(times) < _MOST_A_MONTH or times[-1] >= end:
        yield from ((at, False) for at in times if at < end)
        return
    yield from _planned_by_day(timing, after, end, zone)


def _planned_by_day(
    timing: Timing, after: datetime, end: datetime, zone: tzinfo
) -> Iterator[tuple[datetime, bool]]:
    day = after.astimezone(zone).date()
    while (opens := _instant(day, zone)) < end:
        day += timedelta(days=1)
        closes = min(_instant(day, zone), end)
        times = schedule_times.next_times(timing, max(after, opens - _SECOND), _MOST_A_DAY)
        inside = [at for at in times if at < closes]
        yield from ((at, len(inside) == _MOST_A_DAY) for at in inside)
