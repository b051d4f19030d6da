"""Servers: the list, and the page of one."""

from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.http import HttpResponse

from dozo.console.servers import picture
from dozo.console.shell.visit import Visit, page
from dozo.services import job_queue, protection, scheduler, views
from dozo.services.access import Operation
from dozo.services.lists import servers
from dozo.services.protection import Protection
from dozo.web.paging import cut

if TYPE_CHECKING:
    from dozo.catalog import models

_PAGE = 50
_MOST_JOBS = 20
NOT_PROTECTED = "not-protected"
_STATES = ("running", "stopped", "paused", "crashed")


@page(Operation.SERVER_LIST)
def server_list(visit: Visit) -> HttpResponse:
    """All servers, with what matters about each."""
    scope = visit.scope
    found = servers.find(
        scope,
        name=visit.query("name"),
        tenant=visit.query("tenant"),
        tag=visit.query("tag"),
        state=visit.query("state"),
        gone=visit.query("gone") == "1",
    )
    wanted = visit.query("protection")
    if wanted:
        found = servers.in_states(scope, found, _states(wanted))
    sort = visit.query("sort", "name")
    sort = sort if sort in servers.SORTS else "name"
    part = cut(found, limit=_PAGE, cursor=visit.query("cursor") or None, sort=sort)
    judged = servers.judged(scope, part.rows)
    elsewhere = servers.copies_elsewhere(scope, part.rows)
    shown = views.server_views(scope.site, part.rows)
    items = [
        {
            "server": view,
            "judged": judged[row.uuid],
            "elsewhere": elsewhere.get(row.uuid, ()),
        }
        for row, view in zip(part.rows, shown, strict=True)
    ]
    return visit.render(
        "servers/list.html",
        {
            "part": part,
            "items": items,
            "filters": _filters(visit),
            "filtered": any(visit.query(one) for one in _FILTERS),
            "has_peers": bool(scope.site.settings.peers),
            "tenants": _tenants(visit),
            "tags": servers.tags_of(scope),
        },
    )


_FILTERS = ("name", "state", "protection", "tag", "tenant", "gone")


def _filters(visit: Visit) -> dict[str, Any]:
    return {
        **{one: visit.query(one) for one in _FILTERS},
        "protections": [one.value for one in Protection],
        "states": _STATES,
    }


def _states(wanted: str) -> set[Protection]:
    if wanted == NOT_PROTECTED:
        return set(Protection) - {Protection.PROTECTED}
    return {one for one in Protection if one.value == wanted}


def _tenants(visit: Visit) -> list[str]:
    """Whose they may be; nothing to choose for those of one tenant."""
    if visit.scope.actor.tenant is not None:
        return []
    return list(visit.scope.tenants.values_list("name", flat=True))


@page(Operation.SERVER_SHOW)
def server(visit: Visit, ref: str) -> HttpResponse:
    """One server: its volumes, what was taken of it, and what can be done."""
    row = visit.scope.server(ref, Operation.SERVER_SHOW)
    if visit.is_fragment and visit.request.headers.get("HX-Target") == "timeline":
        return visit.render("servers/timeline.html", picture.of_server(visit, row))
    judged = protection.of_server(visit.scope.site, row)
    by_volume = {one.volume: one for one in judged.volumes}
    view = views.server_views(visit.scope.site, [row])[0]
    return visit.render(
        "servers/server.html",
        {
            "server": view,
            "row": row,
            "volumes": [(one, by_volume.get(one.volume)) for one in view.volumes],
            "schedules": _schedules(visit, row),
            "tags_by_hand": " ".join(row.tags_by_hand),
            **_live(visit, row, judged),
            **picture.of_server(visit, row),
        },
    )


@page(Operation.SERVER_SHOW)
def server_live(visit: Visit, ref: str) -> HttpResponse:
    """The part of a server's page that is looked at again and again."""
    row = visit.scope.server(ref, Operation.SERVER_SHOW)
    if not visit.is_fragment:
        return visit.go(f"/servers/{row.uuid}")
    judged = protection.of_server(visit.scope.site, row)
    view = views.server_views(visit.scope.site, [row])[0]
    return visit.render("servers/live.html", {"server": view, **_live(visit, row, judged)})


def _live(visit: Visit, row: "models.Server", judged: Any) -> dict[str, Any]:
    volumes = [str(one) for one in row.volumes.values_list("volume_id", flat=True)]
    return {
        "judged": judged,
        "elsewhere": servers.copies_elsewhere(visit.scope, [row]).get(row.uuid, ()),
        "has_peers": bool(visit.scope.site.settings.peers),
        "jobs": running(visit, server=str(row.uuid), volumes=volumes),
        "live_address": f"/servers/{row.uuid}/live",
    }


def running(visit: Visit, *, server: str = "", volumes: list[str]) -> list[job_queue.JobView]:
    """The jobs of a server and its volumes that have not ended, the oldest first."""
    of = Q(object_kind="volume", object_id__in=volumes)
    if server:
        of |= Q(object_kind="server", object_id=server)
    rows = visit.scope.jobs.filter(of, state__in=(*job_queue.ACTIVE, *job_queue.WAITING))
    part = rows.select_related("tenant").order_by("created_at")[:_MOST_JOBS]
    return job_queue.views(visit.scope, list(part))


def _schedules(visit: Visit, row: "models.Server") -> list[Any]:
    """The schedules that cover the server as a whole."""
    rows = visit.scope.schedules.filter(tenant=row.tenant)
    return [one for one in rows if scheduler.covers(one, row)]
