"""`kill -9` of the service in the middle of each kind of job that needs no hypervisor."""

import pytest

from dozo.services import operations

from .proving import prove, sweep
from .table import HOSTED, PLAIN, Case
from .world import World

POINTS = [
    pytest.param(case, *point, id=f"{case.name}-{point[0].replace(' ', '-')}-{point[1]}")
    for case in PLAIN
    for point in case.points
]


def test_no_kind_is_left_out() -> None:
    assert {case.kind for case in (*PLAIN, *HOSTED)} == set(operations.KINDS)


@pytest.mark.parametrize(("case", "effect", "number"), POINTS)
def test_a_killed_job_goes_on_or_ends(world: World, case: Case, effect: str, number: int) -> None:
    prove(world, case, effect, number)


@pytest.mark.sweep
@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_killed_anywhere(world: World, case: Case) -> None:
    sweep(world, case)


def test_no_dead_writer_is_left(world: World) -> None:
    world.no_writer_is_left()
