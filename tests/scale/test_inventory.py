"""A look at a hypervisor on which nothing has changed costs few queries, however many servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from tests.services.support import make_site
from tests.support.simulated import Simulation

from dozo.hypervisor import DiskAttachment
from dozo.hypervisor.simulated import NewDisk, NewServer
from dozo.services import inventory
from dozo.services.site import Site

MIB = 1024 * 1024
DISKS = tuple(
    NewDisk(device=device, format="raw", size_bytes=MIB, filled_bytes=0)
    for device in ("vda", "vdb")
)


@pytest.fixture
def site(tmp_path: Path, simulated: Simulation) -> Iterator[Site]:
    """A site with two servers."""
    for name in ("one", "two"):
        simulated.host.add_server(NewServer(name=name, disks=DISKS))
    with make_site(tmp_path, "main", libvirt=simulated.uri) as made:
        inventory.sync(made)
        yield made


def queries(site: Site) -> CaptureQueriesContext:
    with CaptureQueriesContext(connections[site.catalog.alias]) as found:
        inventory.sync(site)
    return found


def test_nothing_new_costs_the_same_for_many(site: Site, simulated: Simulation) -> None:
    few = queries(site)
    for number in range(10):
        simulated.host.add_server(NewServer(name=f"more-{number}", disks=DISKS))
    inventory.sync(site)
    many = queries(site)
    assert len(many) == len(few)
    assert not [one for one in many.captured_queries if one["sql"].startswith('UPDATE "catalog_v')]


def test_every_change_is_seen(site: Site, simulated: Simulation) -> None:
    host = simulated.host
    host.start("one")
    inventory.sync(site)
    assert site.catalog.servers.get(name="one").state == "running"
    disk = host.server("one").disk("vdb")
    host.detach("one", "vdb")
    inventory.sync(site)
    row = site.catalog.volumes.get(path=disk.path)
    assert (row.state, row.server) == ("unattached", None)
    host.attach("two", DiskAttachment(path=disk.path or "", format="raw", device="vdc", bus="scsi"))
    inventory.sync(site)
    row.refresh_from_db()
    assert row.server is not None
    assert (row.state, row.server.name, row.device, row.bus) == ("attached", "two", "vdc", "scsi")
    # Whose the server is, is whose its disks are.
    two = site.catalog.servers.get(name="two")
    two.tenant, two.assigned_by = site.tenant_row("other"), "hand"
    two.save()
    inventory.sync(site)
    assert {one.tenant.name for one in two.volumes.all()} == {"other"}
    host.destroy("one")
    host.undefine("one")
    assert inventory.sync(site).disappeared == ("one",)
    assert not site.catalog.servers.get(name="one").present
