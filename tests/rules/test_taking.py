"""Rows 1, 7, 8 and 9 of the original service: snapshots by hand, in which way, how many at once."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import pytest
from tests.services.domains import Machine, define
from tests.services.jobs import Service, Shifted, member, wait_for

from dozo.model.policy_checks import ModeRefused, RecoveryPointRefused
from dozo.services import inventory, notes, snapshots, views
from dozo.services.access import Forbidden, Role, Scope
from dozo.services.errors import ModeImpossible
from dozo.services.job_work import JobWork

pytestmark = pytest.mark.libvirt

Workspace = tuple[libvirt.virConnect, Path]


@pytest.fixture
def machine(host: Service, workspace: Workspace) -> Machine:
    """A stopped server with a root and a data volume."""
    return known(host, define(*workspace, disks={"vda": "qcow2", "vdb": "raw"}))


def known(host: Service, machine: Machine) -> Machine:
    """A server that the site has seen."""
    inventory.sync(host.site)
    return machine


@pytest.fixture
def at_first_byte(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Let something happen once, while the next job reads its first volume."""
    real = JobWork.add_total
    pending: list[Callable[[], None]] = []

    def add_total(work: JobWork, count: int) -> None:
        while pending:
            pending.pop()()
        real(work, count)

    monkeypatch.setattr(JobWork, "add_total", add_total)
    return pending.append


def image(service: Service, snapshot: str, tmp_path: Path) -> bytes:
    made = snapshots.to_file(service.site, snapshot, tmp_path / f"{snapshot}.raw", format="raw")
    return Path(made.path).read_bytes()


def test_row_01_a_volumes_snapshot_is_made_and_deleted_by_hand(
    host: Service, machine: Machine, tmp_path: Path
) -> None:
    done = host.do("snapshot.create", volume=f"{machine.name}/vdb", name="by-hand")
    (taken,) = done["snapshots"]
    assert image(host, taken["snapshot"], tmp_path) == machine.content("vdb")
    (view,) = views.list_snapshots(host.site)
    assert (view.name, view.scheduled) == ("by-hand", False)

    snapshots.delete(host.site, [taken["snapshot"]])
    assert views.list_snapshots(host.site) == []
    snapshots.undelete(host.site, [taken["snapshot"]])
    assert [one.name for one in views.list_snapshots(host.site)] == ["by-hand"]

    auditor = Scope(host.site, member(name="eve", role=Role.AUDITOR))
    with pytest.raises(Forbidden):
        host.ask("snapshot.create", scope=auditor, volume=f"{machine.name}/vdb")


def test_row_07_a_running_server(host: Service, machine: Machine, preset: str) -> None:
    machine.start()
    for asked in ({}, {"mode": "live"}):
        request = {"volume": f"{machine.name}/vda", **asked}
        if preset == "kcps-v1":
            # What the hypervisor says counts, and nobody has looked there yet.
            with pytest.raises(ModeRefused):
                host.ask("snapshot.create", **request)
        else:
            assert host.do("snapshot.create", **request)["mode"] == "live"
    with pytest.raises(ModeImpossible):
        host.ask("snapshot.create", volume=f"{machine.name}/vda", mode="offline")
    assert machine.running
    machine.kill()
    assert host.do("snapshot.create", volume=f"{machine.name}/vda")["mode"] == "offline"


def test_row_07_a_start_from_outside_wins_and_fails_the_snapshot(
    host: Service, machine: Machine, at_first_byte: Any
) -> None:
    at_first_byte(machine.start)
    job = host.ask("snapshot.create", volume=f"{machine.name}/vda", mode="offline")
    host.run()
    view = host.view(job)
    assert (view.state, view.error_code) == ("failed", "hypervisor.server_started")
    assert machine.running
    assert host.site.vault.snapshots() == []
    assert notes.read_all(host.site.settings.notes) == []


@pytest.mark.parametrize("told", [False, True], ids=["start", "start-fail-snapshot"])
def test_row_07_a_start_through_dozo(
    host: Service, machine: Machine, preset: str, told: bool, at_first_byte: Any
) -> None:
    """It wins under kcps-v1; under modern only if it says that the snapshot shall fail."""
    wins = told or preset == "kcps-v1"
    reading, started = threading.Event(), threading.Event()

    def while_it_reads() -> None:
        reading.set()
        if wins:
            wait_for(lambda: list(host.site.settings.notes.glob("*.stop")))
        else:
            assert started.wait(30)

    at_first_byte(while_it_reads)
    snapshot = host.ask("snapshot.create", volume=f"{machine.name}/vda", mode="offline")
    assert host.dispatch() == [snapshot]
    beside = host.run_beside()
    assert reading.wait(30)
    start = host.ask("server.start", server=machine.name, fail_snapshot=told)
    host.run()
    started.set()
    beside.join(60)
    if wins:
        assert host.view(start).state == "done"
        assert (host.view(snapshot).state, host.view(snapshot).error_code) == (
            "failed",
            "snapshot.gave_way",
        )
        assert machine.running
        assert host.site.vault.snapshots() == []
    else:
        view = host.view(start)
        assert (view.state, view.error_code) == ("failed", "server.busy")
        assert "snapshot" in str(view.error)
        assert not machine.running
        host.result(snapshot)


def test_row_08_a_long_snapshot_is_not_ended(
    host: Service, machine: Machine, later: Shifted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes on may take longer than three hours; only what stands still is ended."""
    began = later.by
    real = JobWork.add_done

    def slowly(work: JobWork, count: int) -> None:
        later.move(minutes=29)
        work.look_stuck()
        real(work, count)

    monkeypatch.setattr(JobWork, "add_done", slowly)
    for _ in range(8):
        host.do("snapshot.create", volume=f"{machine.name}/vda", full=True)
        if (later.by - began).total_seconds() > 4 * 3600:
            break
    job = host.site.catalog.jobs.order_by("-created_at")[0]
    assert (job.finished_at - job.started_at).total_seconds() > 0
    assert (later.by - began).total_seconds() > 3 * 3600


def test_row_09_one_volume_or_all_at_one_instant(
    host: Service, machine: Machine, preset: str
) -> None:
    host.do("snapshot.create", volume=f"{machine.name}/vda")
    if preset == "kcps-v1":
        with pytest.raises(RecoveryPointRefused):
            host.ask("recovery-point.create", server=machine.name)
        return
    made = host.do("recovery-point.create", server=machine.name)
    assert [one["device"] for one in made["snapshots"]] == ["vda", "vdb"]
    (point,) = views.list_recovery_points(host.site)
    assert {one.created_at for one in point.snapshots} == {point.created_at}


def test_row_09_the_next_of_the_same_server_waits_and_shows_its_place(
    host: Service, machine: Machine, workspace: Workspace, preset: str
) -> None:
    other = known(host, define(*workspace, disks={"vda": "qcow2"}))
    first = host.ask("snapshot.create", volume=f"{machine.name}/vda")
    second = host.ask("snapshot.create", volume=f"{machine.name}/vdb")
    third = host.ask("snapshot.create", volume=f"{machine.name}/vda")
    beside = host.ask("snapshot.create", volume=f"{other.name}/vda")
    assert host.dispatch() == [first, beside]
    assert [host.view(one).place_in_queue for one in (first, second, third)] == [None, 1, 2]
    assert host.view(second).waits_for == (first,)
    host.runner.run_all()
    host.run()
    for job in (first, second, third, beside):
        host.result(job)


def test_row_09_among_all_servers_of_a_tenant_if_the_policy_says_so(
    host: Service, machine: Machine, workspace: Workspace, preset: str
) -> None:
    other = known(host, define(*workspace, disks={"vda": "qcow2"}))
    host.policy(preset, parallel_snapshots=1, parallel_scope="tenant")
    first = host.ask("snapshot.create", volume=f"{machine.name}/vda")
    second = host.ask("snapshot.create", volume=f"{other.name}/vda")
    assert host.dispatch() == [first]
    assert (host.view(second).state, host.view(second).place_in_queue) == ("queued", 1)
    host.runner.run_all()
    assert host.dispatch() == [second]


def test_row_09_two_at_a_time_among_a_tenants_servers(
    host: Service, machine: Machine, workspace: Workspace, preset: str
) -> None:
    others = [define(*workspace, disks={"vda": "raw"}) for _ in range(2)]
    inventory.sync(host.site)
    host.policy(preset, parallel_snapshots=2, parallel_scope="tenant")
    jobs = [host.ask("snapshot.create", volume=f"{one.name}/vda") for one in (machine, *others)]
    assert host.dispatch() == jobs[:2]
    assert host.view(jobs[2]).place_in_queue == 1
    host.runner.run_all()
    assert host.dispatch() == jobs[2:]
