"""Jobs: the list, and a job's page that follows it until it ends."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _

from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.model.job_states import JobState
from dozo.model.words import word
from dozo.services import job_queue, job_requests, job_results, next_steps, operations
from dozo.services.access import Operation, Scope
from dozo.services.job_queue import JobView
from dozo.services.lists import jobs as lists
from dozo.services.lists import servers
from dozo.web.paging import cut

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job

_PAGE = 50
_LINES = 500
_MOST_SERVERS = 500
_ID = re.compile(r"[0-9a-f]{32}")
_STATES = (
    ("active", _("Not ended yet")),
    ("ended", _("Ended")),
    ("trouble", _("Failed or interrupted")),
)
_TROUBLE = (JobState.FAILED, JobState.INTERRUPTED)


@page(Operation.JOB_LIST)
def jobs(visit: Visit) -> HttpResponse:
    """The jobs that somebody may see."""
    problem: DozoError | None = None
    wanted: dict[str, Any] = {
        name: visit.query(name) or None for name in ("kind", "actor", "server", "tenant")
    }
    state = visit.query("state")
    try:
        rows = lists.find(visit.scope, **_state(state), **wanted)
        part = cut(rows, limit=_PAGE, cursor=visit.query("cursor") or None, sort="-created_at")
    except DozoError as error:
        problem = error
        part = cut(visit.scope.jobs.none(), limit=_PAGE, cursor=None, sort="-created_at")
    single = [(one.value, word("job", one)) for one in JobState]
    machines = servers.find(visit.scope).order_by("name")[:_MOST_SERVERS]
    context = {
        "problem": problem,
        "part": part,
        "jobs": job_queue.views(visit.scope, part.rows),
        "filtered": bool(state or any(wanted.values())),
        "state": state,
        "groups": _STATES,
        "states": single,
        "kinds": [(one, word("operation", one)) for one in operations.KINDS],
        "servers": [(str(row.uuid), row.name) for row in machines],
    }
    return visit.render("activity/jobs.html", context, status=404 if problem else 200)


def _state(name: str) -> dict[str, Any]:
    if name in {"active", "ended"}:
        return {"active": name == "active"}
    if name == "trouble":
        return {"states": _TROUBLE}
    return {"state": name or None}


@page(Operation.JOB_LIST)
def job(visit: Visit, job_id: str) -> HttpResponse:
    """A job; with ``part=live`` what changes while it runs."""
    row = visit.scope.job(job_id, Operation.JOB_SHOW)
    view = job_queue.views(visit.scope, [row])[0]
    over = row.state in job_queue.ENDED
    context: dict[str, Any] = {
        "job": view,
        "over": over,
        "waits": _waits(visit.scope, view),
        "percent": _percent(view),
    }
    if visit.query("part") == "live":
        if over:
            # Everything looks different now, the buttons too.
            return HttpResponse(headers={"HX-Refresh": "true"})
        return visit.render("activity/live.html", context)
    context |= {
        "made": job_results.made(visit.scope, row),
        "next": next_steps.of_job(visit.scope, view),
        "result": _figures(row.result),
        "schedule": _schedule(visit.scope, row),
        "again": job_requests.may_repeat(visit.scope, row),
        **_lines(visit.scope, row, after=0, over=over),
    }
    return visit.render("activity/job.html", context)


def _percent(view: JobView) -> int | None:
    if not view.bytes_total:
        return None
    return min(round(100 * view.bytes_done / view.bytes_total), 100)


def _waits(scope: Scope, view: JobView) -> list[dict[str, str]]:
    """What a job waits for: jobs by their titles, limits in words."""
    ids = [one for one in view.waits_for if _ID.fullmatch(one)]
    titles = {row.job_id: row.title_said for row in scope.jobs.filter(job_id__in=ids)}
    return [
        {"job": one if one in titles else "", "text": titles.get(one, one)}
        for one in view.waits_for
    ]


_FIGURES = (
    ("consistency", _("Consistency"), "consistency"),
    ("mode", _("Mode"), "mode"),
    ("freeze_ms", _("Frozen for"), "ms"),
    ("bytes_read", _("Bytes read"), "bytes"),
    ("bytes_written", _("Written"), "bytes"),
    ("bytes_stored", _("Stored"), "bytes"),
    ("bytes_copied", _("Copied"), "bytes"),
    ("bytes_freed", _("Freed"), "bytes"),
    ("repaired", _("Mended"), "count"),
)


def _figures(result: Any) -> list[tuple[Any, str, Any]]:
    """What of a job's result has a word: label, kind of value, value."""
    if not isinstance(result, Mapping):
        return []
    found = [(label, kind, result.get(name)) for name, label, kind in _FIGURES]
    return [one for one in found if isinstance(one[2], str | int | float) and one[2] != ""]


def _schedule(scope: Scope, row: "Job") -> Any:
    """The schedule whose run it is, if the visitor may see it."""
    run = row.run
    return scope.schedules.filter(pk=run.schedule_id).first() if run is not None else None


def _lines(scope: Scope, row: "Job", *, after: int, over: bool) -> dict[str, Any]:
    rows = scope.site.catalog.job_lines.filter(job=row, id__gt=after).order_by("id")
    found = list(rows[:_LINES])
    return {
        "lines": found,
        "after": found[-1].pk if found else after,
        # There is more than fits into one answer, or there will be.
        "goes_on": not over or len(found) == _LINES,
        "job_id": row.job_id,
    }


@page(Operation.JOB_LIST)
def log(visit: Visit, job_id: str) -> HttpResponse:
    """The lines of a job's log behind the one that was shown last."""
    row = visit.scope.job(job_id, Operation.JOB_SHOW)
    text = visit.query("after", "0")
    after = int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0
    over = row.state in job_queue.ENDED
    return visit.render("activity/lines.html", _lines(visit.scope, row, after=after, over=over))


class _Canceller:
    def __init__(self, visit: Visit) -> None:
        self._cancel = visit.current.cancel

    def cancel(self, run_id: str, /) -> object:
        return self._cancel(run_id)


@page(Operation.JOB_LIST, methods=("GET", "POST"))
def cancel(visit: Visit, job_id: str) -> HttpResponse:
    """Ask, then end a job."""
    row = visit.scope.job(job_id, Operation.JOB_SHOW)
    if visit.is_post:
        job_requests.cancel(visit.scope, row.job_id, _Canceller(visit))
        return visit.go(f"/jobs/{row.job_id}", note="cancelling")
    view = job_queue.views(visit.scope, [row])[0]
    begun = row.state in job_queue.ACTIVE
    over = row.state in job_queue.ENDED
    return visit.render("activity/cancel.html", {"job": view, "begun": begun, "over": over})


@page(Operation.JOB_LIST, methods=("POST",))
def again(visit: Visit, job_id: str) -> HttpResponse:
    """Ask once more for what came to nothing."""
    kind, params = job_requests.again(visit.scope, job_id)
    return visit.ask(kind, params)
