"""Live snapshots of real QEMU processes: what is read, what is kept, what is left behind."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import libvirt
import pytest

from dozo.hypervisor.errors import NotKnownUnmounted, ServerStopped
from dozo.model.change_token import Reason
from dozo.model.states import CaptureMode, Consistency, Tracking
from dozo.services import inventory, leftovers, notes, protect, snapshots, tracking, views
from dozo.services.errors import (
    ModeImpossible,
    NothingToSnapshot,
    VolumeGone,
    VolumeRefused,
)
from dozo.services.notes import Busy
from dozo.services.protect import Protected
from dozo.services.site import Site
from dozo.vault.errors import VaultError
from dozo.volumes import ExportUnavailable, ReadFailed

from .domains import MIB, Machine, define, raw_bytes, run
from .support import Hooked

pytestmark = pytest.mark.libvirt

Workspace = tuple[libvirt.virConnect, Path]


@pytest.fixture
def machine(workspace: Workspace) -> Machine:
    """Root and data volume as qcow2, running."""
    made = define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2"})
    made.start()
    return made


def take(site: Site, machine: Machine, **options: object) -> Protected:
    return protect.apply(site, protect.plan_server(site, machine.name, **options))  # type: ignore[arg-type]


def checkpoints(site: Site, machine: Machine) -> list[str]:
    return [one.name for one in site.host.checkpoints(machine.uuid)]


def nothing_is_left(site: Site, machine: Machine) -> None:
    """No job, no scratch, no note, no busy mark."""
    if machine.running:
        with pytest.raises(libvirt.libvirtError):
            machine.domain.backupGetXMLDesc(0)
    scratch = site.settings.scratch
    assert not [one for one in scratch.rglob("*") if one.is_file()]
    assert notes.read_all(site.settings.notes) == []
    captures = leftovers.captures_dir(site)
    assert not captures.exists() or not list(captures.iterdir())


def test_a_recovery_point_holds_the_bytes_of_its_instant(
    host_site: Site, machine: Machine, tmp_path: Path
) -> None:
    made = protect.apply(
        host_site,
        protect.plan_server(host_site, machine.name, name="first"),
        # After the instant the guest writes on; the snapshot must not show it.
        work=Hooked(lambda: machine.write("vda", 0, MIB, 0x77)),
    )
    assert (made.mode, made.consistency) == (CaptureMode.LIVE, Consistency.CRASH)
    assert [(one.device, one.name) for one in made.snapshots] == [
        ("vda", "first-vda"),
        ("vdb", "first-vdb"),
    ]
    for taken, pattern in zip(made.snapshots, (0x11, 0x12), strict=True):
        out = tmp_path / f"{taken.device}.raw"
        snapshots.to_file(host_site, taken.snapshot, out, format="raw")
        assert out.read_bytes() == bytes([pattern]) * MIB + bytes(7 * MIB)
    (point,) = views.list_recovery_points(host_site, server=machine.name)
    assert (point.name, point.complete) == ("first", True)
    nothing_is_left(host_site, machine)


def test_an_incremental_reads_what_changed_and_keeps_one_checkpoint(
    host_site: Site, machine: Machine, tmp_path: Path
) -> None:
    first = take(host_site, machine)
    assert [one.full_reason for one in first.snapshots] == [Reason.NO_PARENT.value] * 2
    machine.write("vda", 4 * MIB, 65536, 0x55)
    second = take(host_site, machine)
    root, data = second.snapshots
    chunk = host_site.vault.header.chunk_bytes
    assert (root.full_reason, data.full_reason) == (None, None)
    assert root.bytes_new == chunk
    # What changed, and one chunk that is read again each time.
    assert (root.bytes_read, data.bytes_read) == (2 * chunk, chunk)
    assert root.parent == first.snapshots[0].snapshot
    assert len(checkpoints(host_site, machine)) == 1
    out = tmp_path / "root.raw"
    snapshots.to_file(host_site, root.snapshot, out, format="raw")
    wanted = bytearray(bytes([0x11]) * MIB + bytes(7 * MIB))
    wanted[4 * MIB : 4 * MIB + 65536] = bytes([0x55]) * 65536
    assert out.read_bytes() == bytes(wanted)


def test_a_snapshot_of_one_volume_keeps_the_others_tracking(
    host_site: Site, machine: Machine
) -> None:
    take(host_site, machine)
    single = protect.apply(host_site, protect.plan_volume(host_site, f"{machine.name}/vdb"))
    assert single.recovery_point is None
    assert [one.full_reason for one in single.snapshots] == [None]
    assert len(checkpoints(host_site, machine)) == 2
    third = take(host_site, machine)
    assert [one.full_reason for one in third.snapshots] == [None, None]
    assert len(checkpoints(host_site, machine)) == 1


def test_mixed_raw_and_qcow2_disks(host_site: Site, workspace: Workspace) -> None:
    machine = define(*workspace, disks={"vda": "qcow2", "vdb": "raw"})
    machine.start()
    take(host_site, machine)
    machine.write("vdb", 2 * MIB, MIB, 0x99)
    second = take(host_site, machine)
    assert [one.full_reason for one in second.snapshots] == [
        None,
        Reason.FORMAT_CANNOT_TRACK.value,
    ]
    raw = second.snapshots[1]
    assert raw.bytes_new <= 2 * MIB
    assert raw.consistency is Consistency.CRASH


def grow(machine: Machine) -> None:
    machine.domain.blockResize("vda", 12 * MIB, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    machine.write("vda", 9 * MIB, MIB, 0x66)


def grow_when_stopped(machine: Machine) -> None:
    machine.kill()
    run("qemu-img", "resize", "-f", "qcow2", machine.disks["vda"].path, str(12 * MIB))
    machine.start()
    machine.write("vda", 9 * MIB, MIB, 0x66)


def shrink_and_grow(machine: Machine) -> None:
    """Back at the old size, but what lay beyond is gone; QEMU's bitmap never hears of it."""
    machine.kill()
    path = machine.disks["vda"].path
    run("qemu-io", "-f", "qcow2", "-c", f"write -P 51 {7 * MIB} {MIB}", path)
    run("qemu-img", "resize", "-f", "qcow2", "--shrink", path, str(4 * MIB))
    run("qemu-img", "resize", "-f", "qcow2", path, str(8 * MIB))
    machine.start()


def shrink(machine: Machine) -> None:
    machine.kill()
    run("qemu-img", "resize", "-f", "qcow2", "--shrink", machine.disks["vda"].path, str(6 * MIB))
    machine.start()


def replace_image(machine: Machine) -> None:
    machine.kill()
    path = machine.disks["vda"].path
    path.unlink()
    run("qemu-img", "create", "-q", "-f", "qcow2", path, str(8 * MIB))
    machine.write("vda", MIB, MIB, 0x66)
    machine.start()


def rebase(machine: Machine) -> None:
    machine.kill()
    path = machine.disks["vda"].path
    base = path.with_suffix(".base")
    run("qemu-img", "create", "-q", "-f", "qcow2", base, str(8 * MIB))
    run("qemu-io", "-f", "qcow2", "-c", f"write -P 102 {4 * MIB} {MIB}", base)
    run("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", base, "-f", "qcow2", path)
    machine.start()


def snapshot_inside(machine: Machine) -> None:
    machine.kill()
    run("qemu-img", "snapshot", "-c", "inner", machine.disks["vda"].path)
    machine.start()
    machine.write("vda", 5 * MIB, MIB, 0x66)


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (grow, {None}),
        (grow_when_stopped, {None}),
        (shrink, {None}),
        (shrink_and_grow, {None}),
        # The new file may get the old one's number; then it is the bitmap that is missing.
        (replace_image, {Reason.IMAGE_REPLACED, Reason.BITMAP_MISSING}),
        (rebase, {Reason.BACKING_CHAIN_CHANGED}),
        (snapshot_inside, {Reason.INTERNAL_SNAPSHOTS}),
    ],
)
def test_whatever_happens_between_two_incrementals_the_bytes_are_right(
    host_site: Site,
    machine: Machine,
    tmp_path: Path,
    change: Callable[[Machine], None],
    reasons: set[Reason | None],
) -> None:
    machine.write("vda", 7 * MIB, MIB, 0x33)
    take(host_site, machine)
    change(machine)
    second = take(host_site, machine)
    root = second.snapshots[0]
    assert root.full_reason in {one and one.value for one in reasons}
    machine.kill()
    out = tmp_path / "root.raw"
    snapshots.to_file(host_site, root.snapshot, out, format="raw")
    assert out.read_bytes() == raw_bytes(machine.disks["vda"].path, "qcow2")


def test_a_server_that_is_killed_meanwhile_fails_the_snapshot_and_nothing_stays(
    host_site: Site, machine: Machine
) -> None:
    plan = protect.plan_server(host_site, machine.name)
    # Whichever notices first: the capture's own check, or the reading.
    with pytest.raises((ServerStopped, ReadFailed, ExportUnavailable)):
        protect.apply(host_site, plan, work=Hooked(machine.kill))
    assert host_site.vault.snapshots() == []
    assert views.list_snapshots(host_site) == []
    nothing_is_left(host_site, machine)
    machine.start()
    take(host_site, machine)


def test_when_one_volume_fails_none_is_kept_and_the_old_checkpoint_stays(
    host_site: Site, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(host_site, machine)
    before = checkpoints(host_site, machine)
    good = len(host_site.vault.snapshots())
    real = type(host_site.vault).backup
    failed = threading.Event()

    def backup(self: object, source: object, draft: object, **options: object) -> object:
        if draft.name.endswith("vdb"):  # type: ignore[attr-defined]
            failed.set()
            raise VaultError
        failed.wait(10)
        return real(self, source, draft, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(host_site.vault), "backup", backup)
    with pytest.raises(VaultError):
        take(host_site, machine)
    monkeypatch.undo()
    assert len(host_site.vault.snapshots()) == good
    assert checkpoints(host_site, machine) == before
    nothing_is_left(host_site, machine)
    assert [one.full_reason for one in take(host_site, machine).snapshots] == [None, None]


def test_a_second_snapshot_of_the_same_server_waits_for_the_first(
    host_site: Site, machine: Machine
) -> None:
    plan = protect.plan_server(host_site, machine.name)
    seen: list[Busy] = []

    def second() -> None:
        try:
            protect.apply(host_site, plan)
        except Busy as error:
            seen.append(error)

    protect.apply(host_site, plan, work=Hooked(second))
    assert len(seen) == 1


def test_untrack_removes_every_trace_running_or_stopped(host_site: Site, machine: Machine) -> None:
    take(host_site, machine)
    done = tracking.untrack(host_site, machine.name)
    assert len(done.checkpoints) == 1
    assert checkpoints(host_site, machine) == []
    take(host_site, machine)
    machine.kill()
    done = tracking.untrack(host_site, machine.name)
    assert (len(done.checkpoints), len(done.bitmaps)) == (1, 2)
    for disk in machine.disks.values():
        assert "bitmaps" not in run("qemu-img", "info", disk.path)


def test_tracking_off_keeps_no_checkpoint(host_site: Site, machine: Machine) -> None:
    tracking.set_tracking(host_site, machine.name, Tracking.OFF)
    for _ in range(2):
        made = take(host_site, machine)
        assert checkpoints(host_site, machine) == []
    assert [one.full_reason for one in made.snapshots] == [Reason.TRACKING_OFF.value] * 2


def test_modes_that_do_not_fit_are_refused(host_site: Site, machine: Machine) -> None:
    with pytest.raises(ModeImpossible, match="it is paused"):
        protect.plan_server(host_site, machine.name, mode=CaptureMode.OFFLINE)
    with pytest.raises(ModeImpossible, match="root volume"):
        protect.plan_server(host_site, machine.name, mode=CaptureMode.UNMOUNTED)
    machine.kill()
    with pytest.raises(ModeImpossible, match="it is stopped"):
        protect.plan_server(host_site, machine.name, mode=CaptureMode.LIVE)


def test_unmounted_without_an_agent_needs_somebodys_word(host_site: Site, machine: Machine) -> None:
    mode = CaptureMode.UNMOUNTED
    volume = f"{machine.name}/vdb"
    with pytest.raises(NotKnownUnmounted):
        protect.apply(host_site, protect.plan_volume(host_site, volume, mode=mode))
    nothing_is_left(host_site, machine)
    plan = protect.plan_volume(host_site, volume, mode=mode, stated_unmounted=True)
    made = protect.apply(host_site, plan)
    assert made.consistency is Consistency.STATED
    assert views.list_snapshots(host_site)[0].consistency == "stated, not checked"


def test_disks_without_data_are_left_out_and_named(host_site: Site, workspace: Workspace) -> None:
    machine = define(
        *workspace,
        disks={"vda": "qcow2"},
        extra_xml="<disk type='file' device='cdrom'><target dev='sda' bus='sata'/>"
        "<readonly/></disk>",
    )
    machine.start()
    made = take(host_site, machine)
    assert [one.device for one in made.left_out] == ["sda"]
    assert [one.device for one in made.snapshots] == ["vda"]
    (point,) = views.list_recovery_points(host_site, server=machine.name)
    assert point.left_out[0]["device"] == "sda"


def test_a_server_without_volumes_and_disks_that_cannot_be_read_are_refused(
    host_site: Site, workspace: Workspace
) -> None:
    bare = define(*workspace, disks={})
    with pytest.raises(NothingToSnapshot):
        protect.plan_server(host_site, bare.name)
    first = define(*workspace, disks={"vda": "qcow2"})
    shared = "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
    shared += f"<source file='{first.folder}/shared.raw'/><target dev='vdz' bus='virtio'/>"
    shared += "<shareable/></disk>"
    run("qemu-img", "create", "-q", "-f", "raw", first.folder / "shared.raw", str(MIB))
    writer = define(*workspace, disks={"vda": "qcow2"}, extra_xml=shared)
    reader = define(*workspace, disks={"vda": "qcow2"}, extra_xml=shared)
    writer.start()
    with pytest.raises(VolumeRefused, match="shared with running server"):
        protect.plan_server(host_site, reader.name)
    plan = protect.plan_server(host_site, reader.name, volumes=["vda"])
    assert [one.device for one in plan.left_out] == ["vdz"]


def test_a_volume_that_is_gone_is_refused(host_site: Site, machine: Machine) -> None:
    take(host_site, machine)
    machine.kill()
    tracking.untrack(host_site, machine.name)
    name = f"{machine.name}-vda"
    machine.domain.undefine()
    for disk in machine.disks.values():
        disk.path.unlink()
    inventory.sync(host_site)
    with pytest.raises(VolumeGone):
        protect.plan_volume(host_site, name)


def test_an_external_snapshot_is_still_the_same_volume(host_site: Site, machine: Machine) -> None:
    before = {one.device: one.volume for one in volumes_of(host_site, machine)}
    overlay = machine.folder / f"{machine.name}-over.qcow2"
    subprocess.run(
        [
            "virsh", "-q", "-c", "qemu:///system", "snapshot-create-as", machine.name, "s1",
            "--disk-only", "--no-metadata", "--diskspec", f"vda,file={overlay}",
            "--diskspec", "vdb,snapshot=no",
        ],
        check=True,
    )  # fmt: skip
    after = {one.device: one for one in volumes_of(host_site, machine)}
    assert {device: one.volume for device, one in after.items()} == before
    assert after["vda"].path == str(overlay)


def volumes_of(site: Site, machine: Machine) -> list[views.VolumeView]:
    inventory.sync(site)
    return [one for one in views.list_volumes(site) if one.server == machine.name]
