"""What can go wrong with the machinery that runs jobs; what fails inside a job is the job's own."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind, Retry


@dataclass(eq=False)
class JobsError(DozoError):
    """Base of the errors of running jobs."""

    code = "jobs.failed"
    text = "running jobs failed"


@dataclass(eq=False)
class JobsUnavailable(JobsError):
    """The database of the jobs cannot be reached or used."""

    code = "jobs.unavailable"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "the jobs' database {self.database} cannot be used: {self.reason}"
    hint = "Check that the database runs and that its address in the settings is right."
    database: str
    reason: str


@dataclass(eq=False)
class NameInvalid(JobsError):
    """An executor, a queue or a job has a name that cannot be used."""

    code = "jobs.name_invalid"
    kind = ErrorKind.USAGE
    text = "{self.name!r} cannot be the name of {self.what}"
    hint = "Use 1 to 128 letters, digits, dots, dashes, underscores and colons."
    what: str
    name: str


@dataclass(eq=False)
class QueueUnknown(JobsError):
    """A job was given to a queue that was not declared, where nothing would ever take it."""

    code = "jobs.queue_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "there is no job queue {self.queue!r}"
    queue: str


@dataclass(eq=False)
class NotLaunched(JobsError):
    """The runner has not been launched, or was shut down."""

    code = "jobs.not_launched"
    kind = ErrorKind.UNAVAILABLE
    text = "the runner of jobs {self.executor!r} is not launched"
    executor: str


@dataclass(eq=False)
class RunnerExists(JobsError):
    """A process runs at most one runner of jobs."""

    code = "jobs.runner_exists"
    kind = ErrorKind.REFUSED
    text = "this process already runs jobs as {self.executor!r}"
    hint = "Shut that runner down first, or use another process."
    executor: str


@dataclass(eq=False)
class JobsStillRunning(JobsError):
    """Jobs of a runner that was shut down have not ended, so nothing may run them again yet."""

    code = "jobs.still_running"
    kind = ErrorKind.REFUSED
    retry = Retry.LATER
    text = "jobs of an earlier runner still run in this process: {self.job_ids}"
    hint = "End the process; its next start runs them again."
    job_ids: list[str]


@dataclass(eq=False)
class ExecutorAlive(JobsError):
    """Another living process runs jobs under that name."""

    code = "jobs.executor_alive"
    kind = ErrorKind.REFUSED
    retry = Retry.LATER
    text = "a living process runs jobs as {self.executor!r}"
    hint = "Give each worker a name of its own; wait until the old process has ended."
    executor: str
