"""Recovery points: /recovery-points."""

from typing import Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field

from dozo.api.current import scope_of
from dozo.api.fields import Instant, Reference
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import Body, Done, ask, job, needs
from dozo.api.snapshots import Capture
from dozo.services import by_hand, views
from dozo.services.access import Operation
from dozo.services.lists import recovery_points as lists
from dozo.services.views import RecoveryPointView

router = Router()


class PointQuery(PageQuery):
    """Which recovery points."""

    sort: Literal["created_at", "-created_at", "name", "-name"] = "-created_at"
    name: Text | None = Field(None, description="A part of the name.")
    server: Reference | None = None
    since: Instant | None = Field(None, description="Taken at or after this time.")
    until: Instant | None = Field(None, description="Taken before this time.")


@router.get(
    "/recovery-points", response=Page[RecoveryPointView], **needs(Operation.RECOVERY_POINT_LIST)
)
def list_recovery_points(request: HttpRequest, query: Query[PointQuery]) -> object:
    """List recovery points that still have a snapshot."""
    scope = scope_of(request)
    rows = lists.find(scope, **query.dict(exclude={"limit", "cursor", "sort"}))
    part = cut(rows, query, query.sort)
    return part.page(views.recovery_point_views(scope.site, part.rows))


class NewPoint(Capture):
    """A recovery point to be taken; of all volumes, unless some are named."""

    server: Reference
    volumes: list[Reference] = Field(default_factory=list, max_length=100)


@router.post("/recovery-points", **job(Operation.RECOVERY_POINT_CREATE))
def create_recovery_point(request: HttpRequest, body: NewPoint) -> HttpResponse:
    """Snapshot a server's volumes at one instant."""
    return ask(request, "recovery-point.create", body.params())


def _members(request: HttpRequest, ref: str, operation: Operation) -> list[str]:
    scope = scope_of(request, for_job=True)
    row = scope.recovery_point(ref, operation)
    found = by_hand.members(scope, row)
    return [one.snapshot_id for one in found]


class VerifyPoint(Body):
    """How much to read back."""

    everything: bool = Field(False, description="Also what it shares with older snapshots.")


@router.post("/recovery-points/{ref}/verify", **job(Operation.RECOVERY_POINT_VERIFY))
def verify_recovery_point(
    request: HttpRequest, ref: str, body: VerifyPoint | None = None
) -> HttpResponse:
    """Read a recovery point's snapshots back; needs `snapshot.verify` as well."""
    ids = _members(request, ref, Operation.RECOVERY_POINT_VERIFY)
    everything = body.everything if body else False
    return ask(request, "snapshot.verify", {"snapshots": ids, "everything": everything})


class CopyPoint(Body):
    """Where to."""

    peer: Text = Field("", description="The only peer, unless given.")


@router.post("/recovery-points/{ref}/copy", **job(Operation.RECOVERY_POINT_COPY))
def copy_recovery_point(
    request: HttpRequest, ref: str, body: CopyPoint | None = None
) -> HttpResponse:
    """Copy a recovery point's snapshots to a peer; needs `snapshot.copy` as well."""
    ids = _members(request, ref, Operation.RECOVERY_POINT_COPY)
    return ask(request, "snapshot.copy", {"snapshots": ids, "peer": body.peer if body else ""})


class DeletePoint(Body):
    """How many snapshots the asker believes that to be."""

    confirm_count: int | None = Field(None, ge=1, le=1000)


@router.post(
    "/recovery-points/{ref}/delete", response=Done, **needs(Operation.RECOVERY_POINT_DELETE)
)
def delete_recovery_point(
    request: HttpRequest, ref: str, body: DeletePoint | None = None
) -> object:
    """Delete a recovery point's snapshots; until they are pruned, undelete brings them back."""
    count = body.confirm_count if body else None
    return {"done": by_hand.delete_recovery_point(scope_of(request), ref, confirm_count=count)}


@router.post(
    "/recovery-points/{ref}/undelete", response=Done, **needs(Operation.RECOVERY_POINT_UNDELETE)
)
def undelete_recovery_point(request: HttpRequest, ref: str) -> object:
    """Bring a recovery point's deleted snapshots back."""
    return {"done": by_hand.undelete_recovery_point(scope_of(request), ref)}


@router.get(
    "/recovery-points/{ref}", response=RecoveryPointView, **needs(Operation.RECOVERY_POINT_SHOW)
)
def show_recovery_point(request: HttpRequest, ref: str) -> object:
    """Show a recovery point with its snapshots."""
    scope = scope_of(request)
    row = scope.recovery_point(ref, Operation.RECOVERY_POINT_SHOW)
    return views.recovery_point_view(scope.site, row)
