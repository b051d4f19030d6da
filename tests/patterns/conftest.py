"""Two guests, one of them an NFS server, and a site with their hypervisor.

They are shared by the whole module: a boot costs more than everything that is done to them.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guestlab.domain import GuestDisk
from tests.daemon.support import free_port
from tests.services.jobs import Service, Shifted
from tests.services.support import make_site
from tests.support.guests import Guest, GuestFactory

from dozo.model import clock
from dozo.services import inventory, snapshots

MIB = 1 << 20
# A network of two; each takes what the other one's sends to its port, also after a restart.
LINK = """<interface type='udp'><source address='127.0.0.1' port='{to}'>
<local address='127.0.0.1' port='{own}'/></source><model type='virtio'/><rom enabled='no'/>
</interface>"""
NETWORK = """
busybox ip link set eth0 up; busybox ip addr add 10.0.2.15/24 dev eth0
busybox ip link set eth1 up; busybox ip addr add 10.9.0.{host}/24 dev eth1
"""
MOUNTED = """
mkdir -p /srv/volume
echo 'LABEL=volume /srv/volume ext4 defaults,nofail 0 2' >>/etc/fstab
mount /srv/volume
"""
EXPORTED = """
echo '/srv/volume 10.9.0.0/24(rw,no_root_squash,no_subtree_check,fsid=0)' >>/etc/exports
printf '[nfsd]\\nvers3=n\\nthreads=2\\n' >/etc/nfs.conf.d/volume.conf
systemctl unmask --quiet nfs-server
systemctl enable --quiet --now nfs-server
"""
# Something that must not be interrupted: a line five times a second.
TICKING = """
systemd-run --quiet --unit=ticks sh -c \
    'while :; do cut -d" " -f1 /proc/uptime >>/var/tmp/ticks; sleep 0.2; done'
"""


@pytest.fixture(scope="module", autouse=True)
def _catalogs_allowed(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="module", autouse=True)
def later() -> Iterator[Shifted]:
    """The service's clock, which tests put forward; the guests have their own."""
    shifted = Shifted()
    with clock.use_clock(shifted):
        yield shifted


@pytest.fixture(scope="module")
def pair(module_guest_factory: GuestFactory) -> tuple[Guest, Guest]:
    """An NFS server and the server that uses it, neither with an agent for Dozo."""
    ports = free_port(), free_port()
    guests = []
    for host, (own, to) in enumerate((ports, ports[::-1]), 1):
        folder = module_guest_factory.folder(f"disks{host}")
        disk = GuestDisk(device="vdb", path=folder / "vdb.qcow2", format="qcow2", serial="volume")
        _make_volume(disk.path)
        guests.append(
            module_guest_factory(
                data=None,
                extra_disks=[disk],
                agent=False,
                wait=False,
                extra_devices=LINK.format(own=own, to=to),
            )
        )
    for host, guest in enumerate(guests, 1):
        guest.wait_ready()
        guest.sh(NETWORK.format(host=host) + MOUNTED)
    nfs, app = guests
    app.sh(TICKING)
    nfs.sh(EXPORTED)
    return nfs, app


def _make_volume(path: Path) -> None:
    """An image of 256 MiB with an empty ext4 file system."""
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        file.truncate(256 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "volume", str(raw)], check=True)
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)]
    subprocess.run(command, check=True)
    raw.unlink()


@pytest.fixture(scope="module")
def nfs(pair: tuple[Guest, Guest]) -> Guest:
    """The NFS server."""
    return pair[0]


@pytest.fixture(scope="module")
def app(pair: tuple[Guest, Guest]) -> Guest:
    """The server that may not stop."""
    return pair[1]


@pytest.fixture(scope="module")
def service(
    pair: tuple[Guest, Guest],
    module_guest_factory: GuestFactory,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """A site that has seen both, with a tenant that has the original service's limits."""
    folder = tmp_path_factory.mktemp("patterns")
    pool = module_guest_factory.folder("pool")
    with make_site(folder, "main", libvirt="qemu:///system", pool=pool) as site:
        made = Service(site)
        made.policy("kcps-v1")
        inventory.sync(site)
        yield made


def volume_of(service: Service, guest: Guest) -> str:
    """The id of a guest's data volume."""
    return str(service.site.catalog.volume(f"{guest.name}/vdb").volume_id)


class Restored:
    """A snapshot's bytes as an image whose files can be read."""

    def __init__(self, service: Service, snapshot: str, folder: Path) -> None:
        self.path = folder / f"{snapshot}.raw"
        snapshots.to_file(service.site, snapshot, self.path, format="raw")

    def problems(self) -> str:
        """What a check of the file system complains of; empty where it was unmounted."""
        done = subprocess.run(
            ["e2fsck", "-fn", str(self.path)], capture_output=True, text=True, check=False
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def journal_is_needed(self) -> bool:
        """Whether it was mounted at the instant: then the journal still has to be gone through."""
        done = subprocess.run(
            ["dumpe2fs", "-h", str(self.path)], capture_output=True, text=True, check=True
        )
        return "needs_recovery" in done.stdout

    def read(self, name: str) -> str:
        """The text of a file."""
        done = subprocess.run(
            ["debugfs", "-R", f"cat {name}", str(self.path)],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout
