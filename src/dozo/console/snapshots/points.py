"""Recovery points: the list, one of them, and what is done with it."""

from typing import Any

from django.http import HttpResponse

from dozo.console.shell.instants import instant
from dozo.console.shell.visit import Visit, page
from dozo.console.snapshots.actions import count_said
from dozo.model.errors import DozoError
from dozo.services import by_hand, deletion_outlook, restore_choices, views
from dozo.services.access import Operation
from dozo.services.lists import recovery_points as lists
from dozo.services.lists import snapshots as snapshot_lists
from dozo.web.paging import cut

_ROWS = 50
_FILTERS = ("name", "server", "since", "until")


@page(Operation.RECOVERY_POINT_LIST)
def points(visit: Visit) -> HttpResponse:
    """The list, with its filters in the address."""
    sort = visit.query("sort")
    sort = sort if sort in lists.SORTS else "-created_at"
    context: dict[str, Any] = {"filtered": any(visit.query(name) for name in _FILTERS)}
    try:
        rows = lists.find(
            visit.scope,
            name=visit.query("name") or None,
            server=visit.query("server") or None,
            since=instant(visit.query("since"), "since"),
            until=instant(visit.query("until"), "until", end_of_day=True),
        )
    except DozoError as error:
        return visit.render("snapshots/points.html", {**context, "problem": error}, status=422)
    part = cut(rows, limit=_ROWS, cursor=visit.query("cursor") or None, sort=sort)
    context |= {"part": part, "rows": views.recovery_point_views(visit.scope.site, part.rows)}
    return visit.render("snapshots/points.html", context)


@page(Operation.RECOVERY_POINT_SHOW)
def point(visit: Visit, ref: str) -> HttpResponse:
    """One recovery point with its snapshots."""
    row = visit.scope.recovery_point(ref, Operation.RECOVERY_POINT_SHOW)
    shown = views.recovery_point_view(visit.scope.site, row)
    gone = visit.scope.snapshots.filter(recovery_point=row, deleted_at__isnull=False)
    context = {
        "row": shown,
        "ways": restore_choices.ways(row.server.tenant),
        "peers": snapshot_lists.peer_names(visit.scope),
        "held": snapshot_lists.held_until(visit.scope),
        "deleted": gone.count(),
        "bytes_volume": sum(one.bytes_volume for one in shown.snapshots),
    }
    return visit.render("snapshots/point.html", context)


@page(Operation.RECOVERY_POINT_DELETE, methods=("GET", "POST"))
def delete(visit: Visit, ref: str) -> HttpResponse:
    """Say what deleting its snapshots means; sent with their count, delete."""
    row = visit.scope.recovery_point(ref, Operation.RECOVERY_POINT_DELETE)
    rows = by_hand.members(visit.scope, row)
    context: dict[str, Any] = {
        "outlook": deletion_outlook.outlook(visit.scope, rows),
        "point": row,
    }
    if visit.is_post:
        try:
            by_hand.delete_recovery_point(
                visit.scope, row.recovery_point_id, confirm_count=count_said(visit, len(rows))
            )
        except DozoError as error:
            context["problem"] = error
            return visit.render("snapshots/delete.html", context, status=409)
        return visit.go("/recovery-points", note="deleted")
    return visit.render("snapshots/delete.html", context)


@page(Operation.RECOVERY_POINT_SHOW, methods=("POST",))
def do(visit: Visit, ref: str) -> HttpResponse:
    """Verify it, copy it, or bring its deleted snapshots back."""
    what, _, peer = visit.said("what").partition(":")
    if what == "undelete":
        by_hand.undelete_recovery_point(visit.scope, ref)
        return visit.go(f"/recovery-points/{ref}", note="undeleted")
    copies = what == "copy"
    operation = Operation.RECOVERY_POINT_COPY if copies else Operation.RECOVERY_POINT_VERIFY
    row = visit.scope.recovery_point(ref, operation)
    ids = [one.snapshot_id for one in by_hand.members(visit.scope, row)]
    if copies:
        return visit.ask("snapshot.copy", {"snapshots": ids, "peer": peer})
    return visit.ask("snapshot.verify", {"snapshots": ids, "everything": False})
