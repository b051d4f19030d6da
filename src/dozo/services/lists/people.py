"""Tenants and users, narrowed."""

from typing import TYPE_CHECKING, Any

from dozo.services.access import Operation, Role, Scope

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog import models


def _given(**wanted: Any) -> dict[str, Any]:
    return {name: one for name, one in wanted.items() if one is not None}


def tenants(
    scope: Scope, *, name: str | None = None, disabled: bool | None = None
) -> "QuerySet[models.Tenant]":
    """Tenants whose names have ``name`` in them. Raises ``Forbidden``."""
    scope.permit(Operation.TENANT_LIST)
    return scope.tenants.filter(**_given(name__icontains=name, disabled=disabled))


def users(
    scope: Scope,
    *,
    username: str | None = None,
    tenant: str | None = None,
    role: Role | None = None,
    active: bool | None = None,
) -> "QuerySet[models.User]":
    """Users whose names have ``username`` in them. Raises ``Forbidden``."""
    scope.permit(Operation.USER_LIST)
    wanted = _given(
        username__icontains=username,
        tenant__name=tenant,
        role=role.value if role else None,
        is_active=active,
    )
    return scope.users.filter(**wanted).select_related("tenant")


def unassigned(scope: Scope) -> "QuerySet[models.Server]":
    """The servers that nobody has given to a tenant yet, by hand or in their metadata."""
    scope.permit(Operation.SERVER_ASSIGN)
    return scope.servers.filter(present=True, assigned_by="default").select_related("tenant")
