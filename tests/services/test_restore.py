"""Giving back: the four steps one by one, a server at once, a volume in place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from dozo import volumes
from dozo.catalog.errors import VolumeUnknown
from dozo.hypervisor import (
    DeviceTaken,
    LibvirtHost,
    NameTaken,
    RestoringMark,
    ServerRunning,
    ServerStarted,
)
from dozo.model.states import Identity
from dozo.model.volume_io import ByteTarget
from dozo.services import (
    attaching,
    found,
    leftovers,
    power,
    protect,
    restore_in_place,
    restore_server,
    restore_volume,
    snapshots,
    templates,
    views,
)
from dozo.services.errors import (
    ManagedSave,
    MarkOfOther,
    NameNeeded,
    NothingToRestore,
    NotRestoring,
    OriginalExists,
    PoolFull,
    ServerBusy,
    SizeDiffers,
    SnapshotsConflict,
    VolumeAttached,
    VolumeForeign,
    VolumeNameTaken,
    VolumeNotAttached,
    VolumeRestoring,
)
from dozo.services.notes import Busy
from dozo.services.pool import Pool
from dozo.services.protect import Protected
from dozo.services.site import Site
from dozo.volumes import ImageInUse

from .domains import MIB, PREFIX, Machine, define, raw_bytes, run
from .support import Hooked

pytestmark = pytest.mark.libvirt

Workspace = tuple[libvirt.virConnect, Path]


@pytest.fixture
def machine(workspace: Workspace) -> Machine:
    """Root and data volume, qcow2 and raw, stopped."""
    return define(*workspace, disks={"vda": "qcow2", "vdb": "raw"})


@pytest.fixture
def point(host_site: Site, machine: Machine) -> Protected:
    """A recovery point of it."""
    return protect.apply(host_site, protect.plan_server(host_site, machine.name, name="point"))


@pytest.fixture
def new_name(machine: Machine) -> Iterator[str]:
    """A name for a second server."""
    return f"{machine.name}-new"


def pool_files(site: Site) -> set[str]:
    return {one.name for one in site.settings.pool.iterdir() if one.is_file()}


def image_bytes(path: str) -> bytes:
    return raw_bytes(path, Path(path).suffix[1:])


def test_the_four_steps(host_site: Site, machine: Machine, point: Protected, new_name: str) -> None:
    templates.create(host_site, templates.plan(host_site, "point-vda", name="golden"))
    made = restore_server.apply(
        host_site, restore_server.plan_from_template(host_site, "golden", name=new_name)
    )
    assert (made.identity, made.started) == (Identity.COPY, False)
    assert made.server != machine.uuid
    info = host_site.host.server(new_name)
    assert [disk.device for disk in info.disks] == ["vda"]
    assert image_bytes(made.volumes[0].path) == machine.content("vda")

    plan = restore_volume.plan(host_site, "point-vdb", name=f"{new_name}-data")
    volume = restore_volume.apply(host_site, plan)
    (row,) = [one for one in views.list_volumes(host_site) if one.volume == volume.volume]
    assert (row.state, row.server, row.device) == ("unattached", None, "vdb")
    assert image_bytes(volume.path) == machine.content("vdb")

    done = attaching.attach(
        host_site, attaching.plan_attach(host_site, f"{new_name}-data", new_name)
    )
    disk = host_site.host.server(new_name).disk("vdb")
    assert (done.device, disk.bus, disk.serial) == ("vdb", "virtio", "S-vdb")
    with pytest.raises(VolumeAttached):
        attaching.plan_attach(host_site, f"{new_name}-data", machine.name)

    # The first start makes libvirt hand the images to QEMU's user.
    assert power.start(host_site, new_name).state == "running"
    power.stop(host_site, new_name, timeout_seconds=0, force=True)
    attaching.detach(host_site, f"{new_name}-data", new_name)
    with pytest.raises(VolumeNotAttached):
        attaching.detach(host_site, f"{new_name}-data", new_name)
    attaching.delete_volume(host_site, f"{new_name}-data")
    assert not Path(volume.path).exists()
    power.delete(host_site, new_name, volumes_too=True)
    assert pool_files(host_site) == set()


def test_a_running_server_takes_and_gives_a_volume(
    host_site: Site, machine: Machine, point: Protected
) -> None:
    restore_volume.apply(
        host_site, restore_volume.plan(host_site, "point-vdb", name=f"{machine.name}-x")
    )
    machine.start()
    plan = attaching.plan_attach(host_site, f"{machine.name}-x", machine.name)
    # Its old device is taken by the original: the next free one it is.
    assert plan.device is None
    assert attaching.attach(host_site, plan).device == "vdc"


def test_a_device_that_is_asked_for_and_taken_is_refused(
    host_site: Site, machine: Machine, point: Protected
) -> None:
    name = f"{machine.name}-x"
    restore_volume.apply(host_site, restore_volume.plan(host_site, "point-vdb", name=name))
    plan = attaching.plan_attach(host_site, name, machine.name, device="vda")
    with pytest.raises(DeviceTaken):
        attaching.attach(host_site, plan)


def test_a_server_comes_back_as_itself_when_it_is_gone(
    host_site: Site, machine: Machine, point: Protected
) -> None:
    before = {one.device: one.volume for one in views.server_view(
        host_site.catalog.server(machine.name)).volumes}  # fmt: skip
    contents = {device: machine.content(device) for device in machine.disks}
    with pytest.raises(OriginalExists):
        restore_server.plan(host_site, recovery_point="point")
    power.delete(host_site, machine.name)
    for disk in machine.disks.values():
        disk.path.unlink()
    plan = restore_server.plan(host_site, recovery_point="point", start=True)
    assert (plan.identity, plan.name, plan.gap_seconds) == (Identity.KEEP, machine.name, 0)
    made = restore_server.apply(host_site, plan)
    assert (made.server, made.started) == (machine.uuid, True)
    after = views.server_view(host_site.catalog.server(machine.name))
    assert after.state == "running"
    # The volumes are the old ones, so their snapshots go on being theirs.
    assert {one.device: one.volume for one in after.volumes} == before
    power.stop(host_site, machine.name, timeout_seconds=0, force=True)
    for volume in made.volumes:
        assert image_bytes(volume.path) == contents[volume.path.rsplit("-", 1)[1].split(".")[0]]


def test_a_copy_beside_the_original(
    host_site: Site, machine: Machine, point: Protected, new_name: str
) -> None:
    with pytest.raises(NameNeeded):
        restore_server.plan(host_site, recovery_point="point", identity=Identity.COPY)
    with pytest.raises(NameTaken):
        restore_server.plan(
            host_site, recovery_point="point", identity=Identity.COPY, name=machine.name
        )
    plan = restore_server.plan(host_site, recovery_point="point", name=new_name)
    assert plan.identity is Identity.COPY
    made = restore_server.apply(host_site, plan)
    assert made.server != machine.uuid
    info = host_site.host.server(new_name)
    assert [disk.device for disk in info.disks] == ["vda", "vdb"]
    assert [Path(disk.path or "").parent for disk in info.disks] == [host_site.settings.pool] * 2


def test_snapshots_of_different_dates_and_the_gap(
    host_site: Site, machine: Machine, point: Protected, new_name: str
) -> None:
    machine.write("vdb", 2 * MIB, MIB, 0x99)
    later = protect.apply(
        host_site, protect.plan_volume(host_site, f"{machine.name}/vdb", name="later")
    )
    at = restore_server.plan(host_site, server=machine.name, at=later.created_at, name=new_name)
    assert [one.snapshot_name for one in at.volumes] == ["point-vda", "later"]
    assert at.gap_seconds == (later.created_at - point.created_at).total_seconds() > 0
    before = restore_server.plan(host_site, server=machine.name, at=point.created_at, name=new_name)
    assert [one.snapshot_name for one in before.volumes] == ["point-vda", "point-vdb"]
    explicit = restore_server.plan(host_site, snapshots=("point-vda", "later"), name=new_name)
    assert [one.snapshot for one in explicit.volumes] == [one.snapshot for one in at.volumes]
    with pytest.raises(SnapshotsConflict):
        restore_server.plan(host_site, snapshots=("point-vdb", "later"), name=new_name)
    with pytest.raises(NothingToRestore):
        restore_server.plan(
            host_site, server=machine.name, at=point.created_at.replace(year=2020), name=new_name
        )


def test_a_restore_that_fails_leaves_neither_server_nor_images(
    host_site: Site, point: Protected, new_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = restore_server.plan(host_site, recovery_point="point", name=new_name)

    def broken(*_: object, **__: object) -> str:
        raise NameTaken(name=new_name)

    monkeypatch.setattr(LibvirtHost, "define_server", broken)
    with pytest.raises(NameTaken):
        restore_server.apply(host_site, plan)
    assert pool_files(host_site) == set()
    assert Pool(host_site.settings.pool).images() == []
    assert leftovers.clean(host_site).lines == ()


def test_a_volume_made_by_the_same_plan_twice_keeps_the_first(
    host_site: Site, point: Protected
) -> None:
    plan = restore_volume.plan(host_site, "point-vdb", name=f"{PREFIX}db")
    other = restore_volume.plan(host_site, "point-vda", name=f"{PREFIX}db")
    made = restore_volume.apply(host_site, plan)
    before = image_bytes(made.path)
    for late in (plan, other):
        with pytest.raises(VolumeNameTaken):
            restore_volume.apply(host_site, late)
    assert image_bytes(made.path) == before


def test_a_server_restored_twice_as_itself_keeps_the_first(
    host_site: Site, machine: Machine, point: Protected, monkeypatch: pytest.MonkeyPatch
) -> None:
    power.delete(host_site, machine.name)
    for disk in machine.disks.values():
        disk.path.unlink()
    first, second = (restore_server.plan(host_site, recovery_point="point") for _ in range(2))
    meanwhile: list[Busy] = []

    def at_the_same_time() -> None:
        with pytest.raises(Busy) as caught:
            restore_server.apply(host_site, second)
        meanwhile.append(caught.value)

    made = restore_server.apply(host_site, first, work=Hooked(at_the_same_time))
    assert len(meanwhile) == 1
    with pytest.raises(OriginalExists):
        restore_server.apply(host_site, second)
    # Even where the look at the servers came too early, the images are not the second one's.
    monkeypatch.setattr(restore_server, "require_free", lambda *_: None)
    with pytest.raises(VolumeNameTaken):
        restore_server.apply(host_site, second)
    assert all(Path(one.path).exists() for one in made.volumes)
    assert power.start(host_site, machine.name).state == "running"


def test_images_of_a_server_that_was_defined_all_the_same_stay(
    host_site: Site, point: Protected, new_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LibvirtHost.define_server

    def defined_but(*arguments: Any, **options: Any) -> str:
        real(*arguments, **options)
        raise _Killed

    monkeypatch.setattr(LibvirtHost, "define_server", defined_but)
    plan = restore_server.plan(host_site, recovery_point="point", name=new_name)
    with pytest.raises(_Killed):
        restore_server.apply(host_site, plan)
    assert all(Path(one.path).exists() for one in plan.volumes)
    assert power.start(host_site, new_name).state == "running"


def test_names_and_space_are_checked_before_the_first_byte(
    host_site: Site, point: Protected, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host_site.settings.pool / "taken.qcow2").touch()
    with pytest.raises(VolumeNameTaken):
        restore_volume.plan(host_site, "point-vdb", name="taken")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(PoolFull):
        restore_volume.plan(host_site, "point-vdb", name="other")
    with pytest.raises(PoolFull):
        restore_server.plan(host_site, recovery_point="point", name=f"{PREFIX}x")


def test_in_place_writes_what_differs_and_keeps_what_was_there(
    host_site: Site, machine: Machine, point: Protected, tmp_path: Path
) -> None:
    wanted = {device: machine.content(device) for device in machine.disks}
    for device in machine.disks:
        machine.write(device, 3 * MIB, 65536, 0x66)
        changed = machine.content(device)
        volume = f"{machine.name}/{device}"
        done = restore_in_place.apply(
            host_site, restore_in_place.plan(host_site, volume, f"point-{device}")
        )
        assert machine.content(device) == wanted[device]
        assert 0 < done.bytes_written <= MIB
        assert done.safety_snapshot is not None
        out = tmp_path / f"{device}.raw"
        snapshots.to_file(host_site, done.safety_snapshot, out, format="raw")
        assert out.read_bytes() == changed
    assert host_site.host.server(machine.name).metadata.restoring == ()
    assert power.start(host_site, machine.name).state == "running"


def test_tracking_notices_what_an_in_place_restore_wrote(
    host_site: Site, machine: Machine, tmp_path: Path
) -> None:
    machine.start()
    take = protect.plan_server(host_site, machine.name, name="live")
    protect.apply(host_site, take)
    machine.write("vda", 3 * MIB, 65536, 0x66)
    protect.apply(host_site, protect.plan_server(host_site, machine.name))
    machine.kill()
    restore_in_place.apply(
        host_site, restore_in_place.plan(host_site, f"{machine.name}/vda", "live-vda")
    )
    machine.start()
    again = protect.apply(host_site, protect.plan_server(host_site, machine.name))
    assert again.snapshots[0].full_reason is None
    machine.kill()
    out = tmp_path / "again.raw"
    snapshots.to_file(host_site, again.snapshots[0].snapshot, out, format="raw")
    assert out.read_bytes() == machine.content("vda")


class _Killed(BaseException):
    """The process ends here, as far as anything in it can tell."""


@pytest.fixture
def interrupted(
    host_site: Site, machine: Machine, point: Protected, monkeypatch: pytest.MonkeyPatch
) -> bytes:
    """An in-place restore of vda that stopped before its last byte; what was there before it."""
    machine.write("vda", 3 * MIB, 65536, 0x66)
    before = machine.content("vda")

    def half(_vault: object, _snapshot: str, target: ByteTarget, **_options: object) -> None:
        # Neither the old state nor the new one, as half a restore leaves it.
        target.write(5 * MIB, memoryview(b"half" * 1024))
        raise _Killed

    monkeypatch.setattr(type(host_site.vault), "restore_in_place", half)
    plan = restore_in_place.plan(host_site, f"{machine.name}/vda", "point-vda")
    with pytest.raises(_Killed):
        restore_in_place.apply(host_site, plan)
    monkeypatch.undo()
    return before


def test_a_half_restored_volume_keeps_its_server_from_starting(
    host_site: Site, machine: Machine, interrupted: bytes
) -> None:
    with pytest.raises(VolumeRestoring) as caught:
        power.start(host_site, machine.name)
    assert "--resume" in caught.value.hint_text()
    with pytest.raises(VolumeRestoring):
        protect.plan_server(host_site, machine.name)
    with pytest.raises(VolumeRestoring):
        restore_in_place.plan(host_site, f"{machine.name}/vda", "point-vda")
    marks = host_site.host.server(machine.name).metadata.restoring
    assert [mark.device for mark in marks] == ["vda"]


def test_a_half_restored_volume_is_known_without_the_catalog(
    host_site: Site, machine: Machine, interrupted: bytes
) -> None:
    host_site.catalog.volumes.update(restoring_snapshot="", safety_snapshot="")
    with pytest.raises(VolumeRestoring):
        power.start(host_site, machine.name)


def test_a_half_restored_volume_is_finished(
    host_site: Site, machine: Machine, interrupted: bytes, tmp_path: Path
) -> None:
    plan = restore_in_place.plan_resume(host_site, f"{machine.name}/vda")
    assert plan.safety is None
    done = restore_in_place.apply(host_site, plan)
    out = tmp_path / "out.raw"
    snapshots.to_file(host_site, done.snapshot, out, format="raw")
    assert machine.content("vda") == out.read_bytes() != interrupted
    assert power.start(host_site, machine.name).state == "running"
    power.stop(host_site, machine.name, timeout_seconds=0, force=True)
    with pytest.raises(NotRestoring):
        restore_in_place.plan_resume(host_site, f"{machine.name}/vda")


def test_a_half_restored_volume_is_taken_back(
    host_site: Site, machine: Machine, interrupted: bytes
) -> None:
    done = restore_in_place.apply(
        host_site, restore_in_place.plan_go_back(host_site, f"{machine.name}/vda")
    )
    assert machine.content("vda") == interrupted
    assert done.snapshot
    assert power.start(host_site, machine.name).state == "running"


def test_in_place_is_refused_where_it_would_harm(
    host_site: Site, machine: Machine, point: Protected
) -> None:
    volume = f"{machine.name}/vda"
    machine.start()
    with pytest.raises(ServerRunning):
        restore_in_place.plan(host_site, volume, "point-vda")
    machine.domain.managedSave()
    with pytest.raises(ManagedSave):
        restore_in_place.plan(host_site, volume, "point-vda")
    machine.domain.managedSaveRemove()
    run("qemu-img", "resize", "-f", "raw", machine.disks["vdb"].path, str(12 * MIB))
    with pytest.raises(SizeDiffers):
        restore_in_place.plan(host_site, f"{machine.name}/vdb", "point-vdb")


def test_starting_during_an_in_place_restore_is_refused(
    host_site: Site, machine: Machine, point: Protected
) -> None:
    machine.write("vda", 3 * MIB, 65536, 0x66)
    refused: list[ServerBusy] = []

    def start() -> None:
        try:
            power.start(host_site, machine.name, fail_snapshot=True)
        except ServerBusy as error:
            refused.append(error)

    plan = restore_in_place.plan(host_site, f"{machine.name}/vda", "point-vda")
    # The hook runs during the safety snapshot, under the restore's own note.
    restore_in_place.apply(host_site, plan, work=Hooked(start))
    assert len(refused) == 1


def test_a_plan_that_is_not_true_any_more_writes_nothing(
    host_site: Site, machine: Machine, interrupted: bytes
) -> None:
    volume = f"{machine.name}/vda"
    resume = restore_in_place.plan_resume(host_site, volume)
    back = restore_in_place.plan_go_back(host_site, volume)
    other = restore_in_place.plan(host_site, f"{machine.name}/vdb", "point-vdb")
    restore_in_place.apply(host_site, back)
    with pytest.raises(NotRestoring):
        restore_in_place.apply(host_site, resume)
    assert machine.content("vda") == interrupted
    machine.start()
    with pytest.raises(ServerRunning):
        restore_in_place.apply(host_site, other)


@pytest.mark.parametrize("ends", [False, True], ids=["still-runs", "ended-again"])
def test_a_start_between_the_safety_snapshot_and_the_writing_leaves_no_mark(
    host_site: Site,
    machine: Machine,
    point: Protected,
    monkeypatch: pytest.MonkeyPatch,
    *,
    ends: bool,
) -> None:
    plan = restore_in_place.plan(host_site, f"{machine.name}/vda", "point-vda")
    real = volumes.open_target

    def open_late(*arguments: Any, **options: Any) -> Any:
        machine.start()
        machine.write("vda", 3 * MIB, 65536, 0x66)
        if ends:
            machine.kill()
        return real(*arguments, **options)

    monkeypatch.setattr(volumes, "open_target", open_late)
    with pytest.raises(ServerStarted if ends else ImageInUse):
        restore_in_place.apply(host_site, plan)
    if not ends:
        machine.kill()
    assert machine.content("vda")[3 * MIB : 3 * MIB + 65536] == b"\x66" * 65536
    assert power.start(host_site, machine.name).state == "running"


@pytest.fixture
def loose(host_site: Site, point: Protected) -> restore_volume.VolumeMade:
    """A volume that is attached to nothing."""
    return restore_volume.apply(
        host_site, restore_volume.plan(host_site, "point-vdb", name=f"{PREFIX}loose")
    )


def test_what_changes_hands_is_let_alone_by_others(
    host_site: Site,
    machine: Machine,
    loose: restore_volume.VolumeMade,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_place = restore_in_place.plan(host_site, loose.volume, "point-vdb")
    attach = attaching.plan_attach(host_site, loose.volume, machine.name)
    real = LibvirtHost.attach

    def attach_late(*arguments: Any) -> str:
        with pytest.raises(Busy):
            attaching.delete_volume(host_site, loose.volume)
        with pytest.raises(Busy):
            restore_in_place.apply(host_site, in_place)
        return real(*arguments)

    monkeypatch.setattr(LibvirtHost, "attach", attach_late)
    attaching.attach(host_site, attach)
    row = host_site.catalog.volume(loose.volume)
    with pytest.raises(VolumeAttached):
        attaching.remove(host_site, row)
    with pytest.raises(VolumeAttached):
        restore_in_place.apply(host_site, in_place)
    with pytest.raises(VolumeAttached):
        attaching.attach(host_site, attach)
    assert Path(loose.path).exists()


def test_a_plan_to_attach_what_was_deleted_since_is_refused(
    host_site: Site, machine: Machine, loose: restore_volume.VolumeMade
) -> None:
    attach = attaching.plan_attach(host_site, loose.volume, machine.name)
    attaching.delete_volume(host_site, loose.volume)
    with pytest.raises(VolumeUnknown):
        attaching.attach(host_site, attach)
    assert len(host_site.host.server(machine.name).disks) == 2


def test_foreign_images_are_not_deleted(host_site: Site, machine: Machine) -> None:
    with pytest.raises(VolumeForeign):
        power.delete(host_site, machine.name, volumes_too=True)
    assert host_site.host.server(machine.name).state == "stopped"
    with pytest.raises(VolumeAttached):
        attaching.delete_volume(host_site, f"{machine.name}/vda")
    power.delete(host_site, machine.name)
    with pytest.raises(VolumeForeign):
        attaching.delete_volume(host_site, f"{machine.name}-vda")
    assert machine.disks["vda"].path.exists()


def test_a_mark_that_only_the_domain_has_is_believed(
    host_site: Site, machine: Machine, point: Protected
) -> None:
    snapshot = point.snapshots[0].snapshot
    host_site.host.mark_restoring(
        machine.uuid,
        RestoringMark(device="vda", path=str(machine.disks["vda"].path), snapshot=snapshot),
    )
    with pytest.raises(VolumeRestoring):
        power.start(host_site, machine.name)
    restore_in_place.apply(
        host_site, restore_in_place.plan_resume(host_site, f"{machine.name}/vda")
    )
    assert power.start(host_site, machine.name).state == "running"


def test_a_half_restored_volume_stays_where_its_mark_is(
    host_site: Site, machine: Machine, interrupted: bytes
) -> None:
    with pytest.raises(VolumeRestoring):
        attaching.detach(host_site, f"{machine.name}/vda", machine.name)


def test_a_mark_is_the_image_s_not_the_device_s(
    host_site: Site, workspace: Workspace, machine: Machine, interrupted: bytes
) -> None:
    """Another volume that comes to sit on the same device is nobody's half restored volume."""
    other = define(*workspace, disks={"vda": "qcow2"}).disks["vda"]
    run("virsh", "detach-disk", machine.name, "vda", "--config")
    run(
        *("virsh", "attach-disk", machine.name, str(other.path), "vda", "--config"),
        *("--driver", "qemu", "--subdriver", "qcow2"),
    )
    row = found.volume(host_site, f"{machine.name}/vda")
    assert (row.path, row.restoring_snapshot) == (str(other.path), "")
    with pytest.raises(NotRestoring):
        restore_in_place.plan_resume(host_site, f"{machine.name}/vda")


def test_a_mark_that_names_another_volume_s_snapshot_is_not_resumed(
    host_site: Site, machine: Machine, point: Protected
) -> None:
    of_vda = next(one.snapshot for one in point.snapshots if one.device == "vda")
    path = str(machine.disks["vdb"].path)
    host_site.host.mark_restoring(
        machine.uuid, RestoringMark(device="vdb", path=path, snapshot=of_vda)
    )
    with pytest.raises(MarkOfOther, match="vda"):
        restore_in_place.plan_resume(host_site, f"{machine.name}/vdb")
