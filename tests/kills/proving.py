"""One kill and everything that has to hold after it; and every point of a job, for the sweep."""

from .table import Case
from .world import World


def prove(world: World, case: Case, effect: str, number: int) -> None:
    """Kill the service there; start it again; see what has become of it, and ask once more."""
    world.serve()
    params = case.ask(world)
    before = {info.snapshot for info in world.main.vault.snapshots()}
    killed = world.killed(case.kind, params, effect, number)
    world.serve()
    row = world.ended(killed)
    assert row.state == case.end, f"{row.state}: {row.error_text}\n{world.lines(row)}"
    world.nothing_is_left()
    if case.end == "done":
        case.check(world, params)
        if case.kind not in {"site.retain", "site.prune"}:
            assert before <= {info.snapshot for info in world.main.vault.snapshots()}
    else:
        assert row.error_code == "job.interrupted"
        assert row.error_hint
    more = case.ask(world)
    world.do(case.kind, more)
    case.check(world, more)
    world.nothing_is_left()
    world.vault_is_sound()


def sweep(world: World, case: Case) -> None:
    """Prove every point of the job; one after the other, whatever becomes of each."""
    failed = []
    points = _every_point(world, case)
    for number, effect in points:
        try:
            prove(world, case, "", number)
        except AssertionError as error:
            failed.append(f"after effect {number} ({effect}): {error}")
    assert not failed, f"{len(failed)} of {len(points)}:\n" + "\n".join(failed)


def _every_point(world: World, case: Case) -> list[tuple[int, str]]:
    """Where it can be killed: after each effect; of equal ones the first two and the last."""
    world.serve()
    # What earlier cases have left to be read back is none of this one's.
    world.do("site.sync", {})
    params = case.ask(world)
    world.arm(case.kind, "", 0)
    world.do(case.kind, params)
    places: dict[str, list[int]] = {}
    for number, name in enumerate(world.trace, start=1):
        places.setdefault(name, []).append(number)
    return sorted(
        (number, name) for name, found in places.items() for number in {*found[:2], found[-1]}
    )
