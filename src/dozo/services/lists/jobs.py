"""Jobs as people list them."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dozo.services.access import Operation, Scope
from dozo.services.job_queue import ENDED

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog.models_jobs import Job


def find(
    scope: Scope,
    *,
    state: str | None = None,
    states: Collection[str] | None = None,
    active: bool | None = None,
    kind: str | None = None,
    tenant: str | None = None,
    actor: str | None = None,
    about: str | None = None,
    server: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> "QuerySet[Job]":
    """The jobs that the actor may see and asked for. Raises ``Forbidden``, ``ServerUnknown``.

    ``active``: True those that have not ended, False those that have. ``about`` is the id of what
    they are about; ``server`` names a server, whose volumes' jobs belong to it. ``actor`` is a
    whole name such as ``user:alice``, or what stands behind the colon.
    """
    scope.permit(Operation.JOB_LIST)
    wanted: dict[str, Any] = {
        "state": state,
        "state__in": states,
        "kind": kind,
        "tenant__name": tenant,
        "object_id": about,
        "created_at__gte": since,
        "created_at__lt": until,
    }
    rows = scope.jobs.filter(**{name: one for name, one in wanted.items() if one is not None})
    if active is not None:
        rows = rows.exclude(state__in=ENDED) if active else rows.filter(state__in=ENDED)
    if actor:
        kinds = ("user", "token", "system", "schedule")
        names = [actor] if ":" in actor else [f"{one}:{actor}" for one in kinds]
        rows = rows.filter(actor__in=names)
    if server:
        row = scope.server(server)
        volumes = row.volumes.values_list("volume_id", flat=True)
        rows = rows.filter(object_id__in=[str(row.uuid), *(str(one) for one in volumes)])
    return rows.select_related("tenant")
