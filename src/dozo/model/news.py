"""The kinds of news that people are told."""

from enum import StrEnum


class News(StrEnum):
    """What something that somebody should know is about."""

    JOB_FAILED = "job-failed"
    REQUEST_FAILED = "request-failed"
    RETENTION_STOPPED = "retention-stopped"
    RUN_SKIPPED = "run-skipped"
    RUNS_MISSED = "runs-missed"
    COPIES_DAMAGED = "copies-damaged"
    PEER_BEHIND = "peer-behind"
    QUOTA_NEAR = "quota-near"
    JOB_STUCK = "job-stuck"
    SERVER_UNSAFE = "server-unsafe"


# What does not wait for the end of the night, unless somebody has it otherwise.
URGENT = (News.COPIES_DAMAGED, News.RETENTION_STOPPED)
