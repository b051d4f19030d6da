"""Offline snapshots: starts by every route, incremental by the bitmap."""

import os
import signal
import subprocess
import threading
from pathlib import Path
from uuid import UUID

import libvirt
import pytest

from dozo.hypervisor import ServerStarted, StandstillUnproven
from dozo.model import clock
from dozo.model.change_token import Reason
from dozo.model.states import CaptureMode, Consistency
from dozo.services import notes, power, protect, restore_volume, snapshots, views
from dozo.services.errors import GaveWay, ServerBusy
from dozo.services.protect import Protected
from dozo.services.site import Site
from dozo.volumes import ImageInUse

from .domains import MIB, Machine, define, raw_bytes, run
from .support import Hooked, make_site

pytestmark = pytest.mark.libvirt

Workspace = tuple[libvirt.virConnect, Path]


@pytest.fixture
def machine(workspace: Workspace) -> Machine:
    """Root and data volume, stopped, never started."""
    return define(*workspace, disks={"vda": "qcow2", "vdb": "raw"})


def take(site: Site, machine: Machine, **options: object) -> Protected:
    return protect.apply(site, protect.plan_server(site, machine.name, **options))  # type: ignore[arg-type]


def test_a_stopped_server_is_read_from_its_images(
    host_site: Site, machine: Machine, tmp_path: Path
) -> None:
    made = take(host_site, machine)
    # libvirt has never seen it shut down, so nothing better can be promised.
    assert (made.mode, made.consistency) == (CaptureMode.OFFLINE, Consistency.CRASH)
    for taken in made.snapshots:
        out = tmp_path / f"{taken.device}.raw"
        snapshots.to_file(host_site, taken.snapshot, out, format="raw")
        assert out.read_bytes() == machine.content(taken.device)
    assert host_site.vault.attachments(made.snapshots[0].snapshot)["definition.xml"]


def test_a_forced_stop_is_crash_consistent(host_site: Site, machine: Machine) -> None:
    machine.start()
    machine.kill()
    assert take(host_site, machine).consistency is Consistency.CRASH


def test_a_guest_whose_qemu_was_ended_is_crash_consistent(
    host_site: Site, machine: Machine
) -> None:
    """To libvirt it looks like a guest that shut down; its caches are lost all the same."""
    machine.start()
    machine.domain.resume()
    os.kill(int(Path(f"/run/libvirt/qemu/{machine.name}.pid").read_text()), signal.SIGTERM)
    while machine.running:
        clock.sleep(0.05)
    assert machine.domain.state()[1] == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN
    made = take(host_site, machine)
    assert made.consistency is Consistency.CRASH
    facts = snapshots.readable(host_site, made.snapshots[0].snapshot).facts
    assert facts is not None
    assert "from outside" in dict(facts.notes)["not_clean"]
    (point,) = views.list_recovery_points(host_site)
    assert made.notes == point.notes == point.snapshots[0].notes == dict(facts.notes)


def test_an_offline_incremental_goes_by_the_bitmap_of_the_last_live_one(
    host_site: Site, machine: Machine, tmp_path: Path
) -> None:
    machine.start()
    take(host_site, machine)
    machine.write("vda", 4 * MIB, 65536, 0x55)
    machine.kill()
    second = take(host_site, machine)
    root, data = second.snapshots
    assert (root.full_reason, data.full_reason) == (None, Reason.FORMAT_CANNOT_TRACK.value)
    assert root.bytes_read < 2 * MIB
    # The checkpoint stays where it was: the third goes by it again, live this time.
    machine.start()
    machine.write("vda", 6 * MIB, 65536, 0x56)
    third = take(host_site, machine)
    assert third.snapshots[0].full_reason is None
    machine.kill()
    out = tmp_path / "root.raw"
    snapshots.to_file(host_site, third.snapshots[0].snapshot, out, format="raw")
    assert out.read_bytes() == raw_bytes(machine.disks["vda"].path, "qcow2")


def test_an_image_put_back_after_an_offline_snapshot_is_read_right(
    host_site: Site, machine: Machine, tmp_path: Path
) -> None:
    """Same path, same inode, a good bitmap: but it counts from the live snapshot, not the last."""
    machine.start()
    live = take(host_site, machine).snapshots[0]
    machine.write("vda", 4 * MIB, 65536, 0x55)
    machine.kill()
    path = machine.disks["vda"].path
    copy = path.read_bytes()
    machine.write("vda", 6 * MIB, 65536, 0x56)
    offline = take(host_site, machine).snapshots[0]
    assert (offline.full_reason, offline.parent) == (None, live.snapshot)
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(copy)
    again = take(host_site, machine).snapshots[0]
    assert (again.full_reason, again.parent) == (None, live.snapshot)
    out = tmp_path / "root.raw"
    snapshots.to_file(host_site, again.snapshot, out, format="raw")
    assert out.read_bytes() == machine.content("vda")
    snapshots.delete(host_site, [live.snapshot])
    last = take(host_site, machine).snapshots[0]
    assert last.full_reason == Reason.BASE_GONE.value


def test_a_bitmap_that_was_not_saved_is_not_trusted(host_site: Site, machine: Machine) -> None:
    machine.start()
    take(host_site, machine)
    # Stopped in order once, so that the bitmap is in the image; then killed while it is in use.
    machine.kill()
    machine.start()
    machine.write("vda", 4 * MIB, 65536, 0x55)
    pid = int(Path(f"/run/libvirt/qemu/{machine.name}.pid").read_text())
    subprocess.run(["kill", "-9", str(pid)], check=True)
    while machine.running:
        clock.sleep(0.05)
    second = take(host_site, machine)
    assert second.snapshots[0].full_reason == Reason.BITMAP_INCONSISTENT.value


def test_starting_through_dozo_meanwhile_is_refused_naming_the_snapshot(
    host_site: Site, machine: Machine
) -> None:
    plan = protect.plan_server(host_site, machine.name, name="nightly")
    seen: list[ServerBusy] = []

    def try_to_start() -> None:
        try:
            power.start(host_site, machine.name)
        except ServerBusy as error:
            seen.append(error)

    made = protect.apply(host_site, plan, work=Hooked(try_to_start))
    assert "nightly" in str(seen[0])
    assert "--fail-snapshot" in seen[0].hint_text()
    assert len(made.snapshots) == 2
    assert power.start(host_site, machine.name).state == "running"


def test_a_start_that_shall_win_fails_the_snapshot(
    host_site: Site, machine: Machine, tmp_path: Path
) -> None:
    """The other process starts the server; this one gives way."""
    plan = protect.plan_server(host_site, machine.name)
    with make_site(tmp_path, "other", libvirt="qemu:///system", pool=tmp_path / "p") as other:
        other.settings = type(other.settings)(
            **{**vars(other.settings), "home": host_site.settings.home}
        )
        began = threading.Event()
        done: list[power.ServerState] = []

        def hook() -> None:
            began.set()
            note = notes.find(host_site.settings.notes, plan.note_name)
            while note is not None and not note.path.with_suffix(".stop").exists():
                clock.sleep(0.02)

        def start() -> None:
            began.wait(20)
            done.append(power.start(other, machine.name, fail_snapshot=True))

        other.catalog.servers.count()
        thread = threading.Thread(target=start)
        thread.start()
        with pytest.raises(GaveWay):
            protect.apply(host_site, plan, work=Hooked(hook))
        thread.join(60)
    assert [one.state for one in done] == ["running"]
    assert host_site.vault.snapshots() == []
    assert notes.read_all(host_site.settings.notes) == []


def test_a_start_through_virsh_wins_and_fails_the_snapshot(
    host_site: Site, machine: Machine
) -> None:
    plan = protect.plan_server(host_site, machine.name)
    with pytest.raises(ServerStarted, match=machine.name):
        protect.apply(host_site, plan, work=Hooked(machine.start))
    assert machine.running
    machine.write("vda", 0, 65536, 0x77)
    machine.write("vdb", 0, 65536, 0x77)
    assert host_site.vault.snapshots() == []
    assert notes.read_all(host_site.settings.notes) == []
    assert len(take(host_site, machine).snapshots) == 2


def test_a_run_that_is_over_before_anybody_looks_fails_the_snapshot(
    host_site: Site, machine: Machine
) -> None:
    plan = protect.plan_server(host_site, machine.name)

    def start_and_stop() -> None:
        machine.start()
        machine.kill()

    with pytest.raises(ServerStarted):
        protect.apply(host_site, plan, work=Hooked(start_and_stop))
    assert host_site.vault.snapshots() == []


def test_a_start_of_another_server_with_the_same_image_fails_the_snapshot(
    host_site: Site, workspace: Workspace, machine: Machine
) -> None:
    """Whoever has the image, under whatever name."""
    other = define(*workspace, disks={"vda": "raw"})
    link = other.disks["vda"].path
    link.unlink()
    link.symlink_to(machine.disks["vdb"].path)
    with pytest.raises(ServerStarted, match=other.name):
        protect.apply(
            host_site, protect.plan_server(host_site, machine.name), work=Hooked(other.start)
        )
    assert other.running
    assert host_site.vault.snapshots() == []


@pytest.mark.parametrize("device", ["vda", "vdb"])
def test_a_writer_that_libvirt_knows_nothing_of_fails_the_snapshot(
    host_site: Site, machine: Machine, device: str
) -> None:
    """It wrote and was gone before the end, and left the time of writing as it was."""
    path = machine.disks[device].path
    was = path.stat()

    def write() -> None:
        machine.write(device, 5 * MIB, 65536, 0x77)
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))

    with pytest.raises(StandstillUnproven, match="was changed meanwhile"):
        protect.apply(host_site, protect.plan_server(host_site, machine.name), work=Hooked(write))
    assert host_site.vault.snapshots() == []
    assert len(take(host_site, machine).snapshots) == 2


def test_a_volume_that_is_attached_to_nothing_stays_locked(
    host_site: Site, workspace: Workspace, machine: Machine
) -> None:
    """Nobody is expected to start on it: who comes all the same has to wait."""
    taken = take(host_site, machine).snapshots[1]
    made = restore_volume.apply(
        host_site, restore_volume.plan(host_site, taken.snapshot, name="alone")
    )
    refused: list[str] = []

    def write() -> None:
        command = ["qemu-io", "-f", "raw", "-c", "write 0 512", made.path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        refused.append(done.stdout + done.stderr)

    protect.apply(host_site, protect.plan_volume(host_site, "alone"), work=Hooked(write))
    assert "lock" in refused[0]


def test_an_image_that_somebody_writes_to_is_refused(host_site: Site, machine: Machine) -> None:
    path = machine.disks["vda"].path
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(path)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        try:
            probe = ["qemu-img", "info", str(path)]
            while subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                clock.sleep(0.05)
            with pytest.raises(ImageInUse):
                take(host_site, machine)
        finally:
            process.kill()


def test_a_managed_save_makes_it_crash_consistent(host_site: Site, machine: Machine) -> None:
    machine.start()
    machine.domain.managedSave()
    made = take(host_site, machine)
    assert (made.mode, made.consistency) == (CaptureMode.OFFLINE, Consistency.CRASH)


def test_a_raw_image_with_a_backing_file_and_qcow2_over_it(
    host_site: Site, workspace: Workspace, tmp_path: Path
) -> None:
    machine = define(*workspace, disks={"vda": "qcow2"})
    path = machine.disks["vda"].path
    base = path.with_suffix(".base.raw")
    base.write_bytes(bytes([0x42]) * (8 * MIB))
    path.unlink()
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path)
    machine.write("vda", 3 * MIB, MIB, 0x43)
    made = take(host_site, machine)
    out = tmp_path / "out.raw"
    snapshots.to_file(host_site, made.snapshots[0].snapshot, out, format="raw")
    wanted = bytearray(bytes([0x42]) * (8 * MIB))
    wanted[3 * MIB : 4 * MIB] = bytes([0x43]) * MIB
    assert out.read_bytes() == bytes(wanted)


def test_the_volume_keeps_its_id_from_snapshot_to_snapshot(
    host_site: Site, machine: Machine
) -> None:
    first, second = take(host_site, machine), take(host_site, machine)
    assert [one.volume_id for one in first.snapshots] == [one.volume_id for one in second.snapshots]
    assert UUID(first.snapshots[0].volume_id)
    assert len(views.list_snapshots(host_site, server=machine.name)) == 4
