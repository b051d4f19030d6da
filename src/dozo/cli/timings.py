"""A schedule's options, as people type them, and the JSON forms of timing and keep."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from dozo.cli.times import clock_time, seconds_of
from dozo.model.message import Message

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(\d{1,2}:\d\d)-(\d{1,2}:\d\d)")


class Overlap(StrEnum):
    """What happens to a run that is due while the one before it goes on."""

    SKIP = "skip"
    QUEUE = "queue"


Hourly = Annotated[
    int | None, typer.Option(help="Each hour, at this minute.", metavar="MINUTE", min=0, max=59)
]
Daily = Annotated[str | None, typer.Option(help="Each day, at this time.", metavar="HH:MM")]
Weekly = Annotated[
    str | None, typer.Option(help="Such as mon,thu,02:30.", metavar="DAY[,DAY]…,HH:MM")
]
Monthly = Annotated[
    str | None, typer.Option(help="Such as 1,02:30 or last,02:30.", metavar="DAY,HH:MM")
]
Cron = Annotated[
    str | None,
    typer.Option(
        help="Minute, hour, day of month, month, day of week: '30 2 * * 1-5'.", metavar="EXPR"
    ),
]
Zone = Annotated[str | None, typer.Option(help="The time zone, such as Asia/Tokyo; UTC.")]
Window = Annotated[
    str | None,
    typer.Option(
        help="When runs may start: 22:00-06:00, or 30m after the planned time; none removes it.",
        metavar="HH:MM-HH:MM|LENGTH|none",
    ),
]
Jitter = Annotated[
    str | None, typer.Option(help="The most by which a start is put off, such as 10m.")
]
OverlapOption = Annotated[
    Overlap | None,
    typer.Option("--overlap", help="A run that is due while the one before it goes on."),
]
Keep = Annotated[int | None, typer.Option(help="How many generations to keep.", min=1)]
KeepHourly = Annotated[int | None, typer.Option(help="The first of so many hours.", min=0)]
KeepDaily = Annotated[int | None, typer.Option(help="The first of so many days.", min=0)]
KeepWeekly = Annotated[int | None, typer.Option(help="The first of so many weeks.", min=0)]
KeepMonthly = Annotated[int | None, typer.Option(help="The first of so many months.", min=0)]
KeepYearly = Annotated[int | None, typer.Option(help="The first of so many years.", min=0)]
KeepMinAge = Annotated[
    str | None, typer.Option(help="Nothing younger is removed, such as 1h or 7d.")
]


@dataclass(frozen=True, kw_only=True)
class TimingGiven:
    """What was said about when to run."""

    hourly: int | None = None
    daily: str | None = None
    weekly: str | None = None
    monthly: str | None = None
    cron: str | None = None
    zone: str | None = None
    window: str | None = None
    jitter: str | None = None
    overlap: Overlap | None = None

    def timing(self, before: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The timing as JSON: what was given, over what was ``before``; None if nothing was."""
        kind = self._kind()
        rest = self._rest()
        if kind is None and not rest:
            return None
        if kind is None and before is None:
            raise typer.BadParameter(
                Message("say when: --hourly, --daily, --weekly, --monthly or --cron")
            )
        shared = ("zone", "window", "jitter_seconds", "overlap")
        old = dict(before or {})
        kept = {name: old[name] for name in shared if name in old} if kind else old
        made = {**kept, **(kind or {}), **rest}
        if made.get("window") is None:
            made.pop("window", None)
        return made

    def _kind(self) -> dict[str, Any] | None:
        given = [
            made
            for made in (
                {"kind": "hourly", "minute": self.hourly} if self.hourly is not None else None,
                _daily(self.daily),
                _weekly(self.weekly),
                _monthly(self.monthly),
                {"kind": "cron", "cron": self.cron} if self.cron is not None else None,
            )
            if made is not None
        ]
        if len(given) > 1:
            raise typer.BadParameter(
                Message("give one of --hourly, --daily, --weekly, --monthly and --cron")
            )
        return given[0] if given else None

    def _rest(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self.zone is not None:
            made["zone"] = self.zone
        if self.window is not None:
            made["window"] = _window(self.window)
        if self.jitter is not None:
            made["jitter_seconds"] = seconds_of(self.jitter)
        if self.overlap is not None:
            made["overlap"] = self.overlap.value
        return made


@dataclass(frozen=True, kw_only=True)
class KeepGiven:
    """What was said about how many generations to keep."""

    count: int | None = None
    hourly: int | None = None
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    yearly: int | None = None
    min_age: str | None = None

    def keep(
        self, before: Mapping[str, Any] | None = None, zone: str | None = None
    ) -> dict[str, Any] | None:
        """What to keep as JSON; None if nothing was given. ``zone`` is whose days count."""
        periods = {
            "hourly": self.hourly,
            "daily": self.daily,
            "weekly": self.weekly,
            "monthly": self.monthly,
            "yearly": self.yearly,
        }
        numbers = {name: value for name, value in periods.items() if value is not None}
        if self.count is not None:
            numbers["count"] = self.count
        if not numbers and self.min_age is None:
            return None
        old = dict(before or {})
        # New numbers replace all old ones; the minimum age alone leaves them as they are.
        made: dict[str, Any] = old
        if numbers:
            made = {key: old[key] for key in old if key in {"zone", "min_age_seconds"}}
            made.update(numbers)
        if zone is not None:
            made["zone"] = zone
        if self.min_age is not None:
            made["min_age_seconds"] = seconds_of(self.min_age)
        return made


def _daily(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    hour, minute = clock_time(text)
    return {"kind": "daily", "hour": hour, "minute": minute}


def _weekly(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    *days, moment = (part.strip().lower() for part in text.split(","))
    if not days or any(day not in _DAYS for day in days):
        raise typer.BadParameter(
            Message("{text!r} is not days and a time, such as mon,thu,02:30", text=text)
        )
    hour, minute = clock_time(moment)
    return {"kind": "weekly", "weekdays": days, "hour": hour, "minute": minute}


def _monthly(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    day, _, moment = text.partition(",")
    day = day.strip().lower()
    if day != "last" and not day.isdigit():
        raise typer.BadParameter(
            Message("{text!r} is not a day and a time, such as 1,02:30", text=text)
        )
    hour, minute = clock_time(moment)
    return {"kind": "monthly", "day": day if day == "last" else int(day),
            "hour": hour, "minute": minute}  # fmt: skip


def _window(text: str) -> dict[str, Any] | None:
    if text.strip().lower() == "none":
        return None
    between = _WINDOW.fullmatch(text.strip())
    if between is None:
        return {"after_seconds": seconds_of(text)}
    start, end = (f"{hour:02}:{minute:02}" for hour, minute in map(clock_time, between.groups()))
    return {"start": start, "end": end}


def in_words(timing: Mapping[str, Any]) -> str:
    """When a schedule runs, in a line."""
    from dozo.model.timing import timing_from_json
    from dozo.model.timing_words import timing_in_words

    return timing_in_words(timing_from_json(timing))


def keep_in_words(keep: Mapping[str, Any]) -> str:
    """How many generations are kept, in a line."""
    from dozo.model import timing_words
    from dozo.model.retention import keep_from_json

    return timing_words.keep_in_words(keep_from_json(keep)) if keep else "-"
