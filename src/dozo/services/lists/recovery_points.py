"""Which recovery points: the filters of the list."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Exists, F, OuterRef

from dozo.services.access import Operation, Scope

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog import models

SORTS = ("created_at", "-created_at", "name", "-name")


def find(
    scope: Scope,
    *,
    name: str | None = None,
    server: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> "QuerySet[models.RecoveryPoint]":
    """The recovery points that still have a snapshot of the actor's, and fit everything given.

    ``name`` is a part of it; ``since`` is included, ``until`` is not. Raises ``ServerUnknown``.
    """
    scope.permit(Operation.RECOVERY_POINT_LIST)
    wanted = {
        "name__icontains": name,
        "created_at__gte": since,
        "created_at__lt": until,
        "server": scope.server(server) if server else None,
    }
    # Whose they are is asked of each point's few snapshots, not of all that a tenant has.
    there = scope.site.catalog.snapshots.annotate(owner=F("tenant_id") + 0).filter(
        recovery_point=OuterRef("pk"), deleted_at=None
    )
    if scope.actor.tenant is not None:
        there = there.filter(owner__in=scope.tenants.values("pk"))
    rows = scope.recovery_points.filter(Exists(there))
    given = {key: value for key, value in wanted.items() if value is not None and value != ""}
    # In a query of its own: joined, SQLite would begin with the servers and sort all their points.
    return rows.filter(**given).prefetch_related("server")
