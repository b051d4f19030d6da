"""Tenants and their policies: /tenants, /policies."""

from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import Field

from dozo.api.current import scope_of
from dozo.api.fields import Name
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import IF_MATCH, ROOT, Body, etag, if_match, needs
from dozo.model.policy import DEFAULT_PRESET
from dozo.services import tenants
from dozo.services.access import Operation
from dozo.services.lists import people
from dozo.services.tenants import PolicyView, QuotaView, TenantView

router = Router()


class TenantQuery(PageQuery):
    """Which tenants."""

    sort: Literal["name", "-name", "created_at", "-created_at"] = "name"
    name: Text | None = Field(None, description="A part of the name.")
    disabled: bool | None = None


@router.get("/tenants", response=Page[TenantView], **needs(Operation.TENANT_LIST))
def list_tenants(request: HttpRequest, query: Query[TenantQuery]) -> object:
    """List tenants."""
    scope = scope_of(request)
    rows = people.tenants(scope, name=query.name, disabled=query.disabled)
    part = cut(rows, query, query.sort)
    return part.page(tenants.tenant_views(scope, part.rows))


class NewTenant(Body):
    """A tenant to be made; `overrides` is what differs from the preset."""

    name: Name
    policy: Text = DEFAULT_PRESET
    overrides: dict[str, Any] = Field(default_factory=dict)


@router.post("/tenants", response={201: TenantView}, **needs(Operation.TENANT_CREATE))
def create_tenant(request: HttpRequest, response: HttpResponse, body: NewTenant) -> object:
    """Make a tenant."""
    made = tenants.create(
        scope_of(request), body.name, policy=body.policy, overrides=body.overrides
    )
    response["Location"] = f"{ROOT}/tenants/{made.tenant}"
    return Status(201, made)


@router.get("/tenants/{name}", response=TenantView, **needs(Operation.TENANT_SHOW))
def show_tenant(request: HttpRequest, name: str) -> object:
    """Show a tenant."""
    return tenants.show(scope_of(request), name)


@router.post("/tenants/{name}/disable", response=TenantView, **needs(Operation.TENANT_DISABLE))
def disable_tenant(request: HttpRequest, name: str) -> object:
    """Keep a tenant's users out; what it has stays, and stays protected."""
    return tenants.set_disabled(scope_of(request), name, disabled=True)


@router.post("/tenants/{name}/enable", response=TenantView, **needs(Operation.TENANT_ENABLE))
def enable_tenant(request: HttpRequest, name: str) -> object:
    """Let a tenant's users in again."""
    return tenants.set_disabled(scope_of(request), name, disabled=False)


@router.get("/tenants/{name}/policy", response=PolicyView, **needs(Operation.POLICY_SHOW))
def show_policy(request: HttpRequest, response: HttpResponse, name: str) -> object:
    """Show a tenant's policy; its ETag is its version."""
    row = scope_of(request).tenant(name, Operation.POLICY_SHOW)
    shown = tenants.policy_view(row)
    response["ETag"] = etag(shown.version)
    return shown


class SetPolicy(Body):
    """The preset, and what differs from it."""

    preset: Text
    overrides: dict[str, Any] = Field(default_factory=dict)


@router.put("/tenants/{name}/policy", response=PolicyView, **needs(Operation.POLICY_SET, IF_MATCH))
def set_policy(request: HttpRequest, response: HttpResponse, name: str, body: SetPolicy) -> object:
    """Give a tenant a policy; nothing that is there is deleted by it."""
    scope = scope_of(request)
    tenants.set_policy(
        scope, name, preset=body.preset, overrides=body.overrides, version=if_match(request)
    )
    shown = tenants.policy_view(scope.tenant(name))
    response["ETag"] = etag(shown.version)
    return shown


@router.get("/tenants/{name}/quota", response=QuotaView, **needs(Operation.QUOTA_SHOW))
def show_quota(request: HttpRequest, name: str) -> object:
    """Show what counts towards a tenant's quota."""
    return tenants.quota(scope_of(request), name)


@router.get("/policies", response=list[PolicyView], **needs(Operation.TENANT_LIST))
def list_policies(request: HttpRequest) -> object:
    """List the presets that policies start from."""
    return tenants.list_presets(scope_of(request))
