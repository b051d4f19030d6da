"""The commands against a real service on a real hypervisor; the servers boot nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services import domains

from dozo.model import clock

from . import service
from .conftest import Dozo, make_site

pytestmark = pytest.mark.libvirt

Run = Callable[..., Any]


@pytest.fixture
def workspace(libvirt_host: object) -> Iterator[Any]:
    with domains.workspace() as made:
        yield made


@pytest.fixture
def machine(workspace: Any) -> domains.Machine:
    """Defined before the service begins, so that the service has seen it."""
    return domains.define(*workspace, disks={"vda": "qcow2", "vdb": "qcow2"})


@pytest.fixture
def run(
    dozo: Dozo, machine: domains.Machine, tmp_path: Path, workspace: Any, django_db_blocker: Any
) -> Iterator[Run]:
    """Runs a command that has to succeed; its JSON."""
    pool = workspace[1] / "pool"
    uri = "qemu:///system"
    home = make_site(tmp_path, "main", django_db_blocker, libvirt=uri, pool=pool)
    running = service.start(home)

    def call(*arguments: str, code: int = 0) -> Any:
        done = dozo("--home", home, *arguments, "--json")
        assert done.code == code, f"{arguments}: {done.out}{done.err}\n{running.log.read_text()}"
        return done.error if code else done.json

    yield call
    running.stop()


def test_a_server_is_protected_and_restored(run: Run, machine: domains.Machine) -> None:
    name = machine.name
    assert name in [row["name"] for row in run("server", "list")]
    point = run("recovery-point", "create", name, "--name", "point")
    assert {"name", "recovery_point", "server", "created_at", "mode", "consistency", "freeze_ms",
            "agent_ms", "snapshots", "left_out", "notes"} <= set(point)  # fmt: skip
    single = run("snapshot", "create", f"{name}/vda", "--name", "single")
    assert {"snapshot", "volume", "device", "bytes_read", "full_reason_words"} <= set(single)
    assert run("volume", "show", f"{name}/vdb")["device"] == "vdb"
    before = machine.content("vda")
    machine.write("vda", 0, domains.MIB, 0x77)
    put_back = run("volume", "restore", f"{name}/vda", "point-vda")
    assert put_back["safety_snapshot"]
    assert machine.content("vda") == before
    plan = run("server", "restore", "point", "--name", f"{name}-2", "--identity", "copy",
               "--dry-run")  # fmt: skip
    assert [one["device"] for one in plan["volumes"]] == ["vda", "vdb"]
    made = run("server", "restore", "point", "--name", f"{name}-2", "--identity", "copy")
    assert (made["name"], made["started"]) == (f"{name}-2", False)
    assert run("server", "start", f"{name}-2")["state"] == "running"
    assert run("server", "stop", f"{name}-2", "--timeout", "1", "--force")["state"] == "stopped"
    run("server", "delete", f"{name}-2", code=4)
    assert run("server", "delete", f"{name}-2", "--volumes", "--yes")["deleted_volumes"]


def test_the_four_steps_by_hand(run: Run, machine: domains.Machine) -> None:
    name = machine.name
    run("recovery-point", "create", name, "--name", "point")
    assert run("template", "create", "point-vda", "--name", "golden")["name"] == "golden"
    assert run("template", "show", "golden")["source_server"] == name
    made = run("server", "create", "--template", "golden", "--name", f"{name}-3")
    assert made["volumes"][0]["bytes_volume"] == machine.disks["vda"].size
    volume = run("volume", "create", "--snapshot", "point-vdb", "--name", f"{name}-data")
    attached = run("volume", "attach", f"{name}-data", f"{name}-3")
    assert (attached["volume"], attached["device"]) == (f"{name}-data", "vdb")
    run("volume", "detach", f"{name}-3/vdb", f"{name}-3")
    assert run("volume", "delete", volume["volume"], "--yes")["name"] == f"{name}-data"
    assert run("template", "delete", "golden")["deleted"] is True


def test_a_schedule_runs_and_new_servers_are_seen(
    run: Run, machine: domains.Machine, workspace: Any
) -> None:
    name = machine.name
    assert run("server", "track", name, "off")["tracking"] == "off"
    assert run("server", "tag", name, "gold")["tags"] == ["gold"]
    assert run("server", "untrack", name)["checkpoints"] == []
    run("schedule", "create", "daily", "--tag", "gold", "--tenant", "default", "--daily", "02:30",
        "--keep", "3", "--mode", "offline")  # fmt: skip
    done = run("schedule", "run", "daily")
    (result,) = done["results"].values()
    assert len(result["snapshots"]) == 2
    assert [one["outcome"] for one in run("schedule", "runs", "daily")] == ["started"]
    assert run("server", "protection", name)["state"] == "protected"
    assert run("overview")["servers"]["protected"] == 1
    other = domains.define(*workspace, disks={"vda": "raw"})
    deadline = clock.monotonic() + 60
    while other.name not in [row["name"] for row in run("server", "list")]:
        assert clock.monotonic() < deadline
        clock.sleep(1)
