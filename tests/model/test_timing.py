"""What a schedule's time may say, and how it is refused."""

from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dozo.model.errors import DozoError, ErrorKind
from dozo.model.timing import (
    LAST_DAY,
    CronInvalid,
    Overlap,
    TimeZoneUnknown,
    Timing,
    TimingInvalid,
    TimingKind,
    Weekday,
    Window,
    timing_from_json,
    timing_to_json,
)

DAILY: dict[str, Any] = {"kind": "daily", "hour": 2, "minute": 30}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "kind"),
        ({"kind": "yearly"}, "kind"),
        ({"kind": "daily", "minute": 60}, "minute"),
        ({"kind": "daily", "minute": -1}, "minute"),
        ({"kind": "daily", "minute": True}, "minute"),
        ({"kind": "daily", "minute": "5"}, "minute"),
        ({"kind": "daily", "hour": 24}, "hour"),
        ({"kind": "daily", "colour": 1}, "a field"),
        ({"kind": "hourly", "hour": 2}, "hour"),
        ({"kind": "daily", "weekdays": ["mon"]}, "weekdays"),
        ({"kind": "weekly"}, "weekdays"),
        ({"kind": "weekly", "weekdays": "mon"}, "weekdays"),
        ({"kind": "weekly", "weekdays": ["moonday"]}, "weekdays"),
        ({"kind": "weekly", "weekdays": ["mon", "mon"]}, "weekdays"),
        ({"kind": "monthly"}, "day"),
        ({"kind": "monthly", "day": 0}, "day"),
        ({"kind": "monthly", "day": 32}, "day"),
        ({"kind": "monthly", "day": "first"}, "day"),
        ({"kind": "daily", "day": 1}, "day"),
        ({"kind": "cron"}, "cron"),
        ({"kind": "cron", "cron": 7}, "cron"),
        ({"kind": "cron", "cron": "0 2 * * *", "minute": 5}, "minute"),
        ({"kind": "daily", "cron": "0 2 * * *"}, "cron"),
        ({"kind": "daily", "zone": 9}, "zone"),
        ({"kind": "daily", "jitter_seconds": -1}, "jitter"),
        ({"kind": "daily", "jitter_seconds": 12 * 3600 + 1}, "jitter"),
        ({"kind": "daily", "overlap": "both"}, "overlap"),
        ({**DAILY, "window": 5}, "window"),
        ({**DAILY, "window": {}}, "window"),
        ({**DAILY, "window": {"start": "01:00"}}, "window"),
        ({**DAILY, "window": {"start": "01:00", "end": "1 pm"}}, "window's end"),
        ({**DAILY, "window": {"start": "01:00", "end": "01:00"}}, "window"),
        ({**DAILY, "window": {"start": "01:00", "end": "03:00", "after_seconds": 60}}, "window"),
        ({**DAILY, "window": {"after_seconds": 59}}, "window"),
        ({**DAILY, "window": {"after_seconds": 86401}}, "window"),
        ({**DAILY, "window": {"after_seconds": "60"}}, "window"),
        ({**DAILY, "window": {"start": "02:31", "end": "02:30"}}, "time"),
        ({"kind": "hourly", "minute": 30, "window": {"start": "02:00", "end": "02:30"}}, "time"),
        (
            {"kind": "cron", "cron": "0 12 * * *", "window": {"start": "22:00", "end": "06:00"}},
            "time",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(data: dict[str, Any], field: str) -> None:
    with pytest.raises(TimingInvalid) as caught:
        timing_from_json(data)

    assert caught.value.field == field
    assert caught.value.kind is ErrorKind.USAGE
    assert caught.value.hint_text().endswith(".")


@pytest.mark.parametrize("name", ["Asia/Tokio", "", "Europe", "../etc/passwd", "JST-9", "\0", "ゾ"])
def test_an_unknown_time_zone(name: str) -> None:
    with pytest.raises(TimeZoneUnknown):
        Timing(kind=TimingKind.DAILY, zone=name)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "0 0 2 * * *",
        "60 * * * *",
        "a * * * *",
        "@daily * * * *",
        "0 0 31 2 *",
        "0 0 30 2 *",
        "*/0 * * * *",
        "0 2 * * 1L/2",
        ",".join("0" * 200) + " * * * *",
    ],
)
def test_a_cron_expression_that_cannot_be(expression: str) -> None:
    with pytest.raises(CronInvalid):
        Timing(kind=TimingKind.CRON, cron=expression)


@given(st.text(alphabet="0123456789*/-,L#W MON?\u0665", max_size=30))
def test_any_text_is_a_cron_expression_or_refused(text: str) -> None:
    try:
        Timing(kind=TimingKind.CRON, cron=text)
    except CronInvalid as error:
        assert error.expression == text  # noqa: PT017  both ways out are right


zones = st.sampled_from(["UTC", "Asia/Tokyo", "Europe/Berlin"])
windows = st.one_of(
    st.none(),
    st.builds(Window, after_seconds=st.integers(60, 86400)),
    st.just(Window(start=time(22), end=time(21, 59))),
)
common: dict[str, Any] = {
    "zone": zones,
    "jitter_seconds": st.integers(0, 43200),
    "overlap": st.sampled_from(Overlap),
    "minute": st.integers(0, 58),
    "window": windows,
}
at_an_hour = {**common, "hour": st.integers(0, 20)}
timings = st.one_of(
    st.builds(Timing, kind=st.just(TimingKind.HOURLY), **common),
    st.builds(Timing, kind=st.just(TimingKind.DAILY), **at_an_hour),
    st.builds(
        Timing,
        kind=st.just(TimingKind.WEEKLY),
        weekdays=st.lists(st.sampled_from(Weekday), min_size=1, unique=True).map(tuple),
        **at_an_hour,
    ),
    st.builds(Timing, kind=st.just(TimingKind.MONTHLY), day=st.integers(1, LAST_DAY), **at_an_hour),
    st.builds(Timing, kind=st.just(TimingKind.CRON), cron=st.just("*/5 2 * * 1"), zone=zones),
)


@given(timings)
def test_the_value_comes_back_from_json(timing: Timing) -> None:
    assert timing_from_json(timing_to_json(timing)) == timing


@given(
    st.dictionaries(
        st.sampled_from(sorted(Timing.__dataclass_fields__)),
        st.one_of(
            st.none(),
            st.integers(),
            st.text(max_size=5),
            st.lists(st.text(max_size=3), max_size=2),
            st.dictionaries(st.sampled_from(["start", "end"]), st.text(max_size=5)),
            st.sampled_from([kind.value for kind in TimingKind]),
        ),
    )
)
def test_nothing_but_our_errors_comes_of_bad_json(data: dict[str, Any]) -> None:
    try:
        timing_from_json(data)
    except DozoError as error:
        assert error.code.startswith("schedule.")  # noqa: PT017  both ways out are right
