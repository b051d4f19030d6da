"""The demo's steps, in the order in which they happen."""

import os
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import libvirt
from guestlab.build import GuestImages

from dozo_demo import clean, console, services, shop
from dozo_demo.places import DR, MAIN, ORIGINAL, SHOP, SHOP_2, DemoSite, make_folder, used_bytes
from dozo_demo.terminal import StepFailed, Story, dozo, dozo_json, say, size

MONDAY, TUESDAY = "monday", "tuesday"
NIGHTLY = "nightly"
SELLING_SECONDS = 8
# A cron expression comes true within a minute; the rest is for a busy host.
SCHEDULE_SECONDS = 180
PROTECTED_SECONDS = 600


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
    scheduled_recovery_point(demo)
    wait_until_protected(demo)
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
    """Main and DR, each with its own service, vault and keys; each may read the other's."""
    demo.story.heading("Two sites, main and DR, each with its own backup storage and keys")
    for site in (MAIN, DR):
        make_site(site)
    for site, peer in ((MAIN, DR), (DR, MAIN)):
        add_peer(site, peer)


def make_site(site: DemoSite) -> None:
    """`dozo init`, and `dozo serve` in the background."""
    for folder in (site.home, site.vault, site.pool):
        make_folder(folder)
    dozo(site, "init", "--name", site.name, "--vault", str(site.vault), "--pool", str(site.pool))
    services.start(site)


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


def scheduled_recovery_point(demo: Demo) -> None:
    """A schedule takes the next one by itself; then it is put to the night."""
    demo.story.heading("A schedule takes the next one by itself")
    with demo.story.timed("recovery point by a schedule") as watch:
        every_minute = ("--cron", "* * * * *", "--keep", "8")
        dozo(MAIN, "schedule", "create", NIGHTLY, "--server", SHOP, *every_minute)
        say("waiting for the next minute")
        job = first_job(NIGHTLY)
        # Twelve hours from now, so that no second one comes in between.
        later = f"{datetime.now(UTC) + timedelta(hours=12):%H:00}"
        dozo(MAIN, "schedule", "edit", NIGHTLY, "--daily", later)
        dozo(MAIN, "job", "follow", job[:12])
        name = dozo_json(MAIN, "job", "show", job)["result"]["name"]
        watch.size_bytes = report(name)
    dozo(MAIN, "schedule", "runs", NIGHTLY)


def first_job(schedule: str) -> str:
    """The job of a schedule's first run, as soon as there is one. Raises StepFailed."""
    deadline = time.monotonic() + SCHEDULE_SECONDS
    while time.monotonic() < deadline:
        for run in dozo_json(MAIN, "schedule", "runs", schedule):
            if run["jobs"]:
                job: str = run["jobs"][0]
                return job
        time.sleep(0.5)
    raise StepFailed(f"schedule {schedule} did not run within {SCHEDULE_SECONDS} s")


def wait_until_protected(demo: Demo) -> None:
    """All three at both sites, read back at both: the services see to it by themselves."""
    demo.story.heading("Copied to DR and read back at both sites, by the services themselves")
    with demo.story.timed("wait until protected at both sites") as watch:
        say("protected: verified at both sites, each with its own keys")
        deadline = time.monotonic() + PROTECTED_SECONDS
        while not all_protected():
            if time.monotonic() > deadline:
                raise StepFailed(f"{SHOP} is not protected after {PROTECTED_SECONDS} s")
            time.sleep(1)
        watch.size_bytes = used_bytes(DR.vault)
    dozo(MAIN, "server", "protection", SHOP)
    dozo(DR, "recovery-point", "list")
    dozo(MAIN, "job", "list", "--limit", "8")


def all_protected() -> bool:
    """Whether every recovery point is verified at both sites, and the server protected."""
    points = dozo_json(MAIN, "recovery-point", "list")
    states = [point["copies"].get(site.name) for point in points for site in (MAIN, DR)]
    if any(state != "verified" for state in states):
        return False
    found: dict[str, Any] = dozo_json(MAIN, "server", "protection", SHOP)
    return bool(found["state"] == "protected")


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
    """Disaster 2: service, servers, disks, vault, catalog and keys of main are gone."""
    demo.story.heading("Disaster 2: the main site is gone")
    services.stop(MAIN, kill=True)
    say("killed: the main site's service")
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
    say(f"left: the DR site's service, vault, catalog and keys ({DR.vault}, {DR.home})")


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
    consoles = (MAIN, DR)
    print(f"\n{console.described(consoles, console.open_consoles(consoles))}")
    program = ("sudo " if "SUDO_USER" in os.environ else "") + ".venv/bin/dozo"
    main, dr = (f"{program} --home {site.home}" for site in (MAIN, DR))
    print(f"""
What to try next:
   {dr} overview
   {dr} server list
   {dr} snapshot list
   {dr} schedule create {NIGHTLY} --server {SHOP} --daily 02:30 --keep-daily 7
   {dr} recovery-point create {SHOP} --name wednesday
   {main} snapshot restore {TUESDAY}-vdb /var/tmp/dozo-demo-data.qcow2 --format qcow2
   {program} vault scrub {MAIN.vault}
   virsh -c qemu:///system console {SHOP}     (a root shell in the guest; Ctrl-] leaves it)

{SHOP} is still running, and so are both sites' services. To end and remove all of it:
   scripts/demo --clean""")
