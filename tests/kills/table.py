"""Every kind of job: how it is asked for, where it is killed, and what has to come of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import libvirt
import pytest
from tests.services import domains
from tests.services.domains import Machine
from tests.services.jobs import Shifted
from tests.services.support import MadeServer, random_bytes, store

from dozo.model import clock
from dozo.services import replicate
from dozo.services.pool import Pool

from .world import World

MIB = 1024 * 1024
Params = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of job in one form.

    ``ask`` makes what the job needs and returns its parameters, a new name each time. ``points``:
    where it is killed in each run of the tests, effects and how often they have happened; the
    sweep adds all others. ``end`` is how the job ends after the next start. ``check`` looks at what
    the job has done, once however often it was killed.
    """

    kind: str
    ask: Callable[[World], Params]
    points: tuple[tuple[str, int], ...]
    form: str = ""
    end: str = "done"
    check: Callable[[World, Params], None] = lambda _world, _params: None

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.form}" if self.form else self.kind


def taken(world: World, *, device: str = "vda", size: int = 3 * MIB) -> str:
    """A new snapshot in main's vault; its id."""
    world.number += 1
    server = MadeServer.new(f"made{world.number}", (device,))
    return store(world.main, server, device, random_bytes(world.number, size))


def of_snapshots(world: World) -> Params:
    return {"snapshots": [taken(world), taken(world)]}


def verified(world: World, params: Params) -> None:
    for snapshot in params["snapshots"]:
        assert state_here(world, snapshot) == "verified"


def state_here(world: World, snapshot: str) -> str:
    row = world.main.catalog.copies.get(site=world.main.own_row, snapshot_id=snapshot)
    return str(row.state)


def copied(world: World, params: Params) -> None:
    there = world.dr.vault.snapshot_ids()
    assert set(params["snapshots"]) <= there


def unread(world: World) -> Params:
    """Something that nobody has read back yet."""
    world.things["unread"] = taken(world)
    return {}


def read(world: World, _params: Params) -> None:
    assert state_here(world, world.things["unread"]) == "verified"


def old_generations(world: World) -> Params:
    """Five of a schedule that keeps two."""
    world.number += 1
    server = MadeServer.new(f"kept{world.number}", ("vda",))
    past = Shifted(by=timedelta(days=-9))
    ids = []
    with clock.use_clock(past):
        for number in range(5):
            data = random_bytes(1000 * world.number + number, MIB)
            schedule = f"{world.number:032x}"
            ids.append(store(world.main, server, "vda", data, at=past.now(), schedule=schedule))
            past.move(hours=2)
        replicate.sync(world.main)
        replicate.copy(world.main, world.main.settings.peers[0])
        replicate.sync(world.dr)
        replicate.sync(world.main)
    for row in world.main.catalog.snapshots.filter(snapshot_id__in=ids):
        row.facts["capture"]["keep"] = {"here": {"count": 2}, "peer": {"count": 2}}
        row.save()
    world.things["generations"] = ids
    return {"allow_many": True}


def two_are_kept(world: World, _params: Params) -> None:
    ids = world.things["generations"]
    shown = {info.snapshot for info in world.main.vault.snapshots()}
    assert [one for one in ids if one in shown] == ids[3:]


def deleted(world: World) -> Params:
    """Something to prune."""
    world.main.vault.delete([taken(world), taken(world)], reason="user")
    kept = taken(world)
    world.things["kept"] = kept
    replicate.sync(world.main, verify=False)
    return {"grace_seconds": 0}


def pruned(world: World, _params: Params) -> None:
    assert world.things["kept"] in world.main.vault.snapshot_ids()
    assert world.main.vault.prune(grace_seconds=0).bytes_freed == 0


def lost(world: World) -> Params:
    """Snapshots that main has lost and the peer still has."""
    ids = [taken(world), taken(world)]
    replicate.copy(world.main, world.main.settings.peers[0], ids)
    for snapshot in ids:
        # As a disk loses them: no deletion says so.
        for blob in list(world.main.vault.blobs.list(f"snapshots/{snapshot}")):
            world.main.vault.blobs.delete(blob.key)
    world.main.vault.prune(grace_seconds=0)
    world.things["lost"] = ids
    return {"peer": "dr"}


def back(world: World, _params: Params) -> None:
    for snapshot in world.things["lost"]:
        assert state_here(world, snapshot) == "verified"


def forgotten(world: World) -> Params:
    """Snapshots of which the catalog has not heard."""
    ids = [taken(world), taken(world)]
    world.main.catalog.snapshots.filter(snapshot_id__in=ids).delete()
    world.things["forgotten"] = ids
    return {}


def known(world: World, _params: Params) -> None:
    for snapshot in world.things["forgotten"]:
        assert world.main.catalog.snapshots.filter(snapshot_id=snapshot).exists()


def of_template(world: World) -> Params:
    snapshot = taken(world)
    return {"snapshot": snapshot, "name": f"template{world.number}"}


def one_template(world: World, params: Params) -> None:
    found = world.main.catalog.templates.filter(name=params["name"], deleted_at=None)
    assert found.count() == 1


PLAIN = (
    Case(
        kind="snapshot.verify",
        ask=of_snapshots,
        points=(("begin", 1), ("bytes", 2), ("end", 1)),
        check=verified,
    ),
    Case(
        kind="snapshot.copy",
        ask=of_snapshots,
        points=(("note copy", 1), ("bytes", 1), ("vault.create snapshots", 1)),
        check=copied,
    ),
    Case(
        kind="site.sync",
        ask=unread,
        points=(("step read", 1), ("bytes", 1)),
        check=read,
    ),
    Case(
        kind="site.retain",
        ask=old_generations,
        points=(("vault.create tombstones", 1), ("end", 1)),
        check=two_are_kept,
    ),
    Case(
        kind="site.prune",
        ask=deleted,
        points=(("begin", 1), ("vault.delete packs", 1)),
        check=pruned,
    ),
    Case(
        kind="site.scrub",
        ask=unread,
        points=(("bytes", 1), ("end", 1)),
    ),
    Case(
        kind="site.rebuild",
        ask=lost,
        points=(("bytes", 1), ("vault.create snapshots", 1)),
        check=back,
    ),
    Case(
        kind="site.rebuild-catalog",
        ask=forgotten,
        points=(("step read", 1), ("end", 1)),
        check=known,
    ),
    Case(
        kind="template.create",
        ask=of_template,
        points=(("vault.create snapshots", 1), ("end", 1)),
        check=one_template,
    ),
)


# -- kinds that need a hypervisor ---------------------------------------------------------------


def running(world: World) -> Machine:
    machine: Machine = world.things["running"]
    return machine


def stopped(world: World) -> Machine:
    machine: Machine = world.things["stopped"]
    if machine.running:
        machine.kill()
    return machine


def new_name(world: World, what: str) -> str:
    world.number += 1
    return f"{domains.PREFIX}{what}{world.number}"


def live(world: World) -> Params:
    machine = running(world)
    world.number += 1
    machine.write("vda", 0, MIB, world.number % 200 + 1)
    return {"volume": f"{machine.name}/vda", "name": new_name(world, "snap"), "mode": "live"}


def offline(world: World) -> Params:
    return {"volume": f"{stopped(world).name}/vdb", "name": new_name(world, "snap")}


def stop_snapshot_start(world: World) -> Params:
    machine = running(world)
    if not machine.running:
        machine.start()
    return {
        "volume": f"{machine.name}/vda",
        "name": new_name(world, "snap"),
        "mode": "stop-snapshot-start",
        "stop_timeout_seconds": 1,
        "force_stop": True,
    }


def point(world: World) -> Params:
    return {"server": running(world).name, "name": new_name(world, "point")}


def one_snapshot(world: World, params: Params) -> None:
    names = [info.sealed.name for info in world.main.vault.snapshots() if info.sealed]
    assert names.count(params["name"]) == 1
    machines_are_well(world, params)


def one_point(world: World, params: Params) -> None:
    (found,) = world.main.catalog.recovery_points.filter(name=params["name"])
    members = [info for info in world.main.vault.snapshots() if info.group == found.pk]
    assert len(members) == 2
    machines_are_well(world, params)


def machines_are_well(world: World, _params: Params) -> None:
    """The server that ran runs, and nothing of a capture is left on it."""
    machine = running(world)
    assert machine.running
    with pytest.raises(libvirt.libvirtError):
        machine.domain.backupGetXMLDesc(0)
    assert len(machine.domain.listAllCheckpoints()) <= 1


def to_start(world: World) -> Params:
    return {"server": stopped(world).name}


def is_up(world: World, _params: Params) -> None:
    assert world.things["stopped"].running


def to_stop(world: World) -> Params:
    machine: Machine = world.things["stopped"]
    if not machine.running:
        machine.domain.create()
    return {"server": machine.name, "timeout_seconds": 1, "force": True}


def is_down(world: World, _params: Params) -> None:
    assert not world.things["stopped"].running


def tracked(world: World) -> Params:
    world.serve()
    world.do("snapshot.create", live(world))
    assert running(world).domain.listAllCheckpoints()
    return {"server": running(world).name}


def untracked(world: World, _params: Params) -> None:
    assert not running(world).domain.listAllCheckpoints()
    assert running(world).running


def from_template(world: World) -> Params:
    return {"template": world.things["template"], "name": new_name(world, "made")}


def from_point(world: World, *, start: bool = False) -> Params:
    name = new_name(world, "made")
    return {"recovery_point": world.things["point"], "name": name, "start": start}


def one_server(world: World, params: Params) -> None:
    """It is there, with its own images and no others, and belongs to whom it should."""
    domain = running(world).connection.lookupByName(params["name"])
    row = world.main.catalog.servers.get(uuid=domain.UUIDString())
    assert bool(domain.isActive()) == bool(params.get("start"))
    assert row.tenant == world.main.tenant_row()
    images = [
        image
        for image in Pool(world.main.settings.pool).images()
        if image.name.startswith(params["name"])
    ]
    volumes = world.main.catalog.volumes.filter(server=row, state="attached")
    assert sorted(image.path for image in images) == sorted(one.path for one in volumes)
    assert len(images) == (1 if "template" in params else 2)
    domains.remove(domain)


def new_volume(world: World) -> Params:
    return {"snapshot": world.things["snapshot"], "name": new_name(world, "vol")}


def one_volume(world: World, params: Params) -> None:
    (row,) = world.main.catalog.volumes.filter(name__startswith=params["name"])
    assert row.state == "unattached"
    images = Pool(world.main.settings.pool).images()
    assert [one.path for one in images if one.name.startswith(params["name"])] == [row.path]
    assert domains.raw_bytes(row.path, row.format) == world.things["content"]


def put_back(world: World) -> Params:
    machine = stopped(world)
    machine.write("vda", 2 * MIB, MIB, 0x77)
    return {"volume": f"{machine.name}/vda", "snapshot": world.things["snapshot"]}


def is_put_back(world: World, _params: Params) -> None:
    machine: Machine = world.things["stopped"]
    assert machine.content("vda") == world.things["content"]
    assert not world.main.catalog.volume(f"{machine.name}/vda").restoring_snapshot


HOSTED = (
    Case(
        kind="snapshot.create",
        form="live",
        ask=live,
        points=(("libvirt.backupBegin", 1), ("vault.create snapshots", 1)),
        check=one_snapshot,
    ),
    Case(
        kind="snapshot.create",
        form="offline",
        ask=offline,
        points=(("bytes", 1),),
        check=one_snapshot,
    ),
    Case(
        kind="snapshot.create",
        form="stop",
        ask=stop_snapshot_start,
        points=(("libvirt.destroyFlags", 1),),
        check=one_snapshot,
        end="interrupted",
    ),
    Case(
        kind="recovery-point.create",
        ask=point,
        points=(("vault.create snapshots", 1), ("vault.create snapshots", 2)),
        check=one_point,
    ),
    Case(
        kind="server.start",
        ask=to_start,
        points=(("libvirt.create", 1),),
        check=is_up,
        end="interrupted",
    ),
    Case(
        kind="server.stop",
        ask=to_stop,
        points=(("libvirt.shutdownFlags", 1),),
        check=is_down,
        end="interrupted",
    ),
    Case(
        kind="server.untrack",
        ask=tracked,
        points=(("libvirt.checkpoint-delete", 1),),
        check=untracked,
    ),
    Case(
        kind="server.create",
        ask=from_template,
        points=(("bytes", 1), ("libvirt.defineXML", 1)),
        check=one_server,
    ),
    Case(
        kind="server.restore",
        ask=from_point,
        points=(("pool ready", 1), ("end", 1)),
        check=one_server,
    ),
    Case(
        kind="server.restore",
        form="started",
        ask=partial(from_point, start=True),
        points=(("libvirt.defineXML", 1), ("libvirt.create", 1)),
        check=one_server,
    ),
    Case(
        kind="volume.create",
        ask=new_volume,
        points=(("bytes", 1), ("pool ready", 1)),
        check=one_volume,
    ),
    Case(
        kind="volume.restore",
        ask=put_back,
        points=(("vault.create snapshots", 1), ("bytes", 4)),
        check=is_put_back,
    ),
)
