"""`/metrics`: the numbers are right, documented, and for those who may see them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dozo.daemon import metrics
from dozo.daemon.metrics import Figures
from dozo.model import clock
from dozo.services import accounts, login
from dozo.services import site as sites
from dozo.services.access import Actor, Role, Scope
from dozo.services.site import Site

from .conftest import make_site
from .support import started

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
MINUTE = timedelta(minutes=1)


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    with Site.open(home) as opened:
        yield opened


class Scrape:
    """The samples of one scrape."""

    def __init__(self, figures: Figures) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(figures)
        self.text = generate_latest(registry).decode()
        self.samples = {
            (one.name, frozenset(one.labels.items())): one.value
            for family in text_string_to_metric_families(self.text)
            for one in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, frozenset(labels.items())))

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples if name.startswith("dozo_")}


def figures(site: Site) -> Figures:
    return Figures(site.settings.home, lambda: {"dispatch": True, "clean": False})


def job(site: Site, kind: str, state: str, **columns: Any) -> None:
    now = clock.now()
    site.catalog.jobs.create(
        kind=kind,
        title=kind,
        actor="system:test",
        state=state,
        created_at=columns.pop("created_at", now),
        **columns,
    )


def snapshot(site: Site, server: Any, volume: Any, **columns: Any) -> str:
    row = site.catalog.snapshots.create(
        snapshot_id=uuid4().hex,
        name="s",
        tenant=server.tenant,
        origin_site=site.own_row,
        server=server,
        volume=volume,
        bytes_volume=1024,
        mode="live",
        scheduled=True,
        **columns,
    )
    site.catalog.copies.create(
        snapshot_id=row.snapshot_id, site=site.own_row, state="verified", received_at=clock.now()
    )
    return str(row.snapshot_id)


def with_peer(site: Site, tmp_path: Path) -> None:
    with make_site(tmp_path, "dr") as dr:
        sites.add_peer(
            site,
            name="dr",
            vault=dr.settings.vault,
            public_key=dr.vault.public_key.to_text(),
        )


def test_servers_copies_and_freezes(site: Site, tmp_path: Path) -> None:
    with_peer(site, tmp_path)
    tenant = site.tenant_row()
    server = site.catalog.servers.create(uuid=uuid4(), name="web", tenant=tenant, present=True)
    site.catalog.servers.create(uuid=uuid4(), name="gone", tenant=tenant, present=False)
    volume = site.catalog.volumes.create(
        volume_id=uuid4(), name="web-vda", tenant=tenant, server=server, state="attached"
    )
    now = clock.now()
    site.catalog.schedules.create(
        name="nightly",
        tenant=tenant,
        target_kind="server",
        target=str(server.uuid),
        timing={},
        keep={},
        created_at=now - 90 * MINUTE,
        decided_until=now,
        next_at=now + MINUTE,
        schedule_id="sch1",
    )
    facts = {"capture": {"freeze_ms": 120}}
    older = snapshot(site, server, volume, created_at=now - 60 * MINUTE, schedule_id="sch1")
    snapshot(site, server, volume, created_at=now - 10 * MINUTE, schedule_id="sch1", facts=facts)
    peer = site.site_row(site.settings.peer("dr").site_id)
    site.catalog.copies.create(snapshot_id=older, site=peer, state="verified")
    site.catalog.copies.create(snapshot_id="x", site=peer, state="damaged")

    seen = Scrape(figures(site))
    labels = {"server": "web", "uuid": str(server.uuid), "tenant": tenant.name}
    # Only the older one is at both sites.
    at = seen("dozo_server_protected_timestamp_seconds", **labels)
    assert at == pytest.approx((now - 60 * MINUTE).timestamp(), abs=1)
    assert seen("dozo_server_protection", **labels, state="protected") == 1
    assert seen("dozo_server_protection", **labels, state="failing") == 0
    assert seen("dozo_servers", state="protected") == 1
    assert seen("dozo_servers", state="unprotected") == 0
    assert seen("dozo_server_freeze_seconds", **labels) == 0.12
    assert seen("dozo_peer_unverified_snapshots", peer="dr") == 1
    assert seen("dozo_peer_lag_seconds", peer="dr") == pytest.approx(600, abs=30)
    assert seen("dozo_damaged_copies", site="dr") == 1
    assert seen("dozo_damaged_copies", site="main") == 0


def test_jobs_are_counted_as_they_end(site: Site) -> None:
    job(site, "site.prune", "failed", finished_at=clock.now() - MINUTE)
    shown = figures(site)
    shown._parts["ended"]._seconds = 0
    before = Scrape(shown)
    assert before("dozo_jobs_ended_total", kind="site.prune", state="failed") == 0

    now = clock.now()
    took = {"started_at": now - 2 * MINUTE, "finished_at": now, "bytes_done": 5000}
    job(
        site,
        "recovery-point.create",
        "done",
        result={
            "freeze_ms": 300,
            "snapshots": [
                {"bytes_read": 4000, "bytes_stored": 100, "full_reason": "no-parent"},
                {"bytes_read": 1000, "bytes_stored": 10, "full_reason": None},
            ],
        },
        **took,
    )
    job(site, "site.prune", "failed", **took)
    for _ in range(2):
        seen = Scrape(shown)
        assert seen("dozo_jobs_ended_total", kind="site.prune", state="failed") == 1
        assert seen("dozo_job_bytes_total", kind="recovery-point.create") == 5000
        assert seen("dozo_job_seconds_total", kind="recovery-point.create") == 120
        assert seen("dozo_snapshot_read_bytes_total") == 5000
        assert seen("dozo_snapshot_stored_bytes_total") == 110
        assert seen("dozo_snapshot_full_reads_total", reason="no-parent") == 1
        assert seen("dozo_freeze_seconds_bucket", le="0.25") == 0
        assert seen("dozo_freeze_seconds_bucket", le="0.5") == 1
        assert seen("dozo_freeze_seconds_sum") == 0.3


def test_the_queue_and_the_upkeep(site: Site) -> None:
    now = clock.now()
    job(site, "site.copy", "queued", created_at=now - 5 * MINUTE)
    job(site, "site.copy", "queued")
    job(site, "site.scrub", "running", started_at=now, stuck_since=now, bytes_done=10)
    job(site, "site.scrub", "done", started_at=now, finished_at=now - 60 * MINUTE)
    seen = Scrape(figures(site))
    assert seen("dozo_jobs", kind="site.copy", state="queued") == 2
    assert seen("dozo_queue_depth") == 2
    assert seen("dozo_queue_oldest_seconds") == pytest.approx(300, abs=20)
    assert seen("dozo_stuck_jobs") == 1
    assert seen("dozo_running_bytes_per_second", kind="site.scrub") == pytest.approx(10, abs=9)
    assert seen("dozo_upkeep_success_timestamp_seconds", kind="site.scrub") == pytest.approx(
        (now - 60 * MINUTE).timestamp(), abs=1
    )
    assert seen("dozo_upkeep_success_timestamp_seconds", kind="site.prune") is None
    assert seen("dozo_loop_alive", loop="clean") == 0
    free = seen("dozo_vault_free_bytes")
    assert free is not None
    assert free > 0


def test_what_cannot_be_read_is_left_out_and_said(site: Site) -> None:
    vault = Path(site.settings.vault)
    vault.rename(vault.with_name("away"))
    seen = Scrape(figures(site))
    assert seen("dozo_scrape_failed", part="vault") == 1
    assert seen("dozo_scrape_failed", part="jobs") == 0
    assert seen("dozo_vault_stored_bytes") is None
    assert seen("dozo_queue_depth") == 0


def test_every_metric_is_documented_and_no_other(site: Site) -> None:
    source = Path(metrics.__file__).read_text()
    made = set(re.findall(r'"(dozo_[a-z_]+)"', source))
    documented = set(re.findall(r"^\| `(dozo_[a-z_]+)`", PAGE, re.MULTILINE))
    plain = {re.sub("_(total|info)$", "", name) for name in documented}
    assert plain == made
    # As they are really called, with the endings that counters and infos get.
    seen = {re.sub("_(bucket|sum|count)$", "", name) for name in Scrape(figures(site)).names}
    assert seen <= documented


def test_who_may_see_them(site: Site) -> None:
    tenant = site.tenant_row().name
    tokens = {}
    for name, role, of, scopes in (
        ("op", Role.OPERATOR, None, ["metrics.show"]),
        ("member", Role.MEMBER, tenant, ["*"]),
        ("narrow", Role.OPERATOR, None, ["site.show"]),
    ):
        accounts.create_user(
            Scope(site, Actor.system()),
            name,
            password="a long enough one 5",
            role=role,
            tenant=of,
            must_change_password=False,
        )
        actor = login.actor_of(site.catalog.users.get(username=name))
        tokens[name] = accounts.issue_token(Scope(site, actor), name="t", scopes=scopes).token
    with started(site.settings.home) as service:
        local = service.local("/metrics")
        assert local.status_code == 200
        assert 'dozo_build_info{site="main"' in local.text
        assert service.get("/metrics").status_code == 401
        for name, status in (("op", 200), ("member", 403), ("narrow", 403)):
            headers = {"Authorization": f"Bearer {tokens[name]}"}
            assert service.get("/metrics", headers=headers).status_code == status
        wrong = {"Authorization": "Bearer dozo_nonsense"}
        assert service.get("/metrics", headers=wrong).status_code == 401
        # Nobody can say over the network that they are local.
        assert service.get("/metrics", headers={"X-Local": "1"}).status_code == 401
