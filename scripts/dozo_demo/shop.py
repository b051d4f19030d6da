"""The server of the demo: a shop's PostgreSQL, and what can be checked about it from inside."""

import time
from dataclasses import dataclass

import libvirt
from guestlab.agent import (
    GuestSilent,
    guest_exec,
    guest_shell,
    sql,
    wait_for_agent,
)
from guestlab.build import GuestImages
from guestlab.domain import GuestDisk, GuestSpec, make_disk

from dozo_demo.places import ORIGINAL, SHOP, make_folder
from dozo_demo.terminal import StepFailed, say

BOOT_SECONDS = 240
DATABASE_SECONDS = 120
AS_POSTGRES = "/usr/sbin/runuser -u postgres --"
SUMS = """
select (select sum(abalance) from pgbench_accounts) = sum(delta)
   and (select sum(tbalance) from pgbench_tellers) = sum(delta)
   and (select sum(bbalance) from pgbench_branches) = sum(delta) from pgbench_history
"""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the database holds: finished sales, and the notes that the demo wrote."""

    sales: int
    notes: tuple[str, ...]


def define_shop(
    connection: libvirt.virConnect, images: GuestImages, *, kvm: bool
) -> libvirt.virDomain:
    """The server with a root and a data volume, stopped."""
    make_folder(ORIGINAL)
    disks = []
    for device, name, image in (("vda", "root", images.root), ("vdb", "data", images.data)):
        path, kind = make_disk(image, ORIGINAL, name, "qcow2")
        disks.append(GuestDisk(device=device, path=path, format=kind, serial=f"shop-{name}"))
    spec = GuestSpec(name=SHOP, disks=disks, kvm=kvm, control=False, cpus=2 if kvm else 1)
    return spec.define(connection)


def wait_until_up(domain: libvirt.virDomain) -> None:
    """Until the agent answers and PostgreSQL takes connections. Raises StepFailed."""
    started = time.monotonic()
    try:
        wait_for_agent(domain, BOOT_SECONDS)
    except GuestSilent as error:
        raise StepFailed(f"{domain.name()} did not boot: {error}") from None
    booted = time.monotonic() - started
    while guest_exec(domain, ["/usr/bin/pg_isready", "-q"]).code != 0:
        if time.monotonic() - started - booted > DATABASE_SECONDS:
            raise StepFailed(f"PostgreSQL in {domain.name()} does not start")
        time.sleep(0.5)
    up = time.monotonic() - started
    say(f"{domain.name()}: agent after {booted:.0f} s, PostgreSQL after {up:.0f} s")


def start_selling(domain: libvirt.virDomain) -> None:
    """Let pgbench write without pause."""
    guest_shell(
        domain,
        "systemd-run --quiet --unit=selling --uid=postgres"
        " pgbench --no-vacuum --client=2 --rate=10 --time=3600 shop",
    )


def stop_selling(domain: libvirt.virDomain) -> None:
    """End pgbench."""
    guest_shell(domain, "systemctl stop selling", check=False)


def note(domain: libvirt.virDomain, text: str) -> None:
    """Write a row whose presence can be checked later."""
    sql(domain, f"insert into notes (note) values ('{text}')")


def rows(domain: libvirt.virDomain) -> Rows:
    """What the database holds now."""
    answer = sql(domain, "select count(*) from pgbench_history")
    notes = sql(domain, "select note from notes order by id")
    return Rows(sales=int(answer), notes=tuple(notes.splitlines()))


def destroy_database(domain: libvirt.virDomain) -> None:
    """Delete the database's files under the running database."""
    guest_shell(domain, "rm -rf /srv/data/postgresql/base /srv/data/postgresql/global; sync")
    guest_shell(domain, "systemctl restart 'postgresql@*'", check=False)
    if guest_exec(domain, ["/usr/bin/pg_isready", "-q"]).code == 0:
        raise StepFailed("the database survived the loss of its files")


def check_database(domain: libvirt.virDomain, *, least: int, most: int, notes: list[str]) -> None:
    """pg_amcheck finds nothing, the books balance, the rows are the snapshot's.

    Raises StepFailed. Sales went on while the snapshot was taken, so their number lies between
    those counted just before and just after.
    """
    amcheck = guest_exec(
        domain,
        ["/bin/sh", "-c", f"{AS_POSTGRES} pg_amcheck --database=shop --heapallindexed"],
        timeout_s=300,
    )
    if amcheck.code != 0 or amcheck.out.strip():
        raise StepFailed(f"pg_amcheck: {amcheck.out}{amcheck.err}")
    if sql(domain, SUMS) != "t":
        raise StepFailed("the sums over pgbench's tables differ")
    found = rows(domain)
    if not least <= found.sales <= most:
        raise StepFailed(f"{found.sales} sales, but {least} to {most} were in the snapshot")
    if list(found.notes) != notes:
        raise StepFailed(f"notes {found.notes}, but the snapshot had {notes}")
    say("pg_amcheck: every table and index is sound; pgbench's sums agree")
    say(f"sales: {found.sales} (before the snapshot {least}, after it {most})")
    say(f"notes: {', '.join(found.notes)}")
