"""A catalog in SQLite that nobody can write to for a while: its disk is full, or it is locked."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from tests.support.simulated import Simulation

from dozo.catalog.settings import CATALOG_NAME
from dozo.hypervisor.simulated import NewServer
from dozo.model import clock
from dozo.services import inventory, job_queue, operations
from dozo.services import site as sites
from dozo.services.access import Actor, Scope
from dozo.services.site import Site

from .support import Service, started

MIB = 1024 * 1024


@pytest.fixture
def site(
    tmp_path: Path, small_disk: Callable[[int], Path], simulated: Simulation
) -> Iterator[Site]:
    """A site whose home alone is on a small disk."""
    simulated.host.add_server(NewServer(name="web"))
    simulated.host.start("web")
    home = small_disk(24 * MIB) / "home"
    sites.init(
        sites.plan_init(
            home=home,
            name="main",
            vault=str(tmp_path / "vault"),
            pool=tmp_path / "pool",
            libvirt=simulated.uri,
        )
    )
    with Site.open(home) as made:
        inventory.sync(made)
        yield made


def ask(site: Site, kind: str, **params: object) -> str:
    scope = Scope(site, Actor.system("test"))
    return job_queue.submit(scope, operations.kind(kind), params).job_id


def wait_done(site: Site, service: Service, jobs: list[str]) -> None:
    deadline = clock.monotonic() + 120
    rows = site.catalog.jobs.filter(job_id__in=jobs)
    while set(rows.values_list("state", flat=True)) != {"done"}:
        told = [(row.kind, row.state, row.error_text) for row in rows.all()]
        assert clock.monotonic() < deadline, f"{told}\n{service.log.read_text()[-3000:]}"
        clock.sleep(0.05)


def write(service: Service) -> httpx.Response:
    """Ask for what has to be written down."""
    transport = httpx.HTTPTransport(uds=str(service.home / "api.sock"))
    with httpx.Client(transport=transport, base_url="http://dozo", timeout=60) as client:
        return client.post("/api/v1/site/sync", json={})


def test_a_full_disk_costs_time_and_no_job(site: Site) -> None:
    with started(site.settings.home) as service:
        wait_done(site, service, [ask(site, "recovery-point.create", server="web")])
        jobs = [ask(site, "recovery-point.create", server="web", name=f"p{n}") for n in range(2)]
        filler = site.settings.home.parent / "filler"
        fill(filler)
        answer = write(service)
        assert answer.status_code == 503, answer.text
        assert answer.json()["code"] == "catalog.lost"
        # What is only read is answered.
        assert service.local("/api/v1/servers").status_code == 200
        clock.sleep(3)
        fill(filler)
        assert service.process.poll() is None
        filler.unlink()
        wait_done(site, service, jobs)
        assert write(service).status_code == 202
        assert "Traceback" not in service.log.read_text()
        assert service.stop() == 0
    assert site.catalog.recovery_points.count() == 3


def fill(path: Path) -> None:
    """Take the room that is left, to the last block."""
    with path.open("ab") as file:
        for size in (MIB, 4096):
            try:
                while True:
                    os.write(file.fileno(), b"\1" * size)
            except OSError:
                continue


def test_a_locked_database_costs_time_and_no_job(site: Site) -> None:
    with started(site.settings.home) as service:
        jobs = [ask(site, "recovery-point.create", server="web", name=f"p{n}") for n in range(2)]
        path = site.settings.home / CATALOG_NAME
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            # As long as everybody is patient, and then in words.
            answer = write(service)
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "catalog.lost"
            assert service.local("/api/v1/servers").status_code == 200
            assert service.local("/healthz").status_code == 200
            other.execute("ROLLBACK")
        wait_done(site, service, jobs)
        assert write(service).status_code == 202
        assert "Traceback" not in service.log.read_text()
        assert service.stop() == 0
    assert site.catalog.recovery_points.count() == 2
