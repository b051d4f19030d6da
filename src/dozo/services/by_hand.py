"""What people do at once, without a job: permitted, confirmed, done, recorded.

References are looked up as the actor sees them; from then on everything goes by id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dozo.model.errors import DozoError, ErrorKind
from dozo.model.message import Message
from dozo.model.states import Tracking
from dozo.services import attaching, policies, power, snapshots, templates, tracking
from dozo.services import site as sites
from dozo.services.access import Operation, Scope
from dozo.services.attaching import Attachment, AttachPlan, VolumeDeleted
from dozo.services.audit import recorded
from dozo.services.power import ServerState
from dozo.services.settings import Peer
from dozo.services.snapshots import HoldView
from dozo.services.tracking import TrackingSet
from dozo.services.views import TemplateView

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.vault.deletion import Hold


# SQLite binds some ten thousand values in one query at most.
_AT_ONCE = 5000


@dataclass(eq=False)
class NotConfirmed(DozoError):
    """Something that cannot be taken back was asked for without saying its name."""

    code = "request.not_confirmed"
    kind = ErrorKind.REFUSED
    text = "deleting {self.what} has to be confirmed"
    hint = "Give its name as `confirm`: {self.name}."
    what: str
    name: str


@dataclass(eq=False)
class CountNotConfirmed(DozoError):
    """Several snapshots were to be deleted, and not as many as the asker believes."""

    code = "request.count_not_confirmed"
    kind = ErrorKind.REFUSED
    text = "this deletes {self.count} snapshots, which has to be confirmed"
    hint = "Look at what they are, and give their number as `confirm_count`."
    count: int


@dataclass(eq=False)
class PeerTextInvalid(DozoError):
    """A peer cannot be described like that."""

    code = "site.peer_text_invalid"
    kind = ErrorKind.USAGE
    text = "{self.field} of the peer cannot be used: {self.problem}"
    hint = "`dozo site show` at the peer shows its vault and its public key."
    field: str
    problem: str


@dataclass(eq=False)
class NothingNamed(DozoError):
    """A recovery point none of whose snapshots is there in the state that was asked for."""

    code = "request.nothing_named"
    kind = ErrorKind.REFUSED
    text = "recovery point {self.name} has no snapshot to {self.verb}"
    hint = "The list of snapshots shows which are there, and with `deleted=true` which are gone."
    name: str
    verb: str


def delete_server(
    scope: Scope, reference: str, *, confirm: str, volumes_too: bool = False
) -> ServerState:
    """Delete a stopped server; raises :class:`NotConfirmed` and what ``power.delete`` raises."""
    detail = {"volumes": volumes_too}
    with recorded(scope, Operation.SERVER_DELETE, reference=reference, detail=detail) as attempt:
        row = scope.server(reference, Operation.SERVER_DELETE, present=True)
        attempt.on(row)
        if confirm != row.name:
            raise NotConfirmed(Message("server {server}", server=row.name), row.name)
        return power.delete(scope.site, str(row.uuid), volumes_too=volumes_too)


def delete_volume(scope: Scope, reference: str, *, confirm: str) -> VolumeDeleted:
    """Delete a volume that Dozo made; raises :class:`NotConfirmed` and what deleting raises."""
    with recorded(scope, Operation.VOLUME_DELETE, reference=reference) as attempt:
        row = scope.volume(reference, Operation.VOLUME_DELETE)
        attempt.on(row)
        if confirm != row.name:
            raise NotConfirmed(Message("volume {volume}", volume=row.name), row.name)
        return attaching.delete_volume(scope.site, str(row.volume_id))


def set_tracking(scope: Scope, reference: str, setting: Tracking) -> TrackingSet:
    """Say whether checkpoints of a server may be kept."""
    detail = {"tracking": setting.value}
    with recorded(scope, Operation.SERVER_TRACK, reference=reference, detail=detail) as attempt:
        row = scope.server(reference, Operation.SERVER_TRACK, present=True)
        attempt.on(row)
        return tracking.set_tracking(scope.site, str(row.uuid), setting)


def plan_attach(
    scope: Scope, reference: str, server: str, *, device: str | None = None
) -> AttachPlan:
    """How :func:`attach` would do it; raises what it would refuse. Nothing is changed."""
    row = scope.volume(reference, Operation.VOLUME_ATTACH)
    to = scope.server(server, Operation.VOLUME_ATTACH, present=True)
    policies.refuse_attach(row, to)
    return attaching.plan_attach(scope.site, str(row.volume_id), str(to.uuid), device=device)


def attach(
    scope: Scope,
    reference: str,
    server: str,
    *,
    device: str | None = None,
    bus: str | None = None,
    serial: str | None = None,
) -> Attachment:
    """Attach a volume to a server of the same tenant; raises what ``attaching`` raises."""
    detail = {"server": server, "device": device}
    with recorded(scope, Operation.VOLUME_ATTACH, reference=reference, detail=detail) as attempt:
        row = scope.volume(reference, Operation.VOLUME_ATTACH)
        attempt.on(row)
        to = scope.server(server, Operation.VOLUME_ATTACH, present=True)
        policies.refuse_attach(row, to)
        plan = attaching.plan_attach(
            scope.site,
            str(row.volume_id),
            str(to.uuid),
            device=device,
            bus=bus,
            serial=serial,
        )
        return attaching.attach(scope.site, plan)


def detach(scope: Scope, reference: str, server: str) -> Attachment:
    """Detach a volume; raises what ``attaching`` raises."""
    detail = {"server": server}
    with recorded(scope, Operation.VOLUME_DETACH, reference=reference, detail=detail) as attempt:
        row = scope.volume(reference, Operation.VOLUME_DETACH)
        attempt.on(row)
        of = scope.server(server, Operation.VOLUME_DETACH, present=True)
        return attaching.detach(scope.site, str(row.volume_id), str(of.uuid))


def delete_snapshots(
    scope: Scope, references: Sequence[str], *, confirm_count: int | None = None
) -> list[str]:
    """Delete snapshots, all or none; more than one only with their number.

    Raises :class:`CountNotConfirmed`, ``SnapshotUnknown``, the vault's ``SnapshotHeld``.
    """
    detail = {"snapshots": list(references)}
    with recorded(scope, Operation.SNAPSHOT_DELETE, detail=detail) as attempt:
        rows = [scope.snapshot(one, Operation.SNAPSHOT_DELETE) for one in references]
        attempt.on(rows[0])
        return _delete(scope, rows, confirm_count)


def undelete_snapshots(scope: Scope, references: Sequence[str]) -> list[str]:
    """Bring deleted snapshots back, while they have not been pruned."""
    detail = {"snapshots": list(references)}
    with recorded(scope, Operation.SNAPSHOT_UNDELETE, detail=detail) as attempt:
        rows = [scope.snapshot(one, Operation.SNAPSHOT_UNDELETE) for one in references]
        attempt.on(rows[0])
        return _undelete(scope, rows)


def members(scope: Scope, row: "models.RecoveryPoint") -> "list[models.Snapshot]":
    """A recovery point's snapshots that are there and the actor's. :class:`NothingNamed`."""
    rows = list(scope.snapshots.filter(recovery_point=row, deleted_at=None))
    if not rows:
        raise NothingNamed(row.name, "use")
    return rows


def delete_recovery_point(
    scope: Scope, reference: str, *, confirm_count: int | None = None
) -> list[str]:
    """Delete a recovery point's snapshots, of the actor's tenant. Raises as for snapshots."""
    with recorded(scope, Operation.RECOVERY_POINT_DELETE, reference=reference) as attempt:
        row = scope.recovery_point(reference, Operation.RECOVERY_POINT_DELETE)
        attempt.on(row)
        rows = members(scope, row)
        attempt.detail["snapshots"] = [one.snapshot_id for one in rows]
        return _delete(scope, rows, confirm_count)


def undelete_recovery_point(scope: Scope, reference: str) -> list[str]:
    """Bring a recovery point's deleted snapshots back."""
    with recorded(scope, Operation.RECOVERY_POINT_UNDELETE, reference=reference) as attempt:
        row = scope.recovery_point(reference, Operation.RECOVERY_POINT_UNDELETE)
        attempt.on(row)
        rows = list(scope.snapshots.filter(recovery_point=row, deleted_at__isnull=False))
        if not rows:
            raise NothingNamed(row.name, Message("bring back"))
        attempt.detail["snapshots"] = [one.snapshot_id for one in rows]
        return _undelete(scope, rows)


def _delete(
    scope: Scope, rows: "Iterable[models.Snapshot]", confirm_count: int | None
) -> list[str]:
    ids = list(dict.fromkeys(row.snapshot_id for row in rows))
    wrong = confirm_count is not None and confirm_count != len(ids)
    if wrong or (confirm_count is None and len(ids) > 1):
        raise CountNotConfirmed(len(ids))
    snapshots.delete(scope.site, ids)
    return ids


def _undelete(scope: Scope, rows: "Iterable[models.Snapshot]") -> list[str]:
    ids = list(dict.fromkeys(row.snapshot_id for row in rows))
    snapshots.undelete(scope.site, ids)
    return ids


def delete_template(scope: Scope, reference: str) -> TemplateView:
    """Delete a template; what was made of it stays."""
    with recorded(scope, Operation.TEMPLATE_DELETE, reference=reference) as attempt:
        row = scope.template(reference, Operation.TEMPLATE_DELETE)
        attempt.on(row)
        return templates.delete(scope.site, row.snapshot_id)


def hold(scope: Scope, reference: str, *, until: datetime, note: str = "") -> HoldView:
    """Keep a snapshot from everybody until a date; a hold is extended, never shortened."""
    detail = {"until": until, "note": note}
    with recorded(scope, Operation.HOLD_PLACE, reference=reference, detail=detail) as attempt:
        row = scope.snapshot(reference, Operation.HOLD_PLACE)
        attempt.on(row)
        return snapshots.hold(scope.site, row, until=until, note=note)


def holds_of(scope: Scope, reference: str) -> list[HoldView]:
    """The holds on one snapshot."""
    row = scope.snapshot(reference, Operation.HOLD_SHOW)
    return snapshots.holds(scope.site, row)


def list_holds(scope: Scope) -> list[HoldView]:
    """The holds on what the actor may see, the first to end first."""
    scope.permit(Operation.HOLD_LIST)
    found: dict[str, list[Hold]] = {}
    for one in scope.site.vault.holds():
        found.setdefault(one.snapshot, []).append(one)
    ids = list(found)
    names: dict[str, str] = {}
    for start in range(0, len(ids), _AT_ONCE):
        rows = scope.snapshots.filter(snapshot_id__in=ids[start : start + _AT_ONCE])
        names.update(rows.values_list("snapshot_id", "name"))
    views = [
        HoldView(snapshot=snapshot, name=names[snapshot], until=one.until, note=one.note)
        for snapshot, ones in found.items()
        if snapshot in names
        for one in ones
    ]
    return sorted(views, key=lambda view: (view.until, view.snapshot))


def add_peer(
    scope: Scope, *, name: str, vault: str, public_key: str, replace: bool = False
) -> Peer:
    """Let a peer's site open what this one stores; the key is a text, never a path.

    Raises :class:`PeerTextInvalid` and what ``site.add_peer`` raises.
    """
    detail = {"name": name, "vault": vault, "replace": replace}
    with recorded(scope, Operation.SITE_ADD_PEER, reference=name, detail=detail):
        scope.permit(Operation.SITE_ADD_PEER)
        if not public_key.startswith("dozo-site-"):
            raise PeerTextInvalid(Message("the public key"), Message("it begins with `dozo-site-`"))
        if not vault.startswith("/") and "://" not in vault:
            raise PeerTextInvalid(Message("the vault"), Message("give a URL or an absolute path"))
        return sites.add_peer(
            scope.site, name=name, vault=vault, public_key=public_key, replace=replace
        )
