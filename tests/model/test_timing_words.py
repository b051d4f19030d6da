"""Times and generations in words, in both languages, and what the clock does meanwhile."""

from datetime import UTC, datetime, time

import pytest

from dozo.model.retention import Keep
from dozo.model.schedule_times import next_times
from dozo.model.timing import LAST_DAY, Timing, TimingKind, Weekday, Window
from dozo.model.timing_words import keep_in_words, on_the_wall, timing_in_words, window_in_words

DAILY = TimingKind.DAILY
WEEKLY = TimingKind.WEEKLY


@pytest.mark.parametrize(
    ("timing", "english", "japanese"),
    [
        (
            Timing(kind=DAILY, hour=0, minute=10, zone="Asia/Tokyo"),
            "daily at 00:10 (Asia/Tokyo)",
            "毎日 0:10（Asia/Tokyo）",
        ),
        (Timing(kind=TimingKind.HOURLY, minute=5), "every hour at :05 (UTC)", "毎時 5分（UTC）"),
        (
            Timing(kind=WEEKLY, hour=3, weekdays=(Weekday.SUNDAY, Weekday.MONDAY)),
            "every Monday, Sunday at 03:00 (UTC)",
            "毎週月曜日、日曜日 3:00（UTC）",
        ),
        (
            Timing(kind=WEEKLY, hour=3, weekdays=tuple(Weekday)[:5]),
            "every Monday to Friday at 03:00 (UTC)",
            "毎週月曜日～金曜日 3:00（UTC）",
        ),
        (
            Timing(kind=TimingKind.MONTHLY, hour=3, day=15),
            "on day 15 of each month at 03:00 (UTC)",
            "毎月15日 3:00（UTC）",
        ),
        (
            Timing(kind=TimingKind.MONTHLY, hour=3, day=LAST_DAY),
            "on the last day of each month at 03:00 (UTC)",
            "毎月末日 3:00（UTC）",
        ),
        (
            Timing(kind=TimingKind.CRON, cron="30 2 * * 1-5"),
            "by the cron expression 30 2 * * 1-5 (UTC)",
            "cron式「30 2 * * 1-5」（UTC）",
        ),
    ],
)
def test_a_timing_in_words(timing: Timing, english: str, japanese: str) -> None:
    said = timing_in_words(timing)
    assert said == english
    assert said.text("ja") == japanese


def test_a_window_in_words() -> None:
    assert window_in_words(None) == "within 15 minutes of the planned time"
    assert window_in_words(Window(after_seconds=60)) == "within 1 minute of the planned time"
    between = window_in_words(Window(start=time(22, 0), end=time(6, 30)))
    assert between == "between 22:00 and 06:30"
    assert between.text("ja") == "22:00～06:30"


def test_generations_in_words() -> None:
    assert keep_in_words(Keep(count=1)) == "the newest generation"
    assert keep_in_words(Keep(count=8)).text("ja") == "最新の8世代"
    periods = keep_in_words(Keep(daily=7, monthly=6))
    assert periods == "7 daily, 6 monthly"
    assert periods.text("ja") == "日ごと7世代、月ごと6世代"


def test_the_switches_to_and_from_summer_time_are_marked() -> None:
    night = Timing(kind=DAILY, hour=2, minute=30, zone="Europe/Berlin")
    spring = datetime(2026, 3, 27, 12, tzinfo=UTC)
    runs = on_the_wall(night, next_times(night, spring, 4), spring)
    assert [one.local.hour for one in runs] == [2, 3, 2, 2]
    assert [one.moved for one in runs] == [False, True, False, False]
    assert runs[1].switched_seconds == 3600
    assert runs[1].switch == "the clock skips the planned time: right after the gap"
    assert runs[2].switch is None

    autumn = datetime(2026, 10, 23, 12, tzinfo=UTC)
    runs = on_the_wall(night, next_times(night, autumn, 4), autumn)
    assert [one.repeated for one in runs] == [False, True, False, False]
    assert runs[2].switch == "the clock went back by 60 minutes"


def test_a_zone_without_switches_marks_nothing() -> None:
    night = Timing(kind=DAILY, hour=2, zone="Asia/Tokyo")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    runs = on_the_wall(night, next_times(night, start, 400), start)
    assert not any(one.remarkable for one in runs)
