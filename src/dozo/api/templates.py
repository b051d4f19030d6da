"""Templates: /templates."""

from typing import Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field

from dozo.api.current import scope_of
from dozo.api.fields import Name, Reference
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import Body, ask, job, needs
from dozo.services import by_hand, views
from dozo.services.access import Operation
from dozo.services.lists import templates as lists
from dozo.services.views import TemplateView

router = Router()


class TemplateQuery(PageQuery):
    """Which templates."""

    sort: Literal["created_at", "-created_at", "name", "-name"] = "-created_at"
    name: Text | None = Field(None, description="A part of the name.")
    tenant: Text | None = None


@router.get("/templates", response=Page[TemplateView], **needs(Operation.TEMPLATE_LIST))
def list_templates(request: HttpRequest, query: Query[TemplateQuery]) -> object:
    """List templates."""
    scope = scope_of(request)
    rows = lists.find(scope, **query.dict(exclude={"limit", "cursor", "sort"}))
    part = cut(rows, query, query.sort)
    return part.page(views.template_views(scope.site, part.rows))


class NewTemplate(Body):
    """A template to be made of a root volume's snapshot."""

    snapshot: Reference
    name: Name


@router.post("/templates", **job(Operation.TEMPLATE_CREATE))
def create_template(request: HttpRequest, body: NewTemplate) -> HttpResponse:
    """Make a template; it stays when that snapshot is deleted."""
    return ask(request, "template.create", body.dict())


@router.get("/templates/{ref}", response=TemplateView, **needs(Operation.TEMPLATE_SHOW))
def show_template(request: HttpRequest, ref: str) -> object:
    """Show a template."""
    scope = scope_of(request)
    return views.template_view(scope.site, scope.template(ref, Operation.TEMPLATE_SHOW))


@router.delete("/templates/{ref}", response=TemplateView, **needs(Operation.TEMPLATE_DELETE))
def delete_template(request: HttpRequest, ref: str) -> object:
    """Delete a template; what was made of it stays."""
    return by_hand.delete_template(scope_of(request), ref)
