"""Fixtures of the hypervisor's tests: servers without a guest, always removed."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt
import pytest

from dozo.hypervisor import Freeze, Host, LiveSettings

from .support import IMAGES, MIB, Disk, Server, remove_domain

PREFIX = f"dozo-test-{os.getpid()}-hv"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def host(libvirt_host: libvirt.virConnect) -> Iterator[Host]:
    """The host, with libvirt running."""
    with Host.connect() as found:
        yield found
        for domain in found.connection.listAllDomains():
            if domain.name().startswith(PREFIX):
                with suppress(libvirt.libvirtError):
                    remove_domain(domain)
        for folder in IMAGES.glob(f"{PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def make_server(host: Host) -> Iterator[Callable[..., Server]]:
    """Make servers, removed at the end of the module."""
    made: list[Server] = []

    def make(*disks: Disk, **more: Any) -> Server:
        name = f"{PREFIX}{next(_numbers)}"
        server = Server(host=host, name=name, folder=IMAGES / name, disks=disks, **more)
        made.append(server)
        server.create()
        return server

    yield make
    for server in made:
        with suppress(libvirt.libvirtError):
            server.remove()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_server(make_server: Callable[..., Server]) -> Server:
    """One server for the whole module: qcow2, raw, qcow2 over a raw backing file."""
    base = IMAGES / f"{PREFIX}-base-{next(_numbers)}"
    base.mkdir(mode=0o755)
    backing = base / "base.raw"
    backing.write_bytes(b"\x42" * (4 * MIB))
    return make_server(
        Disk(device="vda"),
        Disk(device="vdb", format="raw", size_bytes=8 * MIB),
        Disk(device="vdc", size_bytes=4 * MIB, backing=backing),
    )


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """That server, running at the start of the test, without checkpoints."""
    shared_server.start()
    yield shared_server
    domain = shared_server.domain
    if domain.isActive():
        with suppress(libvirt.libvirtError):
            domain.abortJob()
    for checkpoint in domain.listAllCheckpoints():
        try:
            checkpoint.delete(0)
        except libvirt.libvirtError:
            checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)


@pytest.fixture
def settings(shared_server: Server, tmp_path: Path) -> LiveSettings:
    """Settings for captures whose things lie beside the server's images."""
    return LiveSettings(
        note_dir=tmp_path / "notes",
        scratch_dir=shared_server.folder / "scratch",
        scratch_reserve_bytes=64 * MIB,
        freeze=Freeze.OFF,
        busy_wait_s=0.5,
    )
