"""A job's states and moves, and how long to wait before trying again."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """Where a job is. The last four are ends."""

    QUEUED = "queued"
    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class JobEvent(StrEnum):
    """What can happen to a job.

    ``start``: the queue hands it out; a waiting one when its time to try again has come.
    ``retry``: it is put back, because it failed in a way that can pass and has attempts left, or
    because the service stops. ``resume``: the service found it after a crash and goes on with it;
    ``interrupt``: the same, but it must not go on. ``stop``: the work noticed the cancellation and
    has cleaned up.
    """

    START = "start"
    FINISH = "finish"
    FAIL = "fail"
    RETRY = "retry"
    CANCEL = "cancel"
    STOP = "stop"
    RESUME = "resume"
    INTERRUPT = "interrupt"


JOB_TRANSITIONS: Final[dict[tuple[JobState, JobEvent], JobState]] = {
    (JobState.QUEUED, JobEvent.START): JobState.RUNNING,
    (JobState.QUEUED, JobEvent.CANCEL): JobState.CANCELLED,
    # Its policy, its volume or its window may be gone before it starts.
    (JobState.QUEUED, JobEvent.FAIL): JobState.FAILED,
    (JobState.WAITING, JobEvent.START): JobState.RUNNING,
    (JobState.WAITING, JobEvent.CANCEL): JobState.CANCELLED,
    (JobState.WAITING, JobEvent.FAIL): JobState.FAILED,
    (JobState.RUNNING, JobEvent.FINISH): JobState.DONE,
    (JobState.RUNNING, JobEvent.FAIL): JobState.FAILED,
    (JobState.RUNNING, JobEvent.RETRY): JobState.WAITING,
    (JobState.RUNNING, JobEvent.CANCEL): JobState.CANCELLING,
    (JobState.RUNNING, JobEvent.RESUME): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.INTERRUPT): JobState.INTERRUPTED,
    (JobState.CANCELLING, JobEvent.CANCEL): JobState.CANCELLING,
    (JobState.CANCELLING, JobEvent.STOP): JobState.CANCELLED,
    (JobState.CANCELLING, JobEvent.RETRY): JobState.CANCELLED,
    # The work may get through, or fail, before it notices.
    (JobState.CANCELLING, JobEvent.FINISH): JobState.DONE,
    (JobState.CANCELLING, JobEvent.FAIL): JobState.FAILED,
    (JobState.CANCELLING, JobEvent.RESUME): JobState.CANCELLING,
    (JobState.CANCELLING, JobEvent.INTERRUPT): JobState.INTERRUPTED,
}

ENDED: Final = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED})


def after(state: JobState, event: JobEvent) -> JobState:
    """The state that ``event`` leads to; ``KeyError`` for a move that is not in the table."""
    return JOB_TRANSITIONS[state, event]


def may(state: JobState, event: JobEvent) -> bool:
    """Whether the move is in the table."""
    return (state, event) in JOB_TRANSITIONS


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait after a failed attempt: twice as long each time, up to a cap.

    ``attempts`` is how many there are in all, the first one included. A quarter of each wait,
    at most, is left off at random, but the same for the same job: many jobs that failed together
    do not come back together. ``ValueError`` for numbers that cannot be.
    """

    first_seconds: float = 30.0
    cap_seconds: float = 3600.0
    attempts: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.first_seconds <= self.cap_seconds or self.attempts < 1:
            raise ValueError("back-off needs 0 < first <= cap and at least one attempt")

    def delay_seconds(self, job_id: str, failed: int) -> float | None:
        """How long to wait after ``failed`` (1 or more) failed attempts; None to give up."""
        if failed < 1:
            raise ValueError("nothing has failed yet")
        if failed >= self.attempts:
            return None
        # A float would overflow later on.
        whole = min(self.cap_seconds, self.first_seconds * 2.0 ** min(failed - 1, 60))
        digest = hashlib.sha256(f"{job_id}\n{failed}".encode()).digest()
        return whole * (1.0 - 0.25 * int.from_bytes(digest[:4], "big") / 2**32)
