"""Everything is read again within the set number of days, however often snapshots are taken."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dozo.model.extents import normalized, total_bytes
from dozo.services.reread import window

KIB = 1024


def test_a_day_of_thirty_reads_a_thirtieth() -> None:
    found = window(
        size_bytes=3000 * KIB,
        start_bytes=100 * KIB,
        elapsed=timedelta(days=1),
        days=30,
        unit_bytes=KIB,
    )
    assert total_bytes(found.extents) == 100 * KIB
    assert found.extents[0].offset_bytes == 100 * KIB
    assert found.next_bytes == 200 * KIB


def test_the_window_goes_round_the_end() -> None:
    found = window(
        size_bytes=10 * KIB,
        start_bytes=9 * KIB,
        elapsed=timedelta(days=3),
        days=10,
        unit_bytes=KIB,
    )
    assert [(one.offset_bytes, one.length_bytes) for one in found.extents] == [
        (0, 2 * KIB),
        (9 * KIB, KIB),
    ]
    assert found.next_bytes == 2 * KIB


def test_a_clock_that_went_backwards_reads_one_unit() -> None:
    found = window(
        size_bytes=10 * KIB,
        start_bytes=0,
        elapsed=timedelta(days=-5),
        days=10,
        unit_bytes=KIB,
    )
    assert total_bytes(found.extents) == KIB


@given(
    size=st.integers(1, 200_000),
    unit=st.sampled_from([512, 4096, 65536]),
    start=st.integers(0, 400_000),
    steps=st.lists(st.floats(0.01, 3.0), min_size=1, max_size=40),
)
def test_a_period_of_snapshots_covers_the_volume(
    size: int, unit: int, start: int, steps: list[float]
) -> None:
    days = 5
    covered = []
    at, passed = start, 0.0
    for step in [*steps, *[1.0] * days]:
        found = window(
            size_bytes=size,
            start_bytes=at,
            elapsed=timedelta(days=step),
            days=days,
            unit_bytes=unit,
        )
        covered += found.extents
        for extent in found.extents:
            assert 0 <= extent.offset_bytes < extent.end_bytes <= size
        at, passed = found.next_bytes, passed + step
    assert passed >= days
    assert total_bytes(normalized(covered)) == size
