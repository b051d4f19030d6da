"""Runs jobs durably, on the one DBOS instance that a process can have."""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, WorkflowSerializationFormat
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from dozo.jobs import database as jobs_database
from dozo.jobs.client import (
    APPLICATION,
    MAX_RUNS,
    SCHEMA,
    WORKFLOW,
    JobClient,
    attempts_of,
    check_name,
    patiently,
    run_id,
)
from dozo.jobs.ends import End, JobAgain, JobCancelled, JobInterrupted, RunState
from dozo.jobs.errors import (
    ExecutorAlive,
    JobsError,
    JobsStillRunning,
    JobsUnavailable,
    NotLaunched,
    QueueUnknown,
    RunnerExists,
)
from dozo.jobs.executor_lock import ExecutorLock, hold
from dozo.jobs.logs import keep_logging_ours
from dozo.model import clock
from dozo.model.message import Message

POLL_S: Final = 0.25
MAX_ATTEMPTS: Final = 3
KEEP_S: Final = 1.0
ADOPT_AFTER_S: Final = 15.0

Result = TypeVar("Result")

_log = logging.getLogger("dozo.jobs")
_guard = threading.Lock()
_current: "JobRunner | None" = None
# Threads that outlived their runner's shutdown; while one lives, its job must not run again here.
_left_behind: dict[str, threading.Thread] = {}
_kept_locks: list[ExecutorLock] = []


class _LeaveForNextLaunch(BaseException):
    """Ends a workflow's function with nothing stored, as a dying process would.

    Not an Exception: DBOS stores those as the outcome.
    """


@dataclass(kw_only=True, eq=False)
class _Run:
    """A run that this process is in."""

    job_id: str
    number: int
    over: threading.Event = field(default_factory=threading.Event)
    # None until the job has ended; stays None when the run is left to the next launch.
    end: End | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def workflow_id(self) -> str:
        return run_id(self.job_id, self.number)

    def settle(self, end: End | None) -> None:
        """Say how the run ended; the first word counts."""
        with self._guard:
            if not self.over.is_set():
                self.end = end
                self.over.set()


@DBOS.workflow(
    name=WORKFLOW,
    # Attempts are counted here, because DBOS cannot tell a crash from a clean stop.
    max_recovery_attempts=None,
    serialization_type=WorkflowSerializationFormat.PORTABLE,
)
def _workflow(job_id: str, number: int) -> str:
    runner = _current
    if runner is None:
        raise _LeaveForNextLaunch
    return runner.run_in_thread(job_id, number)


class JobRunner:
    """Takes jobs from queues and calls ``execute`` for each, in a thread of its own.

    A job that was running when its process died runs again when a runner with the same executor
    name is launched; at most ``max_attempts`` times, then ``give_up`` is called instead and the
    job ends failed. ``execute`` must therefore look at what is there before it acts, and return
    at once for a job whose work is already done. Restarts that :meth:`shutdown` announced do not
    count.

    ``execute`` returns when the job is done; it may raise :class:`JobCancelled`,
    :class:`JobInterrupted` or :class:`JobAgain`; anything else ends the job failed.
    """

    def __init__(
        self,
        *,
        database: str,
        executor: str,
        version: str,
        execute: Callable[[str], None],
        queues: Mapping[str, int | None],
        listen: Sequence[str] | None = None,
        give_up: Callable[[str], None] | None = None,
        max_attempts: int = MAX_ATTEMPTS,
        adopt_after_s: float = ADOPT_AFTER_S,
    ) -> None:
        """A runner that is not launched yet.

        ``database``: ``sqlite:////path`` or ``postgresql://…``. ``executor``: who runs the jobs;
        the same after a restart, never two living processes with one name. ``version``: jobs are
        only taken by runners of the version that stored them, so it is a constant that
        changes when what a stored job means changes, not with each release. ``queues``: name
        and how many jobs may run at once over all executors (None: any number). ``listen``: the
        queues to take from (None: all that the database knows, removed ones included).
        ``adopt_after_s``: see :meth:`adopt_dead`.
        Raises :class:`NameInvalid`, :class:`JobsUnavailable`.
        """
        self.executor = check_name(Message("an executor"), executor)
        self.version = version
        self.queues = {
            check_name(Message("a queue"), name): limit for name, limit in queues.items()
        }
        self._database = database
        self._execute = execute
        self._give_up = give_up
        self._listen = None if listen is None else list(listen)
        self._max_attempts = max_attempts
        self._adopt_after_s = adopt_after_s
        self._gone: dict[str, float] = {}
        jobs_database.sqlite_path(database)
        self._client: JobClient | None = None
        self._lock: ExecutorLock | None = None
        self._runs: dict[str, _Run] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._runs_guard = threading.Lock()
        self._stopping = threading.Event()

    # -- life -----------------------------------------------------------------------------------

    def launch(self) -> None:
        """Recover what a dead process of this executor left, and begin to take from the queues.

        Raises :class:`RunnerExists`, :class:`JobsStillRunning`, :class:`ExecutorAlive`,
        :class:`JobsUnavailable`; after an error nothing runs and it may be tried again.
        """
        global _current  # noqa: PLW0603  the one runner of the process
        with _guard:
            if _current is not None:
                raise RunnerExists(executor=_current.executor)
            for job_id in [job for job, thread in _left_behind.items() if not thread.is_alive()]:
                del _left_behind[job_id]
            if _left_behind:
                raise JobsStillRunning(job_ids=sorted(_left_behind))
            jobs_database.prepare(self._database)
            self._lock = hold(self._database, self.executor)
            self._stopping.clear()
            self._client = JobClient(database=self._database, version=self.version)
            # Set first: what was left unfinished may run again before the launch returns.
            _current = self
            try:
                self._launch_dbos()
                stranded = self._client.stranded()
            except BaseException:
                DBOS.destroy()
                self._let_go()
                raise
        threading.Thread(
            target=self._keep_name, args=(self._lock,), name="executor-name", daemon=True
        ).start()
        if stranded:
            _log.warning("%d jobs belong to another version and will not run", stranded)

    def _let_go(self) -> None:
        """Forget the database and the name; for when nothing runs any more."""
        global _current  # noqa: PLW0603  the one runner of the process
        _current = None
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _launch_dbos(self) -> None:
        keep_logging_ours()
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._database,
            "dbos_system_schema": SCHEMA,
            "application_version": self.version,
            "executor_id": self.executor,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "sys_db_pool_size": 10,
            # Only messages between workflows would use it, and it costs a connection.
            "use_listen_notify": False,
            # A thread that finds nothing to do, and that a shutdown waits for.
            "notification_listener_polling_interval_sec": POLL_S,
        }
        try:
            DBOS(config=config)
            if self._listen is not None:
                DBOS.listen_queues(self._listen)
            DBOS.launch()
            for name, limit in self.queues.items():
                # Both limits: a run that DBOS was told to cancel leaves the global count
                # at once, but this process's own count only when it has ended.
                DBOS.register_queue(
                    name,
                    worker_concurrency=limit,
                    global_concurrency=limit,
                    polling_interval_sec=POLL_S,
                    on_conflict="always_update",
                )
        except (SQLAlchemyError, dbos_error.DBOSException, OSError) as error:
            raise JobsUnavailable(
                database=jobs_database.shown(self._database), reason=str(error).partition("\n")[0]
            ) from error

    def shutdown(self, timeout_s: float) -> list[str]:
        """Stop taking jobs, wait for those that run, and leave the rest to the next launch.

        Returns the jobs that still run after ``timeout_s`` seconds. Their threads are daemons: they
        end with the process, which should end now. Does nothing when not launched.
        """
        with _guard:
            if self._client is None:
                return []
            self._stopping.set()
            # DBOS calls it an error when a run lets go.
            logging.getLogger("dbos").setLevel(logging.CRITICAL)
            leaving = threading.Thread(target=self._leave_after, args=(timeout_s,), daemon=True)
            # DBOS stops taking at once, then looks each second whether a workflow is active:
            # none is when `leaving` has made them all let go. What is taken right now sees
            # `_stopping` and lets go by itself.
            wait_s = math.ceil(timeout_s) + 30 if self._running() else 0
            leaving.start()
            DBOS.destroy(workflow_completion_timeout_sec=wait_s)
            leaving.join()
            left = {job: thread for job, thread in self._threads.items() if thread.is_alive()}
            _left_behind.update(left)
            if left and self._lock is not None:
                # Nobody else may run them while they live: the lock stays until the process ends.
                _kept_locks.append(self._lock)
                self._lock = None
            self._let_go()
        return sorted(left)

    def _leave_after(self, timeout_s: float) -> None:
        """Wait for what runs, then make it let go."""
        deadline = clock.monotonic() + timeout_s
        while self._running() and clock.monotonic() < deadline:
            clock.sleep(0.05)
        for run in self._running():
            self._leave(run)

    def _running(self) -> list[_Run]:
        with self._runs_guard:
            return list(self._runs.values())

    def _leave(self, run: _Run) -> None:
        """Let a run go, to be run again by the next launch."""
        try:
            self.client.note_clean_stop(run.workflow_id)
        except JobsError:
            _log.warning("the stop of job %s will count as an attempt", run.job_id)
        run.settle(None)

    # -- jobs -----------------------------------------------------------------------------------

    def submit(self, job_id: str, queue: str) -> None:
        """See :meth:`JobClient.submit`; raises :class:`QueueUnknown` too."""
        self.submit_later(job_id, queue, 0)

    def submit_later(self, job_id: str, queue: str, delay_s: float) -> None:
        """See :meth:`JobClient.submit_later`; raises :class:`QueueUnknown` too."""
        if queue not in self.queues:
            raise QueueUnknown(queue=queue)
        self.client.submit_later(job_id, queue, delay_s)

    def cancel(self, job_id: str) -> bool:
        """See :meth:`JobClient.cancel`."""
        return self.client.cancel(job_id)

    def state(self, job_id: str) -> RunState | None:
        """See :meth:`JobClient.state`."""
        return self.client.state(job_id)

    def attempts(self, job_id: str) -> int:
        """See :meth:`JobClient.attempts`."""
        return self.client.attempts(job_id)

    def adopt(self, executor: str) -> int:
        """Put what a dead executor left unfinished back into its queues; how many jobs.

        Raises :class:`ExecutorAlive` while a process of that name lives.
        """
        check_name(Message("an executor"), executor)
        client = self.client
        lock = hold(self._database, executor)
        try:
            left = client.left_by(executor)
            if left:
                # The only way that keeps the count of attempts; DBOS has no public one.
                DBOS._recover_pending_workflows([executor])  # noqa: SLF001
        finally:
            lock.release()
        return left

    def adopt_dead(self) -> dict[str, int]:
        """:meth:`adopt` for every executor that died with something unfinished; how many jobs each.

        To be called every few seconds: one is dead that holds its name no more, now and each time
        for ``adopt_after_s`` seconds. Quick where there is none. Raises :class:`JobsUnavailable`.
        """
        lock = self._lock
        since = None if lock is None else lock.held_since
        now = clock.monotonic()
        # A database that is started anew forgets every name: the living need time to say that
        # they live, and time in which this process could not have seen it does not count.
        self._gone = {
            executor: self._gone.get(executor, now)
            for executor in self.client.busy_executors()
            if executor != self.executor and self._is_free(executor)
        }
        adopted = {}
        for executor, seen in self._gone.items():
            if since is None or now - max(seen, since) < self._adopt_after_s:
                continue
            with suppress(ExecutorAlive):
                adopted[executor] = self.adopt(executor)
        return adopted

    def _is_free(self, executor: str) -> bool:
        try:
            hold(self._database, executor).release()
        except ExecutorAlive:
            return False
        return True

    def _keep_name(self, lock: ExecutorLock) -> None:
        """Hold on to the executor's name until the runner lets it go."""
        while self._lock is lock or lock in _kept_locks:
            lock.keep()
            clock.sleep(KEEP_S)

    @property
    def client(self) -> JobClient:
        """What asks after jobs; raises :class:`NotLaunched` unless the runner is launched."""
        client = self._client
        if client is None:
            raise NotLaunched(executor=self.executor)
        return client

    # -- one run --------------------------------------------------------------------------------

    def run_in_thread(self, job_id: str, number: int) -> str:
        """Run a job in a thread of its own and return how it ended; called by DBOS.

        Its own, because calls made inside a workflow's thread would be recorded and replayed
        by DBOS, and because DBOS's threads keep a process from ending.
        """
        run = _Run(job_id=job_id, number=number)
        thread = threading.Thread(
            target=self._do, args=(run,), name=f"job {run.workflow_id}", daemon=True
        )
        with self._runs_guard:
            self._runs[run.workflow_id] = run
            self._threads[job_id] = thread
        thread.start()
        run.over.wait()
        with self._runs_guard:
            del self._runs[run.workflow_id]
        if run.end is None:
            raise _LeaveForNextLaunch
        return run.end.value

    def _do(self, run: _Run) -> None:
        try:
            run.settle(self._end_of(run))
        except JobInterrupted:
            self._leave(run)
        except JobsError as error:
            # Only while stopping: until then whatever asks the database waits for it.
            _log.warning("job %s is left to the next launch: %s", run.job_id, error)
            run.settle(None)
        finally:
            with self._runs_guard:
                if self._threads.get(run.job_id) is threading.current_thread():
                    del self._threads[run.job_id]

    def _end_of(self, run: _Run) -> End:
        """Do what a run is for; :class:`JobInterrupted` leaves it to the next launch."""
        record = self._patiently(lambda: self.client.record(run.workflow_id))
        if self._stopping.is_set() or record is None:
            raise JobInterrupted
        attempts = attempts_of(record)
        following = run_id(run.job_id, run.number + 1)
        # A crash after the next run was stored and before this one ended.
        if attempts > 1 and self._patiently(lambda: self.client.record(following)) is not None:
            return End.AGAIN
        if attempts > self._max_attempts:
            self._end_for_good(run, attempts)
            return End.FAILED
        return self._end_of_execute(run, record.queue_name)

    def _end_of_execute(self, run: _Run, queue: str | None) -> End:
        try:
            self._execute(run.job_id)
        except JobCancelled:
            return End.CANCELLED
        except JobInterrupted:
            if self._stopping.is_set():
                raise
            return self._again(run, queue, delay_s=1)
        except JobAgain as again:
            return self._again(run, queue, delay_s=again.delay_s)
        except BaseException:  # noqa: BLE001  a job must not take its runner along
            _log.exception("job %s failed", run.job_id)
            return End.FAILED
        return End.DONE

    def _end_for_good(self, run: _Run, attempts: int) -> None:
        """A job whose process died each time: give it up, unless that is what kills."""
        _log.error("job %s was started %d times and never ended", run.job_id, attempts - 1)
        if self._give_up is None or attempts > self._max_attempts + 1:
            return
        try:
            self._give_up(run.job_id)
        except Exception:  # noqa: BLE001  the job ends failed all the same
            _log.exception("job %s could not be given up properly", run.job_id)

    def _again(self, run: _Run, queue: str | None, *, delay_s: float) -> End:
        if run.number >= MAX_RUNS or queue is None:
            _log.error("job %s has run %d times and fails", run.job_id, run.number)
            return End.FAILED
        # Stored before this run ends: a crash in between finds it and does not run twice.
        self._patiently(
            lambda: self.client.submit_run(
                run.job_id, queue, run=run.number + 1, delay_s=max(delay_s, 0.001)
            )
        )
        return End.AGAIN

    def _patiently(self, call: Callable[[], Result]) -> Result:
        return patiently(call, until=self._stopping.is_set)
