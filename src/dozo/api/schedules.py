"""Schedules: /schedules."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import Field

from dozo.api.current import scope_of
from dozo.api.fields import Mode, Name, Reference, Seconds
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import IF_MATCH, ROOT, Body, etag, if_match, needs
from dozo.model.timing import Overlap, TimingKind, Weekday
from dozo.services import schedules
from dozo.services.access import Operation
from dozo.services.lists import schedules as lists
from dozo.services.schedules import Preview, RunView, ScheduleView

router = Router()

Count = Annotated[int, Field(ge=0, le=10_000)]


class ScheduleQuery(PageQuery):
    """Which schedules."""

    sort: Literal["name", "-name", "created_at", "-created_at"] = "name"
    name: Text | None = Field(None, description="A part of the name.")
    tenant: Text | None = None
    enabled: bool | None = None


@router.get("/schedules", response=Page[ScheduleView], **needs(Operation.SCHEDULE_LIST))
def list_schedules(request: HttpRequest, query: Query[ScheduleQuery]) -> object:
    """List schedules."""
    scope = scope_of(request)
    rows = lists.find(scope, name=query.name, tenant=query.tenant, enabled=query.enabled)
    part = cut(rows, query, query.sort)
    return part.page(schedules.views(scope, part.rows))


class WindowBody(Body):
    """When a start may still be made: between two times of day, or so long after."""

    start: Annotated[str, Field(pattern=r"^\d\d:\d\d$")] | None = None
    end: Annotated[str, Field(pattern=r"^\d\d:\d\d$")] | None = None
    after_seconds: Annotated[int, Field(ge=0, le=7 * 86400)] | None = None


class TimingBody(Body):
    """When it runs; docs/schedules.md describes each field."""

    kind: TimingKind
    zone: Text = "UTC"
    minute: Annotated[int, Field(ge=0, le=59)] | None = None
    hour: Annotated[int, Field(ge=0, le=23)] | None = None
    weekdays: Annotated[list[Weekday], Field(max_length=7)] | None = None
    day: Annotated[int, Field(ge=1, le=31)] | Literal["last"] | None = None
    cron: Text | None = None
    jitter_seconds: Seconds | None = None
    overlap: Overlap | None = None
    window: WindowBody | None = None


class KeepBody(Body):
    """How many generations stay: a count, or so many a period."""

    count: Annotated[int, Field(ge=1, le=10_000)] | None = None
    hourly: Count | None = None
    daily: Count | None = None
    weekly: Count | None = None
    monthly: Count | None = None
    yearly: Count | None = None
    zone: Text | None = None
    min_age_seconds: Annotated[int, Field(ge=0, le=3650 * 86400)] | None = None


class ScheduleFields(Body):
    """What a schedule may have. Exactly one of `server`, `volume` and `tag` says what it covers."""

    server: Reference | None = None
    volume: Reference | None = None
    tag: Name | None = None
    tenant: Name | None = Field(None, description="Whose servers a tag means.")
    enabled: bool | None = None
    mode: Mode | None = None
    freeze: bool | None = None
    stated_unmounted: bool | None = None
    stop_timeout_seconds: Seconds | None = None
    force_stop: bool | None = None
    hook_before: Annotated[str, Field(max_length=64)] | None = None
    hook_after: Annotated[str, Field(max_length=64)] | None = None
    hook_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] | None = None
    keep_peer: KeepBody | None = Field(
        None, description="At peers; as here, unless given. {} is as here again."
    )

    def fields(self) -> dict[str, Any]:
        """What was said."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


class NewSchedule(ScheduleFields):
    """A schedule to be made."""

    name: Name
    timing: TimingBody
    keep: KeepBody


class ChangedSchedule(ScheduleFields):
    """What changes; the rest stays."""

    name: Name | None = None
    timing: TimingBody | None = None
    keep: KeepBody | None = None


@router.post("/schedules", response={201: ScheduleView}, **needs(Operation.SCHEDULE_CREATE))
def create_schedule(request: HttpRequest, response: HttpResponse, body: NewSchedule) -> object:
    """Make a schedule."""
    made = schedules.create(scope_of(request), body.fields())
    response["Location"] = f"{ROOT}/schedules/{made.schedule}"
    response["ETag"] = etag(made.version)
    return Status(201, made)


class PreviewBody(Body):
    """A schedule that is being thought about; what it covers, where its cost is wanted."""

    server: Reference | None = None
    volume: Reference | None = None
    tag: Name | None = None
    tenant: Name | None = Field(None, description="Whose servers a tag means.")
    timing: TimingBody
    keep: KeepBody
    days: int = Field(365, ge=1, le=3660)


@router.post("/schedules/preview", response=Preview, **needs(Operation.SCHEDULE_PREVIEW))
def preview_schedule(request: HttpRequest, body: PreviewBody) -> object:
    """Show the next runs of a schedule, which generations there will be, and what they cost."""
    fields = body.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return schedules.preview(scope_of(request), fields, days=body.days)


@router.get("/schedules/{ref}/runs", response=Page[RunView], **needs(Operation.SCHEDULE_SHOW))
def list_schedule_runs(request: HttpRequest, ref: str, query: Query[PageQuery]) -> object:
    """List what became of a schedule's planned times, the newest first."""
    scope = scope_of(request)
    row = scope.schedule(ref, Operation.SCHEDULE_SHOW)
    part = cut(row.runs.prefetch_related("jobs"), query, "-planned_at")
    return part.page(schedules.run_views(scope, part.rows))


@router.post("/schedules/{ref}/run", response={202: list[RunView]}, **needs(Operation.SCHEDULE_RUN))
def run_schedule(request: HttpRequest, ref: str) -> object:
    """Run a schedule now, beside its times: a job for each server or volume that it covers."""
    return Status(202, schedules.run_now(scope_of(request), ref))


@router.get("/schedules/{ref}", response=ScheduleView, **needs(Operation.SCHEDULE_SHOW))
def show_schedule(request: HttpRequest, response: HttpResponse, ref: str) -> object:
    """Show a schedule; its ETag is its version."""
    scope = scope_of(request)
    shown = schedules.view(scope, scope.schedule(ref, Operation.SCHEDULE_SHOW))
    response["ETag"] = etag(shown.version)
    return shown


@router.patch(
    "/schedules/{ref}", response=ScheduleView, **needs(Operation.SCHEDULE_UPDATE, IF_MATCH)
)
def update_schedule(
    request: HttpRequest, response: HttpResponse, ref: str, body: ChangedSchedule
) -> object:
    """Change a schedule; with If-Match only the version that was read."""
    scope = scope_of(request)
    shown = schedules.update(scope, scope.schedule(ref), body.fields(), version=if_match(request))
    response["ETag"] = etag(shown.version)
    return shown


@router.delete("/schedules/{ref}", response={204: None}, **needs(Operation.SCHEDULE_DELETE))
def delete_schedule(request: HttpRequest, ref: str) -> object:
    """Remove a schedule; its snapshots stay."""
    scope = scope_of(request)
    schedules.delete(scope, scope.schedule(ref))
    return Status(204, None)
