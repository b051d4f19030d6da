"""Jobs: /jobs, their logs and their events."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Query, Router
from pydantic import Field

from dozo.api import events
from dozo.api.current import scope_of
from dozo.api.fields import Instant
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import Canceller, ask, job, needs
from dozo.model.job_states import JobState
from dozo.services import job_queue, job_requests
from dozo.services.access import Operation
from dozo.services.job_queue import JobView
from dozo.services.lists import jobs

router = Router()


class JobQuery(PageQuery):
    """Which jobs."""

    sort: Literal["created_at", "-created_at"] = "-created_at"
    state: JobState | None = None
    active: bool | None = Field(None, description="True: not ended yet; false: ended.")
    kind: Text | None = None
    tenant: Text | None = None
    actor: Text | None = None
    object: Text | None = Field(None, description="The id of what it is about.")
    server: Text | None = Field(None, description="About this server or one of its volumes.")
    since: Instant | None = Field(None, description="Asked for at or after this time.")
    until: Instant | None = Field(None, description="Asked for before this time.")


@router.get("/jobs", response=Page[JobView], **needs(Operation.JOB_LIST))
def list_jobs(request: HttpRequest, query: Query[JobQuery]) -> object:
    """List jobs."""
    scope = scope_of(request)
    rows = jobs.find(
        scope,
        state=query.state.value if query.state else None,
        active=query.active,
        kind=query.kind,
        tenant=query.tenant,
        actor=query.actor,
        about=query.object,
        server=query.server,
        since=query.since,
        until=query.until,
    )
    part = cut(rows, query, query.sort)
    return part.page(job_queue.views(scope, part.rows))


@router.get("/jobs/{job_id}", response=JobView, **needs(Operation.JOB_SHOW))
def show_job(request: HttpRequest, job_id: str) -> object:
    """Show a job: its state, its progress, what it waits for, its result."""
    scope = scope_of(request)
    row = scope.job(job_id, Operation.JOB_SHOW)
    return job_queue.views(scope, [row])[0]


@dataclass(frozen=True, kw_only=True)
class LineView:
    """A line of a job's log."""

    line: int
    at: datetime
    text: str


class LogQuery(PageQuery):
    """Which lines."""

    limit: int = Field(500, ge=1, le=500, description="How many at most.")
    after: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, description="Only lines behind this one."
    )


@router.get("/jobs/{job_id}/log", response=Page[LineView], **needs(Operation.JOB_SHOW))
def show_job_log(request: HttpRequest, job_id: str, query: Query[LogQuery]) -> object:
    """Show what a job said, oldest first."""
    scope = scope_of(request)
    row = scope.job(job_id, Operation.JOB_SHOW)
    rows = scope.site.catalog.job_lines.filter(job=row)
    if query.after is not None:
        rows = rows.filter(id__gt=query.after)
    part = cut(rows, query, "id")
    return part.page([LineView(line=one.pk, at=one.at, text=one.said) for one in part.rows])


@router.post("/jobs/{job_id}/cancel", response=JobView, **needs(Operation.JOB_CANCEL))
def cancel_job(request: HttpRequest, job_id: str) -> object:
    """End a job: at once if it has not begun, else at its next sign of life."""
    scope = scope_of(request)
    row = job_requests.cancel(scope, job_id, Canceller(request))
    return job_queue.views(scope, [row])[0]


@router.post("/jobs/{job_id}/again", **job(Operation.JOB_SHOW))
def repeat_job(request: HttpRequest, job_id: str) -> HttpResponse:
    """Ask once more for what a job was to do that failed, was interrupted or was cancelled."""
    kind, params = job_requests.again(scope_of(request, for_job=True), job_id)
    return ask(request, kind, params)


_EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["progress", "line", "end"]},
        "id": {"type": "string", "description": "The line; for Last-Event-ID."},
        "data": {"type": "string", "description": "JSON: a JobView, or a LineView."},
    },
}
_EVENTS = {
    "responses": {
        200: {
            "description": "Server-sent events: `progress`, `line`, `end`.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        }
    }
}


@router.get(
    "/jobs/{job_id}/events",
    openapi_extra={**needs(Operation.JOB_SHOW)["openapi_extra"], **_EVENTS},
    response={200: None},
)
def show_job_events(request: HttpRequest, job_id: str) -> StreamingHttpResponse:
    """Follow a job until it ends, as server-sent events."""
    scope = scope_of(request)
    row = scope.job(job_id, Operation.JOB_SHOW)
    return events.response(request, row.job_id)
