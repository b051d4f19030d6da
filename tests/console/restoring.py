"""Servers that can be restored: a simulated hypervisor, with real images, behind the console."""

from dozo.hypervisor.metadata import ServerMetadata
from dozo.hypervisor.simulated import NewDisk, NewServer, SimulatedHost
from dozo.services import inventory, protect
from dozo.services.site import Site

MIB = 1024 * 1024
SHOP = "shop"


def furnish(site: Site, host: SimulatedHost, *, server: str = SHOP, tenant: str = "acme") -> str:
    """A stopped server with an OS and a data volume, and a recovery point of it; its UUID."""
    host.add_server(
        NewServer(
            name=server,
            disks=(
                NewDisk(device="vda", size_bytes=8 * MIB, filled_bytes=MIB),
                NewDisk(device="vdb", size_bytes=4 * MIB, filled_bytes=MIB),
            ),
            metadata=ServerMetadata(tenant=tenant),
        )
    )
    site.tenant_row(tenant)
    inventory.sync(site)
    protect.apply(site, protect.plan_server(site, server, name=f"{server}-point"))
    return str(site.catalog.server(server).uuid)
