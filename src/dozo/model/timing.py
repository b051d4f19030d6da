"""When a schedule runs, as a value: kind, local time, zone, jitter, window; and its checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from dozo.model.message import Message

from .errors import DozoError, ErrorKind

LAST_DAY: Final = 31
"""Day of a monthly timing: the last one, since a month without that day uses its last."""

MAX_JITTER_SECONDS: Final = 12 * 3600
MAX_WINDOW_SECONDS: Final = 24 * 3600
DEFAULT_WINDOW_SECONDS: Final = 15 * 60
"""How long after its planned time a run that needs a window may start, unless told otherwise."""

MAX_CRON_LENGTH: Final = 200
# Any day will do: it only has to be shown that the expression ever comes true.
_SOME_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)


_Word = TypeVar("_Word", bound=StrEnum)


class TimingKind(StrEnum):
    """How a schedule's times are told."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CRON = "cron"


_AT_AN_HOUR: Final = (TimingKind.DAILY, TimingKind.WEEKLY, TimingKind.MONTHLY)


class Weekday(StrEnum):
    """A day of the week, in the order of the week."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


class Overlap(StrEnum):
    """What happens to a run that is due while the one before it still goes on."""

    SKIP = "skip"
    QUEUE = "queue"


@dataclass(eq=False)
class TimingInvalid(DozoError):
    """A schedule's time, window or jitter cannot be."""

    code: ClassVar[str] = "schedule.timing_invalid"
    kind: ClassVar[ErrorKind] = ErrorKind.USAGE
    text: ClassVar[str] = "{self.field} of the schedule cannot be {self.value}"
    hint: ClassVar[str] = "{self.advice}"
    field: str
    value: str
    advice: str


@dataclass(eq=False)
class TimeZoneUnknown(DozoError):
    """No time zone has this name."""

    code: ClassVar[str] = "schedule.time_zone_unknown"
    kind: ClassVar[ErrorKind] = ErrorKind.USAGE
    text: ClassVar[str] = "time zone {self.zone!r} is not known"
    hint: ClassVar[str] = "Use a name of the IANA time zone database, as Asia/Tokyo or UTC."
    zone: str


@dataclass(eq=False)
class CronInvalid(DozoError):
    """A cron expression cannot be read, or never comes true."""

    code: ClassVar[str] = "schedule.cron_invalid"
    kind: ClassVar[ErrorKind] = ErrorKind.USAGE
    text: ClassVar[str] = "cron expression {self.expression!r} cannot be used: {self.why}"
    hint: ClassVar[str] = (
        "Give five fields: minute, hour, day of month, month, day of week; as in '30 2 * * 1-5'."
    )
    expression: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Window:
    """When runs may start: between two local times, or for a while after the planned time.

    ``start`` may be later than ``end``: the window then lasts over midnight. ``end`` itself is
    outside. Raises :class:`TimingInvalid`.
    """

    start: time | None = None
    end: time | None = None
    after_seconds: int | None = None

    def __post_init__(self) -> None:
        local = self.start is not None or self.end is not None
        if local == (self.after_seconds is not None) or (self.start is None) != (self.end is None):
            advice = Message(
                "Give either start and end, as 22:00 and 06:00, or a number of seconds."
            )
            raise TimingInvalid(field="window", value=Message("told like this"), advice=advice)
        if local and self.start == self.end:
            advice = Message(
                "Start and end must differ; leave the window out if every time will do."
            )
            raise TimingInvalid(
                field="window",
                value=Message("{time} to itself", time=f"{self.start:%H:%M}"),
                advice=advice,
            )
        for moment in (self.start, self.end):
            if moment is not None and (moment.tzinfo or moment.second or moment.microsecond):
                advice = Message("Give local hours and minutes; the zone is the schedule's.")
                raise TimingInvalid(field="window", value=str(moment), advice=advice)
        if self.after_seconds is not None:
            _within("window", self.after_seconds, 60, MAX_WINDOW_SECONDS)

    def covers(self, local: time) -> bool:
        """Whether a local time lies inside; always, for a window told in seconds."""
        if self.start is None or self.end is None:
            return True
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When a schedule runs.

    ``minute`` for all kinds but cron; ``hour`` for daily, weekly and monthly; ``weekdays`` for
    weekly; ``day`` (1 to 31) for monthly, where a month that has no such day uses its last;
    ``cron`` for cron. All of it in the time zone ``zone``. ``jitter_seconds`` is the most by which
    a start is put off. Raises :class:`TimingInvalid`, :class:`TimeZoneUnknown`,
    :class:`CronInvalid`.
    """

    kind: TimingKind
    minute: int = 0
    hour: int = 0
    weekdays: tuple[Weekday, ...] = ()
    day: int | None = None
    cron: str | None = None
    zone: str = "UTC"
    jitter_seconds: int = 0
    window: Window | None = None
    overlap: Overlap = Overlap.SKIP

    def __post_init__(self) -> None:
        time_zone(self.zone)
        _within("minute", self.minute, 0, 59)
        _within("hour", self.hour, 0, 23)
        _within("jitter", self.jitter_seconds, 0, MAX_JITTER_SECONDS)
        self._check_kind()
        if self.cron is not None:
            check_cron(self.cron)
        self._check_window()

    def _check_window(self) -> None:
        """At least one planned time must lie in the window, or nothing would ever run."""
        if self.window is None:
            return
        hours, minutes = {self.hour}, {self.minute}
        if self.kind is TimingKind.HOURLY:
            hours = set(range(24))
        if self.cron is not None:
            parsed = CronSim(self.cron, _SOME_DAY)
            hours, minutes = parsed.hours, parsed.minutes
        if not any(self.window.covers(time(hour, minute)) for hour in hours for minute in minutes):
            advice = Message("A planned time must lie in the window; move one of them.")
            raise TimingInvalid(field="time", value=Message("outside the window"), advice=advice)

    def _check_kind(self) -> None:
        kind = self.kind
        _applies("hour", self.hour != 0, kind, _AT_AN_HOUR)
        _applies("minute", self.minute != 0, kind, (*_AT_AN_HOUR, TimingKind.HOURLY))
        _applies("weekdays", bool(self.weekdays), kind, (TimingKind.WEEKLY,), needed=True)
        _applies("day", self.day is not None, kind, (TimingKind.MONTHLY,), needed=True)
        _applies("cron", self.cron is not None, kind, (TimingKind.CRON,), needed=True)
        if self.day is not None:
            _within("day", self.day, 1, LAST_DAY)
        if len(set(self.weekdays)) < len(self.weekdays):
            value = ", ".join(self.weekdays)
            raise TimingInvalid(
                field="weekdays", value=value, advice=Message("Name each day once.")
            )


def time_zone(name: str) -> ZoneInfo:
    """The time zone of that name, or :class:`TimeZoneUnknown`."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise TimeZoneUnknown(zone=name) from None


def check_cron(expression: str) -> None:
    """Raise :class:`CronInvalid` unless the expression has five good fields and comes true."""
    # A sixth field would be seconds, and no snapshot is that quick.
    fields = len(expression.split())
    if fields != 5:
        raise CronInvalid(
            expression=expression[:MAX_CRON_LENGTH],
            why=Message("{count} fields, not 5", count=fields),
        )
    if len(expression) > MAX_CRON_LENGTH:
        raise CronInvalid(expression=expression[:MAX_CRON_LENGTH], why=Message("it is too long"))
    try:
        next(CronSim(expression, _SOME_DAY))
    except CronSimError as error:
        raise CronInvalid(expression=expression, why=str(error)) from None
    except StopIteration:
        raise CronInvalid(expression=expression, why=Message("it never comes true")) from None


def timing_to_json(timing: Timing) -> dict[str, Any]:
    """Plain values that :func:`timing_from_json` reads; what does not apply is left out."""
    data: dict[str, Any] = {"kind": timing.kind.value, "zone": timing.zone}
    if timing.kind is not TimingKind.CRON:
        data["minute"] = timing.minute
    if timing.kind in _AT_AN_HOUR:
        data["hour"] = timing.hour
    if timing.weekdays:
        data["weekdays"] = [day.value for day in timing.weekdays]
    if timing.day is not None:
        data["day"] = "last" if timing.day == LAST_DAY else timing.day
    if timing.cron is not None:
        data["cron"] = timing.cron
    data["jitter_seconds"] = timing.jitter_seconds
    data["overlap"] = timing.overlap.value
    if timing.window is not None:
        data["window"] = _window_to_json(timing.window)
    return data


def timing_from_json(data: Mapping[str, Any]) -> Timing:
    """The value; raises what :class:`Timing` raises, also for unknown and misshapen fields."""
    fields = dict(data)
    known = set(Timing.__dataclass_fields__)
    for name in fields:
        if name not in known:
            advice = Message("Known fields: {names}.", names=", ".join(sorted(known)))
            raise TimingInvalid(
                field=Message("a field"), value=Message("named {name!r}", name=name), advice=advice
            )
    fields["kind"] = _one_of("kind", fields.get("kind"), TimingKind)
    if "overlap" in fields:
        fields["overlap"] = _one_of("overlap", fields["overlap"], Overlap)
    if "weekdays" in fields:
        days = fields["weekdays"]
        if not isinstance(days, (list, tuple)):
            raise TimingInvalid(
                field="weekdays", value=repr(days), advice=Message("Give a list of days.")
            )
        fields["weekdays"] = tuple(_one_of("weekdays", day, Weekday) for day in days)
    if fields.get("day") == "last":
        fields["day"] = LAST_DAY
    for name in ("zone", "cron"):
        if name in fields and not isinstance(fields[name], str):
            raise TimingInvalid(
                field=name, value=repr(fields[name]), advice=Message("Give a text.")
            )
    if fields.get("window") is not None:
        fields["window"] = _window_from_json(fields["window"])
    return Timing(**fields)


def _window_to_json(window: Window) -> dict[str, Any]:
    if window.start is None or window.end is None:
        return {"after_seconds": window.after_seconds}
    return {"start": f"{window.start:%H:%M}", "end": f"{window.end:%H:%M}"}


def _window_from_json(data: object) -> Window:
    if not isinstance(data, Mapping) or not set(data) <= {"start", "end", "after_seconds"}:
        advice = Message("Give start and end, or after_seconds.")
        raise TimingInvalid(field="window", value=repr(data), advice=advice)
    moments: dict[str, time] = {}
    for name in ("start", "end"):
        if data.get(name) is not None:
            try:
                moments[name] = datetime.strptime(str(data[name]), "%H:%M").time()  # noqa: DTZ007
            except ValueError:
                advice = Message("Give hours and minutes, as 22:30.")
                raise TimingInvalid(
                    field=f"window's {name}", value=repr(data[name]), advice=advice
                ) from None
    return Window(**moments, after_seconds=data.get("after_seconds"))


def _one_of(field: str, value: object, words: type[_Word]) -> _Word:
    try:
        return words(str(value))
    except ValueError:
        advice = Message("One of: {names}.", names=", ".join(words))
        raise TimingInvalid(field=field, value=repr(value), advice=advice) from None


def _within(field: str, value: object, low: int, high: int) -> None:
    # A bool is an int to Python, and no number to anybody who writes a schedule.
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        advice = Message("Give a whole number from {low} to {high}.", low=low, high=high)
        raise TimingInvalid(field=field, value=repr(value), advice=advice)


def _applies(
    field: str,
    given: bool,
    kind: TimingKind,
    kinds: tuple[TimingKind, ...],
    *,
    needed: bool = False,
) -> None:
    if given and kind not in kinds:
        advice = Message("It belongs to: {kinds}. Leave it out.", kinds=", ".join(kinds))
        raise TimingInvalid(
            field=field, value=Message("given for kind {kind}", kind=kind), advice=advice
        )
    if needed and not given and kind in kinds:
        raise TimingInvalid(
            field=field, value="empty", advice=Message("Kind {kind} needs it.", kind=kind)
        )
