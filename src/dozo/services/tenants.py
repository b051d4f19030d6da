"""Tenants: made, disabled, given policies and servers.

Snapshots are sealed under the keys of the tenant that owned the server when they were taken.
Assigning a server changes whose its future snapshots are; those that are there stay with the
tenant that they were taken for.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Sum

from dozo.model import policy as policies
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.policy import Policy
from dozo.services import policies as tenant_policies
from dozo.services import tags
from dozo.services.access import Operation, Scope
from dozo.services.access_errors import TenantExists, TenantNameInvalid
from dozo.services.audit import audited
from dozo.services.pool import Pool

if TYPE_CHECKING:
    from dozo.catalog import models

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class TenantView:
    """A tenant; ``policy_overrides`` is what differs from the preset ``policy``."""

    tenant: str
    policy: str
    policy_overrides: Mapping[str, Any]
    created_at: datetime
    disabled: bool
    servers: int
    users: int


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What counts towards a tenant's quota: what is not deleted. Templates count as snapshots."""

    snapshots: int
    templates: int
    bytes_stored: int


@dataclass(frozen=True, kw_only=True)
class QuotaView:
    """What counts towards a tenant's quota, and the quota; None is no limit. Sizes are bytes."""

    snapshots: int
    templates: int
    bytes_stored: int
    quota_snapshots: int | None
    quota_stored_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class PolicyView:
    """A policy: a preset, what differs from it, and all settings as they come out."""

    preset: str
    overrides: Mapping[str, Any]
    settings: Mapping[str, Any]
    version: str


@dataclass(eq=False)
class PolicyChanged(DozoError):
    """Somebody else has changed the policy meanwhile."""

    code = "policy.changed"
    kind = ErrorKind.REFUSED
    text = "the policy of {self.tenant!r} has changed since you read it"
    hint = "Read it again, and make your change to what is there now."
    tenant: str


def tenant_views(scope: Scope, rows: "Iterable[models.Tenant]") -> list[TenantView]:
    """Tenants in the order given, with as many queries for many as for one."""
    rows = list(rows)
    catalog = scope.site.catalog
    ids = [row.pk for row in rows]
    servers = _counted(catalog.servers.filter(tenant_id__in=ids, present=True))
    users = _counted(catalog.users.filter(tenant_id__in=ids, is_active=True))
    return [
        TenantView(
            tenant=row.name,
            policy=row.policy,
            policy_overrides=row.policy_overrides,
            created_at=row.created_at,
            disabled=row.disabled,
            servers=servers.get(row.pk, 0),
            users=users.get(row.pk, 0),
        )
        for row in rows
    ]


def _counted(rows: Any) -> dict[int, int]:
    counted = rows.order_by().values("tenant_id").annotate(count=Count("pk"))
    return {one["tenant_id"]: one["count"] for one in counted}


def tenant_view(scope: Scope, row: "models.Tenant") -> TenantView:
    """One tenant."""
    return tenant_views(scope, [row])[0]


def list_tenants(scope: Scope) -> list[TenantView]:
    """The tenants that the actor may see, by name."""
    scope.permit(Operation.TENANT_LIST)
    return tenant_views(scope, scope.tenants)


def show(scope: Scope, name: str) -> TenantView:
    """One tenant. Raises ``TenantUnknown``."""
    return tenant_view(scope, scope.tenant(name, Operation.TENANT_SHOW))


def create(
    scope: Scope,
    name: str,
    *,
    policy: str = policies.DEFAULT_PRESET,
    overrides: Mapping[str, Any] | None = None,
) -> TenantView:
    """Make a tenant. Its keys are made with its first snapshot.

    Raises :class:`TenantExists`, :class:`TenantNameInvalid`, ``PolicyInvalid``, ``Forbidden``.
    """
    detail = {"policy": policy, "overrides": overrides or {}}
    with audited(scope, Operation.TENANT_CREATE, reference=name, detail=detail) as attempt:
        scope.permit(Operation.TENANT_CREATE)
        if not _NAME.fullmatch(name):
            raise TenantNameInvalid(name[:80])
        # Names that differ in case alone would be mistaken for each other.
        if scope.site.catalog.tenants.filter(name__iexact=name).exists():
            raise TenantExists(name)
        wanted = validated_policy(policy, overrides or {})
        row = scope.site.catalog.tenants.create(
            name=name,
            policy=wanted.preset,
            policy_overrides=policies.overrides_of(wanted),
        )
        attempt.on(row)
    return tenant_view(scope, row)


def set_disabled(scope: Scope, name: str, *, disabled: bool) -> TenantView:
    """Keep a tenant's users and tokens out, or let them in again.

    What the tenant has stays; its schedules go on, so that its servers stay protected. Raises
    ``TenantUnknown``, ``Forbidden``.
    """
    operation = Operation.TENANT_DISABLE if disabled else Operation.TENANT_ENABLE
    with audited(scope, operation, reference=name) as attempt:
        row = scope.tenant(name, operation)
        attempt.on(row)
        row.disabled = disabled
        row.save(using=scope.site.catalog.alias, update_fields=["disabled"])
    return tenant_view(scope, row)


def validated_policy(preset: str, overrides: Mapping[str, Any]) -> Policy:
    """The policy of a preset's name and what differs from it.

    Raises ``PolicyPresetUnknown``, ``PolicyInvalid``.
    """
    return policies.overridden(policies.preset(preset), overrides)


def policy_of(row: "models.Tenant") -> Policy:
    """The policy of a tenant, as it is stored."""
    return validated_policy(row.policy, row.policy_overrides)


def show_policy(scope: Scope, name: str) -> Policy:
    """A tenant's policy. Raises ``TenantUnknown``."""
    return policy_of(scope.tenant(name, Operation.POLICY_SHOW))


def policy_version(row: "models.Tenant") -> str:
    """What changes with every change of a tenant's policy."""
    stored = json.dumps([row.policy, row.policy_overrides], sort_keys=True)
    return hashlib.sha256(stored.encode()).hexdigest()[:16]


def policy_view(row: "models.Tenant") -> PolicyView:
    """A tenant's policy as it is shown."""
    policy = policy_of(row)
    return PolicyView(
        preset=policy.preset,
        overrides=policies.overrides_of(policy),
        settings=policies.policy_to_json(policy),
        version=policy_version(row),
    )


def list_presets(scope: Scope) -> list[PolicyView]:
    """The presets that a policy can start from. Raises ``Forbidden``."""
    scope.permit(Operation.TENANT_LIST)
    return [
        PolicyView(
            preset=name, overrides={}, settings=policies.policy_to_json(one), version="preset"
        )
        for name, one in policies.PRESETS.items()
    ]


def quota(scope: Scope, name: str) -> QuotaView:
    """What counts towards a tenant's quota, and the quota. Raises ``TenantUnknown``."""
    row = scope.tenant(name, Operation.QUOTA_SHOW)
    used, policy = usage_of(scope, row), policy_of(row)
    return QuotaView(
        snapshots=used.snapshots,
        templates=used.templates,
        bytes_stored=used.bytes_stored,
        quota_snapshots=policy.quota_snapshots,
        quota_stored_bytes=policy.quota_stored_bytes,
    )


def set_policy(
    scope: Scope,
    name: str,
    *,
    preset: str,
    overrides: Mapping[str, Any],
    version: str | None = None,
) -> Policy:
    """Give a tenant a policy; nothing that is there is deleted by it.

    Raises ``TenantUnknown``, ``Forbidden``, ``PolicyPresetUnknown``, ``PolicyInvalid``, and
    :class:`PolicyChanged` where ``version`` is not the present one.
    """
    detail = {"preset": preset, "overrides": dict(overrides)}
    with audited(scope, Operation.POLICY_SET, reference=name, detail=detail) as attempt:
        row = scope.tenant(name, Operation.POLICY_SET)
        attempt.on(row)
        if version is not None and version != policy_version(row):
            raise PolicyChanged(row.name)
        wanted = validated_policy(preset, overrides)
        attempt.detail["before"] = {"preset": row.policy, "overrides": row.policy_overrides}
        tenant_policies.give(scope.site, row, wanted)
    return wanted


def usage(scope: Scope, name: str) -> Usage:
    """What counts towards the quota of a tenant. Raises ``TenantUnknown``, ``Forbidden``."""
    return usage_of(scope, scope.tenant(name, Operation.QUOTA_SHOW))


def usage_of(scope: Scope, row: "models.Tenant") -> Usage:
    """As :func:`usage`, for rules that have the tenant already."""
    live = scope.site.catalog.snapshots.filter(tenant=row, deleted_at=None)
    # Each snapshot's own bytes are those that were new when it was stored.
    stored = live.aggregate(total=Sum("bytes_stored"))["total"]
    return Usage(
        snapshots=live.count(),
        templates=scope.site.catalog.templates.filter(tenant=row, deleted_at=None).count(),
        bytes_stored=int(stored or 0),
    )


def assign(scope: Scope, server: str, tenant: str | None) -> "models.Server":
    """Give a server and its volumes to a tenant; what the domain's metadata say counts no more.

    With ``tenant`` None the metadata count again, from the next look at the hypervisor. Future
    snapshots are the new tenant's, the first of each volume is read in full; old ones stay with
    the old one. Raises ``ServerUnknown``, ``TenantUnknown``, ``Forbidden``.
    """
    detail: dict[str, Any] = {"to": tenant}
    with audited(scope, Operation.SERVER_ASSIGN, reference=server, detail=detail) as attempt:
        row = scope.server(server, Operation.SERVER_ASSIGN)
        attempt.on(row)
        attempt.detail["from"] = row.tenant.name
        if tenant is None:
            row.assigned_by = "default"
        else:
            row.tenant, row.assigned_by = scope.tenant(tenant), "hand"
        row.save(using=scope.site.catalog.alias, update_fields=["tenant", "assigned_by"])
        _take_volumes_along(scope, row)
    return row


def _take_volumes_along(scope: Scope, row: "models.Server") -> None:
    pool = Pool(scope.site.settings.pool)
    for volume in scope.site.catalog.volumes.filter(server=row).exclude(tenant=row.tenant):
        volume.tenant = row.tenant
        volume.save(using=scope.site.catalog.alias, update_fields=["tenant"])
        pool.assign(volume.volume_id, row.tenant.name)


def set_tags(
    scope: Scope, server: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
) -> "models.Server":
    """Change a server's tags. Those in the domain's metadata stay as long as they stand there.

    Raises ``TagInvalid``, ``ServerUnknown``, ``Forbidden``.
    """
    adding, removing = list(add), set(remove)
    detail = {"add": adding, "remove": sorted(removing)}
    with audited(scope, Operation.SERVER_TAG, reference=server, detail=detail) as attempt:
        row = scope.server(server, Operation.SERVER_TAG)
        attempt.on(row)
        in_metadata = set(row.tags) - set(row.tags_by_hand)
        row.tags_by_hand = tags.checked([*row.tags_by_hand, *adding])
        row.tags_by_hand = [tag for tag in row.tags_by_hand if tag not in removing]
        row.tags = tags.merged(row.tags_by_hand, in_metadata)
        row.save(using=scope.site.catalog.alias, update_fields=["tags", "tags_by_hand"])
    return row


def replace_tags(scope: Scope, server: str, wanted: Iterable[str]) -> "models.Server":
    """Make these the tags that were given by hand. Raises as :func:`set_tags`."""
    tags_wanted = set(wanted)
    detail = {"tags": sorted(tags_wanted)}
    with audited(scope, Operation.SERVER_TAG, reference=server, detail=detail) as attempt:
        row = scope.server(server, Operation.SERVER_TAG)
        attempt.on(row)
        in_metadata = set(row.tags) - set(row.tags_by_hand)
        row.tags_by_hand = tags.checked(tags_wanted)
        row.tags = tags.merged(row.tags_by_hand, in_metadata)
        row.save(using=scope.site.catalog.alias, update_fields=["tags", "tags_by_hand"])
    return row
