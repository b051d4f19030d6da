"""UEFI variables, TPM state and the isolated network of a restored server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dozo import hypervisor
from dozo.hypervisor import Host, Network
from dozo.hypervisor.definition import ISOLATED_NETWORK
from dozo.hypervisor.server_state import TPM_ROOT
from dozo.model.states import Identity

from .support import Disk, Server

pytestmark = pytest.mark.libvirt

UEFI = (
    "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type>"
    "<firmware><feature enabled='no' name='secure-boot'/></firmware></os>"
)


@pytest.fixture(scope="module")
def machine(make_server: Callable[..., Server]) -> Server:
    """A server with UEFI, a TPM and a network card, which has been started once."""
    server = make_server(
        Disk(device="vda", size_bytes=1024 * 1024),
        os=UEFI,
        memory_mib=64,
        devices="<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
        "<interface type='user'><model type='virtio'/></interface>",
    )
    server.start()
    server.domain.destroy()
    return server


@pytest.fixture
def isolated_network(host: Host) -> Iterator[None]:
    """Remove the isolated network again if it was not there before."""
    networks = host.connection.listAllNetworks()
    known = ISOLATED_NETWORK in [network.name() for network in networks]
    yield
    if not known:
        network = host.connection.networkLookupByName(ISOLATED_NETWORK)
        if network.isActive():
            network.destroy()
        network.undefine()


@pytest.mark.usefixtures("isolated_network")
def test_firmware_state_travels_with_the_server(machine: Server) -> None:
    host = machine.host
    state = hypervisor.read_state(host, machine.name)
    assert state.nvram is not None
    assert state.tpm
    name = f"{machine.name}-copy"
    uuid = hypervisor.define_server(
        host,
        state.definition,
        name=name,
        identity=Identity.COPY,
        disks={"vda": (machine.disk("vda").path, "qcow2")},
        nvram=state.nvram,
        tpm=state.tpm,
        network=Network.ISOLATED,
    )
    try:
        copied = hypervisor.read_state(host, name)
        assert copied.nvram == state.nvram
        # Another machine: what is sealed to the original's TPM is not its own.
        assert not copied.tpm
        assert "dozo-isolated" in copied.definition
        hypervisor.start(host, uuid)
        assert hypervisor.server(host, name).state == "running"
    finally:
        hypervisor.destroy(host, name)
        hypervisor.undefine(host, name)
    assert not (TPM_ROOT / uuid).exists()
    assert not Path(f"/var/lib/libvirt/qemu/nvram/{name}_VARS.fd").exists()


def test_the_same_server_gets_its_tpm_back(machine: Server) -> None:
    host, before = machine.host, machine.uuid
    state = hypervisor.read_state(host, machine.name)
    hypervisor.undefine(host, machine.name)
    assert not (TPM_ROOT / before).exists()
    uuid = hypervisor.define_server(
        host,
        state.definition,
        name=machine.name,
        identity=Identity.KEEP,
        disks={"vda": (machine.disk("vda").path, "qcow2")},
        nvram=state.nvram,
        tpm=state.tpm,
    )
    assert uuid == before
    again = hypervisor.read_state(host, machine.name)
    assert (again.nvram, again.tpm) == (state.nvram, state.tpm)
