"""Between sites: copying snapshots, keeping step with the peers, rebuilding a lost vault."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.model.message import Message, counted
from dozo.model.states import Copy, CopyEvent, after
from dozo.services import inventory, notes, project, snapshots
from dozo.services.project import ProjectReport
from dozo.services.settings import Peer
from dozo.services.site import Site
from dozo.services.snapshots import Verified
from dozo.services.work import Unheard, Work

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.vault import Vault


_LOOKS = 100


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a copy moved; ``bytes_copied`` counts stored bytes that the target lacked."""

    source: str
    target: str
    snapshots: tuple[str, ...]
    already_there: tuple[str, ...]
    skipped: dict[str, str]
    bytes_copied: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What keeping step found. ``peers`` maps a peer to *reached* or to why it was not."""

    site: str
    catalog: ProjectReport
    verified: tuple[Verified, ...]
    peers: dict[str, str]
    inventory: str


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """A vault that was filled from a peer's."""

    site: str
    source: str
    snapshots_before: int
    snapshots_after: int
    bytes_copied: int
    seconds: float
    catalog: ProjectReport
    verified: tuple[Verified, ...]


@dataclass(frozen=True, kw_only=True)
class PeerState:
    """A site as this one sees it."""

    site: str
    site_id: str
    role: str
    vault: str
    copies: dict[str, int]


def peer_or_only(site: Site, name: str) -> Peer:
    """The peer called ``name``; without a name the only one that there is."""
    if not name and len(site.settings.peers) == 1:
        return site.settings.peers[0]
    return site.settings.peer(name)


def copy(
    site: Site,
    peer: Peer,
    snapshot_ids: Sequence[str] | None = None,
    *,
    deleted: Sequence[str] = (),
    work: Work | None = None,
) -> Copied:
    """Copy snapshots of this site's vault to a peer's; all of them without ``snapshot_ids``.

    The deletions of those ``deleted`` travel along; without ``snapshot_ids`` all do. Only frames
    that the target lacks are sent. Interrupted, it goes on where it was.
    """
    work = work or Unheard()
    target = site.peer_vault(peer)
    # Without ids everything is offered, and deletions of what is there travel along.
    offered = None if snapshot_ids is None else list(snapshot_ids)
    if snapshot_ids is None:
        snapshot_ids = [info.snapshot for info in site.vault.snapshots()]
    row = site.site_row(peer.site_id)
    started = clock.monotonic()
    work.step(Message("copy {count} snapshots to {peer}", count=len(snapshot_ids), peer=peer.name))
    with notes.hold(
        site.settings.notes,
        f"copy-{secrets.token_hex(8)}",
        what=Message("peer {peer}", peer=peer.name),
        work=Message("copying {count} snapshots", count=len(snapshot_ids)),
        kind="copy",
        peer=peer.name,
    ):
        site.vault.carry_deletions(target, deleted)
        _move(site, row, snapshot_ids, CopyEvent.START)
        try:
            report = site.vault.copy_to(
                target, offered, progress=work.bytes_of(Message("copy to {peer}", peer=peer.name))
            )
        except BaseException:
            _move(site, row, snapshot_ids, CopyEvent.FAIL)
            # Some may have arrived whole.
            _refresh_quietly(site, peer)
            raise
    _move(site, row, list(report.skipped), CopyEvent.FAIL)
    refresh_peer(site, peer, target)
    return Copied(
        source=site.settings.name,
        target=peer.name,
        snapshots=report.copied,
        already_there=report.already_there,
        skipped=report.skipped,
        bytes_copied=report.bytes_copied,
        seconds=clock.monotonic() - started,
    )


def _move(site: Site, at: "models.Site", snapshot_ids: Sequence[str], event: CopyEvent) -> None:
    """Apply an event to the copies for which it means something."""
    with site.catalog.turn("copies"):
        for snapshot_id in snapshot_ids:
            row, _ = site.catalog.copies.get_or_create(snapshot_id=snapshot_id, site=at)
            try:
                row.state = after(Copy(row.state), event).value
            except KeyError:
                # Copying again what is there already is no move.
                continue
            row.save()


def refresh_peer(site: Site, peer: Peer, vault: "Vault | None" = None) -> None:
    """The states of the copies at a peer, as its vault tells them."""
    vault = vault or site.peer_vault(peer)
    project.refresh_copies(
        site, site.site_row(peer.site_id), vault, vault.snapshots(include_deleted=True)
    )


def look_at_waiting(site: Site, peer: Peer) -> int:
    """Learn what has become of the copies that a peer has yet to read back; how many there were.

    Cheap: it looks at those alone, and at no more than a handful at a time.
    """
    from dozo.vault.errors import SnapshotUnknown  # noqa: PLC0415  loads the ciphers

    waiting = site.catalog.copies.filter(site_id=peer.site_id, state=Copy.STORED.value)
    ids = list(waiting.order_by("-received_at").values_list("snapshot_id", flat=True)[:_LOOKS])
    if ids:
        vault = site.peer_vault(peer)
        infos = []
        for snapshot_id in ids:
            with suppress(SnapshotUnknown):
                infos.append(vault.snapshot(snapshot_id, include_deleted=True))
        project.refresh_copies(site, site.site_row(peer.site_id), vault, infos, only=True)
    return len(ids)


def sync(site: Site, *, verify: bool = True, work: Work | None = None) -> Synced:
    """Bring this site's catalog in step with its vault, its hypervisor and its peers.

    Verifies what this vault has and nobody has read back here yet; the proof stands in the vault,
    where the peers see it. A peer or a hypervisor that does not answer is reported, not raised.
    """
    work = work or Unheard()
    work.step(Message("read the vault"))
    report = project.rebuild(site, everything=False)
    verified = verify_new(site, work=work) if verify else []
    return Synced(
        site=site.settings.name,
        catalog=report,
        verified=tuple(verified),
        peers={peer.name: _refresh_quietly(site, peer) for peer in site.settings.peers},
        inventory=_sync_inventory(site),
    )


def verify_new(site: Site, *, work: Work | None = None) -> list[Verified]:
    """Read back every readable snapshot and template that has not been verified here.

    Those are also taken that are in the vault without a proof that they were read back there.
    """
    unproven = [Copy.COPYING.value, Copy.STORED.value]
    pending = set(
        site.catalog.copies.filter(site=site.own_row, state__in=unproven).values_list(
            "snapshot_id", flat=True
        )
    )
    rows: list[models.Snapshot | models.Template] = [
        *site.catalog.snapshots.filter(readable=True, deleted_at=None).order_by("created_at"),
        *site.catalog.templates.filter(readable=True, deleted_at=None),
    ]
    return snapshots.verify(site, [row for row in rows if row.snapshot_id in pending], work=work)


def _refresh_quietly(site: Site, peer: Peer) -> str:
    try:
        refresh_peer(site, peer)
    except DozoError as error:
        return str(error)
    return Message("reached")


def _sync_inventory(site: Site) -> str:
    try:
        found = inventory.sync(site)
    except DozoError as error:
        return str(error)
    return counted(found.servers, "{count} server", "{count} servers")


@dataclass(frozen=True, kw_only=True)
class RebuildPlan:
    """What a rebuild will bring back."""

    peer: Peer
    snapshots_here: int
    snapshots_missing: tuple[str, ...]
    bytes_volume_missing: int


def plan_rebuild(site: Site, peer: Peer) -> RebuildPlan:
    """Compare this site's vault with a peer's; nothing is changed."""
    source = site.peer_vault(peer)
    here = {info.snapshot for info in site.vault.snapshots(include_deleted=True)}
    missing = [info for info in source.snapshots() if info.snapshot not in here]
    return RebuildPlan(
        peer=peer,
        snapshots_here=len(here),
        snapshots_missing=tuple(info.snapshot for info in missing),
        bytes_volume_missing=sum(info.bytes_volume for info in missing),
    )


def rebuild(
    site: Site, plan: RebuildPlan, *, verify: bool = True, work: Work | None = None
) -> Rebuilt:
    """Fill this site's vault from a peer's, then the catalog from the vault.

    Only what is missing is copied, so it may be interrupted and repeated. The peer must have
    granted this site's key; the copies bring this site's wrappings along.
    """
    work = work or Unheard()
    started = clock.monotonic()
    source = site.peer_vault(plan.peer)
    work.step(
        Message(
            "copy {count} snapshots from {peer}",
            count=len(plan.snapshots_missing),
            peer=plan.peer.name,
        )
    )
    # Everything is offered, not the missing snapshots alone: deletions and holds come along too.
    report = source.copy_to(
        site.vault,
        progress=work.bytes_of(Message("copy from {peer}", peer=plan.peer.name)),
    )
    work.step(Message("read the vault into the catalog"))
    found = project.rebuild(site)
    verified = verify_new(site, work=work) if verify else []
    refresh_peer(site, plan.peer, source)
    return Rebuilt(
        site=site.settings.name,
        source=plan.peer.name,
        snapshots_before=plan.snapshots_here,
        snapshots_after=len(site.vault.snapshots()),
        bytes_copied=report.bytes_copied,
        seconds=clock.monotonic() - started,
        catalog=found,
        verified=tuple(verified),
    )


def list_sites(site: Site) -> list[PeerState]:
    """This site and its peers, with how many copies are in which state."""
    found = []
    for row in site.catalog.sites.all():
        if not row.is_self and row.site_id not in {one.site_id for one in site.settings.peers}:
            continue
        counts: dict[str, int] = {}
        for state in site.catalog.copies.filter(site=row).values_list("state", flat=True):
            counts[state] = counts.get(state, 0) + 1
        found.append(
            PeerState(
                site=row.name,
                site_id=row.site_id,
                role="this site" if row.is_self else "peer",
                vault=row.vault_url,
                copies=counts,
            )
        )
    return found
