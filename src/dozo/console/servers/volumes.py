"""Volumes: the list, the page of one, and what is done to it."""

from typing import TYPE_CHECKING, Any

from django.http import HttpResponse

from dozo.console.servers import picture
from dozo.console.servers.views import running
from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.services import by_hand, protection, views
from dozo.services.access import Operation
from dozo.services.lists import volumes
from dozo.web.paging import cut

if TYPE_CHECKING:
    from dozo.catalog import models

_PAGE = 50
_BUSES = ("virtio", "scsi", "sata", "ide", "usb")
_FILTERS = ("name", "state", "server", "tenant", "gone")


@page(Operation.VOLUME_LIST)
def volume_list(visit: Visit) -> HttpResponse:
    """All volumes, attached or not."""
    scope = visit.scope
    state = visit.query("state")
    found = volumes.find(
        scope,
        name=visit.query("name"),
        server=visit.query("server"),
        tenant=visit.query("tenant"),
        state=state if state in volumes.STATES else None,
        gone=visit.query("gone") == "1",
    )
    sort = visit.query("sort", "name")
    sort = sort if sort in volumes.SORTS else "name"
    part = cut(found, limit=_PAGE, cursor=visit.query("cursor") or None, sort=sort)
    judged = volumes.judged(scope, part.rows)
    shown = views.volume_views(scope.site, part.rows)
    items = [
        {"volume": view, "row": row, "judged": judged[row.volume_id]}
        for row, view in zip(part.rows, shown, strict=True)
    ]
    chosen = visit.query("server")
    return visit.render(
        "servers/volumes.html",
        {
            "part": part,
            "items": items,
            "filters": {
                **{one: visit.query(one) for one in _FILTERS},
                "states": ("attached", "unattached", "creating"),
                "server_name": scope.server(chosen).name if chosen else "",
            },
            "filtered": any(visit.query(one) for one in _FILTERS),
            "tenants": _tenants(visit),
        },
    )


def _tenants(visit: Visit) -> list[str]:
    if visit.scope.actor.tenant is not None:
        return []
    return list(visit.scope.tenants.values_list("name", flat=True))


@page(Operation.VOLUME_SHOW)
def volume(visit: Visit, ref: str) -> HttpResponse:
    """One volume: where it is, what was taken of it, and what can be done."""
    row = visit.scope.volume(ref, Operation.VOLUME_SHOW)
    if visit.is_fragment and visit.request.headers.get("HX-Target") == "timeline":
        return visit.render("servers/timeline.html", picture.of_volume(visit, row))
    origin = None
    if row.origin_snapshot:
        origin = visit.scope.snapshots.filter(snapshot_id=row.origin_snapshot).first()
    restoring = None
    if row.restoring_snapshot:
        restoring = visit.scope.snapshots.filter(snapshot_id=row.restoring_snapshot).first()
    return visit.render(
        "servers/volume.html",
        {
            "volume": views.volume_view(row),
            "row": row,
            "judged": protection.of_volume(visit.scope.site, row),
            "origin": origin,
            "restoring": restoring,
            "jobs": running(visit, volumes=[str(row.volume_id)]),
            "live_address": f"/volumes/{row.volume_id}/live",
            **picture.of_volume(visit, row),
        },
    )


@page(Operation.VOLUME_SHOW)
def volume_live(visit: Visit, ref: str) -> HttpResponse:
    """The jobs of a volume, looked at again and again."""
    row = visit.scope.volume(ref, Operation.VOLUME_SHOW)
    if not visit.is_fragment:
        return visit.go(f"/volumes/{row.volume_id}")
    jobs = running(visit, volumes=[str(row.volume_id)])
    address = f"/volumes/{row.volume_id}/live"
    return visit.render("servers/jobs.html", {"jobs": jobs, "live_address": address})


@page(Operation.VOLUME_ATTACH, methods=("GET", "POST"))
def attach(visit: Visit, ref: str) -> HttpResponse:
    """Choose a server, then see and change what is proposed for it."""
    row = visit.scope.volume(ref, Operation.VOLUME_ATTACH)
    server = visit.said("server") or visit.query("server")
    said: dict[str, str] = {one: visit.said(one) for one in ("device", "bus", "serial")}
    if visit.is_post:
        try:
            done = by_hand.attach(
                visit.scope,
                str(row.volume_id),
                server,
                **{name: value or None for name, value in said.items()},
            )
        except DozoError as error:
            return _attaching(visit, row, server, said, error)
        return visit.go(f"/volumes/{done.volume_id}", note="attached")
    return _attaching(visit, row, server, None, None)


def _attaching(
    visit: Visit,
    row: "models.Volume",
    server: str,
    said: dict[str, str] | None,
    error: DozoError | None,
) -> HttpResponse:
    proposed: Any = None
    problem = error
    if server and problem is None:
        try:
            proposed = by_hand.plan_attach(visit.scope, str(row.volume_id), server)
        except DozoError as refused:
            problem = refused
    if proposed is not None and said is None:
        said = {
            "device": proposed.device or "",
            "bus": proposed.bus,
            "serial": proposed.serial or "",
        }
    fitting = visit.scope.servers.filter(tenant=row.tenant, present=True).order_by("name")
    context = {
        "volume": row,
        "servers": [(str(one.uuid), one.name) for one in fitting[:1000]],
        "server": server,
        "proposed": proposed,
        "said": said,
        "buses": [(one, one) for one in _BUSES],
        "problem": problem,
    }
    status = visit.refused(error).status_code if error is not None else 200
    return visit.render("servers/attach.html", context, status=status)


@page(Operation.VOLUME_DETACH, methods=("GET", "POST"))
def detach(visit: Visit, ref: str) -> HttpResponse:
    """Detach a volume; the page says what has to be done in the guest before."""
    row = visit.scope.volume(ref, Operation.VOLUME_DETACH)
    problem = None
    if visit.is_post and row.server is not None:
        try:
            by_hand.detach(visit.scope, str(row.volume_id), str(row.server.uuid))
        except DozoError as error:
            problem = error
        else:
            return visit.go(f"/volumes/{row.volume_id}", note="detached")
    status = visit.refused(problem).status_code if problem is not None else 200
    context = {"volume": row, "problem": problem}
    return visit.render("servers/detach.html", context, status=status)


@page(Operation.VOLUME_DELETE, methods=("GET", "POST"))
def delete(visit: Visit, ref: str) -> HttpResponse:
    """Delete a volume that Dozo made, with its name typed; its snapshots stay."""
    row = visit.scope.volume(ref, Operation.VOLUME_DELETE)
    problem = None
    if visit.is_post:
        try:
            by_hand.delete_volume(visit.scope, str(row.volume_id), confirm=visit.said("confirm"))
        except DozoError as error:
            problem = error
        else:
            return visit.go("/volumes", note="deleted")
    status = visit.refused(problem).status_code if problem is not None else 200
    context = {"volume": views.volume_view(row), "row": row, "problem": problem}
    return visit.render("servers/delete_volume.html", context, status=status)


@page(Operation.RESTORE_IN_PLACE, methods=("POST",))
def take_up(visit: Visit, ref: str) -> HttpResponse:
    """Finish a restore that was interrupted, or take it back."""
    row = visit.scope.volume(ref, Operation.RESTORE_IN_PLACE)
    go_back = visit.said("do") == "go-back"
    params = {"volume": str(row.volume_id), "go_back": go_back or None}
    return visit.ask("volume.restore", params)
