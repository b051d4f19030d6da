"""Servers in every state of protection, jobs in every state, and weeks of capacity figures."""

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.api.support import World
from tests.services.access_support import add_server

from dozo.model import clock
from dozo.services import login
from dozo.services.access import Scope
from dozo.services.settings import Peer

GIB = 1024**3
PEER = Peer(name="dr", vault="/vaults/dr", public_key="")


def with_activity(world: World, *, dr: bool = True) -> None:
    """All of it; with ``dr`` the site has a peer."""
    if dr:
        with_peer(world)
    with_protection(world)
    with_jobs(world)
    with_figures(world)


def with_peer(world: World) -> None:
    """A DR site that is only named: nothing here speaks to it."""
    site = world.site
    site.settings = replace(site.settings, peers=(PEER,))
    site.catalog.sites.create(site_id=PEER.site_id, name=PEER.name, vault_url=PEER.vault)


def schedule_of(world: World, server: str, name: str, **fields: Any) -> Any:
    """A nightly schedule of a server, as if it had been there for a month."""
    site, now = world.site, clock.now()
    row = site.catalog.servers.select_related("tenant").get(name=server)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return site.catalog.schedules.create(
        name=name,
        tenant=row.tenant,
        target_kind="server",
        target=str(row.uuid),
        timing={"kind": "daily", "hour": 0, "minute": 0, "zone": "UTC"},
        keep={"count": 7},
        created_at=now - timedelta(days=30),
        decided_until=midnight,
        next_at=midnight + timedelta(days=1),
        **fields,
    )


def run_of(world: World, schedule: Any, days_ago: int = 0, **fields: Any) -> Any:
    """A run of such a schedule, last night or days before."""
    now = clock.now()
    planned = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    return world.site.catalog.schedule_runs.create(
        schedule=schedule,
        planned_at=planned,
        target=fields.pop("target", f"server:{schedule.target}"),
        outcome=fields.pop("outcome", "started"),
        decided_at=now,
        **fields,
    )


def snapshot_of(
    world: World, server: UUID, schedule: Any, days_ago: float, *, here: str, dr: str = ""
) -> str:
    """A snapshot of the server's only volume, with the states of its copies."""
    site = world.site
    volume = site.catalog.volumes.select_related("tenant").get(server_id=server)
    key = uuid4().hex
    site.catalog.snapshots.create(
        snapshot_id=key,
        name=f"{volume.name}-{key[:4]}",
        tenant=volume.tenant,
        origin_site=site.own_row,
        created_at=clock.now() - timedelta(days=days_ago),
        bytes_volume=20 * GIB,
        bytes_stored=GIB,
        volume=volume,
        server_id=server,
        mode="live",
        scheduled=schedule is not None,
        schedule_id=schedule.schedule_id if schedule is not None else "",
    )
    site.catalog.copies.create(snapshot_id=key, site=site.own_row, state=here)
    if dr:
        site.catalog.copies.create(snapshot_id=key, site_id=PEER.site_id, state=dr)
    return key


def with_protection(world: World) -> None:
    """Servers of ``acme`` that are protected, behind, failing; one has a damaged copy."""
    names = (
        "db",
        "files",
        "mail",
        "billing-and-invoices-of-the-eastern-branch-2019",
        "会計サーバー",
    )
    made = {name: add_server(world.site, name, "acme") for name in names}
    for name in ("db", "会計サーバー"):
        schedule = schedule_of(world, name, f"{name} nightly")
        run_of(world, schedule)
        snapshot_of(world, made[name], schedule, 0.001, here="verified", dr="verified")
    late = schedule_of(world, "files", "files nightly")
    run_of(world, late)
    run_of(world, late, 1)
    snapshot_of(world, made["files"], late, 0.001, here="verified", dr="missing")
    snapshot_of(world, made["files"], late, 4, here="verified", dr="verified")
    bad = schedule_of(world, "mail", "mail nightly")
    run = run_of(world, bad)
    snapshot_of(world, made["mail"], bad, 2, here="verified", dr="verified")
    snapshot_of(world, made["mail"], bad, 3, here="damaged", dr="verified")
    add_job(
        world,
        "recovery point of server mail",
        "failed",
        object_kind="server",
        object_id=str(made["mail"]),
        object_name="mail",
        actor="schedule:acme/mail nightly",
        kind="recovery-point.create",
        run=run,
        error_code="capture.agent_silent",
        error_text="the guest agent of mail does not answer",
        error_hint="Start the guest agent, or let the snapshot be taken without freezing.",
    )


def add_job(world: World, title: str, state: str, **fields: Any) -> Any:
    """A job of ``acme`` in a state."""
    now = clock.now()
    begun = state not in {"queued", "waiting"}
    over = state in {"done", "failed", "cancelled", "interrupted"}
    given: dict[str, Any] = {
        "kind": "snapshot.create",
        "tenant": world.site.tenant_row("acme"),
        "actor": "user:alice",
        "created_at": now - timedelta(minutes=9),
        "started_at": now - timedelta(minutes=8) if begun else None,
        "finished_at": now - timedelta(minutes=2) if over else None,
        "attempt": 1 if begun else 0,
        **fields,
    }
    return world.site.catalog.jobs.create(title=title, state=state, **given)


def with_jobs(world: World) -> dict[str, str]:
    """A job in every state; ids by state."""
    volume = world.site.catalog.volumes.get(name="web-vda")
    about = {
        "object_kind": "volume",
        "object_id": str(volume.volume_id),
        "object_name": volume.name,
        "params": {"volume": str(volume.volume_id), "mode": "live"},
        "locks": [f"server:{volume.server_id}"],
    }
    made = {}
    running = add_job(
        world,
        "snapshot of volume web-vda",
        "running",
        step="read web-vda",
        bytes_total=40 * GIB,
        bytes_done=17 * GIB,
        beat_at=clock.now(),
        **about,
    )
    made["running"] = running.job_id
    for number, text in enumerate(
        ("read the inventory", "freeze web", "thaw web after 143 ms", "read web-vda")
    ):
        at = clock.now() - timedelta(minutes=8 - number)
        world.site.catalog.job_lines.create(job=running, at=at, text=text)
    for state in ("queued", "waiting", "cancelling", "done", "cancelled", "interrupted"):
        row = add_job(world, "snapshot of volume web-vda", state, **about)
        made[state] = row.job_id
    failed = add_job(
        world,
        "restore server <script>alert(1)</script>",
        "failed",
        kind="restore.server",
        object_kind="server",
        object_name="<script>alert(1)</script>",
        error_code="pool.full",
        error_text="the pool has 3 GiB left and needs 40 GiB",
        error_hint="Make room in the pool, or restore elsewhere.",
    )
    made["failed"] = failed.job_id
    add_job(
        world,
        "keep step",
        "done",
        kind="site.sync",
        tenant=None,
        actor="system:upkeep",
        object_kind="site",
        lane="upkeep",
    )
    return made


def with_figures(world: World, days: int = 60) -> None:
    """How the vault grew, day by day."""
    today = clock.now().astimezone(UTC).date()
    for back in range(days):
        stored = 300 * GIB - back * 3 * GIB + (back % 7) * GIB
        world.site.catalog.vault_figures.create(
            day=today - timedelta(days=back),
            at=clock.now() - timedelta(days=back),
            bytes_stored=stored,
            bytes_protected=stored * 9,
            bytes_free=900 * GIB - stored,
            snapshots=2000 - back * 10,
        )


def scope_of(world: World, who: str) -> Scope:
    """Somebody's own scope."""
    row = world.site.catalog.users.select_related("tenant").get(username=who)
    return Scope(world.site, login.actor_of(row))
