"""Volumes are recognised by their image, wherever it goes, and never by coincidence."""

from pathlib import Path

import libvirt
import pytest

from dozo.services import (
    inventory,
    project,
    protect,
    restore_server,
    restore_volume,
    tenants,
    views,
)
from dozo.services.site import Site

from .access_support import system
from .domains import Machine, define, raw_bytes
from .support import MadeServer, random_bytes, store

pytestmark = pytest.mark.libvirt

Workspace = tuple[libvirt.virConnect, Path]


@pytest.fixture
def machine(workspace: Workspace) -> Machine:
    return define(*workspace, disks={"vda": "qcow2", "vdb": "raw"})


def volumes(site: Site) -> dict[str, views.VolumeView]:
    inventory.sync(site)
    return {one.path: one for one in views.list_volumes(site, gone=True)}


def test_servers_appear_change_and_disappear(host_site: Site, machine: Machine) -> None:
    first = inventory.sync(host_site)
    assert machine.name in first.appeared
    assert machine.name not in inventory.sync(host_site).appeared
    machine.domain.rename(f"{machine.name}-b")
    inventory.sync(host_site)
    assert str(host_site.catalog.server(machine.uuid).name) == f"{machine.name}-b"
    machine.domain.undefine()
    assert f"{machine.name}-b" in inventory.sync(host_site).disappeared
    assert not host_site.catalog.server(machine.uuid).present


def test_a_volume_stays_itself_on_another_server(
    host_site: Site, machine: Machine, workspace: Workspace
) -> None:
    path = str(machine.disks["vdb"].path)
    before = volumes(host_site)[path]
    xml = f"""<disk type='file' device='disk'><driver name='qemu' type='raw'/>
    <source file='{path}'/><target dev='vdb' bus='virtio'/></disk>"""
    machine.domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    between = volumes(host_site)[path]
    assert (between.volume, between.state, between.server) == (before.volume, "unattached", None)
    other = define(*workspace, disks={"vda": "qcow2"})
    other.domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    after = volumes(host_site)[path]
    assert (after.volume, after.server, after.device) == (before.volume, other.name, "vdb")


def test_another_image_on_the_same_device_is_another_volume(
    host_site: Site, machine: Machine
) -> None:
    path = str(machine.disks["vdb"].path)
    before = volumes(host_site)[path]
    xml = """<disk type='file' device='disk'><driver name='qemu' type='raw'/>
    <source file='{path}'/><target dev='vdb' bus='virtio'/><serial>S-vdb</serial></disk>"""
    new = machine.folder / "other.raw"
    new.write_bytes(bytes(1024 * 1024))
    machine.domain.detachDeviceFlags(xml.format(path=path), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    machine.domain.attachDeviceFlags(xml.format(path=new), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    after = volumes(host_site)
    assert after[str(new)].volume != before.volume
    assert after[path].volume == before.volume
    assert after[path].state == "unattached"


def test_a_volume_known_from_snapshots_is_not_found_by_its_path_alone(
    host_site: Site, machine: Machine, tmp_path: Path
) -> None:
    """At DR a file may lie where, at main, another volume's image lay."""
    server = MadeServer.new("elsewhere")
    coincidence = tmp_path / "coincidence"
    coincidence.write_bytes(b"somebody else's")
    store(host_site, server, "vda", random_bytes(1))
    host_site.catalog.volumes.filter(volume_id=server.volume_ids["vda"]).update(
        path=str(coincidence)
    )
    inventory.sync(host_site)
    row = host_site.catalog.volumes.get(volume_id=server.volume_ids["vda"])
    assert row.state == "gone"


def test_unattached_volumes_outlive_the_catalog(host_site: Site, machine: Machine) -> None:
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))
    name = f"{machine.name}-x"
    made = restore_volume.apply(host_site, restore_volume.plan(host_site, "point-vdb", name=name))
    before = volumes(host_site)
    host_site.close()
    for part in ("", "-wal", "-shm"):
        (host_site.settings.home / f"catalog.sqlite3{part}").unlink(missing_ok=True)
    with Site.open(host_site.settings.home) as again:
        project.rebuild(again)
        after = volumes(again)
        assert after[made.path] == before[made.path]
        # Attached volumes get their ids back from their snapshots.
        for disk in machine.disks.values():
            assert after[str(disk.path)].volume == before[str(disk.path)].volume


def set_metadata(machine: Machine, element: str | None) -> None:
    machine.domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        element,
        "dozo",
        "urn:dozo:server:1",
        libvirt.VIR_DOMAIN_AFFECT_CONFIG,
    )


def test_metadata_assign_and_tag_a_server(host_site: Site, machine: Machine) -> None:
    catalog = host_site.catalog
    inventory.sync(host_site)
    assert catalog.server(machine.uuid).tenant.name == "default"
    set_metadata(
        machine, "<server tenant='acme'><tag name='nightly'/><tag name='no tag'/></server>"
    )
    # A tenant that is not there is not made by a slip of the pen.
    assert machine.name in inventory.sync(host_site).tenant_unknown
    row = catalog.server(machine.uuid)
    assert (row.tenant.name, row.tags) == ("default", ["nightly"])
    tenants.create(system(host_site), "acme")
    assert machine.name not in inventory.sync(host_site).tenant_unknown
    row = catalog.server(machine.uuid)
    assert (row.tenant.name, row.assigned_by) == ("acme", "metadata")
    assert {one.tenant.name for one in row.volumes.all()} == {"acme"}
    set_metadata(machine, None)
    inventory.sync(host_site)
    row = catalog.server(machine.uuid)
    assert (row.tenant.name, row.tags) == ("acme", [])


def test_what_is_done_by_hand_outranks_the_metadata(host_site: Site, machine: Machine) -> None:
    scope = system(host_site)
    for name in ("acme", "globex"):
        tenants.create(scope, name)
    set_metadata(machine, "<server tenant='acme'><tag name='nightly'/></server>")
    inventory.sync(host_site)
    tenants.assign(scope, machine.name, "globex")
    tenants.set_tags(scope, machine.name, add=["db"])
    inventory.sync(host_site)
    row = host_site.catalog.server(machine.uuid)
    assert (row.tenant.name, row.tags) == ("globex", ["db", "nightly"])
    assert {one.tenant.name for one in row.volumes.all()} == {"globex"}
    tenants.assign(scope, machine.name, None)
    inventory.sync(host_site)
    assert host_site.catalog.server(machine.uuid).tenant.name == "acme"


def test_a_new_owner_s_first_snapshot_is_read_in_full_and_restorable(
    host_site: Site, machine: Machine
) -> None:
    scope = system(host_site)
    tenants.create(scope, "acme")
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="before"))
    tenants.assign(scope, machine.name, "acme")
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="after"))
    before, after = (host_site.catalog.snapshot(f"{name}-vdb") for name in ("before", "after"))
    assert (before.tenant.name, after.tenant.name) == ("default", "acme")
    assert after.parent_id == ""
    name = f"{machine.name}-x"
    made = restore_volume.apply(
        host_site, restore_volume.plan(host_site, after.snapshot_id, name=name)
    )
    assert raw_bytes(made.path, "qcow2") == machine.content("vdb")
    assert host_site.catalog.volume(name).tenant.name == "acme"


def test_a_server_made_of_a_tenant_s_volumes_is_the_tenant_s(
    host_site: Site, machine: Machine
) -> None:
    scope = system(host_site)
    tenants.create(scope, "acme")
    tenants.create(scope, "globex")
    inventory.sync(host_site)
    tenants.assign(scope, machine.name, "acme")
    # What the old definition says must not give the copy to somebody else.
    set_metadata(machine, "<server tenant='globex'/>")
    protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))
    name = f"{machine.name}-copy"
    restore_server.apply(
        host_site, restore_server.plan(host_site, recovery_point="point", name=name)
    )
    inventory.sync(host_site)
    row = host_site.catalog.server(name)
    assert (row.tenant.name, row.assigned_by) == ("acme", "restored")
