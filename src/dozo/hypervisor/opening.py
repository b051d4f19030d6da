"""Which hypervisor an address means."""

from dozo.hypervisor.connection import DEFAULT_URI
from dozo.hypervisor.libvirt_host import LibvirtHost
from dozo.hypervisor.port import Hypervisor
from dozo.hypervisor.simulated import SCHEME, SimulatedHost


def connect(uri: str = DEFAULT_URI) -> Hypervisor:
    """The hypervisor at an address: ``simulated:///FOLDER``, else libvirt's.

    Raises ``LibvirtUnavailable``.
    """
    if uri.startswith(SCHEME):
        return SimulatedHost.connect(uri)
    return LibvirtHost.connect(uri)
