"""Snapshots in the vault: finding, verifying, deleting, holding, giving back as a file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dozo import volumes
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.message import Message, joined
from dozo.services.errors import NotReadable
from dozo.services.facts import SnapshotFacts
from dozo.services.project import RETENTION, read_facts, record, refresh_copies
from dozo.services.site import Site
from dozo.services.work import Unheard, Work

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.vault import SnapshotInfo


@dataclass(frozen=True, kw_only=True)
class Readable:
    """A snapshot of this site's vault that this site can open."""

    info: "SnapshotInfo"
    name: str
    facts: SnapshotFacts | None


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The outcome of reading a snapshot back."""

    snapshot: str
    name: str
    site: str
    state: str
    verified_at: datetime | None
    oldest_reading_at: datetime | None
    damage: tuple[str, ...] = ()


@dataclass(eq=False)
class ReadBackFailed(DozoError):
    """What is stored is not what was to be stored."""

    code = "snapshot.read_back_failed"
    kind = ErrorKind.DAMAGED
    text = "snapshot {self.snapshot} was read back and is damaged: {self.damage}"
    hint = "Scrub the vault with the other site as the source of repair, and look at its disks."
    snapshot: str
    damage: str


@dataclass(frozen=True, kw_only=True)
class FileMade:
    """A snapshot that was written to a file."""

    snapshot: str
    path: str
    format: str
    bytes_volume: int
    bytes_written: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class HoldView:
    """Until when a snapshot may not be deleted by anybody."""

    snapshot: str
    name: str
    until: datetime
    note: str


def readable(site: Site, snapshot_id: str) -> Readable:
    """The snapshot as the vault has it: the catalog is only a view.

    Raises the vault's ``SnapshotUnknown`` and ``SnapshotDeleted``, :class:`NotReadable`,
    ``FactsUnreadable``.
    """
    info = site.vault.snapshot(snapshot_id)
    if info.sealed is None:
        raise NotReadable(info.snapshot[:12])
    return Readable(info=info, name=info.sealed.name, facts=read_facts(info))


def refresh(site: Site, snapshot_id: str) -> None:
    """Bring the catalog's rows of one snapshot in step with the vault."""
    info = site.vault.snapshot(snapshot_id, include_deleted=True)
    record(site, info)
    refresh_copies(site, site.own_row, site.vault, [info], only=True)


def record_new(site: Site, snapshot_id: str, **known: Any) -> None:
    """A snapshot or template that was just published, into the catalog."""
    info = site.vault.snapshot(snapshot_id)
    record(site, info, **known)
    refresh_copies(site, site.own_row, site.vault, [info], only=True)


def verify(
    site: Site,
    rows: Sequence["models.Snapshot | models.Template"],
    *,
    everything: bool = False,
    work: Work | None = None,
) -> list[Verified]:
    """Read snapshots back from this site's vault: decrypt and re-hash what each added.

    With ``everything`` also what older snapshots share with it. The outcome stands in the vault
    itself, where the peer sees it. Damage is reported, not raised: the caller decides.
    """
    work = work or Unheard()
    return [_verify_one(site, row, everything=everything, work=work) for row in rows]


def refuse_damage(verified: Iterable[Verified]) -> None:
    """Raises :class:`ReadBackFailed` for the first that is damaged."""
    for done in verified:
        if done.damage:
            raise ReadBackFailed(done.name, joined(done.damage, "; "))


def _verify_one(
    site: Site, row: "models.Snapshot | models.Template", *, everything: bool, work: Work
) -> Verified:
    from dozo.vault import Scope  # noqa: PLC0415  loads the ciphers

    work.step(Message("verify {snapshot}", snapshot=row.name))
    damage = ""
    try:
        site.vault.verify(
            row.snapshot_id,
            scope=Scope.ALL if everything else Scope.ADDED,
            progress=work.bytes_of(f"verify {row.name}"),
        )
    except DozoError as error:
        if error.kind is not ErrorKind.DAMAGED:
            raise
        damage = str(error)
    info = site.vault.snapshot(row.snapshot_id)
    refresh_copies(site, site.own_row, site.vault, [info], only=True)
    if damage:
        _mark_damaged(site, row.snapshot_id)
    check = site.vault.check(row.snapshot_id)
    return Verified(
        snapshot=row.snapshot_id,
        name=row.name,
        site=site.settings.name,
        state=_state(site, row.snapshot_id),
        verified_at=check.verified_at if check and not damage else None,
        oldest_reading_at=check.oldest_reading if check else None,
        damage=(damage,) if damage else (),
    )


def _mark_damaged(site: Site, snapshot_id: str) -> None:
    site.catalog.copies.filter(snapshot_id=snapshot_id, site=site.own_row).update(state="damaged")


def _state(site: Site, snapshot_id: str) -> str:
    row = site.catalog.copies.filter(snapshot_id=snapshot_id, site=site.own_row).first()
    return row.state if row else "missing"


def delete(site: Site, snapshot_ids: Sequence[str], *, reason: str = "user") -> None:
    """Delete snapshots or templates; refused for those that are held. Peers follow on a copy,
    except where retention deletes: its numbers are those of this site alone.

    A snapshot that is deleted already stays so.
    """
    from dozo.vault.deletion import EVERYWHERE, HERE  # noqa: PLC0415  loads the ciphers

    scope = HERE if reason == RETENTION else EVERYWHERE
    site.vault.delete(snapshot_ids, reason=reason, scope=scope)
    for snapshot_id in snapshot_ids:
        refresh(site, snapshot_id)


def undelete(site: Site, snapshot_ids: Sequence[str]) -> None:
    """Bring deleted snapshots back, while they have not been pruned."""
    site.vault.undelete(snapshot_ids)
    for snapshot_id in snapshot_ids:
        refresh(site, snapshot_id)


def hold(site: Site, row: "models.Snapshot", *, until: datetime, note: str) -> HoldView:
    """Keep a snapshot from everybody until a date. A hold is extended, never shortened."""
    site.vault.hold(row.snapshot_id, until, note)
    return HoldView(snapshot=row.snapshot_id, name=row.name, until=until, note=note)


def holds(site: Site, row: "models.Snapshot | None" = None) -> list[HoldView]:
    """The holds on one snapshot, or on every one that the catalog knows."""
    rows = [row] if row is not None else list(site.catalog.snapshots.all())
    return [
        HoldView(snapshot=one.snapshot_id, name=one.name, until=found.until, note=found.note)
        for one in rows
        for found in site.vault.holds(one.snapshot_id)
    ]


def to_file(
    site: Site,
    snapshot_id: str,
    path: Path,
    *,
    format: str,
    force: bool = False,
    work: Work | None = None,
) -> FileMade:
    """Write a snapshot to a new raw or qcow2 file; whole and durable, or not there at all."""
    work = work or Unheard()
    found = readable(site, snapshot_id)
    size = found.info.bytes_volume
    with volumes.output_file(path, format=format, size_bytes=size, force=force) as target:
        result = site.vault.restore(
            found.info.snapshot, target, progress=work.bytes_of(f"restore {found.name}")
        )
    return FileMade(
        snapshot=found.info.snapshot,
        path=str(path),
        format=format,
        bytes_volume=size,
        bytes_written=result.bytes_written,
        seconds=result.seconds,
    )
