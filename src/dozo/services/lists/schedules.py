"""Schedules, by what somebody looks for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from dozo.services.access import Operation, Scope

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog.models_jobs import Schedule


def find(
    scope: Scope,
    *,
    name: str | None = None,
    tenant: str | None = None,
    enabled: bool | None = None,
    mode: str | None = None,
    target_kind: str | None = None,
    target: str | None = None,
    schedule: str | None = None,
) -> "QuerySet[Schedule]":
    """Those that fit everything that is given; ``name`` is a part of it, ``target`` and
    ``schedule`` are ids, or a tag.

    Raises ``Forbidden``.
    """
    scope.permit(Operation.SCHEDULE_LIST)
    wanted: dict[str, Any] = {
        "name__icontains": name,
        "tenant__name": tenant,
        "enabled": enabled,
        "mode": mode,
        "target_kind": target_kind,
        "target": target,
        "schedule_id": schedule,
    }
    given = {column: one for column, one in wanted.items() if one is not None}
    return scope.schedules.filter(**given).select_related("tenant")


def of_server(scope: Scope, uuid: str) -> "QuerySet[Schedule]":
    """Those that name a server, one of its volumes, or a tag that it bears."""
    scope.permit(Operation.SCHEDULE_LIST)
    server = scope.server(uuid, Operation.SERVER_SHOW)
    volumes = [str(one) for one in server.volumes.values_list("volume_id", flat=True)]
    return scope.schedules.filter(
        Q(target_kind="server", target=str(server.uuid))
        | Q(target_kind="volume", target__in=volumes)
        | Q(target_kind="tag", target__in=[*server.tags, *server.tags_by_hand]),
        tenant=server.tenant,
    ).select_related("tenant")


def free_name(scope: Scope, base: str) -> str:
    """A name that no schedule of the actor's has: ``base``, or that with a number."""
    taken = set(scope.schedules.filter(name__startswith=base).values_list("name", flat=True))
    numbered = (f"{base}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (base, *numbered) if one not in taken)


def snapshots_of(scope: Scope, row: "Schedule") -> int:
    """How many snapshots of a schedule there are."""
    mine = scope.snapshots.filter(tenant_id=row.tenant_id, schedule_id=row.schedule_id)
    return mine.filter(deleted_at=None).count()


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a schedule may cover: a server or a volume by its id, or a tag."""

    reference: str
    name: str
    tenant: str


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What there is to choose from; ``more``: only the first so many of each kind."""

    servers: tuple[Target, ...]
    volumes: tuple[Target, ...]
    tags: tuple[str, ...]
    more: bool


def targets(scope: Scope, limit: int = 300) -> Targets:
    """The servers, volumes and tags that a schedule of the actor's may cover."""
    servers = list(
        scope.servers.filter(present=True)
        .select_related("tenant")
        .order_by("name", "uuid")[: limit + 1]
    )
    volumes = list(
        scope.volumes.exclude(state="gone")
        .select_related("tenant", "server")
        .order_by("server__name", "device", "name", "volume_id")[: limit + 1]
    )
    tags = {tag for one in servers for tag in (*one.tags, *one.tags_by_hand)}
    return Targets(
        servers=tuple(
            Target(reference=str(one.uuid), name=one.name, tenant=one.tenant.name)
            for one in servers[:limit]
        ),
        volumes=tuple(
            Target(
                reference=str(one.volume_id),
                name=f"{one.server.name} / {one.device} ({one.name})" if one.server else one.name,
                tenant=one.tenant.name,
            )
            for one in volumes[:limit]
        ),
        tags=tuple(sorted(tags)[:limit]),
        more=len(servers) > limit or len(volumes) > limit,
    )
