"""The time that a timeline shows: a day, a week, a month, or all there is."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

ZOOMS = ("day", "week", "month", "all")
_DAYS = {"day": 1, "week": 7, "month": 31}
# Further back than any snapshot is asked for, and near enough for dates to be counted.
_EARLIEST = date(1990, 1, 1)
_MOST_TICKS = 8


@dataclass(frozen=True, kw_only=True)
class Span:
    """Whole days of the visitor's time zone; ``last`` is the last of them."""

    zoom: str
    first: date
    last: date
    today: date
    zone: tzinfo

    @property
    def since(self) -> datetime:
        """Where it begins."""
        return _midnight(self.first, self.zone)

    @property
    def until(self) -> datetime:
        """Where it is over."""
        return _midnight(self.last + timedelta(days=1), self.zone)

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def earlier(self) -> str:
        """The last day of the span before, for an address; empty where all is shown."""
        wanted = self.first - timedelta(days=1)
        return "" if self.zoom == "all" or wanted < _EARLIEST else wanted.isoformat()

    @property
    def later(self) -> str:
        """The last day of the span after; empty where that would be to come."""
        if self.zoom == "all" or self.last >= self.today:
            return ""
        return min(self.last + timedelta(days=self.days), self.today).isoformat()

    def share(self, at: datetime) -> float:
        """Where an instant lies, from 0 at the beginning to 1 at the end."""
        whole = (self.until - self.since).total_seconds()
        return (at - self.since).total_seconds() / whole

    def ticks(self) -> list[datetime]:
        """Instants to be marked on the axis: hours of one day, else midnights."""
        if self.days == 1:
            noon_and_others = range(0, 24, 3)
            return [
                datetime(self.first.year, self.first.month, self.first.day, hour, tzinfo=self.zone)
                for hour in noon_and_others
            ]
        step = next((one for one in _STEPS if self.days / one <= _MOST_TICKS), _STEPS[-1])
        step = max(step, -(-self.days // _MOST_TICKS)) if step == _STEPS[-1] else step
        days = range(0, self.days, step)
        return [_midnight(self.first + timedelta(days=one), self.zone) for one in days]


_STEPS = (1, 2, 5, 7, 14, 30, 60, 91, 182, 365)


def span(
    *,
    zoom: str,
    at: str,
    now: datetime,
    zone: tzinfo,
    first_at: datetime | None,
    last_at: datetime | None,
) -> Span:
    """The span that an address asks for; what it does not say is chosen to show something."""
    today = now.astimezone(zone).date()
    last = min(_read(at) or today, today)
    oldest = first_at.astimezone(zone).date() if first_at else today
    newest = last_at.astimezone(zone).date() if last_at else today
    if zoom not in ZOOMS:
        zoom = "week" if at else _fitting(today - newest)
    if zoom == "all":
        first = min(oldest, today)
        return Span(zoom=zoom, first=first, last=max(today, first), today=today, zone=zone)
    first = last - timedelta(days=_DAYS[zoom] - 1)
    return Span(zoom=zoom, first=first, last=last, today=today, zone=zone)


def _fitting(age: timedelta) -> str:
    """The shortest span from the week on that shows the newest snapshot."""
    return next((zoom for zoom in ("week", "month") if age.days < _DAYS[zoom]), "all")


def _read(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return max(found, _EARLIEST)


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)
