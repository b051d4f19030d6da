"""Running one attempt of one job, from its row to its named end."""

import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dozo.catalog.databases import PASSING
from dozo.catalog.errors import CatalogLost
from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.job_states import Backoff, JobState
from dozo.model.message import Message, from_json
from dozo.services import leftovers, operations
from dozo.services.admission import Lane
from dozo.services.job_kinds import JobKind, JobKindUnknown
from dozo.services.job_queue import ACTIVE
from dozo.services.job_work import JobWork, beating, error_columns, storable, storable_told
from dozo.services.patience import ServiceStopping, patiently
from dozo.services.site import Site
from dozo.services.work import Cancelled

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job

log = logging.getLogger(__name__)

# A job under which the service died so often is taken to be what kills it.
_EXECUTIONS = 3
_FIRST_PAUSE_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 900.0


def execute(home: Path, run_id: str, *, stopping: Callable[[], bool] = lambda: False) -> None:
    """Run the attempt ``run_id`` of a job of the site in ``home``; its row tells how it ended.

    Called again after a crash it runs again, or ends the job, as its kind wants it. An attempt
    that has ended already is left alone. A catalog that is away is waited for; raises
    ``ServiceStopping`` where that cannot be, and then is to be called again.
    """
    with patiently(lambda: Site.open(home), stopping=stopping) as site:
        found = patiently(lambda: _running(site, run_id), stopping=stopping)
        if found is None:
            return
        execution = found.executions + 1
        row = patiently(lambda: _begin(site, run_id, execution), stopping=stopping)
        if row is None:
            return
        work = JobWork(row.title, _quiet_seconds(row))
        with beating(site, row, work, stopping):
            columns = _outcome(site, row, work)
        patiently(lambda: _finish(site, row, columns), stopping=stopping)


def _running(site: Site, run_id: str) -> "Job | None":
    """The row of an attempt that has not ended."""
    job_id, _, attempt = run_id.partition(".")
    return site.catalog.jobs.filter(
        job_id=job_id, attempt=int(attempt or 0), state__in=ACTIVE
    ).first()


def _begin(site: Site, run_id: str, execution: int) -> "Job | None":
    """Count the execution; None if the attempt has ended, or somebody else has begun it since.

    Once more is the same: whoever hears no answer asks again.
    """
    with site.catalog.turn("dispatch"):
        row = _running(site, run_id)
        if row is None or row.executions > execution:
            return None
        row.executions = execution
        row.started_at = row.started_at or clock.now()
        row.stuck_since = None
        row.save(
            using=site.catalog.alias, update_fields=["executions", "started_at", "stuck_since"]
        )
        return row


def _quiet_seconds(row: "Job") -> float:
    with suppress(JobKindUnknown):
        return operations.kind(row.kind).quiet_seconds
    return 60


def _outcome(site: Site, row: "Job", work: JobWork) -> dict[str, Any]:
    """Run the job; the columns that say how it ended."""
    try:
        kind = operations.kind(row.kind)
    except JobKindUnknown as error:
        return {"state": JobState.FAILED, **_error(error)}
    try:
        if row.executions > 1:
            _clean_up(site, kind, work)
        ended = _ended_by_crash(row, kind)
        if ended is not None:
            work.log(from_json(ended["error_told"], ended["error_text"]))
            return ended
        if row.executions > 1:
            work.log(Message("the service was restarted while this ran: it runs again"))
        if row.state == JobState.CANCELLING:
            work.cancel()
        work.check()
        again = row.executions > 1 or row.attempt > 1
        result = kind.run(site, {**row.params, "job": row.job_id, "again": again}, work)
    except DozoError as error:
        work.log(Message("ended: {error}", error=error))
        return _ended_by_error(row, kind, error, work)
    except PASSING as error:
        lost = CatalogLost(str(error).strip())
        work.log(Message("ended: {error}", error=lost))
        return _ended_by_error(row, kind, lost, work)
    except Exception as error:
        log.exception("job %s (%s) broke", row.job_id, row.kind)
        work.log(Message("broke: {name}: {error}", name=type(error).__name__, error=error))
        work.log(traceback.format_exc(limit=-3))
        return {
            "state": JobState.FAILED,
            **error_columns(
                "job.broke",
                f"{type(error).__name__}: {error}",
                Message("This is a defect of Dozo: report it with the job's log."),
            ),
        }
    work.log(Message("done"))
    return {"state": JobState.DONE, "result": plain(result)}


def _clean_up(site: Site, kind: JobKind, work: JobWork) -> None:
    """Its notes are about to be written over by its next run, or by somebody else's.

    Raises why they cannot be cleaned up now; upkeep writes over none.
    """
    cleaned = leftovers.clean(site)
    for line in cleaned.lines:
        work.log(Message("left over: {line}", line=line))
    if cleaned.problem is not None and kind.lane is not Lane.UPKEEP:
        raise cleaned.problem


def _ended_by_error(row: "Job", kind: JobKind, error: DozoError, work: JobWork) -> dict[str, Any]:
    if isinstance(error, Cancelled):
        return {"state": JobState.CANCELLED, **_error(error)}
    if isinstance(error, ServiceStopping):
        return _stopped(row, kind, error)
    return _failed(row, kind, error, work.log)


def _ended_by_crash(row: "Job", kind: JobKind) -> dict[str, Any] | None:
    if row.executions <= 1:
        return None
    if row.executions > _EXECUTIONS:
        return _died_each_time(row.executions - 1)
    if not kind.repeatable(row.params):
        return {
            "state": JobState.INTERRUPTED,
            **error_columns(
                "job.interrupted",
                Message("the service ended while this ran; what was left over was cleaned up"),
                Message("Start it again if it is still wanted."),
            ),
        }
    return None


def _died_each_time(times: int) -> dict[str, Any]:
    return {
        "state": JobState.INTERRUPTED,
        **error_columns(
            "job.interrupted",
            Message("the service ended {times} times while this ran", times=times),
            Message("Find out what ends the service (its log, memory), then start it again."),
        ),
    }


def _stopped(row: "Job", kind: JobKind, error: DozoError) -> dict[str, Any]:
    if kind.repeatable(row.params):
        return {"state": JobState.WAITING, "not_before": clock.now(), **_error(error)}
    return {
        "state": JobState.INTERRUPTED,
        **error_columns(error.code, str(error), Message("Start it again if it is still wanted.")),
    }


def _failed(
    row: "Job", kind: JobKind, error: DozoError, say: Callable[[str], None]
) -> dict[str, Any]:
    can_pass = error.retry is Retry.LATER or error.kind is ErrorKind.UNAVAILABLE
    can_pass = can_pass and error.code not in kind.final
    if not can_pass or row.attempt >= kind.tries or not kind.repeatable(row.params):
        return {"state": JobState.FAILED, **_error(error)}
    pause = _backoff(kind).delay_seconds(row.job_id, row.attempt) or 0
    say(
        Message(
            "attempt {attempt} of {tries}; the next in {pause:.0f} s",
            attempt=row.attempt,
            tries=kind.tries,
            pause=pause,
        )
    )
    return {
        "state": JobState.WAITING,
        "not_before": clock.now() + timedelta(seconds=pause),
        **_error(error),
    }


def _backoff(kind: JobKind) -> Backoff:
    return Backoff(
        first_seconds=_FIRST_PAUSE_SECONDS,
        cap_seconds=_LONGEST_PAUSE_SECONDS,
        attempts=kind.tries,
    )


def _error(error: DozoError) -> dict[str, Any]:
    return error_columns(error.code, str(error), error.hint_as_message())


def _finish(site: Site, row: "Job", columns: dict[str, Any]) -> None:
    cleared = {} if "error_code" in columns else error_columns("", "", "")
    final = {**cleared, **columns, "stuck_since": None}
    if columns["state"] != JobState.WAITING:
        final["finished_at"] = clock.now()
    with site.catalog.turn("dispatch"):
        still = site.catalog.jobs.filter(
            job_id=row.job_id,
            attempt=row.attempt,
            executions=row.executions,
            state__in=ACTIVE,
        ).first()
        if still is None:
            return
        if still.state == JobState.CANCELLING and columns["state"] == JobState.WAITING:
            final.update(state=JobState.CANCELLED, finished_at=clock.now(), not_before=None)
        site.catalog.jobs.filter(job_id=row.job_id).update(**final)


def plain(value: Any) -> Any:
    """A result as values that JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime):
        return clock.to_text(value)
    if isinstance(value, Enum):
        return value.value
    return storable(str(value)) if isinstance(value, (str, UUID, Path)) else value


def give_up(home: Path, run_id: str) -> None:
    """End a job under which the process died each time that it was run."""
    with Site.open(home) as site:
        row = _running(site, run_id)
        if row is not None:
            _finish(site, row, _died_each_time(row.executions))


@dataclass(eq=False)
class RunLost(DozoError):
    """A job's run is over and the job does not say how it ended."""

    code = "job.run_lost"
    retry = Retry.LATER
    text = "its run ended without a word"
    hint = "Look at the service's log at the time of the job's last line."


def settle(site: Site, run_id: str) -> None:
    """Give a job an end, or another attempt, whose run is over while its row says that it runs."""
    row = _running(site, run_id)
    if row is None:
        return
    lines: list[str] = [str(RunLost())]
    try:
        columns = _failed(row, operations.kind(row.kind), RunLost(), lines.append)
    except JobKindUnknown as error:
        columns = {"state": JobState.FAILED, **_error(error)}
    _finish(site, row, columns)
    for line in lines:
        site.catalog.job_lines.create(job=row, at=clock.now(), text=line, told=storable_told(line))
