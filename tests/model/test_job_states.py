"""The table of a job's moves, and the waits between attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dozo.model.job_states import (
    ENDED,
    JOB_TRANSITIONS,
    Backoff,
    JobEvent,
    JobState,
    after,
    may,
)


def reachable(start: JobState) -> set[JobState]:
    found, queue = {start}, [start]
    while queue:
        state = queue.pop()
        for event in JobEvent:
            if may(state, event) and after(state, event) not in found:
                found.add(after(state, event))
                queue.append(after(state, event))
    return found


def test_every_state_can_be_reached_and_every_job_can_end() -> None:
    assert reachable(JobState.QUEUED) == set(JobState)
    for state in JobState:
        assert reachable(state) & ENDED


def test_an_end_is_an_end() -> None:
    assert not {state for state, _ in JOB_TRANSITIONS} & ENDED
    with pytest.raises(KeyError):
        after(JobState.DONE, JobEvent.CANCEL)


def test_only_what_waits_can_start() -> None:
    found = {state for state in JobState if may(state, JobEvent.START)}
    assert found == {JobState.QUEUED, JobState.WAITING}


def test_whatever_has_not_ended_can_be_cancelled_and_nothing_else() -> None:
    assert {state for state in JobState if may(state, JobEvent.CANCEL)} == set(JobState) - ENDED


def test_a_cancelled_job_never_runs_on_or_again() -> None:
    assert JobState.RUNNING not in reachable(JobState.CANCELLING)


def test_every_event_is_used() -> None:
    assert {event for _, event in JOB_TRANSITIONS} == set(JobEvent)


@given(st.text(max_size=8), st.integers(1, 200), st.floats(1, 100), st.floats(100, 1e6))
def test_waits_double_up_to_the_cap_less_a_quarter_at_most(
    job_id: str, failed: int, first: float, cap: float
) -> None:
    backoff = Backoff(first_seconds=first, cap_seconds=cap, attempts=201)
    delay = backoff.delay_seconds(job_id, failed)

    whole = min(cap, first * 2.0 ** (failed - 1))
    assert delay is not None
    assert 0.75 * whole <= delay <= whole
    assert delay == backoff.delay_seconds(job_id, failed)


def test_jobs_that_failed_together_come_back_apart() -> None:
    backoff = Backoff()
    assert len({backoff.delay_seconds(f"j{n}", 1) for n in range(50)}) == 50


def test_the_last_attempt_is_the_last() -> None:
    assert Backoff(attempts=3).delay_seconds("j", 2) is not None
    assert Backoff(attempts=3).delay_seconds("j", 3) is None
    assert Backoff(attempts=1).delay_seconds("j", 1) is None
    assert Backoff(attempts=5000).delay_seconds("j", 4999) is not None


@pytest.mark.parametrize(
    "fields",
    [{"first_seconds": 0}, {"first_seconds": 10, "cap_seconds": 9}, {"attempts": 0},
     {"first_seconds": float("nan")}],
)  # fmt: skip
def test_numbers_that_cannot_be(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Backoff(**fields)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Backoff().delay_seconds("j", 0)
