"""Durable runs of jobs in named queues: a thin layer over DBOS, which only this package imports.

It knows neither what a job does nor where it is described: it calls ``execute(job_id)``, and
sees to it that this happens again when the process died in the middle.
"""

from dozo.jobs.client import JobClient
from dozo.jobs.ends import JobAgain, JobCancelled, JobInterrupted, RunState
from dozo.jobs.errors import (
    ExecutorAlive,
    JobsError,
    JobsStillRunning,
    JobsUnavailable,
    NameInvalid,
    NotLaunched,
    QueueUnknown,
    RunnerExists,
)
from dozo.jobs.runner import JobRunner

__all__ = [
    "ExecutorAlive",
    "JobAgain",
    "JobCancelled",
    "JobClient",
    "JobInterrupted",
    "JobRunner",
    "JobsError",
    "JobsStillRunning",
    "JobsUnavailable",
    "NameInvalid",
    "NotLaunched",
    "QueueUnknown",
    "RunState",
    "RunnerExists",
]
