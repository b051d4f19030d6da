"""Long work: a job is asked for, followed to its end, and its result handed back."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from dozo.cli.client import Client, ServiceProblem, at, client_of
from dozo.cli.errors import ServiceUnreachable
from dozo.cli.exits import Terminated
from dozo.cli.kinds import kind_of
from dozo.cli.output import print_json, say
from dozo.cli.speech import shown, told
from dozo.model import clock
from dozo.model.errors import ErrorKind
from dozo.model.message import Message

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Print the job's id and leave it to the service.")
]

ENDED = frozenset({"done", "failed", "cancelled", "interrupted"})
_QUICK_SECONDS = 0.1
_POLL_SECONDS = 0.5
# Short jobs are over after a few quick looks.
_QUICK_LOOKS = 10
# How long a service may be away before the command gives up on it, though not on the job.
_SILENCE_SECONDS = 60.0


class Screen(Protocol):
    """Where a job's progress is shown."""

    def line(self, text: str) -> None:
        """The job said something."""

    def look(self, job: Mapping[str, Any]) -> None:
        """How far it is."""


_PASSING = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.THROTTLED})


def run(
    context: typer.Context,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    as_json: bool,
    no_wait: bool = False,
) -> Any:
    """Queue a job, follow it, and give its result; with ``no_wait`` print its id and end.

    Raises :class:`ServiceProblem` where the request is refused or the job comes to nothing.
    """
    with client_of(context) as client:
        job = str(client.post(path, body)["job"])
        if no_wait:
            left(job, as_json=as_json)
        return follow(client, job, as_json=as_json)


def left(job: str, *, as_json: bool) -> None:
    """Print the id of a job that nobody waits for, and end the command."""
    if as_json:
        print_json({"job": job})
    else:
        say(job)
    raise typer.Exit(0)


def follow(client: Client, job: str, *, as_json: bool = False) -> Any:
    """Show a job until its end; its result. Raises :class:`ServiceProblem` unless it is done."""
    while True:
        try:
            with _screen(as_json=as_json) as screen:
                return result_of(watch(client, job, screen))
        except KeyboardInterrupt:
            _interrupted(client, job)
        except Terminated:
            _tell_left(job)
            raise


def watch(client: Client, job: str, screen: Screen) -> Mapping[str, Any]:
    """Look at a job again and again until it has ended; its last view."""
    shown = 0
    looks = 0
    heard = clock.monotonic()
    while True:
        try:
            found: Mapping[str, Any] = client.get(at("jobs", job))
            for line in client.pages(at("jobs", job, "log"), after=shown):
                shown = line["line"]
                screen.line(line["text"])
        except (ServiceUnreachable, ServiceProblem) as error:
            # A service that is started again, or has its catalog back, goes on with its jobs.
            if isinstance(error, ServiceProblem) and error.kind not in _PASSING:
                raise
            if clock.monotonic() - heard > _SILENCE_SECONDS:
                _tell_left(job)
                raise
            clock.sleep(_POLL_SECONDS)
            continue
        heard = clock.monotonic()
        screen.look(found)
        if found["state"] in ENDED:
            return found
        clock.sleep(_QUICK_SECONDS if looks < _QUICK_LOOKS else _POLL_SECONDS)
        looks += 1


def result_of(job: Mapping[str, Any]) -> Any:
    """What a job that has ended brought. Raises :class:`ServiceProblem` if that is nothing."""
    if job["state"] == "done":
        return job["result"]
    code = job.get("error_code") or f"job.{job['state']}"
    raise ServiceProblem(
        job.get("error") or Message("the job was {state}", state=shown("job", job["state"])),
        code=code,
        kind=kind_of(code),
        hint=job.get("hint") or "",
        details={"job": job["job"]},
    )


def _interrupted(client: Client, job: str) -> None:
    """Ctrl-C: ask what is to become of the job."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        _tell_left(job)
        raise KeyboardInterrupt
    try:
        wanted = typer.confirm(
            "\n" + told(Message("Cancel the job? (no: it goes on without you)")), err=True
        )
    except typer.Abort:
        wanted = False
    if not wanted:
        _tell_left(job)
        raise KeyboardInterrupt
    client.post(at("jobs", job, "cancel"))


def _tell_left(job: str) -> None:
    sys.stderr.write(
        told(
            Message(
                "job {job} goes on; look after it with `dozo job follow {short}`",
                job=job,
                short=job[:12],
            )
        )
        + "\n"
    )


class Nowhere:
    """Nothing is shown."""

    def line(self, text: str) -> None:
        pass

    def look(self, job: Mapping[str, Any]) -> None:
        pass


class Lines:
    """The lines alone, on standard output."""

    def line(self, text: str) -> None:
        say(text)

    def look(self, job: Mapping[str, Any]) -> None:
        pass


@contextmanager
def _screen(*, as_json: bool) -> Iterator[Screen]:
    if as_json or not sys.stderr.isatty():
        yield Nowhere()
        return
    from rich import progress as bars
    from rich.console import Console

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(binary_units=True),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        yield _Terminal(shown)


class _Terminal:
    def __init__(self, shown: "Bars") -> None:
        self._shown = shown
        self._task = shown.add_task("", total=None)

    def line(self, text: str) -> None:
        from rich.text import Text

        self._shown.console.print(Text(told(text)))

    def look(self, job: Mapping[str, Any]) -> None:
        from rich.markup import escape

        self._shown.update(
            self._task,
            description=escape(told(_doing(job))),
            total=job.get("bytes_total"),
            completed=job.get("bytes_done") or 0,
        )


def _doing(job: Mapping[str, Any]) -> str:
    """What a job does now, in a line."""
    place = job.get("place_in_queue")
    if job["state"] == "queued":
        return Message("waiting") + (
            Message(", number {place} in the queue", place=place) if place else ""
        )
    if job["state"] == "waiting":
        return Message("trying again later: {what}", what=job.get("error") or job["title"])
    return str(job.get("step") or job["title"])


def plan(context: typer.Context, path: str, body: Mapping[str, Any]) -> Any:
    """What a request would do; nothing is done."""
    with client_of(context) as client:
        return client.post(path, body, dry_run="true")
