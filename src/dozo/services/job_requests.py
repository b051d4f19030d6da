"""What people do to jobs: recorded, refusals too. Asking for one is ``job_queue.submit``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dozo.model.errors import DozoError, ErrorKind
from dozo.model.job_states import JobState
from dozo.model.words import word
from dozo.services import audit, job_queue, operations
from dozo.services.access import Operation, Scope, Verdict, decide, tenant_of

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job


AGAIN = frozenset({JobState.FAILED, JobState.INTERRUPTED, JobState.CANCELLED})
"""The states from which the same can be asked for again."""


@dataclass(eq=False)
class NothingToRepeat(DozoError):
    """Only what came to nothing is tried again."""

    code = "job.nothing_to_repeat"
    kind = ErrorKind.REFUSED
    text = "job {self.job} cannot be tried again: {self.state_word}"
    hint = "Only a job that failed, was interrupted or was cancelled is tried again."
    job: str
    state: str

    @property
    def state_word(self) -> str:
        """The state in words."""
        return word("job", self.state)


class Canceller(Protocol):
    """What is told that a run of a job is not wanted any more."""

    def cancel(self, run_id: str, /) -> object:
        """Do not begin it, if it has not begun."""


def cancel(scope: Scope, reference: str, runner: Canceller | None = None) -> "Job":
    """End a job. Raises ``JobUnknown``, ``Forbidden``, ``JobEnded``."""
    with audit.audited(scope, Operation.JOB_CANCEL, reference=reference) as attempt:
        row = scope.job(reference, Operation.JOB_CANCEL)
        attempt.on(row)
        job_queue.cancel(scope.site, row)
    # Only once the wish is durable: the runner forgets what it is told.
    if runner is not None:
        runner.cancel(job_queue.run_id(row))
    row.refresh_from_db(using=scope.site.catalog.alias)
    return row


def again(scope: Scope, reference: str) -> tuple[str, dict[str, Any]]:
    """The kind and the parameters of a job that came to nothing: to be asked for once more.

    Whoever asks does so in their own name, and rights, policy and state are those of then. Raises
    ``JobUnknown``, :class:`NothingToRepeat`, ``JobKindUnknown``.
    """
    row = scope.job(reference, Operation.JOB_SHOW)
    if row.state not in AGAIN:
        raise NothingToRepeat(row.job_id[:12], row.state)
    return operations.kind(row.kind).name, dict(row.params)


def may_repeat(scope: Scope, row: "Job") -> bool:
    """Whether trying it again is to be offered: it came to nothing, and the role permits it."""
    if row.state not in AGAIN or row.kind not in operations.KINDS:
        return False
    operation = operations.kind(row.kind).operation
    return decide(scope.actor, operation, tenant_of(row)) is Verdict.ALLOWED
