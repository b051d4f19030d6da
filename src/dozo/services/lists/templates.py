"""Which templates: the filters of the list."""

from typing import TYPE_CHECKING

from dozo.services.access import Operation, Scope

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog import models

SORTS = ("created_at", "-created_at", "name", "-name")


def find(
    scope: Scope, *, name: str | None = None, tenant: str | None = None
) -> "QuerySet[models.Template]":
    """The templates that the actor may see; ``name`` is a part of it."""
    scope.permit(Operation.TEMPLATE_LIST)
    rows = scope.templates.filter(deleted_at=None)
    if name:
        rows = rows.filter(name__icontains=name)
    if tenant:
        rows = rows.filter(tenant__name=tenant)
    return rows.select_related("tenant")
