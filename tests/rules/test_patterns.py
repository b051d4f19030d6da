"""Rows 11 to 14 of the original service, with servers that boot nothing.

``tests/patterns`` does the same with real guests, which stop, unmount and call by themselves.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import libvirt
import pytest
from tests.services.domains import MIB, Machine, define
from tests.services.jobs import Service, Shifted

from dozo.model.policy_checks import HooksRefused, ModeRefused, RootNotUnmounted
from dozo.services import inventory, notes, snapshots, views

pytestmark = pytest.mark.libvirt

Workspace = tuple[libvirt.virConnect, Path]
NIGHTLY = {"kind": "daily", "hour": 0, "minute": 10, "zone": "Asia/Tokyo"}
NIGHT = datetime(2027, 3, 1, 15, 10, tzinfo=UTC)
STOP = "stop-snapshot-start"


@pytest.fixture
def machine(host: Service, workspace: Workspace, later: Shifted) -> Machine:
    """A running server with a root and a data volume, an hour before midnight in Tokyo."""
    later.move_to(NIGHT - timedelta(hours=1))
    made = define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2"})
    made.start()
    inventory.sync(host.site)
    return made


def nightly(host: Service, machine: Machine, device: str = "vdb", **fields: Any) -> None:
    row = host.site.catalog.volume(f"{machine.name}/{device}")
    host.schedule(
        name=f"{machine.name}-{device}",
        volume=str(row.volume_id),
        timing=NIGHTLY,
        keep={"count": 8},
        **fields,
    )


def at_night(host: Service, later: Shifted) -> str:
    """Let the schedule's run happen; its job."""
    later.move_to(NIGHT)
    (job,) = host.tick()
    host.run()
    return job


def restored(host: Service, snapshot: str, tmp_path: Path) -> bytes:
    out = tmp_path / f"{snapshot}.raw"
    return Path(snapshots.to_file(host.site, snapshot, out, format="raw").path).read_bytes()


def test_row_11_a_schedule_stops_snapshots_and_starts(
    host: Service, machine: Machine, later: Shifted, tmp_path: Path
) -> None:
    """This server hears no power button, so here the schedule says that power may be cut."""
    machine.write("vdb", 4 * MIB, 65536, 0x5A)
    nightly(host, machine, mode=STOP, stop_timeout_seconds=1, force_stop=True)
    before = machine.domain.ID()
    result = host.result(at_night(host, later))
    assert result["mode"] == "offline"
    assert machine.running
    assert machine.domain.ID() != before
    assert restored(host, result["snapshots"][0]["snapshot"], tmp_path)[4 * MIB] == 0x5A
    assert notes.read_all(host.site.settings.notes) == []
    (view,) = views.list_snapshots(host.site)
    assert view.scheduled


def test_row_11_a_server_that_does_not_stop_goes_on_and_the_run_fails(
    host: Service, machine: Machine, later: Shifted
) -> None:
    nightly(host, machine, mode=STOP, stop_timeout_seconds=1)
    before = machine.domain.ID()
    view = host.view(at_night(host, later))
    assert (view.state, view.error_code) == ("failed", "hypervisor.stop_timed_out")
    assert machine.domain.ID() == before
    assert views.list_snapshots(host.site) == []


def test_row_11_a_server_that_was_stopped_already_stays_stopped(
    host: Service, machine: Machine, later: Shifted
) -> None:
    nightly(host, machine, mode=STOP)
    machine.kill()
    assert host.result(at_night(host, later))["mode"] == "offline"
    assert not machine.running


def test_row_12_only_the_nfs_server_stops(
    host: Service, machine: Machine, workspace: Workspace, later: Shifted, tmp_path: Path
) -> None:
    """The server that may not stop writes its backup to another one, which is snapshotted."""
    nfs = define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2"})
    nfs.start()
    inventory.sync(host.site)
    nfs.write("vdb", 2 * MIB, 65536, 0xBA)
    nightly(host, nfs, mode=STOP, stop_timeout_seconds=1, force_stop=True)
    before = machine.domain.ID(), nfs.domain.ID()
    (taken,) = host.result(at_night(host, later))["snapshots"]
    assert machine.domain.ID() == before[0]
    assert nfs.running
    assert nfs.domain.ID() != before[1]
    assert restored(host, taken["snapshot"], tmp_path)[2 * MIB] == 0xBA


def test_row_13_a_data_volume_that_the_guest_has_unmounted(
    host: Service, machine: Machine, later: Shifted, tmp_path: Path
) -> None:
    """No agent, no token, no call: the schedule states it, and the snapshot says so."""
    machine.write("vdb", 3 * MIB, 65536, 0x13)
    nightly(host, machine, mode="unmounted", stated_unmounted=True)
    before = machine.domain.ID()
    result = host.result(at_night(host, later))
    assert machine.domain.ID() == before
    assert (result["mode"], result["consistency"]) == ("unmounted", "stated, not checked")
    (taken,) = result["snapshots"]
    assert restored(host, taken["snapshot"], tmp_path)[3 * MIB] == 0x13


def test_row_13_nobody_stated_it(host: Service, machine: Machine, later: Shifted) -> None:
    nightly(host, machine, mode="unmounted")
    view = host.view(at_night(host, later))
    assert (view.state, view.error_code) == ("failed", "hypervisor.not_known_unmounted")
    assert views.list_snapshots(host.site) == []


def test_row_13_a_server_that_is_stopped_at_that_time_is_read_offline(
    host: Service, machine: Machine, later: Shifted
) -> None:
    nightly(host, machine, mode="unmounted", stated_unmounted=True)
    machine.kill()
    result = host.result(at_night(host, later))
    assert (result["mode"], result["consistency"]) == ("offline", "crash-consistent")


def test_row_13_the_os_volume_by_hand_with_the_server_stopped(
    host: Service, machine: Machine, preset: str
) -> None:
    with pytest.raises(RootNotUnmounted):
        host.ask("snapshot.create", volume=f"{machine.name}/vda", mode="unmounted")
    machine.kill()
    done = host.do("snapshot.create", volume=f"{machine.name}/vda", mode="offline")
    assert done["mode"] == "offline"


def test_row_13_what_modern_adds(host: Service, machine: Machine, preset: str) -> None:
    hooks = {"mode": "unmounted", "stated_unmounted": True, "hook_before": "unmount"}
    if preset == "kcps-v1":
        with pytest.raises(ModeRefused):
            nightly(host, machine, mode="live")
        with pytest.raises(HooksRefused):
            nightly(host, machine, **hooks)
    else:
        nightly(host, machine, mode="live")


def test_row_14_the_nfs_servers_extra_volume_while_it_runs(
    host: Service, machine: Machine, workspace: Workspace, later: Shifted, tmp_path: Path
) -> None:
    """Neither server stops, and the one that is backed up notices nothing at all."""
    nfs = define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2", "vdc": "raw"})
    nfs.start()
    inventory.sync(host.site)
    nfs.write("vdc", 2 * MIB, 65536, 0xD4)
    nightly(host, nfs, "vdc", mode="unmounted", stated_unmounted=True)
    before = machine.domain.ID(), nfs.domain.ID()
    (taken,) = host.result(at_night(host, later))["snapshots"]
    assert (machine.domain.ID(), nfs.domain.ID()) == before
    assert taken["device"] == "vdc"
    assert restored(host, taken["snapshot"], tmp_path)[2 * MIB] == 0xD4
