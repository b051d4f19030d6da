"""Workers of two sites as real processes: snapshot, copy, verify on both sides, and kill -9."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import libvirt
import pytest

from dozo.model import clock
from dozo.services import inventory, job_queue, operations, protection
from dozo.services.access import Actor, Scope
from dozo.services.job_queue import JobView
from dozo.services.protection import Protection
from dozo.services.site import Site

from .domains import MIB, Machine, define
from .support import befriend, make_site

pytestmark = pytest.mark.libvirt

_WORKER = """
import signal, sys, threading
from pathlib import Path
from dozo.catalog.store import set_up_django
set_up_django()
from dozo.daemon.worker import Worker
worker = Worker(Path(sys.argv[1]), name=sys.argv[2])
worker.start()
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
print("begun", flush=True)
over.wait()
worker.stop(20)
print("stopped", flush=True)
import os
os._exit(0)
"""


@dataclass
class Workers:
    """The workers that a test started."""

    running: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, site: Site) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(site.settings.home), site.settings.name],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        return process


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def sites(workspace: tuple[libvirt.virConnect, Path]) -> Iterator[tuple[Site, Site]]:
    _connection, folder = workspace
    main = make_site(folder, "main", libvirt="qemu:///system")
    dr = make_site(folder, "dr", libvirt="qemu:///system")
    befriend(main, dr)
    yield main, dr
    main.close()
    dr.close()


@pytest.fixture
def machine(workspace: tuple[libvirt.virConnect, Path]) -> Machine:
    made = define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2"})
    made.start()
    return made


def ask(site: Site, kind: str, **params: object) -> str:
    scope = Scope(site, Actor.system())
    return job_queue.submit(scope, operations.kind(kind), params).job_id


def shown(site: Site, job_id: str) -> JobView:
    scope = Scope(site, Actor.system())
    return job_queue.views(scope, site.catalog.jobs.filter(job_id=job_id))[0]


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = clock.monotonic() + seconds
    while not what():
        assert clock.monotonic() < deadline, "waited in vain"
        clock.sleep(0.1)


def test_a_snapshot_becomes_protected_by_itself(
    sites: tuple[Site, Site], machine: Machine, workers: Workers
) -> None:
    main, dr = sites
    for site in sites:
        workers.start(site)
    inventory.sync(main)
    job_id = ask(main, "recovery-point.create", server=machine.name)
    wait_for(lambda: shown(main, job_id).finished_at)
    view = shown(main, job_id)
    assert view.state == "done", view.error
    assert view.facts["instant_at"]

    ids = [one["snapshot"] for one in view.result["snapshots"]]
    tenant = main.tenant_row()
    wait_for(lambda: protection.protected_ids(main, tenant, ids) == set(ids))
    assert dr.catalog.copies.filter(site=dr.own_row, state="verified").count() == 2
    row = main.catalog.servers.get(name=machine.name)
    # Nobody has promised it a schedule.
    assert protection.of_server(main, row).state is Protection.UNPROTECTED


def test_killed_in_a_live_snapshot_it_is_taken_again(
    sites: tuple[Site, Site], machine: Machine, workers: Workers
) -> None:
    main, _dr = sites
    process = workers.start(main)
    inventory.sync(main)
    for number in range(12):
        machine.write("vda", number * 4 * MIB, 4 * MIB, number + 1)
    job_id = ask(main, "recovery-point.create", server=machine.name)
    wait_for(lambda: shown(main, job_id).facts.get("instant_at") or shown(main, job_id).finished_at)
    killed_in_time = shown(main, job_id).finished_at is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    workers.start(main)

    wait_for(lambda: shown(main, job_id).finished_at)
    view = shown(main, job_id)
    assert view.state == "done", view.error
    lines = [line.text for line in main.catalog.job_lines.filter(job_id=job_id)]
    assert ("the service was restarted while this ran: it runs again" in lines) == killed_in_time
    assert main.catalog.recovery_points.count() == 1
    assert machine.running


def test_asked_to_stop_it_stops_and_goes_on_later(
    sites: tuple[Site, Site], machine: Machine, workers: Workers
) -> None:
    main, _dr = sites
    process = workers.start(main)
    inventory.sync(main)
    job_id = ask(main, "recovery-point.create", server=machine.name)
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    assert not list(main.settings.notes.glob("*.json"))
    workers.start(main)
    wait_for(lambda: shown(main, job_id).finished_at)
    assert shown(main, job_id).state == "done"
