"""`kill -9` of libvirt's daemon, with a live snapshot in flight and while nothing happens."""

import os
import secrets
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from shutil import rmtree

import httpx
import libvirt
import pytest
from guestlab.build import GuestImages
from tests.services import domains
from tests.services.domains import Machine
from tests.services.support import make_site
from tests.support.guests import Guest, GuestFactory

from dozo.model import clock
from dozo.services import inventory, schedules
from dozo.services.access import Actor, Scope
from guestlab import host as guest_host

from .world import World

pytestmark = [pytest.mark.libvirt, pytest.mark.libvirtd]


def daemon() -> int:
    """The process of libvirt's daemon; 0 while there is none."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text() == "libvirtd\n":
                return int(path.parts[2])
        except OSError:
            continue
    return 0


def kill_daemon() -> None:
    os.kill(daemon(), signal.SIGKILL)


def start_daemon(world: World) -> None:
    """Start it again and give the test's own things new connections."""
    world.things["connection"] = guest_host.connect()
    machine: Machine = world.things["machine"]
    machine.connection = world.things["connection"]


@pytest.fixture(scope="module")
def hosted(libvirt_host: object, catalogs: None) -> Iterator[World]:
    """A site with one running machine that boots nothing."""
    folder = domains.IMAGES / f"{domains.PREFIX}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o711)
    connection = guest_host.connect()
    with make_site(folder, "main", libvirt="qemu:///system") as main:
        machine = domains.define(connection, folder, disks={"vda": "qcow2", "vdb": "qcow2"})
        machine.start()
        inventory.sync(main)
        world = World(folder=folder, main=main, dr=main)
        world.things = {"machine": machine, "connection": connection}
        world.serve()
        yield world
        world.end()
    with guest_host.connect() as fresh:
        domains.undefine_all(fresh)
    rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def module_guest_factory(hosted: World, built_images: GuestImages) -> Iterator[GuestFactory]:
    """With connections of its own: the tests before have killed the daemon of everybody's."""
    factory = GuestFactory(guest_host.connect(), built_images)
    yield factory
    factory.connection = guest_host.connect()
    factory.remove_everything()


def ask(world: World, method: str, path: str, **more: object) -> httpx.Response:
    transport = httpx.HTTPTransport(uds=str(world.main.settings.home / "api.sock"))
    with httpx.Client(transport=transport, base_url="http://dozo", timeout=60) as client:
        return client.request(method, path, **more)  # type: ignore[arg-type]  # what httpx takes


def foresee(world: World, server: str) -> httpx.Response:
    """A question that the API's own connection has to answer."""
    body = {"server": server}
    return ask(world, "POST", "/api/v1/recovery-points?dry_run=true", json=body)


def no_job(domain: libvirt.virDomain) -> bool:
    try:
        domain.backupGetXMLDesc(0)
    except libvirt.libvirtError:
        return True
    return False


def due_meanwhile(world: World, server: str) -> str:
    """An hourly schedule whose time comes in a second."""
    fields = {
        "name": "hourly",
        "server": server,
        "mode": "live",
        "timing": {"kind": "hourly", "minute": 0, "zone": "UTC"},
        "keep": {"count": 3},
    }
    made = schedules.create(Scope(world.main, Actor.system("test")), fields).schedule
    now = clock.now()
    world.main.catalog.schedules.filter(schedule_id=made).update(
        decided_until=now - timedelta(hours=1), next_at=now + timedelta(seconds=1)
    )
    return made


def test_an_idle_service_goes_on_and_catches_up(hosted: World) -> None:
    machine: Machine = hosted.things["machine"]
    assert foresee(hosted, machine.name).status_code == 200
    schedule = due_meanwhile(hosted, machine.name)
    kill_daemon()
    assert ask(hosted, "GET", "/api/v1/servers").status_code == 200
    answer = foresee(hosted, machine.name)
    # Where systemd looks after it, it may be back already.
    if answer.status_code != 200:
        assert answer.status_code == 503, answer.text
        assert answer.json()["code"] == "hypervisor.libvirt_unavailable"
    assert ask(hosted, "GET", "/readyz").status_code == 200
    clock.sleep(2)
    start_daemon(hosted)
    assert foresee(hosted, machine.name).status_code == 200
    new = domains.define(hosted.things["connection"], machine.folder, disks={"vda": "qcow2"})
    servers = hosted.main.catalog.servers
    hosted.until(lambda: servers.filter(uuid=new.uuid, present=True).exists(), "the inventory")
    runs = hosted.main.catalog.schedule_runs.filter(schedule_id=schedule, outcome="started")
    hosted.until(lambda: runs.filter(jobs__state="done").exists(), "the missed run")
    assert runs.count() == 1
    hosted.main.catalog.schedules.update(enabled=False)
    assert machine.running
    assert hosted.process is not None
    assert hosted.process.poll() is None


@pytest.mark.parametrize(
    ("effect", "number"), [("libvirt.backupBegin", 1), ("bytes", 1), ("vault.create snapshots", 2)]
)
def test_a_live_snapshot_is_taken_again(hosted: World, effect: str, number: int) -> None:
    machine: Machine = hosted.things["machine"]
    machine.write("vda", 0, domains.MIB, 0x55)
    hosted.number += 1
    name = f"point{hosted.number}"
    hosted.arm("recovery-point.create", effect, number, victim=daemon())
    job_id = hosted.ask("recovery-point.create", {"server": machine.name, "name": name})
    came_back(hosted)
    row = hosted.ended(job_id)
    assert row.state == "done", f"{row.error_text}\n{hosted.lines(row)}"
    hosted.nothing_is_left()
    assert machine.running
    assert no_job(machine.domain)
    assert hosted.main.catalog.recovery_points.filter(name=name).count() == 1
    assert len(machine.domain.listAllCheckpoints()) == 1
    # Nothing is in the way of the next one.
    hosted.do("recovery-point.create", {"server": machine.name})
    hosted.vault_is_sound()


def came_back(world: World) -> None:
    """Wait for the daemon's death at the armed point, and start it again a moment later."""
    before = daemon()
    world.until(lambda: daemon() != before, "libvirt's end")
    clock.sleep(1)
    start_daemon(world)


@pytest.mark.guest
@pytest.mark.parametrize("effect", ["agent guest-fsfreeze-freeze", "libvirt.backupBegin"])
def test_a_frozen_guest_is_thawed(
    hosted: World, module_guest: Guest, module_guest_factory: GuestFactory, effect: str
) -> None:
    inventory.sync(hosted.main)
    hosted.arm("recovery-point.create", effect, 1, victim=daemon())
    module_guest.forget_console()
    job_id = hosted.ask("recovery-point.create", {"server": module_guest.name})
    came_back(hosted)
    connection = hosted.things["connection"]
    module_guest_factory.connection = connection
    module_guest.domain = connection.lookupByName(module_guest.name)
    begun = clock.monotonic()
    # It can only write when it is thawed.
    module_guest.sh("touch /srv/data/thawed && sync", timeout_s=60)
    assert clock.monotonic() - begun < 45
    row = hosted.ended(job_id)
    assert row.state == "done", f"{row.error_text}\n{hosted.lines(row)}"
    hosted.nothing_is_left()
    assert no_job(module_guest.domain)
    (made,) = hosted.main.catalog.recovery_points.filter(server__name=module_guest.name)[:1]
    assert {one.consistency for one in made.snapshots.all()} == {"filesystem-consistent"}
