"""Servers on a simulated hypervisor, with snapshots in the catalog alone, and a DR site."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.api.support import World
from tests.services.access_support import add_user, system
from tests.services.jobs import Held
from tests.services.support import befriend, make_site
from tests.support.simulated import simulate

from dozo.hypervisor.metadata import ServerMetadata
from dozo.hypervisor.simulated import Guest, NewDisk, NewServer
from dozo.model import clock
from dozo.services import inventory, schedules
from dozo.services.access import Role
from dozo.services.site import Site

MIB = 1024 * 1024
LONG = "a-server-whose-name-is-as-long-as-names-of-servers-ever-are-in-the-wild-0123456789"
NASTY = "<script>alert(1)</script>"
PEOPLE = (
    ("operator", Role.OPERATOR, None),
    ("auditor", Role.AUDITOR, None),
    ("alice", Role.TENANT_ADMIN, "acme"),
    ("adam", Role.MEMBER, "acme"),
    ("ulla", Role.MEMBER, "umbrella"),
)
DAILY = {"kind": "daily", "hour": 2, "minute": 0, "zone": "Asia/Tokyo"}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One instant to be put into the catalog."""

    at: datetime
    point: bool = True
    devices: Sequence[str] = ()
    mode: str = "live"
    consistency: str = "filesystem-consistent"
    here: str = "verified"
    there: str = "verified"
    schedule: str = ""


def make_scene(folder: Path, *, dr: bool = True) -> World:
    """``web`` runs, ``db`` is stopped, ``hive`` is umbrella's; the caller closes the site."""
    simulation = simulate(folder / "simulated")
    host = simulation.host
    disks = (
        NewDisk(device="vda"),
        NewDisk(device="vdb", size_bytes=96 * MIB),
        NewDisk(device="vdc", size_bytes=32 * MIB, format="raw"),
    )
    for name, tenant, tags, own in (
        ("web", "acme", ("production", "web"), disks),
        ("db", "acme", ("production",), disks[:2]),
        (LONG, "acme", (), disks[:1]),
        ("spare", "acme", (), disks[1:2]),
        ("hive", "umbrella", (), disks[:1]),
    ):
        made = ServerMetadata(tenant=tenant, tags=tags)
        host.add_server(NewServer(name=name, disks=own, metadata=made, guest=Guest()))
    host.start("web")
    host.start("hive")
    host.close()
    site = make_site(folder, "main", libvirt=simulation.uri)
    if dr:
        with make_site(folder, "dr") as other:
            befriend(site, other)
        site.close()
        site = Site.open(folder / "main" / "home")
    world = World(site=site, runner=Held(site.settings.home), app=None)
    for name, role, tenant_name in PEOPLE:
        add_user(site, name, role, tenant_name)
    inventory.sync(site)
    return world


def history(site: Site, server: str, kept: Sequence[Kept]) -> None:
    """Snapshots of a server in the catalog, as if they had been taken and copied."""
    catalog = site.catalog
    row = catalog.servers.get(name=server)
    volumes = {one.device: one for one in catalog.volumes.filter(server=row).order_by("device")}
    peers = list(catalog.sites.filter(is_self=False))
    points: list[Any] = []
    snapshots: list[Any] = []
    copies: list[Any] = []
    for number, one in enumerate(kept):
        devices = list(one.devices) or list(volumes)
        point = None
        if one.point:
            point = catalog.recovery_points.model(
                recovery_point_id=f"{row.uuid.hex}{number:08x}",
                name=f"{server[:60]}-{one.at:%Y%m%d-%H%M}",
                server=row,
                created_at=one.at,
                members=[
                    {"volume_id": str(volumes[device].volume_id), "device": device}
                    for device in devices
                ],
            )
            points.append(point)
        for device in devices:
            snapshot_id = f"{row.uuid.hex}{device}{number:08x}"
            snapshots.append(
                catalog.snapshots.model(
                    snapshot_id=snapshot_id,
                    name=f"{server[:60]}-{one.at:%Y%m%d-%H%M}-{device}",
                    tenant=row.tenant,
                    origin_site=site.own_row,
                    created_at=one.at,
                    bytes_volume=volumes[device].bytes_volume or 0,
                    bytes_stored=(number * 7919 * MIB) % (3 * 1024 * MIB) + MIB,
                    volume=volumes[device],
                    server=row,
                    recovery_point=point,
                    is_root=device == "vda",
                    mode=one.mode,
                    consistency=one.consistency,
                    scheduled=bool(one.schedule),
                    schedule_id=one.schedule,
                    facts={"volume": {"device": device}},
                )
            )
            for where, state in [(site.own_row, one.here), *[(peer, one.there) for peer in peers]]:
                copies.append(
                    catalog.copies.model(
                        snapshot_id=snapshot_id,
                        site=where,
                        state=state,
                        received_at=one.at,
                        verified_at=one.at if state == "verified" else None,
                    )
                )
    catalog.recovery_points.bulk_create(points)
    catalog.snapshots.bulk_create(snapshots)
    catalog.copies.bulk_create(copies)


def protect(site: Site, server: str, *, name: str = "nightly") -> str:
    """A daily schedule of a server; its id."""
    row = site.catalog.servers.get(name=server)
    made = schedules.create(
        system(site),
        {
            "name": name,
            "server": str(row.uuid),
            "mode": "live",
            "timing": DAILY,
            "keep": {"count": 14},
        },
    )
    return made.schedule


def uuid_of(site: Site, server: str) -> UUID:
    return site.catalog.servers.get(name=server).uuid


def rich(folder: Path) -> World:
    """Everything at once, for looking at."""
    world = make_scene(folder)
    site = world.site
    now = clock.now()
    nightly = protect(site, "web")
    nights = [Kept(at=now - timedelta(days=one, hours=3), schedule=nightly) for one in range(1, 28)]
    by_hand = [
        Kept(
            at=now - timedelta(days=2, hours=9),
            point=False,
            devices=["vdb"],
            mode="unmounted",
            consistency="clean",
        ),
        Kept(
            at=now - timedelta(days=4, hours=12),
            point=False,
            devices=["vda"],
            mode="offline",
            consistency="clean",
            there="missing",
        ),
        Kept(at=now - timedelta(days=5, hours=16), here="damaged"),
        Kept(at=now - timedelta(hours=1), there="copying", consistency="crash-consistent"),
        Kept(at=now - timedelta(hours=5), there="stored"),
    ]
    history(site, "web", sorted([*nights, *by_hand], key=lambda one: one.at, reverse=True))
    hourly = [Kept(at=now - timedelta(hours=one)) for one in range(40, 2400)]
    history(site, "db", hourly)
    volume = site.catalog.volumes.get(server__name="db", device="vdb")
    volume.restoring_snapshot = site.catalog.snapshots.filter(volume=volume).first().snapshot_id
    volume.safety_snapshot = site.catalog.snapshots.filter(volume=volume).last().snapshot_id
    volume.save()
    site.catalog.volumes.create(
        name=f"restored-{NASTY}",
        tenant=volume.tenant,
        state="unattached",
        device="vdb",
        bus="virtio",
        serial="S1",
        path="/nowhere",
        format="qcow2",
        bytes_volume=96 * MIB,
        created_here=True,
        origin_snapshot=volume.safety_snapshot,
    )
    site.catalog.jobs.create(
        kind="recovery-point.create",
        title="recovery point of server web",
        tenant=volume.tenant,
        actor="user:alice",
        state="running",
        object_kind="server",
        object_id=str(uuid_of(site, "web")),
        object_name="web",
        created_at=now,
        started_at=now - timedelta(seconds=40),
        bytes_total=900 * MIB,
        bytes_done=350 * MIB,
        step="read volume web-vda",
    )
    return world
