"""The catalog's database dies, or is away for a while, under a service with jobs in flight."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import Error
from tests.services.support import make_site, use_databases
from tests.support.simulated import Simulation

from dozo.hypervisor.simulated import NewServer
from dozo.model import clock
from dozo.services import inventory, job_queue, operations, schedules
from dozo.services.access import Actor, Scope
from dozo.services.site import Site

from .support import Service, started

SERVERS = ("web", "db")
AWAY_SECONDS = 2.0


@pytest.fixture
def site(tmp_path: Path, own_cluster: Any, simulated: Simulation) -> Iterator[Site]:
    """A site with two running servers, its catalog in a PostgreSQL of its own."""
    own_cluster.start()
    for name in SERVERS:
        simulated.host.add_server(NewServer(name=name))
        simulated.host.start(name)
    use_databases(own_cluster.create_database)
    try:
        with make_site(tmp_path, "main", libvirt=simulated.uri) as made:
            inventory.sync(made)
            yield made
    finally:
        use_databases(str)


def ask(site: Site, kind: str, **params: object) -> str:
    scope = Scope(site, Actor.system("test"))
    return job_queue.submit(scope, operations.kind(kind), params).job_id


def wait(what: Callable[[], object], service: Service, seconds: float = 90) -> None:
    deadline = clock.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except Error:
            # The test's own connection broke too; the next question makes a new one.
            pass
        assert clock.monotonic() < deadline, service.log.read_text()[-3000:]
        clock.sleep(0.02)


def states(site: Site, jobs: list[str]) -> set[str]:
    return set(site.catalog.jobs.filter(job_id__in=jobs).values_list("state", flat=True))


def an_hourly_schedule_is_due_meanwhile(site: Site) -> str:
    """Its time comes while the database is away."""
    fields = {
        "name": "hourly",
        "server": "web",
        "mode": "live",
        "timing": {"kind": "hourly", "minute": 0, "zone": "UTC"},
        "keep": {"count": 3},
    }
    made = schedules.create(Scope(site, Actor.system("test")), fields).schedule
    now = clock.now()
    site.catalog.schedules.filter(schedule_id=made).update(
        decided_until=now - timedelta(hours=1), next_at=now + timedelta(seconds=AWAY_SECONDS / 2)
    )
    return made


def is_unavailable(service: Service) -> None:
    for path in ("/api/v1/jobs", "/api/v1/servers"):
        answer = service.local(path)
        assert answer.status_code == 503, answer.text
        assert answer.json()["code"] == "catalog.lost"
        assert answer.json()["retry"] == "later"
    assert service.local("/readyz").status_code == 503
    # It lives: nobody has to start it again.
    assert service.local("/healthz").status_code == 200


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_nothing_is_lost_doubled_or_stuck(site: Site, own_cluster: Any, how: str) -> None:
    with started(site.settings.home) as service:
        first = ask(site, "recovery-point.create", server="web", name="before")
        wait(lambda: states(site, [first]) == {"done"}, service)
        root = site.catalog.snapshots.get(is_root=True).snapshot_id
        schedule = an_hourly_schedule_is_due_meanwhile(site)
        jobs = [
            *(ask(site, "recovery-point.create", server=one, name=f"p-{one}") for one in SERVERS),
            ask(site, "template.create", snapshot=root, name="base"),
            ask(site, "volume.create", snapshot=root, name="copy"),
            ask(site, "server.restore", recovery_point="before", name="again"),
            ask(site, "snapshot.verify", snapshots=[root]),
            ask(site, "site.scrub"),
        ]
        wait(lambda: site.catalog.jobs.filter(job_id__in=jobs, executions=1).exists(), service)
        if how == "killed":
            own_cluster.kill()
        else:
            own_cluster.stop("fast")
        is_unavailable(service)
        clock.sleep(AWAY_SECONDS)
        own_cluster.start()
        wait(lambda: states(site, jobs) == {"done"}, service)
        runs = site.catalog.schedule_runs.filter(schedule_id=schedule, outcome="started")
        wait(lambda: runs.filter(jobs__state="done").exists(), service)
        assert runs.count() == 1
        assert service.process.poll() is None
        assert service.local("/readyz").status_code == 200
        assert " broke" not in service.log.read_text()
        assert service.stop() == 0
    names = [row.name for row in site.catalog.recovery_points.all()]
    assert sorted(name for name in names if name.startswith(("before", "p-"))) == [
        "before",
        "p-db",
        "p-web",
    ]
    assert site.catalog.templates.filter(name="base").count() == 1
    assert site.catalog.volumes.filter(name__startswith="copy").count() == 1
    assert [info.name for info in site.host.servers()].count("again") == 1
    assert site.vault.snapshot_ids() == {
        row.snapshot_id
        for rows in (site.catalog.snapshots, site.catalog.templates)
        for row in rows.all()
    }
