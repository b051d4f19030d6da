"""When people are left alone."""

from datetime import UTC, datetime, time

import pytest

from dozo.model.quiet import QuietHours
from dozo.model.timing import TimeZoneUnknown


def test_hours_go_over_midnight_and_end_with_their_end() -> None:
    night = QuietHours.parse("22:00-07:00", "Asia/Tokyo")
    assert (night.start, night.end) == (time(22), time(7))
    # Tokyo is 9 hours ahead.
    told = {hour: night.include(datetime(2026, 1, 1, hour, 0, tzinfo=UTC)) for hour in range(24)}
    assert [hour for hour, quiet in told.items() if quiet] == list(range(13, 22))
    noon = QuietHours.parse("12:00-13:30", "UTC")
    assert noon.include(datetime(2026, 1, 1, 13, 29, tzinfo=UTC))
    assert not noon.include(datetime(2026, 1, 1, 13, 30, tzinfo=UTC))


@pytest.mark.parametrize("text", ["", "22-7", "22:00-22:00", "24:00-01:00", "22:00 - 07:00"])
def test_what_are_no_hours(text: str) -> None:
    with pytest.raises(ValueError, match="^" + text):
        QuietHours.parse(text, "UTC")


def test_a_zone_that_is_none() -> None:
    with pytest.raises(TimeZoneUnknown):
        QuietHours.parse("22:00-07:00", "Mars/Base")
