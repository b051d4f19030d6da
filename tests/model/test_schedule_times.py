"""Planned, due and missed runs; the switches to and from summer time."""

import itertools
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dozo.model.schedule_times import (
    Action,
    SkipReason,
    clock_went_back,
    decide,
    due,
    missed,
    next_times,
    on_overlap,
    starts_at,
    window_of,
)
from dozo.model.timing import (
    DEFAULT_WINDOW_SECONDS,
    Overlap,
    Timing,
    TimingKind,
    Weekday,
    Window,
    time_zone,
)

HOUR = timedelta(hours=1)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe"]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def timing(kind: str, **fields: Any) -> Timing:
    return Timing(kind=TimingKind(kind), **fields)


def local_times(one: Timing, start: str, end: str) -> list[str]:
    """The planned times from midnight of a local day to that of another, with their offsets."""
    zone = time_zone(one.zone)
    first = datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(UTC)
    last = datetime.fromisoformat(end).replace(tzinfo=zone).astimezone(UTC)
    found = next_times(one, first - timedelta(microseconds=1), 300)
    return [at.astimezone(zone).strftime("%d %H:%M%z") for at in found if at < last]


@pytest.mark.parametrize(
    ("zone", "at", "days", "expected"),
    [
        # The gap: the first instant after it.
        ("Europe/Berlin", (2, 30), ("2026-03-28", "2026-03-31"),
         ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
        ("America/New_York", (2, 30), ("2026-03-07", "2026-03-10"),
         ["07 02:30-0500", "08 03:00-0400", "09 02:30-0400"]),
        ("Australia/Lord_Howe", (2, 10), ("2026-10-03", "2026-10-06"),
         ["03 02:10+1030", "04 02:30+1100", "05 02:10+1100"]),
        # What happens twice: the first time.
        ("Europe/Berlin", (2, 30), ("2026-10-24", "2026-10-27"),
         ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"]),
        ("America/New_York", (1, 30), ("2026-10-31", "2026-11-03"),
         ["31 01:30-0400", "01 01:30-0400", "02 01:30-0500"]),
        ("Australia/Lord_Howe", (1, 40), ("2026-04-04", "2026-04-07"),
         ["04 01:40+1100", "05 01:40+1100", "06 01:40+1030"]),
        # No summer time at all.
        ("Asia/Tokyo", (2, 30), ("2026-03-28", "2026-03-31"),
         ["28 02:30+0900", "29 02:30+0900", "30 02:30+0900"]),
    ],
)  # fmt: skip
def test_a_daily_run_happens_once_a_day_on_both_switches(
    zone: str, at: tuple[int, int], days: tuple[str, str], expected: list[str]
) -> None:
    assert local_times(timing("daily", hour=at[0], minute=at[1], zone=zone), *days) == expected


@pytest.mark.parametrize(
    ("zone", "spring", "autumn"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-10-25"),
        ("America/New_York", "2026-03-08", "2026-11-01"),
    ],
)
def test_hourly_runs_happen_23_and_25_times_an_hour_apart(
    zone: str, spring: str, autumn: str
) -> None:
    one = timing("hourly", minute=15, zone=zone)
    for day, number in ((spring, 23), (autumn, 25)):
        after = (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
        assert len(local_times(one, day, after)) == number
        start = datetime.fromisoformat(day).replace(tzinfo=time_zone(zone))
        found = next_times(one, start, 30)
        assert {b - a for a, b in itertools.pairwise(found)} == {HOUR}


def test_hourly_runs_in_tokyo_are_always_24() -> None:
    one = timing("hourly", zone="Asia/Tokyo")
    assert len(local_times(one, "2026-03-29", "2026-03-30")) == 24


@pytest.mark.parametrize(
    ("minute", "day", "number"),
    [
        # The half hour from 02:00 is skipped, that from 01:30 happens twice.
        (0, "2026-10-04", 23),
        (40, "2026-10-04", 24),
        (0, "2026-04-05", 24),
        (40, "2026-04-05", 25),
    ],
)
def test_hourly_runs_where_the_switch_is_half_an_hour(minute: int, day: str, number: int) -> None:
    one = timing("hourly", minute=minute, zone="Australia/Lord_Howe")
    after = (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
    assert len(local_times(one, day, after)) == number


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (timing("monthly", day=31), ["01-31", "02-28", "03-31", "04-30", "05-31"]),
        (timing("monthly", day=30), ["01-30", "02-28", "03-30", "04-30", "05-30"]),
        (timing("monthly", day=29), ["01-29", "02-28", "03-29", "04-29", "05-29"]),
        (timing("monthly", day=28), ["01-28", "02-28", "03-28", "04-28", "05-28"]),
        (timing("monthly", day=1), ["01-01", "02-01", "03-01", "04-01", "05-01"]),
        (
            timing("weekly", weekdays=(Weekday.SUNDAY, Weekday.WEDNESDAY)),
            ["01-04", "01-07", "01-11", "01-14", "01-18"],
        ),
        (timing("cron", cron="0 0 29 2 *"), ["02-29"] * 5),
        (timing("cron", cron="0 0 * * MON#2"), ["01-12", "02-09", "03-09", "04-13", "05-11"]),
    ],
)
def test_days_of_the_month_and_of_the_week(one: Timing, expected: list[str]) -> None:
    found = next_times(one, utc("2025-12-31T23:59:59"), 5)
    assert [at.strftime("%m-%d") for at in found] == expected


def test_two_times_that_fall_into_one_gap_are_one_run() -> None:
    one = timing("cron", cron="0,15,30 2 * * *", zone="Europe/Berlin")
    assert local_times(one, "2026-03-29", "2026-03-30") == ["29 03:00+0200"]


def test_a_start_in_the_repeated_hour_finds_nothing_of_the_past() -> None:
    one = timing("daily", hour=2, minute=30, zone="Europe/Berlin")
    second_time = utc("2026-10-25T01:10:00")
    assert next_times(one, second_time, 1) == [utc("2026-10-26T01:30:00")]


instants = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC)
)
zones = st.sampled_from(ZONES)
minutes = st.integers(0, 59)
hours = st.integers(0, 23)
timings = st.one_of(
    st.builds(lambda zone, m: timing("hourly", minute=m, zone=zone), zones, minutes),
    st.builds(
        lambda zone, h, m: timing("daily", hour=h, minute=m, zone=zone), zones, hours, minutes
    ),
    st.builds(
        lambda zone, h, m, d: timing("monthly", day=d, hour=h, minute=m, zone=zone),
        zones, hours, minutes, st.integers(1, 31),
    ),
    st.builds(
        lambda zone, h, m, w: timing("weekly", weekdays=tuple(w), hour=h, minute=m, zone=zone),
        zones, hours, minutes, st.lists(st.sampled_from(Weekday), min_size=1, unique=True),
    ),
)  # fmt: skip


@given(timings, instants, st.integers(1, 20))
def test_planned_times_ascend_and_do_not_depend_on_where_one_starts(
    one: Timing, after: datetime, count: int
) -> None:
    found = next_times(one, after, count + 1)

    assert len(found) == count + 1
    assert after < found[0]
    assert all(a < b for a, b in itertools.pairwise(found))
    assert next_times(one, found[0], count) == found[1:]
    assert next_times(one, found[0] - timedelta(microseconds=1), 1) == found[:1]


@given(zones, hours, minutes, instants)
def test_every_local_day_has_exactly_one_daily_run(
    zone: str, hour: int, minute: int, after: datetime
) -> None:
    found = next_times(timing("daily", hour=hour, minute=minute, zone=zone), after, 200)
    days = [at.astimezone(time_zone(zone)).date() for at in found]
    assert days == [days[0] + timedelta(days=n) for n in range(200)]


jitters = st.integers(0, 43200)


@given(timings, instants, jitters, st.text(max_size=5))
@settings(max_examples=50)
def test_jitter_keeps_the_order_and_is_the_same_each_time(
    one: Timing, after: datetime, jitter: int, schedule_id: str
) -> None:
    late = Timing(**{**vars(one), "jitter_seconds": jitter})
    found = next_times(late, after, 6)
    starts = [starts_at(late, schedule_id, at) for at in found]

    assert starts == [starts_at(late, schedule_id, at) for at in found]
    assert all(a < b for a, b in itertools.pairwise(starts))
    for planned, start, following in zip(found, starts, found[1:], strict=False):
        assert planned <= start < following
        assert start - planned <= timedelta(seconds=jitter)


def test_jitter_spreads_schedules_and_is_fixed() -> None:
    one = timing("daily", jitter_seconds=600)
    planned = utc("2026-01-01T00:00:00")
    delays = {(starts_at(one, f"s{n}", planned) - planned).total_seconds() for n in range(200)}

    assert len(delays) > 100
    assert max(delays) <= 600
    # Written down: a preview of yesterday must still be right after an upgrade.
    assert starts_at(one, "s1", planned) - planned == timedelta(seconds=353)


def test_jitter_stays_inside_the_window() -> None:
    one = timing("daily", hour=2, jitter_seconds=43200, window=Window(after_seconds=60))
    planned = utc("2026-01-01T02:00:00")
    assert all(
        planned <= starts_at(one, f"s{n}", planned) < planned + timedelta(seconds=60)
        for n in range(50)
    )


@given(timings, instants, st.integers(0, 2_000_000), jitters, st.integers(1, 5))
@settings(max_examples=60)
def test_due_and_missed_are_the_newest_planned_times_whose_start_has_come(
    one: Timing, last: datetime, seconds: int, jitter: int, limit: int
) -> None:
    one = Timing(**{**vars(one), "jitter_seconds": jitter})
    now = last + timedelta(seconds=seconds)
    planned = [at for at in next_times(one, last, 600) if starts_at(one, "s", at) <= now]

    assert due(one, last, now, schedule_id="s") == (planned[-1] if planned else None)
    assert missed(one, last, now, limit, schedule_id="s") == planned[:-1][-limit:]


def test_a_schedule_of_every_minute_that_was_away_for_years() -> None:
    one = timing("cron", cron="* * * * *")
    now = utc("2026-01-01T00:00:30")
    assert due(one, utc("2016-01-01T00:00:00"), now) == utc("2026-01-01T00:00:00")
    found = missed(one, utc("2016-01-01T00:00:00"), now, 100)
    assert (len(found), found[-1]) == (100, utc("2025-12-31T23:59:00"))


def test_a_run_is_dealt_with_once() -> None:
    one = timing("daily", hour=2)
    now = utc("2026-01-05T02:00:00")
    first = due(one, utc("2026-01-04T02:00:00"), now)
    assert first == now
    assert due(one, first, now) is None


def test_a_clock_that_went_back_is_noticed() -> None:
    one = timing("hourly")
    ahead, now = utc("2027-01-01T00:00:00"), utc("2026-01-01T00:10:00")
    assert due(one, ahead, now) is None
    assert clock_went_back(ahead, now)
    assert not clock_went_back(now, now)


NIGHT = Window(start=time(1), end=time(3))


@pytest.mark.parametrize(
    ("fields", "late_seconds", "needs_window", "newest", "expected"),
    [
        ({}, -1, False, True, (Action.WAIT, None)),
        ({}, 0, False, True, (Action.RUN, None)),
        ({}, 300, False, True, (Action.RUN, None)),
        ({}, 301, False, True, (Action.CATCH_UP, None)),
        ({}, 9_000_000, False, True, (Action.CATCH_UP, None)),
        ({}, 9_000_000, False, False, (Action.SKIP, SkipReason.SUPERSEDED)),
        # A live run's window only says when it is planned; late is better than never.
        ({"window": NIGHT}, 3600, False, True, (Action.CATCH_UP, None)),
        ({}, -1, True, True, (Action.WAIT, None)),
        ({}, 0, True, True, (Action.RUN, None)),
        ({}, DEFAULT_WINDOW_SECONDS - 1, True, True, (Action.RUN, None)),
        ({}, DEFAULT_WINDOW_SECONDS, True, True, (Action.SKIP, SkipReason.OUTSIDE_WINDOW)),
        ({"window": NIGHT}, 1799, True, True, (Action.RUN, None)),
        ({"window": NIGHT}, 1800, True, True, (Action.SKIP, SkipReason.OUTSIDE_WINDOW)),
        ({"window": NIGHT}, 86400, True, True, (Action.SKIP, SkipReason.OUTSIDE_WINDOW)),
        ({"window": Window(after_seconds=60)}, 59, True, True, (Action.RUN, None)),
        ({"window": Window(after_seconds=60)}, 60, True, True,
         (Action.SKIP, SkipReason.OUTSIDE_WINDOW)),
        ({"window": NIGHT}, 60, True, False, (Action.SKIP, SkipReason.SUPERSEDED)),
    ],
)  # fmt: skip
def test_what_happens_to_a_run_that_is_late(
    fields: dict[str, Any], late_seconds: int, needs_window: bool, newest: bool, expected: Any
) -> None:
    one = timing("daily", hour=2, minute=30, **fields)
    planned = utc("2026-01-05T02:30:00")
    now = planned + timedelta(seconds=late_seconds)
    decision = decide(one, planned, now, needs_window=needs_window, newest=newest)
    assert (decision.action, decision.reason) == expected


def test_an_hourly_schedule_with_a_window_is_planned_only_inside_it() -> None:
    one = timing("hourly", window=Window(start=time(22), end=time(2)), zone="Asia/Tokyo")
    assert local_times(one, "2026-01-05", "2026-01-06") == [
        "05 00:00+0900", "05 01:00+0900", "05 22:00+0900", "05 23:00+0900",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("window", "at", "day", "expected"),
    [
        # Swallowed by the gap, ending with it, cut by it, around it; then the repeated hour.
        (("02:00", "03:00"), "02:30", "2026-03-29", ("03:00+0200", "04:00+0200")),
        (("01:00", "03:00"), "02:30", "2026-03-29", ("01:00+0100", "04:00+0200")),
        (("01:30", "02:30"), "02:15", "2026-03-29", ("01:30+0100", "03:30+0200")),
        (("22:00", "06:00"), "02:30", "2026-03-29", ("22:00+0100", "06:00+0200")),
        (("02:00", "03:00"), "02:30", "2026-10-25", ("02:00+0200", "02:00+0100")),
        (("22:00", "06:00"), "02:30", "2026-10-25", ("22:00+0200", "06:00+0100")),
    ],
)
def test_windows_on_both_switches(
    window: tuple[str, str], at: str, day: str, expected: tuple[str, str]
) -> None:
    start, end = (time.fromisoformat(one) for one in window)
    moment = time.fromisoformat(at)
    zone = time_zone("Europe/Berlin")
    one = timing(
        "daily", hour=moment.hour, minute=moment.minute, zone=zone.key,
        window=Window(start=start, end=end),
    )  # fmt: skip
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    (planned,) = next_times(one, midnight, 1)
    found = tuple(f"{edge.astimezone(zone):%H:%M%z}" for edge in window_of(one, planned))

    assert found == expected
    assert decide(one, planned, planned, needs_window=True, newest=True).action is Action.RUN


times = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(zones, times, times, times, instants)
def test_a_window_on_any_day_holds_its_run(
    zone: str, start: time, end: time, at: time, after: datetime
) -> None:
    if start == end or not Window(start=start, end=end).covers(at):
        return
    one = timing(
        "daily", hour=at.hour, minute=at.minute, zone=zone, window=Window(start=start, end=end)
    )
    for n, planned in enumerate(next_times(one, after, 30)):
        opens, closes = window_of(one, planned)
        assert opens <= planned < closes
        assert closes - opens <= timedelta(hours=25), n


@pytest.mark.parametrize(
    ("overlap", "running", "waiting", "expected"),
    [
        (Overlap.SKIP, False, 0, Action.RUN),
        (Overlap.SKIP, True, 0, Action.SKIP),
        (Overlap.QUEUE, False, 0, Action.RUN),
        (Overlap.QUEUE, True, 0, Action.WAIT),
        (Overlap.QUEUE, True, 1, Action.SKIP),
        (Overlap.QUEUE, False, 1, Action.SKIP),
    ],
)
def test_a_run_that_is_due_while_the_last_one_goes_on(
    overlap: Overlap, running: bool, waiting: int, expected: Action
) -> None:
    assert on_overlap(overlap, running=running, waiting=waiting).action is expected
