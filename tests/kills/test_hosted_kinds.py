"""`kill -9` of the service in the middle of each kind of job that a hypervisor takes part in."""

from collections.abc import Iterator

import pytest
from tests.services import domains
from tests.services.support import befriend, make_site

from dozo.services import inventory

from .proving import prove, sweep
from .table import HOSTED, Case
from .world import World

pytestmark = pytest.mark.libvirt

POINTS = [
    pytest.param(case, *point, id=f"{case.name}-{point[0].replace(' ', '-')}-{point[1]}")
    for case in HOSTED
    for point in case.points
]


@pytest.fixture(scope="module")
def hosted(libvirt_host: object, catalogs: None) -> Iterator[World]:
    """As `world`, with libvirt, a server that runs, one that is stopped, and snapshots of them."""
    with (
        domains.workspace() as (connection, folder),
        make_site(folder, "main", libvirt="qemu:///system") as main,
        make_site(folder, "dr", libvirt="qemu:///system") as dr,
    ):
        befriend(main, dr)
        made = World(folder=folder, main=main, dr=dr)
        for name in ("running", "stopped"):
            made.things[name] = domains.define(
                connection, folder, disks={"vda": "qcow2", "vdb": "qcow2"}
            )
        running, stopped = made.things["running"], made.things["stopped"]
        running.start()
        inventory.sync(main)
        made.serve()
        done = made.do("recovery-point.create", {"server": stopped.name})
        made.things["point"] = done.result["recovery_point"]
        root = next(one for one in done.result["snapshots"] if one["device"] == "vda")
        made.things["snapshot"] = root["snapshot"]
        made.things["content"] = stopped.content("vda")
        asked = {"snapshot": root["snapshot"], "name": "base"}
        made.things["template"] = made.do("template.create", asked).result["template"]
        yield made
        made.end()


@pytest.mark.parametrize(("case", "effect", "number"), POINTS)
def test_a_killed_job_goes_on_or_ends(hosted: World, case: Case, effect: str, number: int) -> None:
    prove(hosted, case, effect, number)


@pytest.mark.sweep
@pytest.mark.parametrize("case", HOSTED, ids=lambda case: case.name)
def test_killed_anywhere(hosted: World, case: Case) -> None:
    sweep(hosted, case)


def test_no_dead_writer_is_left(hosted: World) -> None:
    hosted.no_writer_is_left()
