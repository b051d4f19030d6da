"""The process is killed in the middle; the next one finds what is left and puts it right."""

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import libvirt
import pytest

from dozo.model import clock
from dozo.services import (
    inventory,
    leftovers,
    notes,
    project,
    protect,
    replicate,
    restore_in_place,
    restore_server,
    restore_volume,
    views,
)
from dozo.services.pool import Pool, PoolImage
from dozo.services.site import Site

from .domains import MIB, Machine, define
from .support import MadeServer, random_bytes, store

Workspace = tuple[libvirt.virConnect, Path]

_HEAD = """
import os, signal, sys
from pathlib import Path
from dozo.services import protect, replicate, restore_server
from dozo.services.site import Site

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Work:
    def __init__(self, bytes_left): self.bytes_left = bytes_left
    def step(self, text): pass
    def bytes_of(self, label): return self
    def fact(self, name, value): pass
    def check(self): pass
    def total(self, work_bytes): pass
    def advance(self, done_bytes):
        self.bytes_left -= done_bytes
        if self.bytes_left < 0: die()

site = Site.open(Path(sys.argv[1]))
"""


def run_until_killed(site: Site, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + textwrap.dedent(code), str(site.settings.home)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


@pytest.fixture
def machine(workspace: Workspace) -> Machine:
    made = define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2"})
    made.start()
    return made


def cleaned(site: Site) -> list[str]:
    """Clean up until nothing is left: the capture's own watchdog may be at it already."""
    lines = list(leftovers.clean(site).lines)
    captures = leftovers.captures_dir(site)
    deadline = clock.monotonic() + 30
    while captures.is_dir() and any(captures.iterdir()) and clock.monotonic() < deadline:
        clock.sleep(0.1)
        lines += leftovers.clean(site).lines
    return lines


def no_job(machine: Machine) -> bool:
    try:
        machine.domain.backupGetXMLDesc(0)
    except libvirt.libvirtError:
        return True
    return False


@pytest.mark.libvirt
@pytest.mark.parametrize("before", [False, True], ids=["first", "incremental"])
def test_killed_during_a_live_snapshot(host_site: Site, machine: Machine, *, before: bool) -> None:
    if before:
        protect.apply(host_site, protect.plan_server(host_site, machine.name))
    run_until_killed(
        host_site,
        f"protect.apply(site, protect.plan_server(site, {machine.name!r}, name='k'), work=Work(0))",
    )
    assert machine.running
    lines = cleaned(host_site)
    assert any("interrupted" in line for line in lines)
    assert no_job(machine)
    assert not [one for one in host_site.settings.scratch.rglob("*") if one.is_file()]
    assert notes.read_all(host_site.settings.notes) == []
    assert len(host_site.host.checkpoints(machine.uuid)) == (1 if before else 0)
    assert leftovers.clean(host_site).lines == ()
    made = protect.apply(host_site, protect.plan_server(host_site, machine.name))
    if before:
        # The checkpoint of the last good snapshot is still there to go by.
        assert [one.full_reason for one in made.snapshots] == [None, None]


@pytest.mark.libvirt
def test_killed_when_one_of_two_volumes_was_stored(host_site: Site, machine: Machine) -> None:
    run_until_killed(
        host_site,
        f"""
        real = type(site.vault).backup
        def backup(self, source, draft, **options):
            if draft.name.endswith("vdb"):
                import time
                while not self.snapshots(): time.sleep(0.05)
                die()
            return real(self, source, draft, **options)
        type(site.vault).backup = backup
        protect.apply(site, protect.plan_server(site, {machine.name!r}, name="k"))
        """,
    )
    assert len(host_site.vault.snapshots()) == 1
    lines = cleaned(host_site)
    assert any("1 snapshots of the incomplete recovery point were deleted" in one for one in lines)
    assert host_site.vault.snapshots() == []
    assert views.list_recovery_points(host_site) == []


@pytest.mark.libvirt
def test_killed_after_everything_was_stored_keeps_it(host_site: Site, machine: Machine) -> None:
    run_until_killed(
        host_site,
        f"""
        from dozo.services import snapshots
        snapshots.record_new = lambda *a, **k: die()
        protect.apply(site, protect.plan_server(site, {machine.name!r}, name="k"))
        """,
    )
    lines = cleaned(host_site)
    assert any("complete already" in one for one in lines)
    (point,) = views.list_recovery_points(host_site)
    assert (point.name, point.complete) == ("k", True)
    assert no_job(machine)


@pytest.mark.libvirt
def test_killed_during_a_server_restore(host_site: Site, machine: Machine) -> None:
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))
    new = f"{machine.name}-new"
    plan = f"restore_server.plan(site, recovery_point='point', name={new!r})"
    run_until_killed(host_site, f"restore_server.apply(site, {plan}, work=Work({MIB // 2}))")
    lines = cleaned(host_site)
    assert any("interrupted" in one or "half-made" in one for one in lines)
    pool = Pool(host_site.settings.pool)
    assert [one for one in pool.folder.iterdir() if one.is_file()] == []
    assert pool.images() == []
    made = restore_server.apply(
        host_site, restore_server.plan(host_site, recovery_point="point", name=new)
    )
    assert host_site.host.server(made.server).state == "stopped"


@pytest.mark.libvirt
def test_killed_between_the_volumes_and_the_definition(host_site: Site, machine: Machine) -> None:
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))
    new = f"{machine.name}-new"
    run_until_killed(
        host_site,
        f"""
        from dozo.hypervisor import LibvirtHost
        LibvirtHost.define_server = lambda *a, **k: die()
        plan = restore_server.plan(site, recovery_point="point", name={new!r})
        restore_server.apply(site, plan)
        """,
    )
    pool = Pool(host_site.settings.pool)
    assert len(pool.images()) == 2
    assert any("images were removed" in one for one in cleaned(host_site))
    assert pool.images() == []


@pytest.mark.libvirt
def test_killed_after_the_definition_and_renamed(host_site: Site, machine: Machine) -> None:
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))
    new = f"{machine.name}-new"
    run_until_killed(
        host_site,
        f"""
        from dozo.hypervisor import LibvirtHost
        real = LibvirtHost.define_server
        def define(*arguments, **options):
            real(*arguments, **options)
            die()
        LibvirtHost.define_server = define
        plan = restore_server.plan(site, recovery_point="point", name={new!r})
        restore_server.apply(site, plan)
        """,
    )
    machine.connection.lookupByName(new).rename(f"{new}-2")
    (line,) = cleaned(host_site)
    assert f"look at server {new}-2" in line
    images = Pool(host_site.settings.pool).images()
    assert len(images) == 2
    assert all(Path(image.path).exists() for image in images)


@pytest.mark.libvirt
def test_a_half_made_image_that_a_server_has_stays(host_site: Site, machine: Machine) -> None:
    disk = machine.disks["vda"]
    pool = Pool(host_site.settings.pool)
    image = PoolImage(
        volume_id=str(uuid4()),
        name="half",
        path=str(disk.path),
        format="qcow2",
        bytes_volume=disk.size,
        tenant="default",
    )
    records = pool.folder / ".dozo"
    records.mkdir()
    (records / f"{image.volume_id}.json").write_text(json.dumps(asdict(image)))
    (line,) = leftovers.clean(host_site).lines
    assert f"stays, server {machine.name} has it" in line
    assert disk.path.exists()


@pytest.mark.libvirt
def test_killed_during_an_in_place_restore(host_site: Site, machine: Machine) -> None:
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))
    machine.kill()
    machine.write("vda", 3 * MIB, 65536, 0x66)
    run_until_killed(
        host_site,
        f"""
        from dozo.services import restore_in_place
        type(site.vault).restore_in_place = lambda *a, **k: die()
        plan = restore_in_place.plan(site, {machine.name + "/vda"!r}, "point-vda")
        restore_in_place.apply(site, plan)
        """,
    )
    (line,) = cleaned(host_site)
    assert "--resume" in line
    assert "--go-back" in line


@pytest.mark.libvirt
def test_killed_while_an_unattached_volume_is_put_back(host_site: Site, machine: Machine) -> None:
    machine.kill()
    point = protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))
    made = restore_volume.apply(
        host_site, restore_volume.plan(host_site, "point-vdb", name=f"{machine.name}-x")
    )
    run_until_killed(
        host_site,
        f"""
        from dozo.services import restore_in_place
        type(site.vault).restore_in_place = lambda *a, **k: die()
        plan = restore_in_place.plan(site, {made.volume!r}, "point-vdb")
        restore_in_place.apply(site, plan)
        """,
    )
    # The catalog is lost: of the volume only its record in the pool and the note are left.
    lost = host_site.catalog.volume(made.volume)
    lost.snapshots.all().delete()
    lost.delete()
    for _ in range(2):
        (line,) = cleaned(host_site)
        assert f"{made.path} may be half written" in line
    inventory.sync(host_site)
    row = host_site.catalog.volume(made.volume)
    assert row.restoring_snapshot == point.snapshots[1].snapshot
    assert row.safety_snapshot
    (line,) = cleaned(host_site)
    assert "--resume" in line
    assert cleaned(host_site) == []
    project.rebuild(host_site)
    restore_in_place.apply(host_site, restore_in_place.plan_go_back(host_site, made.volume))
    image = Pool(host_site.settings.pool).find(made.volume)
    assert image is not None
    assert (image.restoring, image.safety) == ("", "")


@pytest.mark.libvirt
def test_a_catalog_rebuilt_before_clean_up_learns_it_from_the_note(
    host_site: Site, machine: Machine
) -> None:
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))
    machine.kill()
    row = host_site.catalog.volume(f"{machine.name}/vda")
    run_until_killed(
        host_site,
        f"""
        from dozo.services import restore_in_place
        type(site.vault).restore_in_place = lambda *a, **k: die()
        plan = restore_in_place.plan(site, {machine.name + "/vda"!r}, "point-vda")
        restore_in_place.apply(site, plan)
        """,
    )
    host_site.catalog.volumes.update(restoring_snapshot="", safety_snapshot="")
    (line,) = cleaned(host_site)
    assert "--resume" in line
    row.refresh_from_db()
    assert row.restoring_snapshot
    assert row.safety_snapshot


@pytest.mark.libvirt
def test_killed_after_the_only_volume_was_stored_keeps_it(
    host_site: Site, machine: Machine
) -> None:
    run_until_killed(
        host_site,
        f"""
        from dozo.services import snapshots
        snapshots.record_new = lambda *a, **k: die()
        protect.apply(site, protect.plan_volume(site, {machine.name + "/vda"!r}, name="k"))
        """,
    )
    lines = cleaned(host_site)
    assert any("complete already" in one for one in lines)
    assert [one.name for one in views.list_snapshots(host_site)] == ["k"]


def test_killed_during_a_copy(pair: tuple[Site, Site]) -> None:
    main, _ = pair
    server = MadeServer.new("web")
    snapshot = store(main, server, "vda", random_bytes(1, 8 * MIB))
    run_until_killed(
        main, f"replicate.copy(site, site.settings.peer('dr'), [{snapshot!r}], work=Work({MIB}))"
    )
    assert views.list_snapshots(main)[0].copies["dr"] == "copying"
    assert any("copy again" in one for one in leftovers.clean(main).lines)
    assert views.list_snapshots(main)[0].copies["dr"] == "missing"
    done = replicate.copy(main, main.settings.peer("dr"), [snapshot])
    assert done.snapshots == (snapshot,)
    assert views.list_snapshots(main)[0].copies["dr"] == "stored"
