"""Snapshots and holds: /snapshots, /holds."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import Field

from dozo.api.current import scope_of
from dozo.api.fields import Instant, Mode, Name, Reference, References, Seconds
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import Body, Done, ask, job, needs
from dozo.services import by_hand, views
from dozo.services.access import Operation
from dozo.services.lists import snapshots as lists
from dozo.services.snapshots import HoldView
from dozo.services.views import SnapshotView

router = Router()

_SORTS = Literal["created_at", "-created_at", "name", "-name", "bytes_volume", "-bytes_volume"]


class SnapshotQuery(PageQuery):
    """Which snapshots."""

    sort: _SORTS = "-created_at"
    name: Text | None = Field(None, description="A part of the name.")
    server: Reference | None = None
    volume: Reference | None = None
    recovery_point: Reference | None = None
    tenant: Text | None = None
    schedule: Text | None = Field(None, description="The id of the schedule that took it.")
    scheduled: bool | None = None
    mode: Literal["live", "offline", "unmounted", "file"] | None = None
    origin: Text | None = Field(None, description="The name of the site that took it.")
    root: bool | None = Field(None, description="Of root volumes, or of data volumes.")
    held: bool | None = Field(None, description="Whether nobody may delete it now.")
    copy_site: Text | None = Field(None, description="The name of a site that has a copy.")
    copy_state: Literal["missing", "copying", "stored", "verified", "damaged"] | None = Field(
        None, description="What the copy is, at `copy_site` or at any site."
    )
    since: Instant | None = Field(None, description="Taken at or after this time.")
    until: Instant | None = Field(None, description="Taken before this time.")
    deleted: bool = Field(False, description="Deleted ones too.")


@router.get("/snapshots", response=Page[SnapshotView], **needs(Operation.SNAPSHOT_LIST))
def list_snapshots(request: HttpRequest, query: Query[SnapshotQuery]) -> object:
    """List snapshots."""
    scope = scope_of(request)
    rows = lists.find(scope, **query.dict(exclude={"limit", "cursor", "sort"}))
    # Those of one recovery point have one time, and the order of their disks in their names.
    part = cut(rows, query, query.sort, then="name")
    return part.page(views.snapshot_views(scope.site, part.rows))


class Capture(Body):
    """How to take a snapshot; docs/original-service.md describes the modes."""

    name: Name | None = None
    mode: Mode | None = Field(None, description="What fits the server's state, unless given.")
    freeze: bool = True
    full: bool = Field(False, description="Read everything, whatever change tracking says.")
    stated_unmounted: bool = False
    stop_timeout_seconds: Seconds | None = None
    force_stop: bool = False
    hook_before: Text | None = None
    hook_after: Text | None = None
    hook_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] | None = None
    begin_within_seconds: Annotated[int, Field(ge=1, le=86400)] | None = Field(
        None, description="If it still waits then, it fails: for a volume unmounted meanwhile."
    )

    def params(self) -> dict[str, Any]:
        """What the job takes: nothing that was not said."""
        return self.dict(exclude_unset=True, exclude_none=True)


class NewSnapshot(Capture):
    """A snapshot to be taken."""

    volume: Reference


@router.post("/snapshots", **job(Operation.SNAPSHOT_CREATE))
def create_snapshot(request: HttpRequest, body: NewSnapshot) -> HttpResponse:
    """Snapshot one volume."""
    return ask(request, "snapshot.create", body.params())


class DeleteSnapshots(Body):
    """What to delete, and how many the asker believes that to be."""

    snapshots: References
    confirm_count: int | None = Field(None, ge=1, le=1000)


@router.post("/snapshots/delete", response=Done, **needs(Operation.SNAPSHOT_DELETE))
def delete_snapshots(request: HttpRequest, body: DeleteSnapshots) -> object:
    """Delete snapshots, all or none; until they are pruned, undelete brings them back."""
    done = by_hand.delete_snapshots(
        scope_of(request), body.snapshots, confirm_count=body.confirm_count
    )
    return {"done": done}


class SomeSnapshots(Body):
    """Snapshots."""

    snapshots: References


@router.post("/snapshots/undelete", response=Done, **needs(Operation.SNAPSHOT_UNDELETE))
def undelete_snapshots(request: HttpRequest, body: SomeSnapshots) -> object:
    """Bring deleted snapshots back."""
    return {"done": by_hand.undelete_snapshots(scope_of(request), body.snapshots)}


class VerifySnapshots(Body):
    """What to read back."""

    snapshots: References
    everything: bool = Field(False, description="Also what they share with older snapshots.")


@router.post("/snapshots/verify", **job(Operation.SNAPSHOT_VERIFY))
def verify_snapshots(request: HttpRequest, body: VerifySnapshots) -> HttpResponse:
    """Read snapshots back from this site's vault."""
    return ask(request, "snapshot.verify", body.dict())


class CopySnapshots(Body):
    """What to copy where."""

    peer: Text = Field("", description="The only peer, unless given.")
    snapshots: References | None = Field(None, description="Everything, unless given.")


@router.post("/snapshots/copy", **job(Operation.SNAPSHOT_COPY))
def copy_snapshots(request: HttpRequest, body: CopySnapshots) -> HttpResponse:
    """Copy snapshots to a peer; only what it lacks is sent."""
    return ask(request, "snapshot.copy", body.dict())


@router.get("/snapshots/{ref}/holds", response=list[HoldView], **needs(Operation.HOLD_SHOW))
def list_snapshot_holds(request: HttpRequest, ref: str) -> object:
    """List the holds on one snapshot."""
    return by_hand.holds_of(scope_of(request), ref)


class NewHold(Body):
    """Until when nobody may delete it, and why."""

    until: Instant
    note: Annotated[str, Field(max_length=1000)] = ""


@router.post("/snapshots/{ref}/holds", response={201: HoldView}, **needs(Operation.HOLD_PLACE))
def create_hold(request: HttpRequest, ref: str, body: NewHold) -> object:
    """Hold a snapshot; a hold is extended, never shortened."""
    made = by_hand.hold(scope_of(request), ref, until=body.until, note=body.note)
    return Status(201, made)


@router.get("/snapshots/{ref}", response=SnapshotView, **needs(Operation.SNAPSHOT_SHOW))
def show_snapshot(request: HttpRequest, ref: str) -> object:
    """Show a snapshot, also a deleted one."""
    scope = scope_of(request)
    row = scope.snapshot(ref, Operation.SNAPSHOT_SHOW)
    return views.snapshot_views(scope.site, [row])[0]


@router.get("/holds", response=list[HoldView], **needs(Operation.HOLD_LIST))
def list_holds(request: HttpRequest) -> object:
    """List all holds, the first to end first."""
    return by_hand.list_holds(scope_of(request))
