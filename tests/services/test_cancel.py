"""Operations that are cancelled in the middle, at every step and byte: nothing is left of them."""

import threading
from pathlib import Path

import libvirt
import pytest

from dozo.model.progress import Progress
from dozo.services import (
    leftovers,
    notes,
    power,
    protect,
    replicate,
    restore_in_place,
    restore_server,
    restore_volume,
    snapshots,
    views,
)
from dozo.services.errors import VolumeRestoring
from dozo.services.protect import Protected
from dozo.services.site import Site
from dozo.services.work import Cancelled, Work
from dozo.vault import Vault

from .domains import MIB, Machine, define, raw_bytes
from .support import MadeServer, random_bytes, store

Workspace = tuple[libvirt.virConnect, Path]


class Cancelling:
    """Listens until so many steps or bytes have gone by, and raises from then on."""

    def __init__(self, *, after_bytes: int | None = None, at_step: int | None = None) -> None:
        self.after_bytes = after_bytes
        self.at_step = at_step
        self.bytes = 0
        self.steps = 0
        self.cancelled = False
        self.lock = threading.Lock()

    def step(self, text: str) -> None:
        with self.lock:
            self.cancelled = self.cancelled or self.steps == self.at_step
            self.steps += 1
            self._raise(text)

    def bytes_of(self, label: str) -> Progress:
        self._raise(label)
        return self

    def fact(self, name: str, value: object) -> None:
        self._raise(name)

    def check(self) -> None:
        self._raise("check")

    def total(self, work_bytes: int) -> None:
        self._raise("total")

    def advance(self, done_bytes: int) -> None:
        with self.lock:
            self.bytes += done_bytes
            if self.after_bytes is not None and self.bytes > self.after_bytes:
                self.cancelled = True
            self._raise("advance")

    def _raise(self, at: str) -> None:
        if self.cancelled:
            raise Cancelled(at)


def pending(vault: Vault) -> list[str]:
    return [one.key for one in vault.blobs.list("pending/")]


def pool_files(site: Site) -> list[str]:
    """Images and their records; the pool's own lock stays."""
    found = (one.name for one in site.settings.pool.rglob("*") if one.is_file())
    return [one for one in found if one != "names.lock"]


def take(site: Site, machine: Machine, work: Work | None = None) -> Protected:
    return protect.apply(site, protect.plan_server(site, machine.name), work=work)


def nothing_is_left(site: Site, machine: Machine) -> None:
    """No job, no frozen or changed guest, no scratch, no note, no half a snapshot."""
    if machine.running:
        with pytest.raises(libvirt.libvirtError):
            machine.domain.backupGetXMLDesc(0)
        assert machine.domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    assert not [one for one in site.settings.scratch.rglob("*") if one.is_file()]
    assert notes.read_all(site.settings.notes) == []
    captures = leftovers.captures_dir(site)
    assert not captures.is_dir() or not list(captures.glob("*.json"))
    assert pending(site.vault) == []


@pytest.mark.libvirt
@pytest.mark.parametrize("running", [True, False], ids=["live", "offline"])
@pytest.mark.parametrize("after", [0, 3 * MIB, 11 * MIB], ids=["at-once", "first", "second"])
def test_a_snapshot_leaves_nothing_and_keeps_the_tracking(
    host_site: Site, workspace: Workspace, *, running: bool, after: int
) -> None:
    machine = define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2"})
    for device in machine.disks:
        machine.write(device, 0, 8 * MIB, 0x21)
    machine.start()
    first = take(host_site, machine)
    before = [one.name for one in host_site.host.checkpoints(machine.uuid)]
    if not running:
        machine.kill()
    for device in machine.disks:
        machine.write(device, 0, 8 * MIB, 0x22)

    with pytest.raises(Cancelled):
        take(host_site, machine, Cancelling(after_bytes=after))
    nothing_is_left(host_site, machine)
    with pytest.raises(Cancelled):
        take(host_site, machine, Cancelling(at_step=0))
    nothing_is_left(host_site, machine)

    assert {one.snapshot for one in host_site.vault.snapshots()} == {
        one.snapshot for one in first.snapshots
    }
    assert len(views.list_snapshots(host_site)) == 2
    checkpoints = host_site.host.checkpoints(machine.uuid)
    assert [one.name for one in checkpoints] == before
    if running:
        bitmaps = host_site.host.live_bitmaps(machine.uuid).values()
        assert {one.name for found in bitmaps for one in found} == set(before)
    again = take(host_site, machine)
    assert [one.full_reason for one in again.snapshots] == [None, None]


@pytest.fixture
def stored(main: Site) -> list[str]:
    """Three snapshots, each with bytes of its own."""
    return [
        store(main, MadeServer.new(f"s{number}"), "vda", random_bytes(number, 4 * MIB))
        for number in range(3)
    ]


@pytest.mark.parametrize("after", [0, 2 * MIB, 6 * MIB, 10 * MIB])
def test_a_copy_keeps_what_has_arrived_whole(
    pair: tuple[Site, Site], stored: list[str], after: int
) -> None:
    main, dr = pair
    with pytest.raises(Cancelled):
        replicate.copy(main, main.settings.peer("dr"), work=Cancelling(after_bytes=after))
    assert notes.read_all(main.settings.notes) == []
    assert pending(dr.vault) == []
    arrived = {one.snapshot for one in dr.vault.snapshots()}
    assert len(arrived) == after // (4 * MIB)
    states = {one.snapshot: one.copies.get("dr") for one in views.list_snapshots(main)}
    assert states == {one: "stored" if one in arrived else "missing" for one in stored}
    done = replicate.copy(main, main.settings.peer("dr"))
    assert set(done.snapshots) | arrived == set(stored)


def test_a_copy_that_is_cancelled_at_its_first_step_sends_nothing(
    pair: tuple[Site, Site], stored: list[str]
) -> None:
    main, dr = pair
    with pytest.raises(Cancelled):
        replicate.copy(main, main.settings.peer("dr"), stored, work=Cancelling(at_step=0))
    assert dr.vault.snapshots() == []
    assert {one.copies.get("dr") for one in views.list_snapshots(main)} <= {None, "missing"}


@pytest.mark.parametrize("work", [{"at_step": 0}, {"at_step": 1}, {"after_bytes": 6 * MIB}])
def test_what_was_not_read_to_the_end_is_not_verified(
    main: Site, stored: list[str], work: dict[str, int]
) -> None:
    rows = [main.catalog.snapshot(one) for one in stored]
    with pytest.raises(Cancelled):
        snapshots.verify(main, rows, work=Cancelling(**work))
    states = [views.snapshot_views(main, [row])[0].copies["main"] for row in rows]
    read = 1 if "after_bytes" in work or work["at_step"] == 1 else 0
    assert states == ["verified"] * read + ["stored"] * (3 - read)
    assert [one.state for one in snapshots.verify(main, rows)] == ["verified"] * 3


@pytest.mark.parametrize("work", [{"at_step": 0}, {"after_bytes": 0}, {"after_bytes": 2 * MIB}])
def test_a_volume_or_file_from_a_snapshot_leaves_no_image(
    main: Site, stored: list[str], tmp_path: Path, work: dict[str, int]
) -> None:
    plan = restore_volume.plan(main, stored[0], name="again")
    with pytest.raises(Cancelled):
        restore_volume.apply(main, plan, work=Cancelling(**work))
    assert pool_files(main) == []
    assert views.list_volumes(main) == []
    assert notes.read_all(main.settings.notes) == []
    out = tmp_path / "out"
    out.mkdir()
    if "after_bytes" in work:
        with pytest.raises(Cancelled):
            snapshots.to_file(
                main, stored[0], out / "file", format="qcow2", work=Cancelling(**work)
            )
    assert list(out.iterdir()) == []
    assert restore_volume.apply(main, plan).bytes_written == 4 * MIB


@pytest.mark.libvirt
@pytest.mark.parametrize(
    "work",
    [{"at_step": 0}, {"at_step": 1}, {"at_step": 2}, {"after_bytes": 0}, {"after_bytes": 11 * MIB}],
)
def test_a_restored_server_leaves_neither_images_nor_a_definition(
    host_site: Site, workspace: Workspace, work: dict[str, int]
) -> None:
    machine = define(*workspace, disks={"vda": "qcow2", "vdb": "raw"})
    for number, device in enumerate(machine.disks):
        machine.write(device, 0, 8 * MIB, 0x21 + number)
    point = take(host_site, machine)
    plan = restore_server.plan(host_site, recovery_point=point.name, name=f"{machine.name}-new")
    with pytest.raises(Cancelled):
        restore_server.apply(host_site, plan, work=Cancelling(**work))
    assert plan.name not in {one.name for one in host_site.host.servers()}
    assert pool_files(host_site) == []
    assert notes.read_all(host_site.settings.notes) == []
    assert len(restore_server.apply(host_site, plan).volumes) == 2


@pytest.mark.libvirt
@pytest.mark.parametrize("device", ["vda", "vdb"])
def test_a_volume_that_is_put_back_is_untouched_or_marked(
    host_site: Site, workspace: Workspace, device: str
) -> None:
    machine = define(*workspace, disks={"vda": "qcow2", "vdb": "raw"})
    machine.write(device, 0, 8 * MIB, 0x21)
    old = machine.content(device)
    taken = {one.device: one.snapshot for one in take(host_site, machine).snapshots}[device]
    machine.write(device, 0, 8 * MIB, 0x22)
    new = machine.content(device)
    volume = f"{machine.name}/{device}"

    # Its own step, the safety snapshot and its bytes, the step before the first byte is written.
    for work in (
        Cancelling(at_step=0),
        Cancelling(at_step=1),
        Cancelling(after_bytes=4 * MIB),
        Cancelling(at_step=2),
    ):
        plan = restore_in_place.plan(host_site, volume, taken)
        with pytest.raises(Cancelled):
            restore_in_place.apply(host_site, plan, work=work)
        assert machine.content(device) == new
        assert not host_site.catalog.volume(volume).restoring_snapshot
        nothing_is_left(host_site, machine)
    assert power.start(host_site, machine.name).state == "running"
    machine.kill()
    new = machine.content(device)

    # Between bytes of the writing: 8 MiB are those of the safety snapshot.
    plan = restore_in_place.plan(host_site, volume, taken)
    with pytest.raises(Cancelled):
        restore_in_place.apply(host_site, plan, work=Cancelling(after_bytes=12 * MIB))
    nothing_is_left(host_site, machine)
    with pytest.raises(VolumeRestoring):
        power.start(host_site, machine.name)
    restore_in_place.apply(host_site, restore_in_place.plan_go_back(host_site, volume))
    assert machine.content(device) == new
    plan = restore_in_place.plan(host_site, volume, taken)
    with pytest.raises(Cancelled):
        restore_in_place.apply(host_site, plan, work=Cancelling(after_bytes=12 * MIB))
    restore_in_place.apply(host_site, restore_in_place.plan_resume(host_site, volume))
    assert raw_bytes(machine.disks[device].path, machine.disks[device].format) == old
    assert power.start(host_site, machine.name).state == "running"
