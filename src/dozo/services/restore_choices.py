"""What can be given back of a server, and in which ways: what a person chooses from.

Nothing here decides whether a restore is done: that is the plan's part (``operations.restores``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Count, Exists, F, Max, OuterRef, Q, Window
from django.db.models.functions import RowNumber

from dozo.hypervisor import Network
from dozo.model.policy import RestoreKind, RestoreSites
from dozo.services import policies
from dozo.services.access import Operation, Scope
from dozo.services.views import (
    RecoveryPointView,
    SnapshotView,
    recovery_point_views,
    snapshot_views,
)

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog import models

_USABLE = ("stored", "verified")
_NEWEST = 30
_POINTS = 50


@dataclass(frozen=True, kw_only=True)
class Ways:
    """The ways in which the tenant's policy lets this be restored, and the networks for it."""

    policy: str
    kinds: frozenset[str]
    networks: tuple[str, ...]
    origin_only: bool

    @property
    def template(self) -> bool:
        """Step 1."""
        return RestoreKind.TEMPLATE.value in self.kinds

    @property
    def from_template(self) -> bool:
        """Step 2."""
        return RestoreKind.SERVER_FROM_TEMPLATE.value in self.kinds

    @property
    def volume(self) -> bool:
        """Step 3."""
        return RestoreKind.VOLUME.value in self.kinds

    @property
    def attach(self) -> bool:
        """Step 4."""
        return RestoreKind.ATTACH.value in self.kinds

    @property
    def server(self) -> bool:
        """All steps at once."""
        return RestoreKind.SERVER.value in self.kinds

    @property
    def in_place(self) -> bool:
        """Into the volume that is there."""
        return RestoreKind.IN_PLACE.value in self.kinds

    @property
    def image_file(self) -> bool:
        """As a file to download."""
        return RestoreKind.IMAGE_FILE.value in self.kinds


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A snapshot to choose; ``hindrance`` is empty, or says why it cannot be restored here:
    ``deleted``, ``not-here``, ``no-key``, ``other-site``.
    """

    view: SnapshotView
    hindrance: str

    @property
    def usable(self) -> bool:
        """Whether it can be restored here."""
        return not self.hindrance


@dataclass(frozen=True, kw_only=True)
class DeviceChoice:
    """A disk of the server; ``proposed`` is its newest usable snapshot at or before the time."""

    device: str
    root: bool
    volume: str | None
    volume_id: str | None
    proposed: str | None
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True)
class ServerChoices:
    """What there is of a server. ``gap_seconds``: how far apart the proposed ones were taken."""

    server: "models.Server"
    at: datetime | None
    ways: Ways
    devices: tuple[DeviceChoice, ...]
    gap_seconds: float
    points: tuple[RecoveryPointView, ...]

    @property
    def root(self) -> DeviceChoice | None:
        """The disk that a template can be made of."""
        return next((one for one in self.devices if one.root), None)

    @property
    def data(self) -> tuple[DeviceChoice, ...]:
        """The other disks."""
        return tuple(one for one in self.devices if not one.root)

    @property
    def unusable(self) -> tuple[Candidate, ...]:
        """Those that cannot be restored here."""
        return tuple(one for device in self.devices for one in device.candidates if not one.usable)

    @property
    def usable(self) -> bool:
        """Whether there is anything to restore here."""
        return any(one.proposed for one in self.devices)


def ways(tenant: "models.Tenant") -> Ways:
    """What the policy of a tenant permits."""
    policy = policies.of(tenant)
    allowed = policy.restore_networks
    return Ways(
        policy=policy.preset,
        kinds=frozenset(kind.value for kind in policy.restore_kinds),
        networks=tuple(one.value for one in Network if allowed is None or one.value in allowed),
        origin_only=policy.restore_sites is RestoreSites.ORIGIN,
    )


def servers(scope: Scope, *, name: str = "") -> "QuerySet[models.Server]":
    """Servers that may have snapshots, also gone ones; ``name`` is a part of it."""
    scope.permit(Operation.SNAPSHOT_LIST)
    rows = scope.servers.all()
    if name:
        rows = rows.filter(name__icontains=name)
    return rows.select_related("tenant")


def newest_of(scope: Scope, rows: "Iterable[models.Server]") -> dict[str, tuple[datetime, int]]:
    """For each server that has any, by UUID: when its newest snapshot was taken, and how many."""
    counted = (
        scope.site.catalog.snapshots.filter(
            server_id__in=[row.uuid for row in rows], deleted_at=None
        )
        .filter(tenant_id=F("server__tenant_id"))
        .order_by()
        .values("server_id")
        .annotate(newest=Max("created_at"), count=Count("pk"))
    )
    return {str(one["server_id"]): (one["newest"], one["count"]) for one in counted}


def of_server(
    scope: Scope,
    reference: str,
    *,
    at: datetime | None = None,
    chosen: Iterable[str] = (),
    points: bool = True,
) -> ServerChoices:
    """What can be restored of a server, at or before ``at``, with what is proposed for each disk.

    ``chosen`` are ids of snapshots that stand among the candidates however old they are, and are
    the proposed ones of their disks. Raises ``ServerUnknown``.
    """
    scope.permit(Operation.SNAPSHOT_LIST)
    server = scope.server(reference)
    permitted = ways(server.tenant)
    wanted = list(chosen)
    rows = _candidates(scope, server, at, wanted)
    candidates = [
        Candidate(view=view, hindrance=hindrance(scope, view, permitted))
        for view in snapshot_views(scope.site, rows)
    ]
    devices = _devices(candidates, wanted)
    times = [
        one.view.created_at
        for device in devices
        for one in device.candidates
        if one.view.snapshot == device.proposed
    ]
    return ServerChoices(
        server=server,
        at=at,
        ways=permitted,
        devices=devices,
        gap_seconds=(max(times) - min(times)).total_seconds() if times else 0.0,
        points=tuple(_points(scope, server, at)) if points else (),
    )


def of_volume(scope: Scope, row: "models.Volume", *, chosen: str = "") -> DeviceChoice:
    """The snapshots to which a volume can be put back, newest first; none is proposed.

    ``chosen``, the id of one, stands among them even where it is another volume's.
    """
    scope.permit(Operation.SNAPSHOT_LIST)
    mine = scope.snapshots.filter(deleted_at=None, tenant_id=row.tenant_id)
    newest = mine.filter(volume=row).order_by("-created_at", "pk")
    ids = list(newest.values_list("snapshot_id", flat=True)[:_NEWEST])
    found = mine.filter(snapshot_id__in=[*ids, chosen]).order_by("-created_at", "pk")
    permitted = ways(row.tenant)
    shown = snapshot_views(
        scope.site, found.select_related("server", "volume", "origin_site", "tenant")
    )
    return DeviceChoice(
        device=row.device,
        root=row.is_root,
        volume=row.name,
        volume_id=str(row.volume_id),
        proposed=chosen or None,
        candidates=tuple(
            Candidate(view=one, hindrance=hindrance(scope, one, permitted)) for one in shown
        ),
    )


def _candidates(
    scope: Scope, server: "models.Server", at: datetime | None, chosen: list[str]
) -> "list[models.Snapshot]":
    # The server is theirs, and so are its snapshots that are of its tenant. Said in this way no
    # database goes through all that the tenant has to find those of one server.
    rows = scope.site.catalog.snapshots.annotate(owner=F("tenant_id") + 0).filter(
        server=server, deleted_at=None, owner=server.tenant_id
    )
    numbered = Window(RowNumber(), partition_by=[F("volume_id")], order_by=F("created_at").desc())
    newest = (rows if at is None else rows.filter(created_at__lte=at)).annotate(place=numbered)
    ids = set(newest.filter(place__lte=_NEWEST).values_list("snapshot_id", flat=True))
    found = rows.filter(Q(snapshot_id__in=ids) | Q(snapshot_id__in=chosen))
    return list(
        found.select_related("server", "volume", "origin_site", "tenant").order_by("-created_at")
    )


def _devices(candidates: list[Candidate], chosen: list[str]) -> tuple[DeviceChoice, ...]:
    grouped: dict[str, list[Candidate]] = {}
    for one in candidates:
        grouped.setdefault(one.view.device, []).append(one)
    made = []
    for device, ones in grouped.items():
        usable = [one.view.snapshot for one in ones if one.usable]
        proposed = next((one for one in usable if one in chosen), None)
        newest = ones[0].view
        made.append(
            DeviceChoice(
                device=device,
                root=newest.root,
                volume=newest.volume,
                volume_id=newest.volume_id,
                proposed=proposed or (usable[0] if usable else None),
                candidates=tuple(ones),
            )
        )
    return tuple(sorted(made, key=lambda one: (not one.root, one.device)))


def _points(scope: Scope, server: "models.Server", at: datetime | None) -> list[RecoveryPointView]:
    there = scope.site.catalog.snapshots.annotate(owner=F("tenant_id") + 0).filter(
        recovery_point=OuterRef("pk"), deleted_at=None, owner=server.tenant_id
    )
    rows = scope.site.catalog.recovery_points.filter(Exists(there), server=server)
    if at is not None:
        rows = rows.filter(created_at__lte=at)
    rows = rows.select_related("server").order_by("-created_at", "pk")[:_POINTS]
    return recovery_point_views(scope.site, rows)


def hindrance(scope: Scope, view: SnapshotView, permitted: Ways) -> str:
    """Why a snapshot cannot be restored at this site, as :class:`Candidate` says it."""
    own = scope.site.settings.name
    if view.deleted_at is not None:
        return "deleted"
    if permitted.origin_only and view.origin != own:
        return "other-site"
    if view.copies.get(own, "missing") not in _USABLE:
        return "not-here"
    return "" if view.readable else "no-key"


def elsewhere(view: SnapshotView, own: str) -> tuple[str, ...]:
    """The other sites that have a usable copy."""
    return tuple(
        site for site, state in sorted(view.copies.items()) if site != own and state in _USABLE
    )


def targets(scope: Scope) -> "QuerySet[models.Server]":
    """The servers that a volume can be attached to."""
    scope.permit(Operation.SERVER_LIST)
    return scope.servers.filter(present=True).order_by("name", "uuid")


def unattached(scope: Scope) -> "QuerySet[models.Volume]":
    """The volumes that are attached to nothing."""
    scope.permit(Operation.VOLUME_LIST)
    rows = scope.volumes.filter(state="unattached").select_related("server")
    return rows.order_by("name", "volume_id")


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """An in-place restore that did not come to its end. ``safety`` is what was there before."""

    snapshot: str
    snapshot_name: str
    safety: str
    safety_name: str


def interrupted(scope: Scope, row: "models.Volume") -> Interrupted | None:
    """The in-place restore that a volume is marked with; None where it is whole."""
    if not row.restoring_snapshot:
        return None
    ids = [one for one in (row.restoring_snapshot, row.safety_snapshot) if one]
    names = dict(scope.snapshots.filter(snapshot_id__in=ids).values_list("snapshot_id", "name"))
    return Interrupted(
        snapshot=row.restoring_snapshot,
        snapshot_name=names.get(row.restoring_snapshot, row.restoring_snapshot[:12]),
        safety=row.safety_snapshot,
        safety_name=names.get(row.safety_snapshot, row.safety_snapshot[:12]),
    )
