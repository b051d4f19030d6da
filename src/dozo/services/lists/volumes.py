"""Volumes as people list them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dozo.services import protection
from dozo.services.access import Operation, Scope
from dozo.services.protection import VolumeProtection

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog import models

SORTS = ("name", "-name", "state", "-state")
STATES = ("attached", "unattached", "creating", "gone")


def find(
    scope: Scope,
    *,
    name: str | None = None,
    server: str | None = None,
    tenant: str | None = None,
    state: str | None = None,
    gone: bool = False,
) -> "QuerySet[models.Volume]":
    """The volumes that the actor may see and asked for. Raises ``Forbidden``, ``ServerUnknown``.

    ``name`` is a part of the name; with ``gone`` also those that only snapshots know.
    """
    scope.permit(Operation.VOLUME_LIST)
    wanted: dict[str, Any] = {
        "name__icontains": name or None,
        "tenant__name": tenant or None,
        "state": state or None,
        "server": scope.server(server) if server else None,
    }
    rows = scope.volumes.filter(**{name: one for name, one in wanted.items() if one is not None})
    if not gone and state != "gone":
        rows = rows.exclude(state="gone")
    return rows.select_related("server", "tenant")


def judged(scope: Scope, rows: "Iterable[models.Volume]") -> dict[UUID, VolumeProtection]:
    """The protection of volumes, by id."""
    found = protection.of_volumes(scope.site, rows)
    return {UUID(one.volume): one for one in found}
