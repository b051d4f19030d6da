"""A schedule's times and generations as people say them, and what its clock does meanwhile."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dozo.model.message import Message, counted, joined
from dozo.model.retention import Keep, Period
from dozo.model.timing import LAST_DAY, Timing, TimingKind, Weekday, Window, time_zone
from dozo.model.words import word

_WORKING_DAYS: Final = tuple(Weekday)[:5]


def timing_in_words(timing: Timing) -> Message:
    """When a schedule runs, with its time zone: ``daily at 00:10 (Asia/Tokyo)``."""
    return Message("{when} ({zone})", when=_when(timing), zone=timing.zone)


def _when(timing: Timing) -> Message:
    hour, minute = timing.hour, timing.minute
    if timing.kind is TimingKind.HOURLY:
        return Message("every hour at :{minute:02}", minute=minute)
    if timing.kind is TimingKind.DAILY:
        return Message("daily at {hour:02}:{minute:02}", hour=hour, minute=minute)
    if timing.kind is TimingKind.WEEKLY:
        days = _days(timing.weekdays)
        return Message("every {days} at {hour:02}:{minute:02}", days=days, hour=hour, minute=minute)
    if timing.kind is TimingKind.MONTHLY:
        if timing.day == LAST_DAY:
            return Message(
                "on the last day of each month at {hour:02}:{minute:02}", hour=hour, minute=minute
            )
        return Message(
            "on day {day} of each month at {hour:02}:{minute:02}",
            day=timing.day,
            hour=hour,
            minute=minute,
        )
    return Message("by the cron expression {cron}", cron=timing.cron or "")


def _days(days: Iterable[Weekday]) -> Message:
    inorder = tuple(day for day in Weekday if day in set(days))
    if inorder == _WORKING_DAYS:
        return Message("Monday to Friday")
    return joined([word("weekday", day) for day in inorder])


def window_in_words(window: Window | None) -> Message:
    """When its runs may begin."""
    if window is None:
        return Message("within 15 minutes of the planned time")
    if window.start is None or window.end is None:
        minutes = (window.after_seconds or 0) // 60
        return counted(
            minutes,
            "within {count} minute of the planned time",
            "within {count} minutes of the planned time",
        )
    return Message(
        "between {start} and {end}",
        start=window.start.strftime("%H:%M"),
        end=window.end.strftime("%H:%M"),
    )


def keep_in_words(keep: Keep) -> Message:
    """How many generations are kept."""
    if keep.count is not None:
        return counted(keep.count, "the newest generation", "the newest {count} generations")
    said = [_per(period, keep.per(period)) for period in Period if keep.per(period)]
    return joined(said)


def _per(period: Period, count: int) -> Message:
    return {
        Period.HOURLY: Message("{count} hourly", count=count),
        Period.DAILY: Message("{count} daily", count=count),
        Period.WEEKLY: Message("{count} weekly", count=count),
        Period.MONTHLY: Message("{count} monthly", count=count),
        Period.YEARLY: Message("{count} yearly", count=count),
    }[period]


@dataclass(frozen=True, kw_only=True)
class OnTheWall:
    """A planned instant as the clock on the wall of the schedule's zone shows it.

    ``switched_seconds``: by so much the clock was put on (or back, if negative) since the run
    before. ``moved``: the wall never shows the planned time on that day, so it runs after the gap.
    ``repeated``: the wall shows that time twice.
    """

    at: datetime
    local: datetime
    switched_seconds: int = 0
    moved: bool = False
    repeated: bool = False

    @property
    def remarkable(self) -> bool:
        """Whether the switch to or from summer time has to do with it."""
        return bool(self.switched_seconds) or self.moved or self.repeated

    @property
    def switch(self) -> Message | None:
        """What the clock did, if anything, for people."""
        minutes = abs(self.switched_seconds) // 60
        if self.moved:
            return Message("the clock skips the planned time: right after the gap")
        if self.repeated:
            return Message("the clock shows this time twice: it runs the first time")
        if self.switched_seconds > 0:
            return Message("the clock went forward by {minutes} minutes", minutes=minutes)
        if self.switched_seconds < 0:
            return Message("the clock went back by {minutes} minutes", minutes=minutes)
        return None


def on_the_wall(timing: Timing, times: Iterable[datetime], after: datetime) -> list[OnTheWall]:
    """Planned instants, ascending, as the schedule's zone sees them.

    ``after`` is an instant before the first, from which changes of the clock count.
    """
    zone = time_zone(timing.zone)
    found = []
    offset = after.astimezone(zone).utcoffset() or timedelta(0)
    at_an_hour = timing.kind in {TimingKind.DAILY, TimingKind.WEEKLY, TimingKind.MONTHLY}
    for at in times:
        local = at.astimezone(zone)
        now = local.utcoffset() or timedelta(0)
        other = local.replace(fold=1 - local.fold).utcoffset() or timedelta(0)
        planned = (local.hour, local.minute) == (timing.hour, timing.minute)
        found.append(
            OnTheWall(
                at=at,
                local=local,
                switched_seconds=int((now - offset).total_seconds()),
                moved=at_an_hour and not planned,
                repeated=at_an_hour and planned and other != now,
            )
        )
        offset = now
    return found
