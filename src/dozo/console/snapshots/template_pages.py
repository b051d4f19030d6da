"""Templates: the list, one of them, deleting it."""

from typing import Any

from django.http import HttpResponse

from dozo.console.shell.errors import NotTyped
from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.services import by_hand, restore_choices, tenants, views
from dozo.services.access import Operation
from dozo.services.lists import snapshots as snapshot_lists
from dozo.services.lists import templates as lists
from dozo.web.paging import cut

_ROWS = 50


@page(Operation.TEMPLATE_LIST)
def templates(visit: Visit) -> HttpResponse:
    """The list."""
    sort = visit.query("sort")
    sort = sort if sort in lists.SORTS else "-created_at"
    rows = lists.find(
        visit.scope, name=visit.query("name") or None, tenant=visit.query("tenant") or None
    )
    part = cut(rows, limit=_ROWS, cursor=visit.query("cursor") or None, sort=sort)
    own = visit.scope.actor.tenant
    context = {
        "part": part,
        "rows": views.template_views(visit.scope.site, part.rows),
        "quota": tenants.quota(visit.scope, own) if own else None,
        "filtered": bool(visit.query("name") or visit.query("tenant")),
    }
    return visit.render("snapshots/templates.html", context)


@page(Operation.TEMPLATE_SHOW)
def template(visit: Visit, ref: str) -> HttpResponse:
    """One template, and what can be made of it."""
    row = visit.scope.template(ref, Operation.TEMPLATE_SHOW)
    source = visit.scope.snapshots.filter(snapshot_id=row.source_snapshot, deleted_at=None)
    context = {
        "row": views.template_view(visit.scope.site, row),
        "deleted_at": row.deleted_at,
        "source": source.select_related("server").first(),
        "copies": snapshot_lists.copies_of(visit.scope, row.snapshot_id),
        "ways": restore_choices.ways(row.tenant),
        "quota": tenants.quota(visit.scope, row.tenant.name),
    }
    return visit.render("snapshots/template.html", context)


@page(Operation.TEMPLATE_DELETE, methods=("GET", "POST"))
def delete(visit: Visit, ref: str) -> HttpResponse:
    """Ask for its name; with it, delete it."""
    row = visit.scope.template(ref, Operation.TEMPLATE_DELETE)
    context: dict[str, Any] = {"row": views.template_view(visit.scope.site, row)}
    if visit.is_post:
        try:
            if visit.said("confirm") != row.name:
                raise NotTyped(row.name)
            by_hand.delete_template(visit.scope, row.snapshot_id)
        except DozoError as error:
            context["problem"] = error
            return visit.render("snapshots/template_delete.html", context, status=409)
        return visit.go("/templates", note="deleted")
    return visit.render("snapshots/template_delete.html", context)
