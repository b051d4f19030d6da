"""Which runs of a schedule are planned, due or missed, and what to do with each; all pure.

Planned times are instants in UTC. They follow the clock on the wall of the timing's zone:

- A time that a switch to summer time skips is planned once, at the first instant after the gap.
- A time that the switch back makes happen twice is planned once, the first time.
- Hourly runs happen whenever the wall shows their minute: 23 and 25 times on those days. Cron
  expressions whose minute or hour starts with ``*`` do the same.

These are Debian cron's rules, as the library cronsim has them.
"""

import calendar
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim

from . import clock
from .timing import (
    DEFAULT_WINDOW_SECONDS,
    Overlap,
    Timing,
    TimingKind,
    Window,
    time_zone,
)

ON_TIME_SECONDS = 300
"""A start that is later than this is called catching up."""

_SECOND = timedelta(seconds=1)
# How far to look back for missed runs, step by step, so that a schedule of every minute that was
# away for a year costs no more than its newest runs.
_LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=366))


class Action(StrEnum):
    """What to do with a planned run now."""

    WAIT = "wait"
    RUN = "run"
    CATCH_UP = "catch-up"
    SKIP = "skip"


class SkipReason(StrEnum):
    """Why a planned run does not happen."""

    SUPERSEDED = "superseded"
    OUTSIDE_WINDOW = "outside-window"
    OVERLAP = "overlap"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, and for a skip why."""

    action: Action
    reason: SkipReason | None = None


def next_times(timing: Timing, after: datetime, count: int) -> list[datetime]:
    """The first ``count`` planned instants later than ``after``, in UTC, ascending.

    Fewer if the timing has no more (a cron expression that does not come true in 50 years).
    """
    return list(islice(_planned(timing, after), count))


def starts_at(timing: Timing, schedule_id: str, planned: datetime) -> datetime:
    """When the run planned for ``planned`` shall start: later by its share of the jitter.

    The same for the same arguments, on every machine. Never at or after the next planned time,
    nor beyond the window, so that starts keep the order of the plans.
    """
    if timing.jitter_seconds == 0:
        return planned
    most = timedelta(seconds=timing.jitter_seconds)
    following = next_times(timing, planned, 1)
    if following:
        most = min(most, following[0] - planned - _SECOND)
    if timing.window is not None:
        _, closes = window_of(timing, planned)
        most = min(most, closes - planned - _SECOND)
    text = f"{schedule_id}\n{clock.to_text(planned)}"
    drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return planned + timedelta(seconds=drawn % (max(int(most.total_seconds()), 0) + 1))


def due(
    timing: Timing, last_planned: datetime, now: datetime, *, schedule_id: str = ""
) -> datetime | None:
    """The newest run planned after ``last_planned`` whose start has come, or None.

    ``last_planned`` is the planned time of the newest run that was dealt with, or when the
    schedule was made or switched on.
    """
    found = _due_times(timing, last_planned, now, schedule_id, 1)
    return found[-1] if found else None


def missed(
    timing: Timing, last_planned: datetime, now: datetime, limit: int, *, schedule_id: str = ""
) -> list[datetime]:
    """The runs before the one that is :func:`due` that nobody dealt with: the newest ``limit``,
    oldest first. That one replaces them, so they are to be reported, not run.
    """
    return _due_times(timing, last_planned, now, schedule_id, limit + 1)[:-1]


def clock_went_back(last_planned: datetime, now: datetime) -> bool:
    """Whether ``last_planned`` can only come from a clock that was ahead.

    A run is dealt with at or after its planned time. The caller sets ``last_planned`` to ``now``
    then: otherwise nothing would run until the clock gets there again.
    """
    return last_planned > now


def decide(
    timing: Timing,
    planned: datetime,
    now: datetime,
    *,
    needs_window: bool,
    newest: bool,
    schedule_id: str = "",
) -> Decision:
    """What to do at ``now`` with the run planned for ``planned``.

    ``newest``: it is what :func:`due` gives. ``needs_window``: the run stops a server or relies on
    the guest having unmounted a volume, so that it starts within its window or not at all. Others
    are made up for however late it is, once.
    """
    if now < starts_at(timing, schedule_id, planned):
        return Decision(action=Action.WAIT)
    if not newest:
        return Decision(action=Action.SKIP, reason=SkipReason.SUPERSEDED)
    opens, closes = window_of(timing, planned)
    if needs_window:
        if opens <= now < closes:
            return Decision(action=Action.RUN)
        return Decision(action=Action.SKIP, reason=SkipReason.OUTSIDE_WINDOW)
    late = now - starts_at(timing, schedule_id, planned)
    on_time = late <= timedelta(seconds=ON_TIME_SECONDS)
    return Decision(action=Action.RUN if on_time else Action.CATCH_UP)


def on_overlap(overlap: Overlap, *, running: bool, waiting: int) -> Decision:
    """What to do with a due run while the schedule's last one goes on (``running``) and
    ``waiting`` others already wait for it. At most one waits.
    """
    if not running and waiting == 0:
        return Decision(action=Action.RUN)
    if overlap is Overlap.QUEUE and waiting == 0:
        return Decision(action=Action.WAIT)
    return Decision(action=Action.SKIP, reason=SkipReason.OVERLAP)


def window_of(timing: Timing, planned: datetime) -> tuple[datetime, datetime]:
    """From when until when (exclusive) the run planned for ``planned`` may start.

    Without a window that is the default time after it. The gap of a switch to summer time moves
    the window's end by its length if the end lies in it or just behind, so that a run which the
    gap moved is still inside.
    """
    window = timing.window
    if window is None or window.start is None or window.end is None:
        seconds = DEFAULT_WINDOW_SECONDS if window is None else window.after_seconds
        return planned, planned + timedelta(seconds=seconds or 0)
    zone = time_zone(timing.zone)
    today = planned.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        opens, closes = _local_window(window.start, window.end, day, zone)
        if opens <= planned < closes:
            return opens, closes
    # No planned time lies outside, so this is a caller's own: a window that never opens.
    return planned, planned


def _local_window(start: time, end: time, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    opens = _after_gap(datetime.combine(day, start), zone)
    if end <= start:
        day += timedelta(days=1)
    # The last second of the window, not the first one behind it, is what the gap may have moved.
    last = datetime.combine(day, end) - _SECOND
    return opens, last.replace(tzinfo=zone).astimezone(UTC) + _SECOND


def _after_gap(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a local time; in a gap, the first instant after it."""
    there = local.replace(tzinfo=zone)
    while there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local:
        local += timedelta(minutes=1)
        there = local.replace(tzinfo=zone)
    return there.astimezone(UTC)


def _planned(timing: Timing, after: datetime) -> Iterator[datetime]:
    zone = time_zone(timing.zone)
    last = after.astimezone(UTC)
    if timing.kind is TimingKind.HOURLY:
        local_times = _hourly(timing.minute, last, zone)
    else:
        local_times = CronSim(_expression(timing), last.astimezone(zone))
    for local in local_times:
        instant = local.astimezone(UTC)
        # Several local times inside one gap become the same instant, and a start within the
        # repeated hour finds that hour's times again.
        if instant <= last or not _wanted(timing, local):
            continue
        if not _in_window(timing.window, timing, instant):
            continue
        last = instant
        yield instant


def _hourly(minute: int, start: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Every local time from ``start`` on with that minute.

    cronsim would leap over one where the switch is half an hour (Australia/Lord_Howe).
    """
    # Offsets from UTC are multiples of a quarter of an hour, so nothing lies in between.
    at = start.replace(minute=minute % 15, second=0, microsecond=0)
    while True:
        local = at.astimezone(zone)
        if local.minute == minute:
            yield local
        at += timedelta(minutes=15)


def _in_window(window: Window | None, timing: Timing, instant: datetime) -> bool:
    if window is None or window.start is None:
        return True
    opens, closes = window_of(timing, instant)
    return opens <= instant < closes


def _expression(timing: Timing) -> str:
    """The timing as a cron expression; see :func:`_wanted` for what that cannot say."""
    minute, hour = timing.minute, timing.hour
    if timing.kind is TimingKind.DAILY:
        return f"{minute} {hour} * * *"
    if timing.kind is TimingKind.WEEKLY:
        return f"{minute} {hour} * * {','.join(timing.weekdays)}"
    if timing.kind is TimingKind.MONTHLY:
        return f"{minute} {hour} {timing.day},L * *"
    return timing.cron or ""


def _wanted(timing: Timing, local: datetime) -> bool:
    """A monthly expression names its day and the last day; only one of them counts a month."""
    if timing.kind is not TimingKind.MONTHLY or timing.day is None:
        return True
    return local.day == min(timing.day, calendar.monthrange(local.year, local.month)[1])


def _due_times(
    timing: Timing, last_planned: datetime, now: datetime, schedule_id: str, limit: int
) -> list[datetime]:
    """The newest ``limit`` due runs, oldest first."""
    found: list[datetime] = []
    starts = [max(last_planned, now - span) for span in _LOOK_BACK]
    for start in [*starts, last_planned]:
        found = []
        for planned in _planned(timing, start):
            if planned > now:
                break
            # Far enough back the jitter, which costs another look ahead, cannot matter.
            recent = now - planned <= timedelta(seconds=timing.jitter_seconds)
            if recent and starts_at(timing, schedule_id, planned) > now:
                break
            found.append(planned)
        if len(found) >= limit or start == last_planned:
            break
    return found[-limit:]
