"""From a vault into the catalog: what a snapshot's facts say, as rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dozo.model import clock
from dozo.model.states import Copy, CopyEvent, after
from dozo.services import facts as snapshot_facts
from dozo.services.facts import FactsUnreadable, SnapshotFacts
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.vault import Check, SnapshotInfo, Vault
    from dozo.vault.deletion import Deletion


# The reason of a deletion that binds the site alone that made it.
RETENTION = "retention"


@dataclass(frozen=True, kw_only=True)
class ProjectReport:
    """What was read from a vault into the catalog; counts."""

    snapshots: int
    templates: int
    recovery_points: int
    unreadable: int
    deleted: int


def rebuild(site: Site, *, everything: bool = True) -> ProjectReport:
    """Read everything in the site's own vault into the catalog; rows that are right stay.

    Without ``everything`` a row is believed whose snapshot has not changed in what can change.

    Snapshots that the vault no longer has leave the catalog. Volumes and servers that only
    snapshots know are made as *gone*. Repeating it changes nothing.
    """
    # What comes into the catalog while the vault is read is not missing there.
    known = _known(site)
    infos = site.vault.snapshots(include_deleted=True)
    known_well = set() if everything else _unchanged(site, infos)
    with site.catalog.transaction():
        for info in infos:
            if info.snapshot not in known_well:
                record(site, info)
        here = {info.snapshot for info in infos}
        _forget_missing(site, known - here)
    refresh_own_copies(site, infos)
    return ProjectReport(
        snapshots=sum(1 for info in infos if info.kind == "snapshot"),
        templates=sum(1 for info in infos if info.kind == "template"),
        recovery_points=len({info.group for info in infos if info.group}),
        unreadable=sum(1 for info in infos if info.sealed is None),
        deleted=sum(1 for info in infos if info.deleted is not None),
    )


def record_unknown(site: Site) -> None:
    """What the catalog has not heard of, because its writer died or lost the catalog."""
    known = _known(site)
    if site.vault.snapshot_ids() <= known:
        return
    found = [info for info in site.vault.snapshots() if info.snapshot not in known]
    for info in found:
        record(site, info)
    refresh_copies(site, site.own_row, site.vault, found, only=True)


def read_facts(info: "SnapshotInfo") -> SnapshotFacts | None:
    """The facts of a snapshot; None without a key, or where a plain image was stored."""
    if info.sealed is None or "version" not in info.sealed.facts:
        return None
    return snapshot_facts.from_json(info.snapshot, info.sealed.facts)


def record(site: Site, info: "SnapshotInfo", **known: Any) -> None:
    """One snapshot or template into the catalog; ``known`` are columns that no facts hold."""
    try:
        found = read_facts(info)
    except FactsUnreadable:
        found = None
    tenant = info.sealed.tenant if info.sealed else f"tenant-{info.tenant_number:016x}"
    common: dict[str, Any] = {
        "name": info.sealed.name if info.sealed else info.snapshot[:12],
        "tenant": site.tenant_row(tenant),
        "origin_site": site.site_row(info.origin or "unknown"),
        "created_at": info.created_at,
        "bytes_volume": info.bytes_volume,
        "readable": info.sealed is not None,
        "facts": found.to_json() if found else {},
        "deleted_at": info.deleted.deleted_at if info.deleted else None,
        "deleted_reason": info.deleted.reason if info.deleted else "",
        **known,
    }
    if info.kind == "template":
        source = found.template.source_snapshot if found and found.template else ""
        site.catalog.templates.update_or_create(
            snapshot_id=info.snapshot, defaults={**common, "source_snapshot": source}
        )
        return
    site.catalog.snapshots.update_or_create(
        snapshot_id=info.snapshot,
        defaults={
            **common,
            **_linked(site, info, found, common["tenant"]),
            "parent_id": info.parent or "",
        },
    )


def _linked(
    site: Site, info: "SnapshotInfo", found: SnapshotFacts | None, tenant: "models.Tenant"
) -> dict[str, Any]:
    if found is None:
        return {"mode": "file" if info.sealed else ""}
    server = None
    if found.server is not None:
        server, _ = site.catalog.servers.get_or_create(
            uuid=UUID(found.server.uuid), defaults={"name": found.server.name, "tenant": tenant}
        )
    volume, _ = site.catalog.volumes.get_or_create(
        volume_id=UUID(found.volume.volume_id),
        defaults={
            "name": found.volume.name,
            "tenant": tenant,
            "server": server,
            "state": "gone",
            "device": found.volume.device,
            "bus": found.volume.bus,
            "serial": found.volume.serial,
            "is_root": found.volume.is_root,
            "path": found.volume.path,
            "format": found.volume.format,
            "bytes_volume": info.bytes_volume,
        },
    )
    point = None
    if found.recovery_point is not None and server is not None:
        plain = found.to_json()["recovery_point"]
        point, _ = site.catalog.recovery_points.get_or_create(
            recovery_point_id=found.recovery_point.recovery_point_id,
            defaults={
                "name": found.recovery_point.name,
                "server": server,
                "created_at": info.created_at,
                "members": plain["members"],
                "left_out": plain["left_out"],
            },
        )
    return {
        "server": server,
        "volume": volume,
        "recovery_point": point,
        "is_root": found.volume.is_root,
        "mode": found.capture.mode.value,
        "consistency": found.capture.consistency.value,
        "full_reason": found.capture.full_reason,
        "scheduled": found.capture.scheduled,
        "schedule_id": found.capture.schedule_id,
    }


def _unchanged(site: Site, infos: "Iterable[SnapshotInfo]") -> set[str]:
    columns = ("snapshot_id", "readable", "deleted_at", "deleted_reason")
    rows: dict[str, tuple[Any, ...]] = {}
    for table in (site.catalog.snapshots, site.catalog.templates):
        # What had no facts may have got a key or a newer Dozo since.
        for found in table.exclude(facts={}).values_list(*columns):
            rows[found[0]] = found[1:]
    return {
        info.snapshot
        for info in infos
        if rows.get(info.snapshot)
        == (
            info.sealed is not None,
            info.deleted.deleted_at if info.deleted else None,
            info.deleted.reason if info.deleted else "",
        )
    }


def _known(site: Site) -> set[str]:
    return {
        snapshot_id
        for rows in (site.catalog.snapshots, site.catalog.templates)
        for snapshot_id in rows.values_list("snapshot_id", flat=True)
    }


def _forget_missing(site: Site, missing: set[str]) -> None:
    for snapshot_id in missing:
        for rows in (site.catalog.snapshots, site.catalog.templates):
            rows.filter(snapshot_id=snapshot_id).delete()
        site.catalog.copies.filter(snapshot_id=snapshot_id).delete()


def refresh_own_copies(site: Site, infos: Iterable["SnapshotInfo"]) -> None:
    """The states at this site, from what its own vault says about each snapshot."""
    refresh_copies(site, site.own_row, site.vault, infos)


def refresh_copies(
    site: Site,
    at: "models.Site",
    vault: "Vault",
    infos: Iterable["SnapshotInfo"],
    *,
    only: bool = False,
) -> None:
    """The states at one site, from its vault: what it says was read back there is stored, what
    has a good check is verified, and what is there without either is still being copied.

    ``infos`` is all that the vault has, and other copies are *missing*, as deleted ones are; with
    ``only`` it is a part, and the rest is left alone. Damage that was found stays shown until the
    snapshot has been verified again.
    """
    offered = list(infos)
    checks = {info.snapshot: vault.check(info.snapshot) for info in offered if not info.deleted}
    seen = {info.snapshot for info in offered}
    gone = set() if only else _gone(site, at, vault, seen)
    with site.catalog.turn("copies"):
        rows = {row.snapshot_id: row for row in site.catalog.copies.filter(site=at)}
        for info in offered:
            row = rows.get(info.snapshot)
            row = row or site.catalog.copies.model(snapshot_id=info.snapshot, site=at)
            before = _seen(row)
            row.received_at = row.received_at or clock.now()
            if info.snapshot in checks:
                _apply_check(row, info, checks[info.snapshot])
            else:
                _apply_absence(row, info.deleted)
            if row.pk is None or _seen(row) != before:
                row.save(using=site.catalog.alias)
        for snapshot in gone & set(rows):
            if rows[snapshot].state not in _STAYS:
                _apply_absence(rows[snapshot])
                rows[snapshot].save(using=site.catalog.alias)


def _seen(row: "models.Copy") -> tuple[object, ...]:
    return row.state, row.received_at, row.verified_at, row.oldest_reading_at


# What is said of a copy that the vault does not show, and stays right.
_STAYS = frozenset({Copy.COPYING.value, Copy.MISSING.value})


def _gone(site: Site, at: "models.Site", vault: "Vault", seen: set[str]) -> set[str]:
    """The copies of the catalog that are not in the vault. One that came after the list of those
    ``seen`` was read is."""
    known = site.catalog.copies.filter(site=at).exclude(state__in=_STAYS)
    asked = set(known.values_list("snapshot_id", flat=True)) - seen
    there = vault.snapshot_ids() if asked else frozenset()
    return {one for one in asked if one not in there or not _is_visible(vault, one)}


def _is_visible(vault: "Vault", snapshot: str) -> bool:
    from dozo.vault.errors import (  # noqa: PLC0415  loads the ciphers
        ObjectDamaged,
        SnapshotUnknown,
    )

    try:
        deleted = vault.snapshot(snapshot, include_deleted=True).deleted
    except (ObjectDamaged, SnapshotUnknown):
        return False
    return deleted is None or not deleted.purged


def _apply_absence(row: "models.Copy", deleted: "Deletion | None" = None) -> None:
    """A copy that is not there. ``verified_at`` stays where the site's own retention removed it:
    it was verified there, took its place, and is not to be sent again."""
    retired = deleted is not None and deleted.reason == RETENTION
    if deleted is not None and retired:
        row.verified_at = row.verified_at or deleted.deleted_at
    else:
        row.verified_at = None
    row.state, row.oldest_reading_at = Copy.MISSING.value, None


def _apply_check(row: "models.Copy", info: "SnapshotInfo", check: "Check | None") -> None:
    if check is not None and check.damaged:
        row.state, row.verified_at = Copy.DAMAGED.value, None
        return
    verified_at = check.verified_at if check else None
    newer = verified_at is not None and (row.verified_at is None or verified_at > row.verified_at)
    if row.state != "damaged" or newer:
        read_back = info.read_back_at is not None
        row.state = _evident_state(read_back=read_back, verified=verified_at is not None).value
    if check is not None:
        row.verified_at = verified_at
        row.oldest_reading_at = check.oldest_reading


def _evident_state(*, read_back: bool, verified: bool) -> Copy:
    """The state that a visible copy has come to, by the moves of the table."""
    state = after(Copy.MISSING, CopyEvent.START)
    if not read_back and not verified:
        return state
    state = after(state, CopyEvent.FINISH)
    return after(state, CopyEvent.READ_BACK) if verified else state
