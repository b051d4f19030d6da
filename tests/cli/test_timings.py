"""A schedule's options become the timing and the numbers that the model reads."""

from typing import Any

import pytest
import typer

from dozo.cli.timings import KeepGiven, Overlap, TimingGiven, in_words, keep_in_words
from dozo.model.retention import keep_from_json
from dozo.model.timing import timing_from_json, timing_to_json


@pytest.mark.parametrize(
    ("given", "wanted", "words"),
    [
        (TimingGiven(hourly=15), {"kind": "hourly", "minute": 15}, "every hour at :15 (UTC)"),
        (
            TimingGiven(daily="2:30", zone="Asia/Tokyo"),
            {"kind": "daily", "hour": 2, "minute": 30, "zone": "Asia/Tokyo"},
            "daily at 02:30 (Asia/Tokyo)",
        ),
        (
            TimingGiven(weekly="Mon,thu,02:30", jitter="10m"),
            {"kind": "weekly", "weekdays": ["mon", "thu"], "hour": 2, "minute": 30,
             "jitter_seconds": 600},
            "every Monday, Thursday at 02:30 (UTC)",
        ),
        (
            TimingGiven(monthly="last,23:00", window="22:00-6:00"),
            {"kind": "monthly", "day": "last", "hour": 23, "minute": 0,
             "window": {"start": "22:00", "end": "06:00"}},
            "on the last day of each month at 23:00 (UTC)",
        ),
        (
            TimingGiven(cron="*/5 * * * *", window="30m", overlap=Overlap.QUEUE),
            {"kind": "cron", "cron": "*/5 * * * *", "window": {"after_seconds": 1800},
             "overlap": "queue"},
            "by the cron expression */5 * * * * (UTC)",
        ),
    ],
)  # fmt: skip
def test_each_kind_of_time(given: TimingGiven, wanted: dict[str, Any], words: str) -> None:
    made = given.timing()
    assert made == wanted
    assert in_words(timing_to_json(timing_from_json(made))) == words


@pytest.mark.parametrize(
    "given",
    [
        TimingGiven(daily="25:00"),
        TimingGiven(daily="2"),
        TimingGiven(weekly="02:30"),
        TimingGiven(weekly="monday,02:30"),
        TimingGiven(monthly="first,02:30"),
        TimingGiven(monthly="1"),
        TimingGiven(daily="02:30", hourly=1),
        TimingGiven(zone="UTC"),
        TimingGiven(daily="02:30", window="soon"),
        TimingGiven(daily="02:30", jitter="a bit"),
    ],
)
def test_what_is_no_time_is_refused(given: TimingGiven) -> None:
    with pytest.raises(typer.BadParameter):
        given.timing()


def test_what_is_not_given_stays() -> None:
    before = {"kind": "daily", "hour": 2, "minute": 30, "zone": "Asia/Tokyo",
              "jitter_seconds": 60, "window": {"after_seconds": 600}}  # fmt: skip
    assert TimingGiven().timing(before) is None
    assert TimingGiven(jitter="0").timing(before) == {**before, "jitter_seconds": 0}
    without = {name: value for name, value in before.items() if name != "window"}
    assert TimingGiven(window="none").timing(before) == without
    assert TimingGiven(hourly=5).timing(before) == {
        "kind": "hourly", "minute": 5, "zone": "Asia/Tokyo", "jitter_seconds": 60,
        "window": {"after_seconds": 600},
    }  # fmt: skip


def test_numbers_to_keep() -> None:
    before = {"count": 8, "zone": "Asia/Tokyo", "min_age_seconds": 3600}
    assert KeepGiven().keep(before) is None
    made = KeepGiven(daily=7, weekly=4).keep(before)
    assert made == {"zone": "Asia/Tokyo", "min_age_seconds": 3600, "daily": 7, "weekly": 4}
    assert keep_from_json(made).weekly == 4
    assert keep_in_words(made) == "7 daily, 4 weekly"
    assert KeepGiven(min_age="2d").keep(before) == {**before, "min_age_seconds": 172800}
    assert keep_in_words(before) == "the newest 8 generations"
    assert KeepGiven(count=3).keep(zone="UTC") == {"count": 3, "zone": "UTC"}
