"""A whole server from snapshots: its definition, its volumes, attached as they were.

Everything that can be refused is refused by the plan, before the first byte is written.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from dozo import hypervisor
from dozo.hypervisor import Network, ServerInfo, ServerState
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.model.message import Message, joined
from dozo.model.states import Identity
from dozo.services import inventory, notes, pool_use, restore_volume, state_files
from dozo.services.errors import (
    NameNeeded,
    NoDefinition,
    NothingToRestore,
    OriginalExists,
    RecoveryPointIncomplete,
    SnapshotsConflict,
)
from dozo.services.pool import Pool, PoolImage, checked_name
from dozo.services.restore_volume import VolumeMade, VolumePlan
from dozo.services.site import Site
from dozo.services.snapshots import Readable, readable
from dozo.services.views import recovery_point_view
from dozo.services.work import Unheard, Work

if TYPE_CHECKING:
    from dozo.catalog import models

# A name may be longer than a file's name can be.
_NAMES = UUID("6f1f0a3c-5a0e-4c0d-9d0a-2f6b8f8f3b1e")


@dataclass(frozen=True, kw_only=True)
class ServerPlan:
    """A server to be made. ``gap_seconds`` is how far apart its snapshots were taken."""

    name: str
    original_name: str
    original_uuid: str
    identity: Identity
    network: Network
    start: bool
    definition: str
    state: ServerState
    volumes: tuple[VolumePlan, ...]
    gap_seconds: float

    @property
    def note_name(self) -> str:
        """The note that keeps a second restore from taking the same identity or name."""
        if self.identity is Identity.KEEP:
            return f"restore-{self.original_uuid}"
        return f"restore-{uuid5(_NAMES, self.name)}"

    def shown(self) -> dict[str, Any]:
        """The plan as it can be shown: no definition, no secrets."""
        return {
            "name": self.name,
            "original": self.original_name,
            "original_uuid": self.original_uuid,
            "identity": self.identity.value,
            "network": self.network.value,
            "start": self.start,
            "gap_seconds": self.gap_seconds,
            "volumes": [
                {
                    "device": one.device,
                    "snapshot": one.snapshot,
                    "snapshot_name": one.snapshot_name,
                    "created_at": one.created_at,
                    "bytes_volume": one.bytes_volume,
                    "path": one.path,
                    "warning": one.warning,
                }
                for one in self.volumes
            ],
        }


@dataclass(frozen=True, kw_only=True)
class ServerMade:
    """A server that was made of snapshots."""

    server: str
    name: str
    identity: Identity
    started: bool
    gap_seconds: float
    volumes: tuple[VolumeMade, ...]
    seconds: float | None


def plan(
    site: Site,
    *,
    recovery_point: str | None = None,
    server: str | None = None,
    at: datetime | None = None,
    snapshots: tuple[str, ...] = (),
    name: str | None = None,
    identity: Identity | None = None,
    network: Network = Network.SAME,
    start: bool = False,
) -> ServerPlan:
    """Choose the snapshots and check names, identity and space; nothing is made.

    From a recovery point; or from the snapshots given, one a volume; or from each volume's newest
    snapshot of ``server`` at or before ``at``. Identity is kept where the original is gone.

    Raises :class:`NothingToRestore`, :class:`RecoveryPointIncomplete`,
    :class:`SnapshotsConflict`, :class:`OriginalExists`, :class:`NameNeeded`, the hypervisor's
    ``NameTaken``, ``PoolFull`` and what :func:`readable` raises.
    """
    if recovery_point is not None:
        ids = _of_recovery_point(site, recovery_point)
    elif snapshots:
        ids = [site.catalog.snapshot(one).snapshot_id for one in snapshots]
    elif server is not None:
        ids = _newest_of(site, site.catalog.server(server), at or clock.now())
    else:
        raise NothingToRestore(
            Message("no server"), Message(": name a recovery point, snapshots or a server")
        )
    return _plan(
        site,
        [readable(site, one) for one in ids],
        name=name,
        identity=identity,
        network=network,
        start=start,
    )


def plan_from_template(
    site: Site, reference: str, *, name: str, network: Network = Network.SAME, start: bool = False
) -> ServerPlan:
    """A new server of a template: its root volume alone, an identity of its own."""
    found = readable(site, site.catalog.template(reference).snapshot_id)
    return _plan(site, [found], name=name, identity=Identity.COPY, network=network, start=start)


def _of_recovery_point(site: Site, reference: str) -> list[str]:
    row = site.catalog.recovery_point(reference)
    view = recovery_point_view(site, row)
    if not view.snapshots:
        raise NothingToRestore(Message("recovery point {name}", name=row.name), "")
    if view.missing:
        raise RecoveryPointIncomplete(row.name, joined(view.missing))
    return [one.snapshot for one in view.snapshots]


def _newest_of(site: Site, server: "models.Server", at: datetime) -> list[str]:
    """For each device the newest usable snapshot at or before ``at``, of those that are its
    present owner's: what another had on it before is not brought back among theirs.
    """
    here = site.catalog.copies.filter(
        site=site.own_row, state__in=("stored", "verified")
    ).values_list("snapshot_id", flat=True)
    rows = server.snapshots.filter(
        deleted_at=None,
        readable=True,
        created_at__lte=at,
        snapshot_id__in=here,
        tenant_id=server.tenant_id,
    )
    newest: dict[str, str] = {}
    for row in rows.order_by("created_at"):
        newest[str(row.facts["volume"]["device"])] = row.snapshot_id
    if not newest:
        raise NothingToRestore(
            Message("server {server}", server=server.name),
            Message(" at or before {at}", at=clock.to_text(at)),
        )
    return list(newest.values())


def _plan(
    site: Site,
    found: list[Readable],
    *,
    name: str | None,
    identity: Identity | None,
    network: Network,
    start: bool,
) -> ServerPlan:
    state, source = _state_of(site, found)
    facts = source.facts
    if facts is None or facts.server is None:
        raise NoDefinition(Message("snapshot {snapshot}", snapshot=source.name))
    definition = state_files.definition_for(
        state, [one.facts.volume.device for one in found if one.facts]
    )
    devices = hypervisor.disk_devices(definition)
    used = sorted(
        (one for one in found if one.facts and one.facts.volume.device in devices),
        key=_device_of,
    )
    if not used:
        raise NoDefinition(Message("snapshot {snapshot}", snapshot=source.name))
    # What is gone, and which names are free, is the hypervisor's to say.
    inventory.sync(site)
    present = {info.uuid: info for info in site.host.servers()}
    original = present.get(facts.server.uuid)
    # Without a name nobody has asked for a second server of the kind.
    chosen = identity or (Identity.COPY if original and name else Identity.KEEP)
    if chosen is Identity.KEEP and original is not None:
        raise OriginalExists(original.name, original.uuid)
    if chosen is Identity.COPY and name is None:
        raise NameNeeded(facts.server.name)
    called = checked_name(name or facts.server.name)
    if called in {info.name for info in present.values()}:
        raise hypervisor.NameTaken(name=called)
    volumes = tuple(_volume_plan(site, one, called, chosen) for one in used)
    Pool(site.settings.pool).require_space(sum(_stored_bytes(site, one) for one in used))
    times = [one.info.created_at for one in used]
    return ServerPlan(
        name=called,
        original_name=facts.server.name,
        original_uuid=facts.server.uuid,
        identity=chosen,
        network=network,
        start=start,
        definition=definition,
        state=state,
        volumes=volumes,
        gap_seconds=(max(times) - min(times)).total_seconds(),
    )


def _device_of(found: Readable) -> str:
    return found.facts.volume.device if found.facts else ""


def _state_of(site: Site, found: list[Readable]) -> tuple[ServerState, Readable]:
    """The definition that comes with the root volume's snapshot, else with the newest."""
    volumes = [one.facts.volume.volume_id for one in found if one.facts]
    if len(set(volumes)) != len(found):
        raise SnapshotsConflict(Message("two are of one volume, or one is of a plain image"))
    servers = {one.facts.server.uuid for one in found if one.facts and one.facts.server}
    if len(servers) > 1:
        raise SnapshotsConflict(Message("they are of different servers"))
    ordered = sorted(
        found,
        key=lambda one: (bool(one.facts and one.facts.volume.is_root), one.info.created_at),
        reverse=True,
    )
    source = ordered[0]
    state = state_files.from_attachments(site.vault.attachments(source.info.snapshot))
    if state is None:
        raise NoDefinition(Message("snapshot {snapshot}", snapshot=source.name))
    return state, source


def _volume_plan(site: Site, found: Readable, server: str, identity: Identity) -> VolumePlan:
    facts = found.facts
    assert facts is not None  # noqa: S101  _plan keeps only those that have facts
    volume_id = None
    if identity is Identity.KEEP:
        known = site.catalog.volumes.filter(volume_id=UUID(facts.volume.volume_id)).first()
        if known is None or known.state == "gone":
            volume_id = UUID(facts.volume.volume_id)
    kind = facts.volume.format if facts.volume.format in {"raw", "qcow2"} else "qcow2"
    return restore_volume.plan_from_id(
        site,
        found.info.snapshot,
        name=_free_name(site, f"{server}-{facts.volume.device}", kind, _tenant_of(site, found)),
        format=kind,
        volume_id=volume_id,
    )


def _tenant_of(site: Site, found: Readable) -> str:
    return found.info.sealed.tenant if found.info.sealed else site.settings.tenant


def _free_name(site: Site, wanted: str, format: str, tenant: str) -> str:
    """``wanted``, or with the first number after it that nothing of the tenant has."""
    pool = Pool(site.settings.pool, site.settings.tenant)
    rows = site.catalog.volumes.filter(tenant__name=tenant).exclude(state="gone")
    taken = pool.taken_names(tenant) | set(rows.values_list("name", flat=True))
    name, number = wanted, 1
    while name in taken or pool.image_path(name, format, tenant).exists():
        number += 1
        name = f"{wanted}-{number}"
    return name


def _stored_bytes(site: Site, found: Readable) -> int:
    return min(found.info.chunks * site.vault.header.chunk_bytes, found.info.bytes_volume)


def apply(
    site: Site, plan: ServerPlan, *, accept_plaintext: bool = False, work: Work | None = None
) -> ServerMade:
    """Make the volumes, then the server, then start it if the plan says so.

    All or nothing: until the server is defined a failure removes the images again, and so does
    the next clean-up after a crash. A failed start leaves the restored server, stopped.
    Raises ``PlaintextNotAccepted``, unless ``accept_plaintext``, where a volume was encrypted.
    """
    for one in plan.volumes:
        restore_volume.require_accepted(one, accept_plaintext=accept_plaintext)
    work = work or Unheard()
    started_at = clock.monotonic()
    with notes.hold(
        site.settings.notes,
        plan.note_name,
        what=Message("server {server}", server=plan.name),
        work=Message("restoring it from {count} snapshots", count=len(plan.volumes)),
        kind="restore-server",
        server=plan.name,
        images=[one.image.volume_id for one in plan.volumes],
    ):
        # Another restore of the same server may have ended since the plan.
        require_free(site, plan)
        written: list[PoolImage] = []
        try:
            made = _make_volumes(site, plan, work, written)
            work.step(Message("define server {name}", name=plan.name))
            uuid = _define(site, plan)
        except BaseException:
            _discard_unused(site, written)
            raise
    _take_up(site, [one.image for one in plan.volumes])
    if plan.start:
        work.step(Message("start server {name}", name=plan.name))
        _start(site, uuid)
    return ServerMade(
        server=uuid,
        name=plan.name,
        identity=plan.identity,
        started=plan.start,
        gap_seconds=plan.gap_seconds,
        volumes=tuple(made),
        seconds=clock.monotonic() - started_at,
    )


def finish(
    site: Site, server: ServerInfo, images: Sequence[PoolImage], *, start: bool
) -> ServerMade:
    """What is left to be done for a server that an earlier run of a job has defined."""
    _take_up(site, images)
    if start:
        _start(site, server.uuid)
    sources = [readable(site, one.origin_snapshot) for one in images]
    times = [one.info.created_at for one in sources]
    originals = {one.facts.server.uuid for one in sources if one.facts and one.facts.server}
    return ServerMade(
        server=server.uuid,
        name=server.name,
        identity=Identity.KEEP if server.uuid in originals else Identity.COPY,
        started=start,
        gap_seconds=(max(times) - min(times)).total_seconds(),
        volumes=tuple(restore_volume.made_before_of(one) for one in images),
        seconds=None,
    )


def _take_up(site: Site, images: Sequence[PoolImage]) -> None:
    """A server that is defined, and its volumes, into the catalog."""
    for image in images:
        restore_volume.add_to_catalog(site, image)
    inventory.sync(site)


def _start(site: Site, uuid: str) -> None:
    site.host.start(uuid)
    inventory.sync(site)


def require_free(site: Site, plan: ServerPlan) -> None:
    """Raises :class:`OriginalExists`, ``NameTaken`` where the server's place is taken by now."""
    for info in site.host.servers():
        if plan.identity is Identity.KEEP and info.uuid == plan.original_uuid:
            raise OriginalExists(info.name, info.uuid)
        if info.name == plan.name:
            raise hypervisor.NameTaken(name=plan.name)


def _make_volumes(
    site: Site, plan: ServerPlan, work: Work, written: list[PoolImage]
) -> list[VolumeMade]:
    """``written`` gets each image that was made, also when another one fails."""

    def write(one: VolumePlan) -> VolumeMade:
        made = restore_volume.write_image(site, one, work)
        written.append(one.image)
        return made

    site.vault.snapshot(plan.volumes[0].snapshot)  # opened by this thread, then shared
    with ThreadPoolExecutor(site.settings.parallel_volumes, thread_name_prefix="dozo") as pool:
        running = [pool.submit(write, one) for one in plan.volumes]
        return [future.result() for future in running]


def _discard_unused(site: Site, images: list[PoolImage]) -> None:
    """Remove what was made, apart from images that a server has got all the same.

    Where the hypervisor cannot be asked they stay, as volumes that are attached to nothing.
    """
    try:
        used = pool_use.users(site)
    except DozoError:
        return
    for image in images:
        if pool_use.user(used, image.path) is None:
            Pool(site.settings.pool).discard(image)


def _define(site: Site, plan: ServerPlan) -> str:
    return site.host.define_server(
        plan.definition,
        name=plan.name,
        identity=plan.identity,
        disks={one.device: (Path(one.path), one.image.format) for one in plan.volumes},
        nvram=plan.state.nvram,
        tpm=plan.state.tpm,
        network=plan.network,
    )
