"""Rows 4 and 15 of the original service: giving back what a fault has damaged, in four steps."""

from pathlib import Path

import libvirt
import pytest
from tests.services.domains import MIB, Machine, define, raw_bytes
from tests.services.jobs import Service

from dozo.model.policy_checks import RestoreKindRefused
from dozo.services import attaching, inventory, power, snapshots

pytestmark = pytest.mark.libvirt

Workspace = tuple[libvirt.virConnect, Path]


@pytest.fixture
def machine(host: Service, workspace: Workspace) -> Machine:
    """A stopped server with a root and a data volume, and a snapshot of each."""
    made = define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2"})
    inventory.sync(host.site)
    for device, name in (("vda", "os"), ("vdb", "data")):
        host.do("snapshot.create", volume=f"{made.name}/{device}", name=name)
    return made


def image(path: str) -> bytes:
    return raw_bytes(path, Path(path).suffix[1:])


def test_row_04_what_a_fault_has_damaged_comes_back(
    host: Service, machine: Machine, preset: str
) -> None:
    good = machine.content("vdb")
    machine.write("vdb", 0, 2 * MIB, 0xEE)
    damaged = machine.content("vdb")
    assert damaged != good

    made = host.do("volume.create", snapshot="data", name="beside")
    assert image(made["path"]) == good
    assert machine.content("vdb") == damaged

    request = {"volume": f"{machine.name}/vdb", "snapshot": "data"}
    if preset == "kcps-v1":
        with pytest.raises(RestoreKindRefused, match="in-place"):
            host.ask("volume.restore", **request)
        assert machine.content("vdb") == damaged
    else:
        host.do("volume.restore", **request)
        assert machine.content("vdb") == good


def test_row_15_four_steps_each_by_hand(host: Service, machine: Machine) -> None:
    new = f"{machine.name}-new"
    host.do("template.create", snapshot="os", name="golden")
    # A template stands on its own.
    (taken,) = host.site.catalog.snapshots.filter(name="os").values_list("pk", flat=True)
    snapshots.delete(host.site, [taken])
    server = host.do("server.create", template="golden", name=new)
    assert not server["started"]
    info = host.site.host.server(new)
    assert (info.active, [disk.device for disk in info.disks]) == (False, ["vda"])
    assert image(server["volumes"][0]["path"]) == machine.content("vda")

    volume = host.do("volume.create", snapshot="data", name=f"{new}-data")
    assert image(volume["path"]) == machine.content("vdb")
    attaching.attach(host.site, attaching.plan_attach(host.site, f"{new}-data", new))
    disk = host.site.host.server(new).disk("vdb")
    assert (disk.device, disk.path, disk.serial) == ("vdb", volume["path"], "S-vdb")
    assert host.do("server.start", server=new)["state"] == "running"
    power.stop(host.site, new, timeout_seconds=0, force=True)
    # The new server is the tenant's, who may go on with it.
    assert host.do("snapshot.create", volume=f"{new}/vdb")["mode"] == "offline"


def test_row_15_restore_server_in_one_go(host: Service, machine: Machine, preset: str) -> None:
    request = {"snapshots": ["os", "data"], "name": f"{machine.name}-new"}
    if preset == "kcps-v1":
        with pytest.raises(RestoreKindRefused, match="server"):
            host.ask("server.restore", **request)
        assert [one.name for one in host.site.host.servers()].count(request["name"]) == 0
        return
    made = host.do("server.restore", **request)
    assert [image(one["path"]) for one in made["volumes"]] == [
        machine.content("vda"),
        machine.content("vdb"),
    ]
    info = host.site.host.server(str(request["name"]))
    assert [disk.device for disk in info.disks] == ["vda", "vdb"]
