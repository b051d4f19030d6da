"""Which generations stay: the promises of retention, each in a table or for all inputs."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dozo.model.retention import (
    DeleteReason,
    Generation,
    Keep,
    KeepInvalid,
    KeepReason,
    Limits,
    Refusal,
    RetentionPlan,
    keep_from_json,
    keep_to_json,
    plan,
    simulate,
)
from dozo.model.schedule_times import next_times
from dozo.model.timing import TimeZoneUnknown, Timing, TimingKind

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FREE = Limits(allow_many=True)


def generation(n: int, **fields: Any) -> Generation:
    """The n-th day's snapshot, received within the hour."""
    values: dict[str, Any] = {
        "snapshot_id": f"s{n:03}",
        "created_at": T0 + n * DAY,
        "received_at": T0 + n * DAY + timedelta(minutes=30),
        "scheduled": True,
        "schedule_ids": frozenset({"a"}),
        "verified": True,
        "protected": True,
    }
    return Generation(**{**values, **fields})


def days(*numbers: int, **fields: Any) -> list[Generation]:
    return [generation(n, **fields) for n in numbers]


def count(number: int, **fields: Any) -> dict[str, Keep]:
    return {"a": Keep(count=number, **fields)}


def deleted(result: RetentionPlan) -> list[str]:
    return [name for name, _ in result.delete]


LATER = T0 + 400 * DAY


def test_the_newest_so_many_stay() -> None:
    result = plan(count(3), days(1, 2, 3, 4, 5), LATER)

    assert result.delete == (("s001", DeleteReason.REPLACED), ("s002", DeleteReason.REPLACED))
    assert [name for name, _ in result.keep] == ["s003", "s004", "s005"]
    assert result.keep[0][1] == (KeepReason.GENERATION,)
    assert result.keep[2][1] == (KeepReason.NEWEST_PROTECTED, KeepReason.GENERATION)


@pytest.mark.parametrize("fields", [{"verified": False, "protected": False}, {"protected": False}])
def test_what_is_not_protected_pushes_nothing_out(fields: dict[str, bool]) -> None:
    assert deleted(plan(count(3), [*days(1, 2, 3), *days(4, 5, 6, **fields)], LATER)) == []


def test_an_old_one_that_its_peer_no_longer_has_is_still_replaced() -> None:
    old = days(1, 2, protected=False)
    assert deleted(plan(count(2), [*old, *days(3, 4)], LATER)) == ["s001", "s002"]


def test_unverified_ones_stay() -> None:
    result = plan(count(1), [*days(1, 2, verified=False), *days(3, 4)], LATER)
    assert deleted(result) == ["s003"]
    assert result.keep[0] == ("s001", (KeepReason.NOT_VERIFIED,))


def test_the_order_is_that_of_receipt_not_of_the_origins_clock() -> None:
    backdated = generation(9, created_at=T0 - 300 * DAY)
    forged = generation(1, created_at=T0 + 300 * DAY)
    assert deleted(plan(count(2), [forged, *days(2, 3), backdated], LATER)) == ["s001", "s002"]


def test_the_newest_protected_one_stays_even_if_others_came_later() -> None:
    found = [*days(1), *days(2, 3, 4, protected=False)]
    result = plan(count(1), found, LATER)
    assert deleted(result) == []
    assert KeepReason.NEWEST_PROTECTED in dict(result.keep)["s001"]


def test_the_minimum_age_counts_from_receipt() -> None:
    late = generation(1, created_at=T0 - 100 * DAY)
    now = late.received_at + timedelta(seconds=7200)
    newer = [generation(n, received_at=now) for n in (2, 3)]
    assert deleted(plan(count(1, min_age_seconds=7201), [late, *newer], now)) == []
    assert deleted(plan(count(1, min_age_seconds=7200), [late, *newer], now)) == ["s001"]


def test_of_two_schedules_minimum_ages_the_longer_one_counts() -> None:
    both = days(1, 2, schedule_ids=frozenset({"a", "b"}))
    now = both[0].received_at + DAY
    for seconds, gone in ((86400, ["s001"]), (86401, [])):
        long = Keep(count=1, min_age_seconds=seconds)
        assert deleted(plan({**count(1), "b": long}, both, now)) == gone


def test_a_hold_is_obeyed_to_its_last_second_and_by_the_more_careful_clock() -> None:
    held = generation(1, held_until=LATER)
    found = [held, *days(2, 3)]
    assert deleted(plan(count(1), found, LATER - timedelta(seconds=1))) == ["s002"]
    assert deleted(plan(count(1), found, LATER)) == ["s001", "s002"]
    slow = LATER - timedelta(minutes=1)
    assert deleted(plan(count(1), found, LATER, expected_now=slow)) == ["s002"]


def test_manual_ones_are_neither_counted_nor_removed() -> None:
    manual = days(1, 5, 6, 7, scheduled=False, schedule_ids=frozenset())
    result = plan(count(2), [*manual, *days(2, 3, 4)], LATER, cap=2)
    assert deleted(result) == ["s002"]
    assert dict(result.keep)["s001"] == (KeepReason.MANUAL,)


def test_what_no_schedule_claims_any_more_stays() -> None:
    result = plan({}, days(1, 2, 3), LATER)
    assert deleted(result) == []
    assert dict(result.keep)["s001"] == (KeepReason.NO_SCHEDULE,)


def test_a_snapshot_of_two_schedules_stays_while_one_keeps_it() -> None:
    both = days(1, 2, 3, schedule_ids=frozenset({"a", "b"}))
    keeps = {"a": Keep(count=1), "b": Keep(count=2)}
    assert deleted(plan(keeps, both, LATER)) == ["s001"]


def test_members_of_a_recovery_point_go_together() -> None:
    def point(n: int, **fields: Any) -> list[Generation]:
        return [
            generation(n, snapshot_id=f"p{n}-{volume}", group=f"p{n}", volume_id=volume, **fields)
            for volume in ("root", "data")
        ]

    bad = [point(3)[0], dataclasses.replace(point(3)[1], verified=False, protected=False)]
    result = plan(count(1), [*point(1), *point(2), *bad], LATER)
    assert deleted(result) == ["p1-root", "p1-data"]

    torn = [point(1)[0], dataclasses.replace(point(1)[1], verified=False, protected=False)]
    result = plan(count(1), [*torn, *point(2)], LATER)
    assert deleted(result) == []
    assert dict(result.keep)["p1-root"] == (KeepReason.NOT_VERIFIED,)

    late = [point(1)[0], dataclasses.replace(point(1)[1], received_at=T0 + 3 * DAY)]
    assert deleted(plan(count(1), [*late, *point(2)], LATER)) == ["p2-root", "p2-data"]

    held = [point(1)[0], dataclasses.replace(point(1)[1], held_until=LATER + DAY)]
    assert deleted(plan(count(1), [*held, *point(2)], LATER)) == []


def test_rule_10_a_volumes_schedules_together_keep_at_most_eight() -> None:
    ours = days(*range(10), schedule_ids=frozenset({"a"}))
    theirs = [
        generation(n, snapshot_id=f"t{n}", received_at=T0 + n * DAY + timedelta(hours=1),
                   schedule_ids=frozenset({"b"}))
        for n in range(10)
    ]  # fmt: skip
    keeps = {"a": Keep(count=8), "b": Keep(count=8)}
    result = plan(keeps, [*ours, *theirs], LATER, cap=8, limits=FREE)

    kept = [name for name, _ in result.keep]
    assert kept == ["s006", "t6", "s007", "t7", "s008", "t8", "s009", "t9"]
    assert dict(result.delete)["s005"] is DeleteReason.OVER_CAP


def test_rule_10_the_next_good_one_removes_the_oldest() -> None:
    eight = days(*range(8))
    assert deleted(plan(count(8), eight, LATER, cap=8)) == []
    failed = generation(8, verified=False, protected=False)
    assert deleted(plan(count(8), [*eight, failed], LATER, cap=8)) == []
    assert deleted(plan(count(8), [*eight, generation(8)], LATER, cap=8)) == ["s000"]


def test_tightening_the_cap_deletes_nothing_of_before() -> None:
    before = days(*range(12))
    since = T0 + 12 * DAY
    assert deleted(plan(count(20), before, LATER, cap=8, cap_since=since)) == []
    after = days(*range(12, 21))
    result = plan(count(40), [*before, *after], LATER, cap=8, cap_since=since)
    assert deleted(result) == ["s012"]


def test_grandfather_father_son() -> None:
    keep = Keep(daily=3, weekly=2, monthly=2, yearly=1, zone="Europe/Berlin")
    found = days(*range(59))  # 1 January (a Thursday) to 28 February
    result = plan({"a": keep}, found, LATER, limits=FREE)

    kept = {name: set(reasons) for name, reasons in result.keep}
    assert kept == {
        "s000": {KeepReason.MONTHLY, KeepReason.YEARLY},
        "s031": {KeepReason.MONTHLY},
        "s046": {KeepReason.WEEKLY},
        "s053": {KeepReason.WEEKLY},
        "s056": {KeepReason.DAILY},
        "s057": {KeepReason.DAILY},
        "s058": {KeepReason.DAILY, KeepReason.NEWEST_PROTECTED},
    }


def test_a_days_first_one_keeps_its_place_while_it_is_not_protected_yet() -> None:
    def at(hour: int, **fields: Any) -> Generation:
        when = T0 + timedelta(hours=hour)
        return generation(0, snapshot_id=f"h{hour}", created_at=when, received_at=when, **fields)

    rules = {"a": Keep(daily=2)}
    waiting = at(1, protected=False)
    assert deleted(plan(rules, [waiting, at(2), at(3), generation(1)], LATER)) == ["h3"]
    assert deleted(plan(rules, [at(1), at(2), at(3), generation(1)], LATER)) == ["h2", "h3"]


def test_the_day_is_that_of_the_zone() -> None:
    found = [
        generation(n, created_at=at, received_at=at)
        for n, at in enumerate(datetime(2026, 5, 1, 14, tzinfo=UTC) + timedelta(hours=h)
                               for h in range(3))
    ]  # fmt: skip
    tokyo = plan({"a": Keep(daily=5, zone="Asia/Tokyo")}, found, LATER)
    london = plan({"a": Keep(daily=5, zone="Europe/London")}, found, LATER)
    # 23:00, then midnight and 01:00 of the next day in Tokyo; all one afternoon in London.
    assert KeepReason.DAILY in dict(tokyo.keep)["s001"]
    assert deleted(london) == ["s001"]


def test_backdated_and_postdated_ones_take_no_place_of_a_period() -> None:
    good = days(1, 2, 3)
    bad = [
        generation(4, snapshot_id=f"x{n}", created_at=T0 + n * DAY,
                   received_at=T0 + 4 * DAY + timedelta(minutes=n))
        for n in (-30, -20, 1, 2, 3, 20, 30)
    ]  # fmt: skip
    result = plan({"a": Keep(daily=4)}, [*good, *bad], LATER, limits=FREE)
    assert {"s001", "s002", "s003"} <= set(dict(result.keep))


def test_a_clock_before_the_newest_receipt_stops_everything() -> None:
    found = days(1, 2, 3)
    result = plan(count(1), found, found[-1].received_at - timedelta(seconds=1))
    assert (result.refused, result.delete) == (Refusal.CLOCK_WENT_BACK, ())


@pytest.mark.parametrize(
    ("offset_seconds", "refused"),
    [
        (-3601, Refusal.CLOCK_WENT_BACK),
        (-3600, None),
        (0, None),
        (3600, None),
        (3601, Refusal.CLOCK_WENT_AHEAD),
        (86400 * 3650, Refusal.CLOCK_WENT_AHEAD),
    ],
)
def test_a_clock_that_jumped_against_the_monotone_one(
    offset_seconds: int, refused: Refusal | None
) -> None:
    now = LATER + timedelta(seconds=offset_seconds)
    result = plan(count(1), days(1, 2, 3), now, expected_now=LATER)
    assert result.refused is refused
    assert bool(result.delete) == (refused is None)
    assert bool(result.withheld) == (refused is not None)


def test_too_many_at_once_are_withheld_until_somebody_agrees() -> None:
    found = days(*range(20))
    few = plan(count(15), found, LATER)
    assert (few.refused, len(few.delete)) == (None, 5)
    share = plan(count(14), found, LATER)
    assert (share.refused, len(share.delete)) == (None, 6)
    many = plan(count(13), found, LATER)
    assert (many.refused, many.delete, len(many.withheld)) == (Refusal.TOO_MANY, (), 7)
    agreed = plan(count(13), found, LATER, limits=FREE)
    assert (agreed.refused, agreed.delete) == (None, many.withheld)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"count": 0},
        {"count": 10_001},
        {"count": True},
        {"count": "7"},
        {"count": 7, "daily": 1},
        {"daily": -1},
        {"daily": 0},
        {"daily": 1, "zone": 5},
        {"count": 1, "min_age_seconds": -1},
        {"weeks": 1},
    ],
)
def test_numbers_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(KeepInvalid) as caught:
        keep_from_json(fields)
    assert caught.value.hint_text().endswith(".")


def test_a_zone_that_does_not_exist() -> None:
    with pytest.raises(TimeZoneUnknown):
        Keep(daily=1, zone="Moon/Tycho")


keeps = st.one_of(
    st.builds(Keep, count=st.integers(1, 4), min_age_seconds=st.sampled_from([0, 3600, 864000])),
    st.builds(
        Keep,
        hourly=st.integers(0, 3),
        daily=st.integers(1, 4),
        weekly=st.integers(0, 3),
        monthly=st.integers(0, 3),
        yearly=st.integers(0, 2),
        zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo"]),
        min_age_seconds=st.sampled_from([0, 3600, 864000]),
    ),
)


@given(keeps)
def test_the_value_comes_back_from_json(keep: Keep) -> None:
    assert keep_from_json(keep_to_json(keep)) == keep


@st.composite
def volumes(draw: st.DrawFn) -> list[Generation]:
    """Any history: late, forged, failed, held, manual ones; some in groups."""
    found = []
    for n in range(draw(st.integers(0, 20))):
        hours = draw(st.integers(0, 3000))
        verified = draw(st.sampled_from([True, True, True, False]))
        found.append(
            Generation(
                snapshot_id=f"s{n:03}",
                created_at=T0 + timedelta(hours=hours + draw(st.sampled_from([0, 0, -900, 900]))),
                received_at=T0 + timedelta(hours=hours),
                scheduled=draw(st.sampled_from([True, True, True, False])),
                schedule_ids=draw(st.frozensets(st.sampled_from(["a", "b", "gone"]), min_size=1)),
                verified=verified,
                protected=verified and draw(st.sampled_from([True, True, False])),
                held_until=draw(st.sampled_from([None, None, None, T0 + 100 * DAY, LATER + DAY])),
                group=draw(st.sampled_from([None, None, None, "p1", "p2", "p3"])),
                volume_id=draw(st.sampled_from(["root", "data"])),
            )
        )
    return found


two_keeps = st.fixed_dictionaries({"a": keeps, "b": keeps})
caps = st.one_of(st.none(), st.integers(1, 8))
nows = st.integers(3000, 9000).map(lambda hours: T0 + timedelta(hours=hours))


@given(two_keeps, volumes(), nows, caps)
def test_every_snapshot_is_named_once_and_no_promise_is_broken(
    rules: dict[str, Keep], found: list[Generation], now: datetime, cap: int | None
) -> None:
    result = plan(rules, found, now, cap=cap, limits=FREE)
    gone = set(deleted(result))

    names = [name for name, _ in (*result.keep, *result.delete)]
    assert sorted(names) == sorted(one.snapshot_id for one in found)
    assert all(reasons for _, reasons in result.keep)
    for one in found:
        if one.snapshot_id in gone:
            assert one.scheduled
            assert one.verified
            assert one.held_until is None or one.held_until <= now
            ages = [rules[s].min_age_seconds for s in one.schedule_ids if s in rules]
            assert now - one.received_at >= timedelta(seconds=max(ages, default=0))
    for group in {one.group for one in found if one.group}:
        members = {one.snapshot_id for one in found if one.group == group}
        assert members <= gone or not members & gone


@given(two_keeps, volumes(), nows, caps)
def test_never_the_last_verified_one_of_a_volume(
    rules: dict[str, Keep], found: list[Generation], now: datetime, cap: int | None
) -> None:
    gone = set(deleted(plan(rules, found, now, cap=cap, limits=FREE)))
    for volume in ("root", "data"):
        verified = {one.snapshot_id for one in found if one.verified and one.volume_id == volume}
        # In a group of both volumes, either may make the whole point unfit to replace others.
        touched = verified & gone
        assert not touched or verified - gone


@given(two_keeps, volumes(), nows, caps)
def test_applying_a_plan_twice_or_in_part_never_removes_more(
    rules: dict[str, Keep], found: list[Generation], now: datetime, cap: int | None
) -> None:
    first = plan(rules, found, now, cap=cap, limits=FREE)
    names = deleted(first)
    for done in (len(names), len(names) // 2):
        left = [one for one in found if one.snapshot_id not in names[:done]]
        again = plan(rules, left, now, cap=cap, limits=FREE)
        # Part of a plan may leave another one as the first of its period, which is then kept.
        assert set(deleted(again)) <= set(names[done:])


@given(two_keeps, volumes(), nows, caps, st.data())
def test_what_is_not_verified_or_manual_changes_nothing(
    rules: dict[str, Keep], found: list[Generation], now: datetime, cap: int | None, data: Any
) -> None:
    before = plan(rules, found, now, cap=cap, limits=FREE)
    more = [
        generation(n, snapshot_id=f"x{n}", **data.draw(st.sampled_from([
            {"verified": False, "protected": False}, {"scheduled": False}, {"protected": False},
        ])))
        for n in data.draw(st.lists(st.integers(0, 120), max_size=10, unique=True))
    ]  # fmt: skip
    after = plan(rules, [*found, *more], now, cap=cap, limits=FREE)
    ours = [name for name in deleted(after) if not name.startswith("x")]
    assert ours == deleted(before)


@given(two_keeps, volumes(), nows, caps, st.integers(1, 500))
def test_what_would_go_goes_later_too(
    rules: dict[str, Keep], found: list[Generation], now: datetime, cap: int | None, hours: int
) -> None:
    later = now + timedelta(hours=hours)
    sooner_gone = set(deleted(plan(rules, found, now, cap=cap, limits=FREE)))
    assert sooner_gone <= set(deleted(plan(rules, found, later, cap=cap, limits=FREE)))


@given(st.integers(1, 12), volumes(), nows)
def test_keeping_more_deletes_less(number: int, found: list[Generation], now: datetime) -> None:
    rules = {"a": Keep(count=number), "b": Keep(count=number)}
    more = {"a": Keep(count=number + 1), "b": Keep(count=number + 1)}
    less_gone = set(deleted(plan(more, found, now, limits=FREE)))
    assert less_gone <= set(deleted(plan(rules, found, now, limits=FREE)))


@given(keeps, st.sampled_from(["hourly", "daily"]), st.integers(1, 8), st.integers(0, 400))
@settings(max_examples=25)
def test_the_simulator_tells_what_a_plan_after_every_run_would_leave(
    keep: Keep, kind: str, length: int, start_day: int
) -> None:
    timing = Timing(kind=TimingKind(kind), minute=17, zone="Europe/Berlin")
    start = T0 + start_day * DAY
    end = start + length * DAY
    alive: list[Generation] = []
    for n, at in enumerate(next_times(timing, start, length * 25)):
        if at > end:
            break
        alive.append(generation(n, created_at=at, received_at=at))
        gone = deleted(plan({"a": keep}, alive, at, limits=FREE))
        alive = [one for one in alive if one.snapshot_id not in gone]
    gone = deleted(plan({"a": keep}, alive, end, limits=FREE))
    expected = [one.created_at for one in alive if one.snapshot_id not in gone]

    assert [at for at, _ in simulate(timing, keep, start, length)] == expected


def test_a_year_of_hourly_runs_is_simulated() -> None:
    keep = Keep(hourly=24, daily=7, weekly=5, monthly=12)
    found = simulate(Timing(kind=TimingKind.HOURLY), keep, T0, 365)
    assert 24 + 6 + 3 + 10 <= len(found) <= keep.most() + 2


@pytest.mark.parametrize("length", [0, 3661])
def test_a_simulation_has_bounds(length: int) -> None:
    with pytest.raises(KeepInvalid):
        simulate(Timing(kind=TimingKind.HOURLY), Keep(count=1), T0, length)


def test_a_simulation_of_too_many_runs_is_refused() -> None:
    timing = Timing(kind=TimingKind.CRON, cron="* * * * *")
    with pytest.raises(KeepInvalid):
        simulate(timing, Keep(count=1), T0, 100)
