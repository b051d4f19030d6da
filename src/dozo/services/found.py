"""Looking up what a person named, with the hypervisor's present view of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dozo.hypervisor import ServerInfo, ServerRunning
from dozo.services import inventory
from dozo.services.errors import ManagedSave
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models


@dataclass(frozen=True, kw_only=True)
class FoundServer:
    """A server of this site: the catalog's row and what libvirt says now."""

    row: "models.Server"
    info: ServerInfo

    @property
    def uuid(self) -> str:
        """The UUID as text, which names a domain whatever it is called."""
        return str(self.row.uuid)

    @property
    def note_name(self) -> str:
        """The note that keeps other work off this server."""
        return f"server-{self.row.uuid}"

    def require_stopped(self) -> None:
        """Raises ``ServerRunning``, :class:`ManagedSave`."""
        if self.info.active:
            raise ServerRunning(server=self.row.name, state=self.info.state)
        if self.info.managed_save:
            raise ManagedSave(self.row.name)


def server(site: Site, reference: str) -> FoundServer:
    """A server on this site's hypervisor. Raises ``ServerUnknown``, ``LibvirtUnavailable``."""
    inventory.sync(site)
    row = site.catalog.server(reference, present=True)
    return FoundServer(row=row, info=site.host.server(str(row.uuid)))


def volume(site: Site, reference: str) -> "models.Volume":
    """A volume, looked up after a look at the hypervisor. Raises ``VolumeUnknown``."""
    inventory.sync(site)
    return site.catalog.volume(reference)
