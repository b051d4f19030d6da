"""Tenants, and the servers that belong to nobody yet."""

from typing import Any

from django.http import HttpResponse

from dozo.console.shell.errors import NotTyped
from dozo.console.shell.visit import Visit, page, status_of
from dozo.model.errors import DozoError
from dozo.model.policy import DEFAULT_PRESET, PRESETS
from dozo.services import tenants as service
from dozo.services import views
from dozo.services.access import Operation
from dozo.services.lists import people
from dozo.web.paging import cut

_SORTS = ("name", "-name", "created_at", "-created_at")
_MOST_UNASSIGNED = 200


@page(Operation.TENANT_LIST)
def tenants(visit: Visit) -> HttpResponse:
    """All tenants that the visitor may see, and what is not assigned yet."""
    sort = visit.query("sort", "name")
    rows = people.tenants(visit.scope, name=visit.query("name") or None)
    part = cut(
        rows,
        limit=50,
        cursor=visit.query("cursor") or None,
        sort=sort if sort in _SORTS else "name",
    )
    context: dict[str, Any] = {
        "part": part,
        "tenants": service.tenant_views(visit.scope, part.rows),
        "name": visit.query("name"),
    }
    if visit.may["server_assign"]:
        free = people.unassigned(visit.scope).order_by("name")
        context["unassigned"] = views.server_views(visit.scope.site, free[:_MOST_UNASSIGNED])
        context["unassigned_count"] = free.count()
        context["owners"] = [row.name for row in visit.scope.tenants.order_by("name")]
    return visit.render("people/tenants.html", context)


@page(Operation.TENANT_CREATE, methods=("GET", "POST"))
def new(visit: Visit) -> HttpResponse:
    """Make a tenant."""
    context: dict[str, Any] = {"presets": list(PRESETS), "preset": DEFAULT_PRESET}
    if not visit.is_post:
        return visit.render("people/tenant_new.html", context)
    name, preset = visit.said("name"), visit.said("policy", DEFAULT_PRESET)
    try:
        made = service.create(visit.scope, name, policy=preset)
    except DozoError as error:
        context |= {"problem": error, "name": name, "preset": preset}
        return visit.render("people/tenant_new.html", context, status=status_of(error))
    return visit.go(f"/tenants/{made.tenant}", note="saved")


@page(Operation.TENANT_SHOW)
def tenant(visit: Visit, name: str) -> HttpResponse:
    """One tenant: policy, quota, and where to go on."""
    shown = service.show(visit.scope, name)
    row = visit.scope.tenant(name, Operation.POLICY_SHOW)
    context = {
        "tenant": shown,
        "policy": service.policy_view(row),
        "quota": service.quota(visit.scope, name),
    }
    return visit.render("people/tenant.html", context)


@page(Operation.TENANT_DISABLE, methods=("GET", "POST"))
def disable(visit: Visit, name: str) -> HttpResponse:
    """Keep a tenant's users out, or let them in again."""
    shown = service.show(visit.scope, name)
    if not visit.is_post:
        return visit.render("people/tenant_disable.html", {"tenant": shown})
    if not shown.disabled and visit.said("confirm") != name:
        problem = NotTyped(name)
        context = {"tenant": shown, "problem": problem}
        return visit.render("people/tenant_disable.html", context, status=status_of(problem))
    service.set_disabled(visit.scope, name, disabled=not shown.disabled)
    return visit.go(f"/tenants/{name}", note="saved")


@page(Operation.SERVER_ASSIGN, methods=("POST",))
def assign(visit: Visit) -> HttpResponse:
    """Give servers to a tenant."""
    owner = visit.said("tenant")
    for server in visit.said_all("server"):
        service.assign(visit.scope, server, owner)
    return visit.go("/tenants", note="saved")
