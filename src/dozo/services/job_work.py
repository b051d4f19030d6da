"""A running job's ear: its log, its byte counters, and the ways in which it is told to end.

The operation calls it from several threads and only touches memory; one thread, the beat, puts
what it heard into the catalog and looks there for somebody's wish to cancel.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseProblem
from django.db import connections

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.job_states import JobState
from dozo.model.message import Message, from_json
from dozo.model.progress import Progress
from dozo.services.patience import ServiceStopping, patiently
from dozo.services.site import Site
from dozo.services.work import Cancelled

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog.models_jobs import Job

_BEAT_SECONDS = 1.0
_LONGEST_TEXT = 10_000


@dataclass(eq=False)
class Stuck(DozoError):
    """A job made no progress for too long and was ended."""

    code = "job.stuck"
    kind = ErrorKind.FAILED
    text = "no progress for {self.seconds:.0f} s in step {self.step!r}: ended"
    hint = (
        "Look at the job's log and at the component that the step waits for, then start it again."
    )
    seconds: float
    step: str


@dataclass(eq=False)
class TakenOver(DozoError):
    """Another worker took this one for dead and runs the job now."""

    code = "job.taken_over"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "another worker runs this job now"
    hint = "Nothing is to be done: its log goes on there."


def storable(text: str) -> str:
    """A text that every database takes: no NUL, no half characters, no end without an end.

    What guests and libvirt say comes as it is.
    """
    clean = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= _LONGEST_TEXT else clean[: _LONGEST_TEXT - 1] + "…"


def storable_told(text: str) -> Any:
    """What it takes to say a text in every language, for a column of its own; None for nothing.

    A text that is no message needs none.
    """
    return _clean(text.to_json()) if isinstance(text, Message) else None


def _clean(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _clean(one) for name, one in told.items()}
    return storable(told) if isinstance(told, str) else told


def error_columns(code: str, text: str, hint: str) -> dict[str, Any]:
    """The columns of a job that say why it ended, and what to do about it."""
    return {
        "error_code": code,
        "error_text": storable(text),
        "error_hint": storable(hint),
        "error_told": storable_told(text),
        "hint_told": storable_told(hint),
    }


class JobWork:
    """Listens to one job. Raises :class:`Cancelled`, :class:`Stuck`, :class:`ServiceStopping`."""

    def __init__(self, title: str, quiet_seconds: float) -> None:
        self._title = title
        self._lock = threading.Lock()
        self._quiet_seconds = quiet_seconds
        self._lines: list[tuple[datetime, str, Any]] = []
        self._facts: dict[str, object] = {}
        self._step = ""
        self._step_told: Any = None
        self._total = 0
        self._done = 0
        self._moved_at = clock.monotonic()
        self._end: DozoError | None = None

    def step(self, text: str) -> None:
        self.check()
        self.log(text)
        with self._lock:
            self._step, self._step_told = storable(text), storable_told(text)
            self._moved_at = clock.monotonic()

    def bytes_of(self, label: str) -> Progress:  # noqa: ARG002  one sum over all streams
        self.check()
        return _Counter(self)

    def fact(self, name: str, value: object) -> None:
        with self._lock:
            self._facts[name] = storable(value) if isinstance(value, str) else value

    def log(self, text: str) -> None:
        """A line into the job's log, whatever becomes of the job."""
        with self._lock:
            self._lines.append((clock.now(), storable(text), storable_told(text)))

    def check(self) -> None:
        """Raises what the job is to end with, if it is to end."""
        if self._end is not None:
            raise self._end

    def end(self, error: DozoError) -> None:
        """Let the operation end with ``error`` at its next sign of life; the first one counts."""
        with self._lock:
            self._end = self._end or error

    def cancel(self) -> None:
        """Somebody does not want it any more."""
        self.end(Cancelled(self._title))

    def add_total(self, count: int) -> None:
        """More bytes to go through."""
        with self._lock:
            self._total += count

    def add_done(self, count: int) -> None:
        """Bytes that have been gone through."""
        self.check()
        with self._lock:
            self._done += count
            self._moved_at = clock.monotonic()

    def quiet_for(self) -> float:
        """Seconds since the last sign of life."""
        with self._lock:
            return clock.monotonic() - self._moved_at

    def look_stuck(self) -> bool:
        """Whether the operation has been quiet for too long; then it is to end."""
        quiet = self.quiet_for()
        if quiet <= self._quiet_seconds:
            return False
        if self._end is None:
            self.log(
                Message(
                    "stuck: no sign of life for {quiet:.0f} s in step {step!r}",
                    quiet=quiet,
                    step=from_json(self._step_told, self._step),
                )
            )
        self.end(Stuck(quiet, from_json(self._step_told, self._step)))
        return True

    def put_back(self, lines: list[tuple[datetime, str, Any]]) -> None:
        """Lines that could not be written yet."""
        with self._lock:
            self._lines = lines + self._lines

    def drain(self) -> tuple[list[tuple[datetime, str, Any]], dict[str, object]]:
        """The new lines, and the present numbers as columns of the job."""
        with self._lock:
            lines, self._lines = self._lines, []
            return lines, {
                "step": self._step,
                "step_told": self._step_told,
                "facts": dict(self._facts),
                "bytes_total": self._total or None,
                "bytes_done": self._done,
            }


class _Counter:
    def __init__(self, work: JobWork) -> None:
        self._work = work

    def total(self, work_bytes: int) -> None:
        self._work.add_total(work_bytes)

    def advance(self, done_bytes: int) -> None:
        self._work.add_done(done_bytes)


def flush(site: Site, row: "Job", work: JobWork) -> None:
    """Write what the job said since the last time into the catalog."""
    lines, columns = work.drain()
    rows = site.catalog.job_lines
    try:
        with site.catalog.transaction():
            _own(site, row).update(beat_at=clock.now(), **columns)
            rows.bulk_create(
                [rows.model(job=row, at=at, text=text, told=told) for at, text, told in lines]
            )
    except DatabaseProblem:
        work.put_back(lines)
        raise


@contextmanager
def beating(site: Site, row: "Job", work: JobWork, stopping: Callable[[], bool]) -> Iterator[None]:
    """Keep the catalog up to date, and watch for reasons to end, while the block runs.

    Afterwards it waits for a catalog that is away. Raises ``ServiceStopping``.
    """
    over = threading.Event()

    def beat() -> None:
        try:
            while not over.wait(_BEAT_SECONDS):
                # A database that is away for a while costs a late look, not the job.
                with suppress(DatabaseProblem):
                    _beat(site, row, work)
                # Also while it is away.
                if stopping():
                    work.end(ServiceStopping())
        finally:
            connections[site.catalog.alias].close()

    thread = threading.Thread(target=beat, name=f"beat-{row.job_id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        patiently(lambda: flush(site, row, work), stopping=stopping)


def _own(site: Site, row: "Job") -> "QuerySet[Job]":
    """The job's row, unless another worker has begun the job since."""
    return site.catalog.jobs.filter(
        job_id=row.job_id, attempt=row.attempt, executions=row.executions
    )


def _beat(site: Site, row: "Job", work: JobWork) -> None:
    flush(site, row, work)
    if work.look_stuck():
        # From now on nobody waits for its place.
        _own(site, row).filter(stuck_since=None).update(stuck_since=clock.now())
    state = _own(site, row).values_list("state", flat=True).first()
    if state is None:
        work.end(TakenOver())
    elif state == JobState.CANCELLING:
        work.cancel()
