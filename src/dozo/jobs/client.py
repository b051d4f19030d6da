"""Giving jobs to the queues and asking after them: any process may, whether it runs jobs or not."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TypeVar

from dbos import (
    DBOSClient,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
    WorkflowSerializationFormat,
    WorkflowStatus,
)
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from dozo.jobs.database import shown, sqlite_path
from dozo.jobs.ends import STATE_OF_END, STATE_OF_STATUS, End, RunState
from dozo.jobs.errors import JobsUnavailable, NameInvalid
from dozo.jobs.logs import keep_logging_ours
from dozo.model import clock
from dozo.model.message import Message

APPLICATION: Final = "dozo"
SCHEMA: Final = "dbos"
WORKFLOW: Final = "dozo.job"
MAX_RUNS: Final = 100
CLEAN_STOPS: Final = "clean_stops"

# The words of DBOS for a run that nobody has taken from its queue.
WAITING: Final = frozenset({"ENQUEUED", "DELAYED"})

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Result = TypeVar("Result")


def check_name(what: str, name: str) -> str:
    """``name`` if it can name ``what``; raises :class:`NameInvalid`."""
    if not _NAME.fullmatch(name):
        raise NameInvalid(what=what, name=name)
    return name


def run_id(job_id: str, run: int) -> str:
    """The workflow id of a job's ``run``: runs count from 1, the first is called like the job."""
    return job_id if run == 1 else f"{job_id}#{run}"


class JobClient:
    """Speaks to the jobs' database only; runs nothing.

    Every method may be called from any thread, also inside a job, and raises
    :class:`JobsUnavailable` when the database does not answer; then it is unknown whether the
    call took effect, and calling again is safe.
    """

    def __init__(self, *, database: str, version: str) -> None:
        """``version``: the same constant as the runners'; see :class:`dozo.jobs.JobRunner`."""
        sqlite_path(database)
        keep_logging_ours()
        self._database = database
        self._version = version
        # With a plain DBOS handle a lost database would block the caller without end.
        self._client = DBOSClient(
            system_database_url=database,
            dbos_system_schema=SCHEMA,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            lazy=True,
            retry_connection_errors=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.destroy()

    def submit(self, job_id: str, queue: str) -> None:
        """Store a job in a queue; durable on return. The same job again changes nothing.

        A job that was submitted before, even one that has ended, is not run again by this.
        """
        self.submit_later(job_id, queue, 0)

    def submit_later(self, job_id: str, queue: str, delay_s: float) -> None:
        """The same, but nobody takes the job before ``delay_s`` seconds have passed."""
        check_name(Message("a job"), job_id)
        check_name(Message("a queue"), queue)
        self.submit_run(job_id, queue, run=1, delay_s=delay_s)

    def submit_run(self, job_id: str, queue: str, *, run: int, delay_s: float) -> None:
        """Store one run of a job, once."""
        with self._speaking():
            options: EnqueueOptions = {
                "workflow_name": WORKFLOW,
                "queue_name": queue,
                "workflow_id": run_id(job_id, run),
                "app_version": self._version,
                "serialization_type": WorkflowSerializationFormat.PORTABLE,
            }
            if delay_s > 0:
                options["delay_seconds"] = delay_s
            self._client.enqueue(options, job_id, run)

    def state(self, job_id: str) -> RunState | None:
        """The state of the job's latest run; None for a job that was never submitted."""
        status = self.latest(job_id)
        return None if status is None else state_of(status)

    def attempts(self, job_id: str) -> int:
        """How often the latest run was started, this time included, clean stops taken off.

        1 in a job that runs for the first time; 2 when the process died in it once.
        0 for a job that has not begun or does not exist.
        """
        status = self.latest(job_id)
        return 0 if status is None else attempts_of(status)

    def cancel(self, job_id: str) -> bool:
        """Keep a job from starting; whether that was possible.

        False when it has begun, also when it waits to be run again after a crash, or has
        ended: then only ``execute`` can end it, as only that knows what to clean up. So note the
        wish where ``execute`` looks *before* calling this: a run that is taken from the queue
        at this very moment must find it.
        """
        status = self.latest(job_id)
        if status is None or status.status not in WAITING or status.recovery_attempts:
            return status is not None and status.status == "CANCELLED"
        with self._speaking():
            self._client.cancel_workflow(status.workflow_id)
        return True

    def forget_ended(self, before: datetime, *, limit: int = 1000) -> int:
        """Delete the records of at most ``limit`` runs that ended before an instant; how many.

        A forgotten job that is submitted again runs again.
        """
        with self._speaking():
            ended = self._client.list_workflows(
                completed_before=clock.to_text(before),
                status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
                limit=limit,
                load_input=False,
                load_output=False,
            )
            self._client.delete_workflows([one.workflow_id for one in ended])
        return len(ended)

    def latest(self, job_id: str) -> WorkflowStatus | None:
        """The record of the job's latest run."""
        first = self.record(run_id(job_id, 1))
        if first is None or first.output != End.AGAIN:
            return first
        # Ids rather than a prefix: a prefix would read every job's record.
        ids = [run_id(job_id, run) for run in range(1, MAX_RUNS + 1)]
        with self._speaking():
            records = self._client.list_workflows(workflow_ids=ids, load_input=False)
        return max(records, key=lambda record: ids.index(record.workflow_id))

    def record(self, workflow_id: str) -> WorkflowStatus | None:
        """The record of one run."""
        with self._speaking():
            found = self._client.list_workflows(workflow_ids=[workflow_id], load_input=False)
        return found[0] if found else None

    def note_clean_stop(self, workflow_id: str) -> None:
        """Keep the start that a run is in from counting as an attempt."""
        record = self.record(workflow_id)
        stops = 0 if record is None else _clean_stops(record)
        with self._speaking():
            self._client.update_workflow_attributes(
                workflow_id, {CLEAN_STOPS: stops + 1}, merge=True
            )

    def left_by(self, executor: str) -> int:
        """How many runs an executor has begun and not ended."""
        with self._speaking():
            found = self._client.list_workflows(
                status="PENDING", executor_id=executor, load_input=False, load_output=False
            )
        return len(found)

    def busy_executors(self) -> list[str]:
        """The names under which runs were begun that have not ended, sorted."""
        with self._speaking():
            found = self._client.list_workflows(
                status="PENDING", load_input=False, load_output=False
            )
        return sorted({one.executor_id for one in found if one.executor_id})

    def stranded(self) -> int:
        """How many unfinished runs belong to another version, so that no runner takes them."""
        with self._speaking():
            waiting = self._client.list_workflows(
                status=["ENQUEUED", "DELAYED", "PENDING"], load_input=False, load_output=False
            )
        return sum(record.app_version != self._version for record in waiting)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, dbos_error.DBOSException, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise JobsUnavailable(database=shown(self._database), reason=reason) from error


def state_of(record: WorkflowStatus) -> RunState:
    """What a run's record says."""
    if record.status == "SUCCESS":
        return STATE_OF_END[End(str(record.output))]
    return STATE_OF_STATUS[record.status]


def attempts_of(record: WorkflowStatus) -> int:
    """How often a run was started, clean stops taken off."""
    return max(0, (record.recovery_attempts or 0) - _clean_stops(record))


def _clean_stops(record: WorkflowStatus) -> int:
    return int((record.attributes or {}).get(CLEAN_STOPS, 0))


def patiently(call: Callable[[], Result], *, until: Callable[[], bool]) -> Result:
    """Call until the database answers; gives up with its error only once ``until`` is true."""
    pause_s = 0.5
    while True:
        try:
            return call()
        except JobsUnavailable:
            if until():
                raise
            clock.sleep(pause_s)
            pause_s = min(2 * pause_s, 10)
