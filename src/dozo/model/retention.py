"""Which generations to keep and which to delete; pure, and careful rather than tidy.

Retention acts on what stands at one site, on its own evidence:

- Only snapshots verified at this site count, in the order in which this site received them, and
  only protected ones push others out. So failed, unverified and unprotected runs push out nothing.
- Nothing goes within its minimum age since receipt, under a hold, or as the newest protected
  snapshot of its volume.
- All members of a recovery point go together. Manual snapshots are neither counted nor removed.
- Nothing goes at all while the clock is in doubt, or when suspiciously much would go.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, Final

from dozo.model.message import Message

from .errors import DozoError, ErrorKind
from .schedule_times import next_times, starts_at
from .timing import Timing, time_zone

MAX_GENERATIONS: Final = 10_000
DEFAULT_MIN_AGE_SECONDS: Final = 3600
HANDFUL: Final = 5
"""So many may go in one run, whatever share that is."""
MAX_SHARE: Final = 0.3
"""The largest share of the scheduled units that may go in one run, if more than a handful."""
CLOCK_LIMIT_SECONDS: Final = 3600
"""How far the wall clock may be from what the monotone hint expects."""
MAX_SIMULATED_DAYS: Final = 3660
MAX_SIMULATED_RUNS: Final = 100_000


@dataclass(eq=False)
class KeepInvalid(DozoError):
    """A number of generations cannot be."""

    code: ClassVar[str] = "schedule.keep_invalid"
    kind: ClassVar[ErrorKind] = ErrorKind.USAGE
    text: ClassVar[str] = "{self.field} of what to keep cannot be {self.value}"
    hint: ClassVar[str] = "{self.advice}"
    field: str
    value: str
    advice: str


class Period(StrEnum):
    """The periods of grandfather-father-son."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


@dataclass(frozen=True, kw_only=True)
class Keep:
    """How many generations of a schedule to keep: ``count`` of them, or so many per period.

    Of each of the newest ``daily`` days that have one, the day's first is kept, and so on; the
    days are those of ``zone``, weeks begin on Monday. ``min_age_seconds`` since receipt, nothing
    is deleted. Raises :class:`KeepInvalid` and ``TimeZoneUnknown``.
    """

    count: int | None = None
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    zone: str = "UTC"
    min_age_seconds: int = DEFAULT_MIN_AGE_SECONDS

    def __post_init__(self) -> None:
        time_zone(self.zone)
        _whole("min_age_seconds", self.min_age_seconds, 0, 3650 * 86400)
        for period in Period:
            _whole(period, self.per(period), 0, MAX_GENERATIONS)
        if self.count is not None:
            _whole("count", self.count, 1, MAX_GENERATIONS)
        if (self.count is None) != self.gfs:
            advice = Message("Give either count or numbers per period, and at least one of them.")
            value = Message("both count and periods") if self.gfs else "nothing"
            raise KeepInvalid(field=Message("the number"), value=value, advice=advice)

    @property
    def gfs(self) -> bool:
        """Whether numbers per period are given."""
        return any(self.per(period) for period in Period)

    def per(self, period: Period) -> int:
        """The number for one period."""
        value: int = getattr(self, period.value)
        return value

    def most(self) -> int:
        """At most how many generations are kept once all is protected, minimum age apart."""
        return self.count or sum(self.per(period) for period in Period)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One snapshot at this site, as retention sees it.

    ``created_at`` is the origin's word, ``received_at`` is this site's own clock. ``verified`` at
    this site, ``protected`` wherever the policy wants it. ``group`` is its recovery point.
    """

    snapshot_id: str
    created_at: datetime
    received_at: datetime
    scheduled: bool
    schedule_ids: frozenset[str] = frozenset()
    verified: bool
    protected: bool
    held_until: datetime | None = None
    group: str | None = None
    volume_id: str = ""


class KeepReason(StrEnum):
    """Why a snapshot stays."""

    MANUAL = "manual"
    NOT_VERIFIED = "not-verified"
    HELD = "held"
    MIN_AGE = "minimum-age"
    NEWEST_PROTECTED = "newest-protected"
    NO_SCHEDULE = "schedule-gone"
    GENERATION = "generation"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class DeleteReason(StrEnum):
    """Why a snapshot goes."""

    REPLACED = "replaced"
    OVER_CAP = "over-cap"


class Refusal(StrEnum):
    """Why nothing is deleted, which somebody has to be told."""

    CLOCK_WENT_BACK = "clock-went-back"
    CLOCK_WENT_AHEAD = "clock-went-ahead"
    TOO_MANY = "too-many"


@dataclass(frozen=True, kw_only=True)
class RetentionPlan:
    """What stays and why, what goes and why; oldest received first.

    When it is ``refused``, ``delete`` is empty and ``withheld`` says what would have gone.
    """

    keep: tuple[tuple[str, tuple[KeepReason, ...]], ...]
    delete: tuple[tuple[str, DeleteReason], ...]
    refused: Refusal | None = None
    withheld: tuple[tuple[str, DeleteReason], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a single run may do, and how far the clock may be off."""

    max_share: float = MAX_SHARE
    handful: int = HANDFUL
    clock_limit_seconds: int = CLOCK_LIMIT_SECONDS
    allow_many: bool = False
    """Somebody has seen ``withheld`` and agreed."""


def plan(
    keeps: Mapping[str, Keep],
    generations: Sequence[Generation],
    now: datetime,
    *,
    cap: int | None = None,
    cap_since: datetime | None = None,
    expected_now: datetime | None = None,
    limits: Limits | None = None,
) -> RetentionPlan:
    """What to delete at this site of the snapshots of one volume, or of one server's volumes.

    ``keeps`` has each existing schedule's numbers by its id; a snapshot of several schedules goes
    when none keeps it, one whose schedules are all gone stays. ``cap``: all schedules of a volume
    together keep at most so many; what was received before ``cap_since``, when the policy was
    tightened, goes by its schedule's numbers alone. ``expected_now``: an instant noted earlier
    plus what a monotonic clock has counted since. All members of a recovery point must be given.
    Idempotent, also after a plan was applied in part.
    """
    limits = limits or Limits()
    units = sorted(_units(generations), key=lambda unit: unit.order)
    held_now = min(now, expected_now or now)
    kept: list[tuple[str, tuple[KeepReason, ...]]] = []
    gone: list[tuple[str, DeleteReason]] = []
    gone_units = 0
    judged = _Judged(keeps, units, cap, cap_since)
    for unit in units:
        reasons, delete = judged.verdict(unit, now, held_now)
        if reasons:
            kept += [(member.snapshot_id, reasons) for member in unit.members]
        else:
            gone += [(member.snapshot_id, delete) for member in unit.members]
            gone_units += 1
    counted = sum(unit.scheduled and unit.verified for unit in units)
    too_many = (
        gone_units > limits.handful
        and gone_units > limits.max_share * counted
        and not limits.allow_many
    )
    refused = _clock_refusal(generations, now, expected_now, limits)
    if refused is None and too_many:
        refused = Refusal.TOO_MANY
    if refused is not None:
        return RetentionPlan(keep=tuple(kept), delete=(), refused=refused, withheld=tuple(gone))
    return RetentionPlan(keep=tuple(kept), delete=tuple(gone))


def simulate(
    timing: Timing, keep: Keep, start: datetime, days: int, *, schedule_id: str = ""
) -> list[tuple[datetime, tuple[KeepReason, ...]]]:
    """Which generations would exist after ``days`` days in which every run got through, oldest
    first, and why each is kept. Raises :class:`KeepInvalid` for too many days or runs.

    One plan over all runs gives what a plan after each of them would: whoever is first in a period
    stays first, and a period that fell out of the numbers never comes back.
    """
    _whole("days", days, 1, MAX_SIMULATED_DAYS)
    end = start + timedelta(days=days)
    found = [at for at in _until(timing, start, end) if starts_at(timing, schedule_id, at) <= end]
    generations = [
        Generation(
            snapshot_id=str(n),
            created_at=at,
            received_at=at,
            scheduled=True,
            schedule_ids=frozenset({schedule_id}),
            verified=True,
            protected=True,
        )
        for n, at in enumerate(found)
    ]
    result = plan({schedule_id: keep}, generations, end, limits=Limits(allow_many=True))
    return [(found[int(name)], reasons) for name, reasons in result.keep]


def keep_to_json(keep: Keep) -> dict[str, Any]:
    """Plain values that :func:`keep_from_json` reads."""
    if keep.count is not None:
        data: dict[str, Any] = {"count": keep.count}
    else:
        data = {period.value: keep.per(period) for period in Period if keep.per(period)}
        data["zone"] = keep.zone
    return {**data, "min_age_seconds": keep.min_age_seconds}


def keep_from_json(data: Mapping[str, Any]) -> Keep:
    """The value; raises what :class:`Keep` raises, also for unknown fields."""
    known = set(Keep.__dataclass_fields__)
    for name in data:
        if name not in known:
            advice = Message("Known fields: {names}.", names=", ".join(sorted(known)))
            raise KeepInvalid(
                field=Message("a field"), value=Message("named {name!r}", name=name), advice=advice
            )
    if not isinstance(data.get("zone", ""), str):
        raise KeepInvalid(field="zone", value=repr(data["zone"]), advice=Message("Give a text."))
    return Keep(**data)


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """A recovery point or a single snapshot: what is kept or deleted as one."""

    members: tuple[Generation, ...]

    @cached_property
    def order(self) -> tuple[datetime, datetime, str]:
        first = min(self.members, key=lambda one: one.snapshot_id)
        return (self.received_at, self.made_at, first.snapshot_id)

    @cached_property
    def received_at(self) -> datetime:
        return max(one.received_at for one in self.members)

    @cached_property
    def made_at(self) -> datetime:
        # The origin's word for the instant, but never later than what this site saw itself:
        # a date in the future would take the place of periods that have not been yet.
        return min(self.received_at, *(one.created_at for one in self.members))

    @cached_property
    def scheduled(self) -> bool:
        return all(one.scheduled for one in self.members)

    @cached_property
    def verified(self) -> bool:
        return all(one.verified for one in self.members)

    @cached_property
    def counts(self) -> bool:
        """Whether it can take another's place."""
        return self.scheduled and self.verified and all(one.protected for one in self.members)

    @cached_property
    def schedule_ids(self) -> frozenset[str]:
        return frozenset().union(*(one.schedule_ids for one in self.members))

    @cached_property
    def volume_ids(self) -> frozenset[str]:
        return frozenset(one.volume_id for one in self.members)

    def held(self, now: datetime) -> bool:
        return any(one.held_until is not None and one.held_until > now for one in self.members)


class _Judged:
    """The units that count, sorted out by schedule and volume."""

    def __init__(
        self,
        keeps: Mapping[str, Keep],
        units: Sequence[_Unit],
        cap: int | None,
        cap_since: datetime | None,
    ) -> None:
        self.keeps = keeps
        self.cap = cap
        self.cap_since = cap_since
        counting = [unit for unit in units if unit.counts]
        volumes = {volume for unit in counting for volume in unit.volume_ids}
        self.orders = {v: [u.order for u in counting if v in u.volume_ids] for v in volumes}
        self.ranks = {
            schedule: _Ranks(keep, [u for u in counting if schedule in u.schedule_ids])
            for schedule, keep in keeps.items()
        }

    def verdict(
        self, unit: _Unit, now: datetime, held_now: datetime
    ) -> tuple[tuple[KeepReason, ...], DeleteReason]:
        """Why the unit stays, or nothing and why it goes."""
        reasons: list[KeepReason] = []
        if not unit.scheduled:
            return (KeepReason.MANUAL,), DeleteReason.REPLACED
        if not unit.verified:
            reasons.append(KeepReason.NOT_VERIFIED)
        if unit.held(held_now):
            reasons.append(KeepReason.HELD)
        if unit.counts and any(self.orders[v][-1] == unit.order for v in unit.volume_ids):
            reasons.append(KeepReason.NEWEST_PROTECTED)
        known = [schedule for schedule in sorted(unit.schedule_ids) if schedule in self.keeps]
        ages = [self.keeps[schedule].min_age_seconds for schedule in known]
        min_age = timedelta(seconds=max(ages, default=DEFAULT_MIN_AGE_SECONDS))
        if now - unit.received_at < min_age:
            reasons.append(KeepReason.MIN_AGE)
        if self._over_cap(unit):
            return tuple(reasons), DeleteReason.OVER_CAP
        if not known:
            reasons.append(KeepReason.NO_SCHEDULE)
        for schedule in known:
            reasons += self.ranks[schedule].reasons(unit)
        return tuple(dict.fromkeys(reasons)), DeleteReason.REPLACED

    def _over_cap(self, unit: _Unit) -> bool:
        if self.cap is None:
            return False
        if self.cap_since is not None and unit.received_at < self.cap_since:
            return False
        # A recovery point stays as long as one of its volumes has room for it.
        return all(
            _newer(self.orders.get(volume, []), unit) >= self.cap for volume in unit.volume_ids
        )


class _Ranks:
    """One schedule's counting units, and which of its numbers keeps a unit."""

    def __init__(self, keep: Keep, counting: Sequence[_Unit]) -> None:
        self.keep = keep
        self.orders = [unit.order for unit in counting]
        # Of each period its first unit in the order of receipt: what comes later cannot take its
        # place by carrying an older date.
        self.firsts: dict[Period, dict[str, _Unit]] = {period: {} for period in Period}
        for period in Period:
            if keep.per(period):
                for unit in counting:
                    self.firsts[period].setdefault(self._label(unit, period), unit)
        self.labels = {period: sorted(firsts) for period, firsts in self.firsts.items()}

    def reasons(self, unit: _Unit) -> list[KeepReason]:
        """As if the unit counted: one that is not protected yet must find its place free later."""
        if self.keep.count is not None:
            newer = _newer(self.orders, unit)
            return [KeepReason.GENERATION] if newer < self.keep.count else []
        found = []
        for period in Period:
            if not self.keep.per(period):
                continue
            label, labels = self._label(unit, period), self.labels[period]
            newer = len(labels) - bisect_right(labels, label)
            first = self.firsts[period].get(label)
            is_first = first is None or unit.order <= first.order
            if is_first and newer < self.keep.per(period):
                found.append(KeepReason(period.value))
        return found

    def _label(self, unit: _Unit, period: Period) -> str:
        """A text that sorts as the periods do."""
        if period is Period.HOURLY:
            # In UTC: the hour that a switch repeats is two hours. Zones differ from it by halves
            # of an hour at most in where an hour begins, which matters to nobody.
            return unit.made_at.astimezone(UTC).strftime("%Y-%m-%d %H")
        local = unit.made_at.astimezone(time_zone(self.keep.zone))
        if period is Period.DAILY:
            return local.strftime("%Y-%m-%d")
        if period is Period.WEEKLY:
            week = local.isocalendar()
            return f"{week.year:04}-{week.week:02}"
        return local.strftime("%Y-%m" if period is Period.MONTHLY else "%Y")


def _newer(orders: Sequence[tuple[datetime, datetime, str]], unit: _Unit) -> int:
    """How many were received after the unit; ``orders`` ascend."""
    return len(orders) - bisect_right(orders, unit.order)


def _units(generations: Iterable[Generation]) -> list[_Unit]:
    groups: dict[tuple[bool, str], list[Generation]] = {}
    for one in generations:
        key = (True, one.group) if one.group is not None else (False, one.snapshot_id)
        groups.setdefault(key, []).append(one)
    return [_Unit(members=tuple(members)) for members in groups.values()]


def _clock_refusal(
    generations: Sequence[Generation],
    now: datetime,
    expected_now: datetime | None,
    limits: Limits,
) -> Refusal | None:
    if any(one.received_at > now for one in generations):
        return Refusal.CLOCK_WENT_BACK
    if expected_now is None:
        return None
    allowed = timedelta(seconds=limits.clock_limit_seconds)
    if now - expected_now > allowed:
        return Refusal.CLOCK_WENT_AHEAD
    return Refusal.CLOCK_WENT_BACK if expected_now - now > allowed else None


def _until(timing: Timing, start: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    after = start
    while len(found) <= MAX_SIMULATED_RUNS:
        more = next_times(timing, after, 1000)
        found += [at for at in more if at <= end]
        if not more or more[-1] > end:
            return found
        after = more[-1]
    advice = Message("Simulate fewer days of a schedule that runs so often.")
    raise KeepInvalid(
        field="days",
        value=Message("more than {count} runs", count=MAX_SIMULATED_RUNS),
        advice=advice,
    )


def _whole(field: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        advice = Message("Give a whole number from {low} to {high}.", low=low, high=high)
        raise KeepInvalid(field=field, value=repr(value), advice=advice)
