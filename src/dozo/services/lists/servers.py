"""Servers as people list them: found by what they ask for, with the state of their copies."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.db.models import OuterRef, Subquery, TextField
from django.db.models.functions import Cast

from dozo.model.states import Copy
from dozo.services import protection
from dozo.services.access import Operation, Scope
from dozo.services.protection import Protection, ServerProtection

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog import models

SORTS = ("name", "-name", "state", "-state")
# From the worst: a server is as far at another site as its worst volume.
_WORST_FIRST = (Copy.DAMAGED, Copy.MISSING, Copy.COPYING, Copy.STORED, Copy.VERIFIED)


@dataclass(frozen=True, kw_only=True)
class CopyState:
    """How far the newest snapshots of something are at another site.

    ``newest_at`` is the oldest of their instants: what was changed later is at one site only.
    """

    site: str
    state: str
    newest_at: datetime


def find(
    scope: Scope,
    *,
    name: str | None = None,
    tenant: str | None = None,
    tag: str | None = None,
    state: str | None = None,
    gone: bool = False,
) -> "QuerySet[models.Server]":
    """The servers that the actor may see and asked for. Raises ``Forbidden``.

    ``name`` is a part of the name; with ``gone`` also those that only snapshots know.
    """
    scope.permit(Operation.SERVER_LIST)
    rows = scope.servers.select_related("tenant")
    if not gone:
        rows = rows.filter(present=True)
    if name:
        rows = rows.filter(name__icontains=name)
    if tenant:
        rows = rows.filter(tenant__name=tenant)
    if state:
        rows = rows.filter(state=state)
    if tag:
        rows = rows.annotate(tags_text=Cast("tags", TextField()))
        rows = rows.filter(tags_text__contains=json.dumps(tag))
    return rows


def judged(scope: Scope, rows: "Iterable[models.Server]") -> dict[UUID, ServerProtection]:
    """The protection of servers, by UUID."""
    listed = list(rows)
    found = protection.of_servers(scope.site, listed)
    return {row.uuid: one for row, one in zip(listed, found, strict=True)}


def in_states(
    scope: Scope, rows: "QuerySet[models.Server]", states: Iterable[Protection]
) -> "QuerySet[models.Server]":
    """Those of the servers whose protection is in one of these states."""
    wanted = set(states)
    found = [uuid for uuid, one in judged(scope, rows).items() if one.state in wanted]
    return rows.filter(uuid__in=found)


def tags_of(scope: Scope) -> list[str]:
    """The tags of the servers that the actor may see, sorted."""
    rows = scope.servers.filter(present=True).values_list("tags", flat=True)
    return sorted({tag for tags in rows for tag in tags})


def copies_elsewhere(
    scope: Scope, rows: "Iterable[models.Server]"
) -> dict[UUID, tuple[CopyState, ...]]:
    """For each server how far the newest snapshot of its worst volume is at each other site.

    Servers without any snapshot, and sites without a peer, have nothing to tell.
    """
    newest = _newest_snapshots(scope, [row.uuid for row in rows])
    peers = {one.site_id: one.name for one in scope.site.settings.peers}
    if not peers:
        return {}
    states = _states_at(scope, [one.snapshot for one in newest], list(peers))
    found: dict[UUID, dict[str, list[tuple[Copy, datetime]]]] = {}
    for one in newest:
        at = found.setdefault(one.server, {name: [] for name in peers.values()})
        for site_id, name in peers.items():
            state = states.get((one.snapshot, site_id), Copy.MISSING)
            at[name].append((state, one.created_at))
    return {
        server: tuple(
            CopyState(
                site=name,
                state=min((state for state, _ in ones), key=_WORST_FIRST.index).value,
                newest_at=min(at for _, at in ones),
            )
            for name, ones in sorted(sites.items())
        )
        for server, sites in found.items()
    }


@dataclass(frozen=True, kw_only=True)
class _Newest:
    server: UUID
    snapshot: str
    created_at: datetime


def _newest_snapshots(scope: Scope, servers: list[UUID]) -> list[_Newest]:
    """The newest snapshot of each volume that is attached to one of the servers."""
    catalog = scope.site.catalog
    mine = scope.snapshots.filter(volume=OuterRef("pk"), deleted_at=None).order_by("-created_at")
    found = []
    for part in _parts(servers):
        rows: Any = (
            catalog.volumes.filter(server_id__in=part, state="attached")
            .order_by()
            .annotate(
                newest=Subquery(mine.values("snapshot_id")[:1]),
                newest_at=Subquery(mine.values("created_at")[:1]),
            )
            .exclude(newest=None)
            .values_list("server_id", "newest", "newest_at")
        )
        found += [_Newest(server=one, snapshot=id_, created_at=at) for one, id_, at in rows]
    return found


def _states_at(scope: Scope, snapshots: list[str], sites: list[str]) -> dict[tuple[str, str], Copy]:
    found: dict[tuple[str, str], Copy] = {}
    for part in _parts(snapshots):
        rows = scope.site.catalog.copies.filter(snapshot_id__in=part, site_id__in=sites)
        for snapshot, site_id, state in rows.values_list("snapshot_id", "site_id", "state"):
            found[snapshot, site_id] = Copy(state)
    return found


_Key = TypeVar("_Key")


def _parts(keys: list[_Key]) -> Iterator[list[_Key]]:
    """SQLite binds at most a few ten thousand values in one query."""
    for start in range(0, len(keys), 5000):
        yield keys[start : start + 5000]
