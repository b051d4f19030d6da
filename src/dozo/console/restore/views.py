"""Where a restore begins: what is to come back, and in which way."""

from dataclasses import replace
from typing import Any

from django.http import HttpResponse

from dozo.console.restore.flow import Flow, choices_of
from dozo.console.shell.visit import Visit, page
from dozo.services import restore_choices, views
from dozo.services.access import Operation
from dozo.web.paging import cut

_ROWS = 50


@page(Operation.SNAPSHOT_LIST)
def start(visit: Visit) -> HttpResponse:
    """Choose a server; or for what the address names, the way."""
    flow = Flow.of(visit)
    point = snapshot = None
    if flow.recovery_point:
        row = visit.scope.recovery_point(flow.recovery_point, Operation.RECOVERY_POINT_SHOW)
        point = views.recovery_point_view(visit.scope.site, row)
        members = tuple(one.snapshot for one in point.snapshots)
        flow = replace(flow, server=point.server_uuid, snapshot=members)
    elif flow.snapshot:
        one = visit.scope.snapshot(flow.snapshot[0], Operation.SNAPSHOT_SHOW)
        snapshot = views.snapshot_views(visit.scope.site, [one])[0]
        flow = replace(flow, server=snapshot.server_uuid or "", snapshot=(snapshot.snapshot,))
    context: dict[str, Any] = {"flow": flow, "point": point, "snapshot": snapshot}
    if snapshot is not None and not flow.server:
        context |= _alone(visit, snapshot)
    elif not flow.server:
        return visit.render("restore/servers.html", {**context, **_servers(visit)})
    else:
        choices = choices_of(visit, flow, points=True)
        context |= {"choices": choices, "ways": choices.ways if choices is not None else None}
    return visit.render("restore/start.html", context)


def _servers(visit: Visit) -> dict[str, Any]:
    rows = restore_choices.servers(visit.scope, name=visit.query("name"))
    part = cut(rows, limit=_ROWS, cursor=visit.query("cursor") or None, sort="name")
    newest = restore_choices.newest_of(visit.scope, part.rows)
    shown = [(row, *newest.get(str(row.uuid), (None, 0))) for row in part.rows]
    return {"part": part, "rows": shown}


def _alone(visit: Visit, snapshot: views.SnapshotView) -> dict[str, Any]:
    """For a snapshot of no server: an image file's."""
    tenant = visit.scope.snapshot(snapshot.snapshot).tenant
    permitted = restore_choices.ways(tenant)
    return {
        "ways": permitted,
        "hindrance": restore_choices.hindrance(visit.scope, snapshot, permitted),
    }
