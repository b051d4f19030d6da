"""What a job made: servers, volumes, snapshots, recovery points and templates that are there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dozo.services.access import Scope

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job

_MOST = 100
_SNAPSHOTS = frozenset({"snapshot.create", "recovery-point.create"})
_SERVERS = frozenset({"server.create", "server.restore"})


@dataclass(frozen=True, kw_only=True)
class Made:
    """One thing that a job made; ``kind`` as audit entries call it."""

    kind: str
    id: str
    name: str


def made(scope: Scope, row: "Job") -> list[Made]:
    """What the job made, as far as it is still there and the actor may see it."""
    if not isinstance(row.result, dict):
        return []
    result: Mapping[str, Any] = row.result
    found = list(_named(row.kind, result))
    return [*_visible(scope, found)]


def _named(kind: str, result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if kind in _SERVERS:
        yield "server", str(result.get("server") or "")
        for one in _dicts(result.get("volumes")):
            yield "volume", str(one.get("volume") or "")
    elif kind in _SNAPSHOTS:
        yield "recovery-point", str(result.get("recovery_point") or "")
        for one in _dicts(result.get("snapshots")):
            yield "snapshot", str(one.get("snapshot") or "")
    elif kind == "template.create":
        yield "template", str(result.get("template") or "")
    elif kind == "volume.create":
        yield "volume", str(result.get("volume") or "")


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _visible(scope: Scope, named: list[tuple[str, str]]) -> Iterator[Made]:
    ids: dict[str, list[str]] = {}
    for kind, key in named[:_MOST]:
        if key:
            ids.setdefault(kind, []).append(key)
    for kind, keys in ids.items():
        yield from (
            Made(kind=kind, id=str(row.pk), name=row.name) for row in _rows(scope, kind, keys)
        )


def _rows(scope: Scope, kind: str, keys: list[str]) -> Any:
    if kind == "server":
        return scope.servers.filter(uuid__in=_uuids(keys))
    if kind == "volume":
        return scope.volumes.filter(volume_id__in=_uuids(keys))
    if kind == "recovery-point":
        return scope.recovery_points.filter(recovery_point_id__in=keys)
    if kind == "template":
        return scope.templates.filter(snapshot_id__in=keys, deleted_at=None)
    return scope.snapshots.filter(snapshot_id__in=keys, deleted_at=None)


def _uuids(keys: list[str]) -> list[UUID]:
    found = []
    for key in keys:
        try:
            found.append(UUID(key))
        except ValueError:
            continue
    return found
