"""Fixtures with real guests: a small Debian or Ubuntu with PostgreSQL, booted under libvirt.

A test takes `guest` (one running guest, root and data volumes as flat qcow2, agent there) or
`guest_factory` for any other shape, and gives every domain and file that it makes itself a name
from `guest_factory.name(…)`: whatever carries such a name is removed when the test ends, and what
a killed run left is removed by the next one. Nothing here ever skips: a host that cannot run
guests fails the tests, and says what to install.
"""

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import libvirt
import pytest
from guestlab.agent import (
    Channel,
    GuestResult,
    GuestSilent,
    LibvirtChannel,
    channel_of,
    guest_exec,
    guest_shell,
    sql,
    wait_for_agent,
)
from guestlab.build import BuildFailed, GuestImages, guest_images
from guestlab.console import ConsoleLog
from guestlab.domain import DiskKind, GuestDisk, GuestSpec, make_disk
from guestlab.kvm import kvm_works

from dozo.model import clock
from guestlab import host

PREFIX = "dozo-test-"
BOOT_SECONDS = 180.0


@dataclass(kw_only=True)
class Guest:
    """One guest: its domain, its volumes, and ways to command it from outside."""

    name: str
    domain: libvirt.virDomain
    folder: Path
    disks: tuple[GuestDisk, ...]
    has_agent: bool
    console: ConsoleLog | None = field(default=None, repr=False)

    @property
    def root(self) -> GuestDisk:
        """The volume that it boots from."""
        return self.disks[0]

    @property
    def data(self) -> GuestDisk:
        """The volume mounted at /srv/data, where PostgreSQL keeps its files."""
        return self.disks[1]

    @property
    def agent(self) -> Channel:
        """The agent that Dozo talks to; commands of the tests go over another channel."""
        return LibvirtChannel(self.domain)

    def start(self, *, wait: bool = True) -> None:
        """Boot; with wait, until commands can be given and the agent, if any, answers."""
        self.domain.create()
        self.watch_console()
        if wait:
            self.wait_ready()

    def watch_console(self) -> None:
        """Log the console of the present run; the domain must be running."""
        self.forget_console()
        self.console = ConsoleLog(self.domain, self.folder / "console.log")

    def forget_console(self) -> None:
        """Stop logging the console."""
        if self.console is not None:
            self.console.close()
            self.console = None

    def wait_ready(self, timeout_s: float = BOOT_SECONDS) -> None:
        """Wait until the guest takes commands; the test fails with the console's end if not."""
        try:
            wait_for_agent(self.domain, timeout_s, channel_of(self.domain))
            if self.has_agent:
                wait_for_agent(self.domain, timeout_s, self.agent)
        except GuestSilent as error:
            tail = self.console.tail() if self.console else ""
            pytest.fail(f"guest {self.name} did not come up: {error}\n{tail}")

    def run(
        self, argv: Sequence[str], *, timeout_s: float = 120, check: bool = True
    ) -> GuestResult:
        """Run a program inside; GuestCommandFailed on another code than 0 if check is set."""
        return guest_exec(self.domain, argv, timeout_s=timeout_s, check=check)

    def sh(self, script: str, *, timeout_s: float = 120, check: bool = True) -> str:
        """Run a shell script inside and return what it printed."""
        return guest_shell(self.domain, script, timeout_s=timeout_s, check=check)

    def sql(self, query: str) -> str:
        """Ask PostgreSQL inside; waits for it to be up."""
        self.wait_postgresql()
        return sql(self.domain, query)

    def wait_postgresql(self, timeout_s: float = 90) -> None:
        """Wait until the database takes connections."""
        deadline = clock.monotonic() + timeout_s
        while self.run(["/usr/bin/pg_isready", "-q"], check=False).code != 0:
            assert clock.monotonic() < deadline, "PostgreSQL did not start"
            clock.sleep(0.3)

    def start_load(self, *, seconds: int = 600, per_second: int = 20) -> None:
        """Let pgbench write to the data volume until `stop_load` or for so many seconds."""
        self.wait_postgresql()
        self.sh(
            "systemd-run --quiet --unit=load --uid=postgres "
            f"pgbench --no-vacuum --time={seconds} --rate={per_second} --client=2 shop"
        )

    def stop_load(self) -> None:
        """End what `start_load` began."""
        self.sh("systemctl stop load", check=False)

    def shut_down(self, timeout_s: float = 60) -> None:
        """Ask the guest to power off and wait until it has."""
        self.domain.shutdown()
        self.wait_stopped(timeout_s)

    def wait_stopped(self, timeout_s: float = 60) -> None:
        """Wait until the domain does not run any more."""
        deadline = clock.monotonic() + timeout_s
        while self.domain.isActive():
            assert clock.monotonic() < deadline, f"{self.name} did not stop"
            clock.sleep(0.1)
        self.forget_console()


class GuestFactory:
    """Makes guests, and removes them with everything named after them."""

    _numbers = itertools.count(1)

    def __init__(self, connection: libvirt.virConnect, images: GuestImages) -> None:
        self.connection = connection
        self.images = images
        self._stem = f"{PREFIX}{os.getpid()}-{next(self._numbers)}"
        self._made = itertools.count(1)
        self._guests: list[Guest] = []

    def name(self, label: str) -> str:
        """A name for a domain that the test makes by itself, removed when the test ends."""
        return f"{self._stem}-{label}"

    def folder(self, label: str) -> Path:
        """A new folder where QEMU's user may work, removed when the test ends."""
        path = host.IMAGES / self.name(label)
        path.mkdir()
        path.chmod(0o755)
        return path

    def __call__(
        self,
        *,
        root: DiskKind = "qcow2",
        data: DiskKind | None = "qcow2",
        extra_disks: Sequence[GuestDisk] = (),
        agent: bool = True,
        network: bool = True,
        start: bool = True,
        wait: bool = True,
        extra_devices: str = "",
    ) -> Guest:
        """A guest of the given shape: vda root, vdb data if wanted, then the extra disks."""
        number = next(self._made)
        folder = self.folder(f"guest{number}")
        path, kind = make_disk(self.images.root, folder, "root", root)
        disks = [GuestDisk(device="vda", path=path, format=kind, serial="root")]
        if data is not None:
            path, kind = make_disk(self.images.data, folder, "data", data)
            disks.append(GuestDisk(device="vdb", path=path, format=kind, serial="data"))
        disks += extra_disks
        spec = GuestSpec(
            name=folder.name,
            disks=disks,
            kvm=kvm_works(),
            agent=agent,
            network=network,
            extra_devices=extra_devices,
        )
        domain = spec.define(self.connection)
        guest = Guest(
            name=spec.name, domain=domain, folder=folder, disks=tuple(disks), has_agent=agent
        )
        self._guests.append(guest)
        if start:
            guest.start(wait=wait)
        return guest

    def adopt(self, name: str, folder: Path | None = None) -> Guest:
        """The guest of a domain that a test, or Dozo for it, has defined: a restored server."""
        domain = self.connection.lookupByName(name)
        guest = Guest(
            name=name,
            domain=domain,
            folder=folder or self.folder(f"adopted{next(self._made)}"),
            disks=(),
            has_agent="org.qemu.guest_agent.0" in domain.XMLDesc(0),
        )
        self._guests.append(guest)
        if domain.isActive():
            guest.watch_console()
        return guest

    def remove_everything(self) -> None:
        """Remove every domain and folder of this factory."""
        for guest in self._guests:
            guest.forget_console()
        for domain in list(host.domains_named(self.connection, f"{self._stem}-")):
            with suppress(libvirt.libvirtError):
                host.remove_domain(domain)
        for folder in host.IMAGES.glob(f"{self._stem}-*"):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def libvirt_host() -> Iterator[libvirt.virConnect]:
    """A connection to the host's libvirt, which is started if nothing has."""
    try:
        connection = host.connect()
    except host.HostNotReady as error:
        pytest.fail(f"real-guest tests cannot run: {error}", pytrace=False)
    host.remove_leftovers(connection, PREFIX)
    yield connection
    # A test may have killed the daemon.
    with suppress(libvirt.libvirtError):
        connection.close()


@pytest.fixture(scope="session")
def built_images(libvirt_host: libvirt.virConnect) -> GuestImages:
    """The guest's images, built when the cache has none (about a minute)."""
    try:
        return guest_images()
    except BuildFailed as error:
        pytest.fail(f"the guest cannot be built: {error}", pytrace=False)


@pytest.fixture
def guest_factory(
    libvirt_host: libvirt.virConnect, built_images: GuestImages
) -> Iterator[GuestFactory]:
    """Guests of any shape, removed after the test."""
    factory = GuestFactory(libvirt_host, built_images)
    yield factory
    factory.remove_everything()


@pytest.fixture(scope="module")
def module_guest_factory(
    libvirt_host: libvirt.virConnect, built_images: GuestImages
) -> Iterator[GuestFactory]:
    """Guests that the tests of one module share: a boot costs about 15 s without KVM."""
    factory = GuestFactory(libvirt_host, built_images)
    yield factory
    factory.remove_everything()


@pytest.fixture
def guest(guest_factory: GuestFactory) -> Guest:
    """A running guest with agent; root and data volumes are flat qcow2 files."""
    return guest_factory()


@pytest.fixture(scope="module")
def module_guest(module_guest_factory: GuestFactory) -> Guest:
    """The same, shared by a module: tests leave it running and as they found it."""
    return module_guest_factory()
