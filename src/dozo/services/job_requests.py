"""What people do to jobs: recorded, refusals too. Asking for one is ``job_queue.submit``."""

from typing import TYPE_CHECKING, Protocol

from dozo.services import audit, job_queue
from dozo.services.access import Operation, Scope

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job


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
