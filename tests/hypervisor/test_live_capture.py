"""Live captures of servers that boot nothing: the instant, the hint, and what can go wrong."""

from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from dozo import hypervisor
from dozo.hypervisor import DiskPlan, Freeze, LiveCapture, LiveSettings
from dozo.hypervisor.errors import (
    BackupJobGone,
    CaptureFailed,
    DeviceUnknown,
    DiskRefused,
    ScratchFull,
    ServerBusy,
    ServerNotRunning,
    ServerStopped,
    ServerUnknown,
)
from dozo.model.states import Consistency

from .support import (
    MIB,
    Server,
    begin,
    changed,
    nothing_left,
    read,
    run,
    stale_bitmap_names,
    until,
)

pytestmark = pytest.mark.libvirt

TRACKED = DiskPlan(device="vda", track=True)


def fails(capture: LiveCapture, error: type[Exception]) -> bool:
    """Whether the capture's check raises that by now."""
    try:
        capture.check()
    except error:
        return True
    return False


def test_all_disks_read_as_they_were_at_the_instant(server: Server, settings: LiveSettings) -> None:
    for device in ("vda", "vdb", "vdc"):
        server.write(device, MIB, 0x11, 64 * 1024)
    with begin(server, settings, "vda", "vdb", "vdc") as capture:
        for device in ("vda", "vdb", "vdc"):
            server.write(device, MIB, 0x22, 64 * 1024)
            server.write(device, 2 * MIB, 0x22, 64 * 1024)
        assert capture.consistency is Consistency.CRASH
        for device, below in (("vda", b"\0"), ("vdb", b"\0"), ("vdc", b"\x42")):
            bytes_then = read(capture.exports[device])
            assert len(bytes_then) == server.disk(device).size_bytes
            assert bytes_then[MIB : MIB + 65536] == b"\x11" * 65536
            assert bytes_then[2 * MIB : 2 * MIB + 65536] == below * 65536
        capture.finish(keep_checkpoint=False)
    nothing_left(server, settings)


def test_a_checkpoint_tells_the_changes_with_raw_disks_in_the_same_job(
    server: Server, settings: LiveSettings
) -> None:
    with begin(server, settings, TRACKED, "vdb") as first:
        assert first.exports["vda"].bitmap_name is None
        first.finish(keep_checkpoint=True)
    assert first.checkpoint is not None
    server.write("vda", 5 * MIB, 0x33, 65536)
    plan = DiskPlan(device="vda", since_checkpoint=first.checkpoint, track=True)
    with begin(server, settings, plan, "vdb") as second:
        assert changed(second.exports["vda"]) == [(5 * MIB, 65536)]
        second.finish(keep_checkpoint=True)
    assert server.checkpoints() == {second.checkpoint}
    assert server.bitmaps() == {second.checkpoint}
    nothing_left(server, settings)


def test_a_capture_that_is_not_stored_keeps_the_earlier_hint(
    server: Server, settings: LiveSettings
) -> None:
    with begin(server, settings, TRACKED) as first:
        first.finish(keep_checkpoint=True)
    with pytest.raises(RuntimeError), begin(server, settings, TRACKED):
        raise RuntimeError("the vault is full")
    with begin(server, settings, TRACKED) as dropped:
        dropped.finish(keep_checkpoint=False)
    assert server.checkpoints() == {first.checkpoint}
    assert server.bitmaps() == {first.checkpoint}
    nothing_left(server, settings)


def test_each_volume_keeps_its_newest_checkpoint(server: Server, settings: LiveSettings) -> None:
    both = [TRACKED, DiskPlan(device="vdc", track=True)]
    with begin(server, settings, *both) as first:
        first.finish(keep_checkpoint=True)
    with begin(server, settings, TRACKED) as second:
        second.finish(keep_checkpoint=True)
    assert server.checkpoints() == {first.checkpoint, second.checkpoint}
    with begin(server, settings, DiskPlan(device="vdc", track=True)) as third:
        third.finish(keep_checkpoint=True)
    assert server.checkpoints() == {second.checkpoint, third.checkpoint}


def test_checkpoints_of_other_tools_are_never_touched(
    server: Server, settings: LiveSettings
) -> None:
    server.domain.checkpointCreateXML(
        "<domaincheckpoint><name>theirs</name><disks>"
        "<disk name='vda' checkpoint='bitmap' bitmap='theirs'/>"
        "<disk name='vdb' checkpoint='no'/><disk name='vdc' checkpoint='no'/>"
        "</disks></domaincheckpoint>"
    )
    with begin(server, settings, TRACKED) as first:
        first.finish(keep_checkpoint=True)
    with begin(server, settings, TRACKED) as second:
        second.finish(keep_checkpoint=True)
    assert server.checkpoints() == {"theirs", second.checkpoint}
    untracked = hypervisor.untrack(server.host, server.name)
    assert untracked.checkpoints == (second.checkpoint,)
    assert server.checkpoints() == {"theirs"}
    assert server.bitmaps() == {"theirs"}


def test_a_stop_in_the_middle_is_noticed_and_the_next_capture_works(
    server: Server, settings: LiveSettings
) -> None:
    with begin(server, settings, TRACKED) as capture:
        server.domain.destroy()
        with pytest.raises(ServerStopped, match="forced off"):
            capture.check(now=True)
        with pytest.raises(ServerStopped):
            capture.finish(keep_checkpoint=True)
        stale = capture.abort()
    nothing_left(server, settings)
    assert server.checkpoints() == set()
    assert [(each.device, each.name) for each in stale] == [("vda", capture.checkpoint)]
    assert stale_bitmap_names(Path(stale[0].path)) == {capture.checkpoint}
    server.start()
    # The bitmap is still in the image: it goes with the next capture that tracks.
    with begin(server, settings, TRACKED) as after:
        assert server.bitmaps() == {after.checkpoint}
        after.finish(keep_checkpoint=True)


def test_a_killed_qemu_is_noticed_and_the_next_capture_works(
    server: Server, settings: LiveSettings
) -> None:
    with begin(server, settings, TRACKED) as before:
        before.finish(keep_checkpoint=True)
    with begin(server, settings, TRACKED) as capture:
        server.kill()
        with pytest.raises(ServerStopped, match="killed"):
            capture.check(now=True)
    nothing_left(server, settings)
    server.start()
    # QEMU saves bitmaps when it ends: now there is none, or one that says it was not saved.
    found = hypervisor.live_bitmaps(server.host, server.name).values()
    assert all(bitmap.inconsistent for bitmaps in found for bitmap in bitmaps)
    assert server.checkpoints() == {before.checkpoint}
    with begin(server, settings, TRACKED) as after:
        after.finish(keep_checkpoint=True)
    assert server.checkpoints() == {after.checkpoint}
    assert server.bitmaps() == {after.checkpoint}


def test_a_job_that_somebody_aborts_is_noticed(server: Server, settings: LiveSettings) -> None:
    with begin(server, settings, "vda") as capture:
        capture.check(now=True)
        server.domain.abortJob()
        until(lambda: fails(capture, BackupJobGone), what="the loss of the job is noticed")
    nothing_left(server, settings)


def test_a_broken_parent_checkpoint_is_refused_and_leaves_nothing(
    server: Server, settings: LiveSettings
) -> None:
    plan = DiskPlan(device="vda", since_checkpoint="dozo-never-was", track=True)
    with pytest.raises(CaptureFailed):
        begin(server, settings, plan)
    assert server.checkpoints() == set()
    nothing_left(server, settings)


def test_only_one_capture_at_a_time(server: Server, settings: LiveSettings) -> None:
    with begin(server, settings, "vda"), pytest.raises(ServerBusy, match="a backup"):
        begin(server, settings, "vdb")
    nothing_left(server, settings)


def test_scratch_over_its_quota_ends_the_capture_and_the_server_goes_on(
    server: Server, settings: LiveSettings
) -> None:
    small = replace(settings, scratch_quota_bytes=4 * MIB)
    server.write("vda", 0, 0x44, 16 * MIB)
    with begin(server, small, "vda") as capture:
        server.write("vda", 0, 0x55, 16 * MIB)
        until(lambda: fails(capture, ScratchFull), what="the scratch level is noticed")
        with pytest.raises(ScratchFull) as caught:
            capture.check()
        assert caught.value.used_bytes > 4 * MIB
        assert server.domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    nothing_left(server, settings)


def test_too_little_scratch_space_is_refused_at_once(
    server: Server, settings: LiveSettings
) -> None:
    with pytest.raises(ScratchFull):
        begin(server, replace(settings, scratch_reserve_bytes=1 << 60), "vda")
    nothing_left(server, settings)


def test_a_paused_server_is_captured_without_a_freeze(
    server: Server, settings: LiveSettings
) -> None:
    server.domain.suspend()
    try:
        frozen = replace(settings, freeze=Freeze.IF_POSSIBLE)
        with begin(server, frozen, "vda") as capture:
            assert capture.consistency is Consistency.CRASH
            assert capture.freeze_ms is None
            assert capture.freeze_problem == "the server is paused"
            capture.finish(keep_checkpoint=False)
        assert server.domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    finally:
        server.domain.resume()


def test_bad_requests(server: Server, settings: LiveSettings) -> None:
    with pytest.raises(ServerUnknown, match="no-such-server"):
        hypervisor.begin_live(server.host, "no-such-server", [], settings=settings)
    with pytest.raises(DeviceUnknown, match="vdz"):
        begin(server, settings, "vdz")
    with pytest.raises(DiskRefused, match="raw cannot keep track"):
        begin(server, settings, DiskPlan(device="vdb", track=True))


def test_a_stopped_server_is_refused(server: Server, settings: LiveSettings) -> None:
    server.domain.destroy()
    with pytest.raises(ServerNotRunning, match="stopped"):
        begin(server, settings, "vda")


def test_untracking_a_stopped_server_names_the_bitmaps_that_are_left(
    server: Server, settings: LiveSettings
) -> None:
    with begin(server, settings, TRACKED) as capture:
        capture.finish(keep_checkpoint=True)
    server.domain.destroy()
    untracked = hypervisor.untrack(server.host, server.name)
    assert untracked.checkpoints == (capture.checkpoint,)
    assert server.checkpoints() == set()
    assert {each.name for each in untracked.stale_bitmaps} == {capture.checkpoint}
    assert set(untracked.images) == {str(server.disk(name).path) for name in ("vda", "vdc")}
    (stale,) = untracked.stale_bitmaps
    assert stale_bitmap_names(Path(stale.path)) == {stale.name}


def test_auto_tracking_is_off_where_internal_snapshots_are(
    server: Server, settings: LiveSettings
) -> None:
    assert hypervisor.server(server.host, server.name).tracking_allowed
    server.domain.destroy()
    path = server.disk("vda").path
    run("qemu-img", "snapshot", "-c", "behind-libvirts-back", path)
    server.start()
    found = hypervisor.live_internal_snapshots(server.host, server.name)
    assert found == {str(path): ("behind-libvirts-back",)}
    server.domain.destroy()
    run("qemu-img", "snapshot", "-d", "behind-libvirts-back", path)
