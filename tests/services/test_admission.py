"""Which jobs may start: limits, locks, order."""

from hypothesis import given
from hypothesis import strategies as st

from dozo.services.admission import Candidate, Lane, Limits, decide, place


def work(name: str, *locks: str, tenant: str = "a", stuck: bool = False) -> Candidate:
    return Candidate(job_id=name, lane=Lane.WORK, tenant=tenant, locks=locks, stuck=stuck)


def upkeep(name: str, *locks: str) -> Candidate:
    return Candidate(job_id=name, lane=Lane.UPKEEP, locks=locks)


def test_the_oldest_start_first_up_to_the_sites_limit() -> None:
    waiting = [work(name, tenant=name) for name in "abcde"]
    found = decide(waiting, [], Limits(work=3, tenant=3))
    assert found.start == ("a", "b", "c")
    assert found.waits_for == {"d": ("limit of the site",), "e": ("limit of the site",)}


def test_a_tenant_at_its_limit_does_not_keep_others_waiting() -> None:
    waiting = [work("1"), work("2"), work("3", tenant="b")]
    found = decide(waiting, [work("0")], Limits(work=9, tenant=2))
    assert found.start == ("1", "3")
    assert found.waits_for == {"2": ("limit of the tenant",)}


def test_a_lock_has_one_holder_and_a_queue_in_order() -> None:
    waiting = [work("1", "server:x"), work("2", "server:x"), work("3", "server:y")]
    found = decide(waiting, [work("0", "server:x")], Limits(work=9, tenant=9))
    assert found.start == ("3",)
    assert found.waits_for == {"1": ("0",), "2": ("1",)}
    assert [place(one, waiting, found.waits_for) for one in "12"] == [1, 2]


def test_who_wants_two_locks_is_not_overtaken_for_ever() -> None:
    waiting = [work("1", "x", "y"), work("2", "y")]
    found = decide(waiting, [work("0", "x")], Limits())
    assert found.start == ()
    assert found.waits_for["2"] == ("1",)


def test_upkeep_has_places_of_its_own() -> None:
    found = decide([upkeep("u"), work("w")], [upkeep("v")], Limits(work=1, upkeep=1))
    assert found.start == ("w",)
    assert found.waits_for == {"u": ("limit of upkeep jobs",)}


def test_a_stuck_job_keeps_its_lock_and_gives_up_its_place() -> None:
    stuck = work("0", "server:x", stuck=True)
    found = decide([work("1", "server:x"), work("2")], [stuck], Limits(work=1, tenant=1))
    assert found.start == ("2",)
    assert found.waits_for == {"1": ("0",)}


candidates = st.lists(
    st.builds(
        Candidate,
        job_id=st.uuids().map(str),
        lane=st.sampled_from(Lane),
        tenant=st.sampled_from(["a", "b", "c"]),
        locks=st.lists(st.sampled_from("wxyz"), unique=True, max_size=3).map(tuple),
        stuck=st.just(False),
    ),
    unique_by=lambda one: one.job_id,
    max_size=20,
)


@given(waiting=candidates, work_limit=st.integers(1, 4), tenant_limit=st.integers(1, 3))
def test_never_more_than_allowed_and_never_two_with_one_lock(
    waiting: list[Candidate], work_limit: int, tenant_limit: int
) -> None:
    limits = Limits(work=work_limit, tenant=tenant_limit, upkeep=1)
    found = decide(waiting, [], limits)
    started = [one for one in waiting if one.job_id in found.start]
    held = [lock for one in started for lock in one.locks]
    assert len(held) == len(set(held))
    assert sum(one.lane is Lane.WORK for one in started) <= work_limit
    assert sum(one.lane is Lane.UPKEEP for one in started) <= 1
    for tenant in "abc":
        of_tenant = [one for one in started if one.tenant == tenant and one.lane is Lane.WORK]
        assert len(of_tenant) <= tenant_limit
    assert set(found.start) | set(found.waits_for) == {one.job_id for one in waiting}
    # Something always starts where nothing runs.
    assert found.start or not waiting
