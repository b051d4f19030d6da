"""The states of a job's run, and how a run can end."""

from enum import StrEnum


class RunState(StrEnum):
    """What becomes of a job, as far as running it is concerned."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self in {RunState.DONE, RunState.FAILED, RunState.CANCELLED}


class End(StrEnum):
    """How one run of a job ended; stored as the workflow's output."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    AGAIN = "again"


# A finished run's own word decides; the status alone where the run never had a word.
STATE_OF_STATUS = {
    "DELAYED": RunState.QUEUED,
    "ENQUEUED": RunState.QUEUED,
    "PENDING": RunState.RUNNING,
    "ERROR": RunState.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": RunState.FAILED,
    "CANCELLED": RunState.CANCELLED,
}

STATE_OF_END = {
    End.DONE: RunState.DONE,
    End.FAILED: RunState.FAILED,
    End.CANCELLED: RunState.CANCELLED,
    # The next run is stored before this one ends, so this shows only where that was refused.
    End.AGAIN: RunState.FAILED,
}


class JobCancelled(Exception):
    """Raised by ``execute``: the job noticed that it is to be cancelled, and has cleaned up."""


class JobInterrupted(Exception):
    """Raised by ``execute``: it stopped at a safe place because the process is to end.

    The next launch runs the job again, and this start does not count as an attempt.
    """


class JobAgain(Exception):
    """Raised by ``execute``: run the job again, in the same queue, after ``delay_s`` seconds."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"again in {delay_s} s")
        self.delay_s = delay_s
