"""The demo's steps, in the order in which they happen."""

import os
import shutil
import time
from dataclasses import dataclass, field
from typing import Any

import libvirt
from guestlab.build import GuestImages

from dozo_demo import clean, shop
from dozo_demo.places import DR, MAIN, ORIGINAL, SHOP, SHOP_2, DemoSite, make_folder, used_bytes
from dozo_demo.terminal import Story, dozo, dozo_json, say, size

MONDAY, TUESDAY = "monday", "tuesday"
SELLING_SECONDS = 8


@dataclass(kw_only=True)
class Demo:
    """What the steps hand on to each other."""

    connection: libvirt.virConnect
    images: GuestImages
    kvm: bool
    story: Story = field(default_factory=Story)
    least_sales: int = 0
    most_sales: int = 0
    notes: list[str] = field(default_factory=list)

    def domain(self, name: str) -> libvirt.virDomain:
        """A server as libvirt sees it."""
        return self.connection.lookupByName(name)


def tell(demo: Demo) -> None:
    """Everything, from a running shop to the closing table. Raises StepFailed."""
    boot_the_shop(demo)
    make_two_sites(demo)
    first_recovery_point(demo)
    second_recovery_point(demo)
    copy_and_verify(demo)
    lose_the_database(demo)
    restore_by_four_steps(demo)
    lose_the_main_site(demo)
    restore_at_dr(demo)
    rebuild_main(demo)
    close(demo)


def boot_the_shop(demo: Demo) -> None:
    """A server with a root and a data volume; PostgreSQL on the data volume."""
    demo.story.heading("A server: PostgreSQL on a data volume")
    domain = shop.define_shop(demo.connection, demo.images, kvm=demo.kvm)
    say(f"{SHOP}: 512 MiB, {'KVM' if demo.kvm else 'emulated (no KVM here)'}")
    for name in ("root", "data"):
        path = ORIGINAL / f"{name}.qcow2"
        say(f"{name} volume {path}: {size(path.stat().st_blocks * 512)} used")
    with demo.story.timed("boot the server"):
        domain.create()
        shop.wait_until_up(domain)


def make_two_sites(demo: Demo) -> None:
    """Main and DR, each with its own vault and keys; each may read what the other stores."""
    demo.story.heading("Two sites, main and DR, each with its own backup storage and keys")
    for site in (MAIN, DR):
        make_site(site)
    for site, peer in ((MAIN, DR), (DR, MAIN)):
        add_peer(site, peer)


def make_site(site: DemoSite) -> None:
    """`dozo init`."""
    for folder in (site.home, site.vault, site.pool):
        make_folder(folder)
    dozo(site, "init", "--name", site.name, "--vault", str(site.vault), "--pool", str(site.pool))


def add_peer(site: DemoSite, peer: DemoSite, *options: str) -> None:
    """Let a peer read what a site stores."""
    key = next(peer.home.glob("keys*.pub"))
    where = ("--vault", str(peer.vault), "--public-key", str(key))
    dozo(site, "site", "add-peer", peer.name, *where, *options)


def first_recovery_point(demo: Demo) -> None:
    """Live, of both volumes, while pgbench writes."""
    demo.story.heading("A live recovery point of both volumes, while pgbench writes")
    domain = demo.domain(SHOP)
    shop.note(domain, "monday is open")
    shop.start_selling(domain)
    time.sleep(SELLING_SECONDS)
    with demo.story.timed("live recovery point, first: stored") as watch:
        dozo(MAIN, "recovery-point", "create", SHOP, "--name", MONDAY)
        watch.size_bytes = report(MONDAY)


def second_recovery_point(demo: Demo) -> None:
    """Reads what has changed since the first one; sales before and after it are counted."""
    demo.story.heading("A second one: only what changed is read")
    domain = demo.domain(SHOP)
    time.sleep(SELLING_SECONDS)
    shop.note(domain, "tuesday is open")
    before = shop.rows(domain)
    with demo.story.timed("live recovery point, incremental: stored") as watch:
        dozo(MAIN, "recovery-point", "create", SHOP, "--name", TUESDAY)
        watch.size_bytes = report(TUESDAY)
    after = shop.rows(domain)
    shop.note(domain, "written after the snapshot")
    demo.least_sales, demo.most_sales = before.sales, after.sales
    demo.notes = list(before.notes)
    say(f"sales went on: {before.sales} before, {after.sales} after")


def report(point: str) -> int:
    """Say what a recovery point read, stored, and for how long the guest stood; bytes stored."""
    snapshots: list[dict[str, Any]] = dozo_json(MAIN, "recovery-point", "show", point)["snapshots"]
    whole = sum(one["bytes_volume"] for one in snapshots)
    read = sum(one["bytes_read"] or 0 for one in snapshots)
    stored = sum(one["bytes_stored"] or 0 for one in snapshots)
    say(f"of {size(whole)} in two volumes {size(read)} were read and {size(stored)} stored")
    frozen = next((one["freeze_ms"] for one in snapshots if one["freeze_ms"] is not None), None)
    if frozen is not None:
        say(f"the guest's file systems were frozen for {frozen} ms")
    return stored


def copy_and_verify(demo: Demo) -> None:
    """Both recovery points at both sites, read back at both."""
    demo.story.heading("Copied to DR, and read back at both sites")
    with demo.story.timed("copy both to DR") as watch:
        for point in (MONDAY, TUESDAY):
            dozo(MAIN, "recovery-point", "copy", point, "--to", DR.name)
        watch.size_bytes = used_bytes(DR.vault)
    with demo.story.timed("read back and verify at main") as watch:
        dozo(MAIN, "site", "sync")
        watch.size_bytes = used_bytes(MAIN.vault)
    with demo.story.timed("read back and verify at DR") as watch:
        dozo(DR, "site", "sync")
        watch.size_bytes = used_bytes(DR.vault)
    dozo(DR, "recovery-point", "list")


def lose_the_database(demo: Demo) -> None:
    """Disaster 1: inside the guest, the database's files are deleted."""
    demo.story.heading("Disaster 1: the database's files are deleted")
    domain = demo.domain(SHOP)
    shop.stop_selling(domain)
    shop.destroy_database(domain)
    say("rm -rf /srv/data/postgresql/base …: PostgreSQL does not start any more")
    dozo(MAIN, "server", "stop", SHOP, "--timeout", "30", "--force")


def restore_by_four_steps(demo: Demo) -> None:
    """Template, server, volume, attach; then start."""
    demo.story.heading("Restored in the four steps of the original service")
    snapshots = dozo_json(MAIN, "recovery-point", "show", TUESDAY)["snapshots"]
    root = next(one for one in snapshots if one["root"])
    data = next(one for one in snapshots if not one["root"])
    with demo.story.timed("restore in four steps") as watch:
        say("(1) a template from the root volume's snapshot")
        dozo(MAIN, "template", "create", root["snapshot"][:12], "--name", "dozo-demo-os")
        say("(2) a new server from the template, left stopped")
        dozo(MAIN, "server", "create", "--template", "dozo-demo-os", "--name", SHOP_2)
        say("(3) a new volume from the data volume's snapshot")
        name = "dozo-demo-data"
        dozo(MAIN, "volume", "create", "--snapshot", data["snapshot"][:12], "--name", name)
        say("(4) attach the volume to the server")
        dozo(MAIN, "volume", "attach", name, SHOP_2)
        watch.size_bytes = used_bytes(MAIN.pool)
    check_restored(demo, MAIN, SHOP_2, "boot and check the restored server")


def check_restored(demo: Demo, site: DemoSite, name: str, what: str) -> None:
    """Start a restored server if need be, and check the database inside."""
    with demo.story.timed(what):
        domain = demo.domain(name)
        if not domain.isActive():
            dozo(site, "server", "start", name)
        shop.wait_until_up(domain)
        shop.check_database(domain, least=demo.least_sales, most=demo.most_sales, notes=demo.notes)


def lose_the_main_site(demo: Demo) -> None:
    """Disaster 2: servers, disks, vault, catalog and keys of main are gone."""
    demo.story.heading("Disaster 2: the main site is gone")
    for name in clean.remove_servers(demo.connection):
        say(f"deleted: server {name}")
    for what, folder in (
        ("the servers' disks", ORIGINAL),
        ("restored disks", MAIN.pool),
        ("main's vault", MAIN.vault),
        ("main's settings, catalog and keys", MAIN.home),
    ):
        lost = used_bytes(folder)
        shutil.rmtree(folder)
        say(f"deleted: {what}, {folder} ({size(lost)})")
    say(f"left: the DR site's vault, catalog and keys ({DR.vault}, {DR.home})")


def restore_at_dr(demo: Demo) -> None:
    """The same server, from the DR vault alone."""
    demo.story.heading("The same server, restored at DR from the DR vault alone")
    with demo.story.timed("restore the server at DR") as watch:
        dozo(DR, "server", "restore", TUESDAY, "--identity", "keep", "--start")
        watch.size_bytes = used_bytes(DR.pool)
    check_restored(demo, DR, SHOP, "boot and check the server at DR")


def rebuild_main(demo: Demo) -> None:
    """A new, empty main site with new keys, filled from DR."""
    demo.story.heading("The main site, rebuilt from DR with new keys")
    with demo.story.timed("rebuild main from DR") as watch:
        make_site(MAIN)
        add_peer(DR, MAIN, "--replace")
        add_peer(MAIN, DR)
        dozo(MAIN, "site", "rebuild", "--from", DR.name)
        watch.size_bytes = used_bytes(MAIN.vault)
    dozo(MAIN, "recovery-point", "list")


def close(demo: Demo) -> None:
    """The closing table, and what to try next."""
    demo.story.heading("What it took")
    demo.story.closing_table()
    program = ("sudo " if "SUDO_USER" in os.environ else "") + ".venv/bin/dozo"
    main, dr = (f"{program} --home {site.home}" for site in (MAIN, DR))
    print(f"""
What to try next:
   {dr} doctor
   {dr} server list
   {dr} snapshot list
   {dr} recovery-point create {SHOP} --name wednesday
   {main} snapshot restore {TUESDAY}-vdb /var/tmp/dozo-demo-data.qcow2 --format qcow2
   {program} vault scrub {MAIN.vault}
   virsh -c qemu:///system console {SHOP}     (a root shell in the guest; Ctrl-] leaves it)

{SHOP} is still running, and both sites are there to be tried. To remove all of it:
   scripts/demo --clean""")
