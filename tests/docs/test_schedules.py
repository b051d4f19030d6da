"""The page about schedules names every field and gives the figures that the code has."""

from pathlib import Path

from dozo.model import retention, schedule_times, timing

PAGE = (Path(__file__).parents[2] / "docs/schedules.md").read_text()


def test_every_field_and_kind_is_documented() -> None:
    fields = {*timing.Timing.__dataclass_fields__, *timing.Window.__dataclass_fields__}
    fields |= set(retention.Keep.__dataclass_fields__)
    words = {*timing.TimingKind, *timing.Overlap}
    missing = {name for name in fields | words if f"`{name}`" not in PAGE}
    assert missing == {"kind"}


def test_the_figures_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"at most {timing.MAX_JITTER_SECONDS}" in text
    assert f"one of {timing.DEFAULT_WINDOW_SECONDS // 60} minutes" in text
    assert f"up to {schedule_times.ON_TIME_SECONDS // 60} minutes late" in text
    assert (retention.DEFAULT_MIN_AGE_SECONDS, "(an hour, unless told otherwise)" in text) == (
        3600,
        True,
    )
    assert (retention.HANDFUL, "more than five and more than" in text) == (5, True)
    assert f"{retention.MAX_SHARE:.0%}".replace("%", " %") in text
