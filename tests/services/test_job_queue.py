"""Jobs from the request to their named end: keys, limits, retries, cancelling, crashes."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.services import job_queue, job_run, operations
from dozo.services.access import Actor, Operation, Scope
from dozo.services.admission import Limits
from dozo.services.job_kinds import JobKind, Params, Prepared
from dozo.services.job_queue import JobEnded, KeyUsedOtherwise
from dozo.services.site import Site
from dozo.services.work import Cancelled, Work

from .jobs import Held
from .support import make_site

pytestmark = pytest.mark.postgres


@dataclass(eq=False)
class Passing(DozoError):
    code = "test.passing"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "it will pass"
    hint = "Wait."


@dataclass
class Act:
    """What the test's kind of job does; the test changes it."""

    calls: int = 0
    error: BaseException | None = None
    began: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    slow: bool = False
    # Hangs without a sign of life, as in a library that does not return.
    deaf: bool = False
    quiet_seconds: float = 0.5

    def run(self, site: Site, params: Params, work: Work) -> dict[str, Any]:
        self.calls += 1
        work.step("do it")
        counter = work.bytes_of("bytes")
        counter.total(1000)
        counter.advance(400)
        self.began.set()
        while self.slow and not self.go_on.wait(0.01):
            counter.advance(1)
        if self.deaf:
            self.go_on.wait(30)
            work.check()
        if self.error is not None:
            raise self.error
        return {"said": params["say"]}


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Act:
    act = Act()

    def prepare(scope: Scope, params: Params) -> Prepared:
        return Prepared(
            title="a test",
            params=dict(params),
            locks=tuple(params.get("locks", ())),
            object_kind="site",
            object_id="x",
        )

    for name, repeatable in (("test.do", True), ("test.once", False)):
        kind = JobKind(
            name=name,
            operation=Operation.SITE_SYNC,
            prepare=prepare,
            run=act.run,
            repeatable=lambda params, value=repeatable: value,
            quiet_seconds=act.quiet_seconds,
        )
        monkeypatch.setitem(operations.KINDS, name, kind)
    return act


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = make_site(tmp_path, "main")
    yield site
    site.close()


@pytest.fixture
def runner(site: Site) -> Held:
    return Held(site.settings.home)


def ask(site: Site, kind: str = "test.do", **params: Any) -> str:
    key = params.pop("key", None)
    scope = Scope(site, Actor.system())
    params.setdefault("say", "x")
    return job_queue.submit(scope, operations.kind(kind), params, idempotency_key=key).job_id


def dispatch(site: Site, runner: Held, **limits: int) -> list[str]:
    return job_queue.dispatch(site, runner, Limits(**limits), "q")


def shown(site: Site, job_id: str) -> job_queue.JobView:
    scope = Scope(site, Actor.system())
    return job_queue.views(scope, site.catalog.jobs.filter(job_id=job_id))[0]


def test_a_job_goes_from_queued_to_done(site: Site, runner: Held, act: Act) -> None:
    job_id = ask(site, say="hello")
    assert shown(site, job_id).state == "queued"
    assert dispatch(site, runner) == [job_id]
    assert shown(site, job_id).state == "running"
    runner.run_all()

    view = shown(site, job_id)
    assert (view.state, view.result) == ("done", {"said": "hello"})
    assert (view.bytes_done, view.bytes_total, view.step) == (400, 1000, "do it")
    lines = [line.text for line in site.catalog.job_lines.filter(job_id=job_id)]
    assert lines == ["do it", "done"]
    # Whoever runs it once more changes nothing.
    runner.run_all()
    assert act.calls == 1


def test_a_key_names_one_job(site: Site, runner: Held, act: Act) -> None:
    first = ask(site, key="k")
    assert ask(site, key="k") == first
    assert ask(site, key="other") != first
    with pytest.raises(KeyUsedOtherwise):
        ask(site, "test.once", key="k")
    with pytest.raises(KeyUsedOtherwise):
        ask(site, key="k", say="something else")


def test_what_can_pass_is_tried_again_later(site: Site, runner: Held, act: Act) -> None:
    act.error = Passing()
    job_id = ask(site)
    for attempt in (1, 2):
        dispatch(site, runner)
        runner.run_all()
        view = shown(site, job_id)
        assert (view.state, view.attempt, view.error) == ("waiting", attempt, "it will pass")
        assert dispatch(site, runner) == []
        site.catalog.jobs.update(not_before=clock.now() - timedelta(seconds=1))
    dispatch(site, runner)
    runner.run_all()
    view = shown(site, job_id)
    assert (view.state, view.hint, act.calls) == ("failed", "Wait.", 3)


def test_what_cannot_be_repeated_is_not(site: Site, runner: Held, act: Act) -> None:
    act.error = Passing()
    job_id = ask(site, "test.once")
    dispatch(site, runner)
    runner.run_all()
    assert shown(site, job_id).state == "failed"


def test_a_defect_fails_the_job_and_is_called_one(site: Site, runner: Held, act: Act) -> None:
    act.error = ZeroDivisionError("oh")
    job_id = ask(site)
    dispatch(site, runner)
    runner.run_all()
    view = shown(site, job_id)
    assert (view.state, view.error_code) == ("failed", "job.broke")
    assert view.error == "ZeroDivisionError: oh"


def test_a_waiting_job_is_cancelled_at_once(site: Site, runner: Held, act: Act) -> None:
    job_id = ask(site)
    row = site.catalog.jobs.get(job_id=job_id)
    assert job_queue.cancel(site, row, runner) == "cancelled"
    assert dispatch(site, runner) == []
    with pytest.raises(JobEnded):
        job_queue.cancel(site, row, runner)


def test_a_running_job_is_cancelled_at_its_next_byte(site: Site, runner: Held, act: Act) -> None:
    act.slow = True
    job_id = ask(site)
    dispatch(site, runner)
    running = threading.Thread(target=runner.run_all)
    running.start()
    assert act.began.wait(10)
    row = site.catalog.jobs.get(job_id=job_id)
    assert job_queue.cancel(site, row, runner) == "cancelling"
    running.join(10)
    assert not running.is_alive()
    view = shown(site, job_id)
    assert (view.state, view.error_code) == ("cancelled", "job.cancelled")


def test_cancelled_too_late_it_is_done(site: Site, runner: Held, act: Act) -> None:
    job_id = ask(site)
    dispatch(site, runner)
    row = site.catalog.jobs.get(job_id=job_id)
    act.error = Cancelled("it")
    job_queue.cancel(site, row, runner)
    runner.run_all()
    assert shown(site, job_id).state == "cancelled"
    assert act.calls == 0


def test_places_in_the_queue(site: Site, runner: Held, act: Act) -> None:
    jobs = [ask(site, locks=["server:x"]) for _ in range(3)]
    dispatch(site, runner)
    places = [shown(site, job_id).place_in_queue for job_id in jobs]
    assert places == [None, 1, 2]
    assert shown(site, jobs[1]).waits_for == (jobs[0],)


def test_a_window_that_is_over_fails_the_job(site: Site, runner: Held, act: Act) -> None:
    job_id = ask(site)
    site.catalog.jobs.update(not_after=clock.now() - timedelta(seconds=1))
    assert dispatch(site, runner) == []
    assert shown(site, job_id).error_code == "job.expired"


def test_killed_between_decision_and_hand_over(site: Site, runner: Held, act: Act) -> None:
    job_id = ask(site)
    lost = Held(site.settings.home)
    dispatch(site, lost)
    job_queue.hand_over_again(site, runner, "q")
    runner.run_all()
    assert shown(site, job_id).state == "done"


@pytest.mark.parametrize(
    ("kind", "state", "calls"), [("test.do", "done", 1), ("test.once", "interrupted", 0)]
)
def test_killed_while_it_ran(
    site: Site, runner: Held, act: Act, kind: str, state: str, calls: int
) -> None:
    job_id = ask(site, kind)
    dispatch(site, runner)
    # What an attempt leaves whose process was killed.
    site.catalog.jobs.update(executions=1, started_at=datetime(2026, 1, 1, tzinfo=UTC))
    runner.run_all()
    assert (shown(site, job_id).state, act.calls) == (state, calls)


def test_what_kills_the_service_each_time_ends(site: Site, runner: Held, act: Act) -> None:
    job_id = ask(site)
    dispatch(site, runner)
    site.catalog.jobs.update(executions=3)
    runner.run_all()
    assert (shown(site, job_id).state, act.calls) == ("interrupted", 0)


@pytest.mark.parametrize(("kind", "state"), [("test.do", "waiting"), ("test.once", "interrupted")])
def test_a_service_that_stops_lets_its_jobs_give_way(
    site: Site, runner: Held, act: Act, kind: str, state: str
) -> None:
    act.slow = True
    job_id = ask(site, kind)
    dispatch(site, runner)
    job_run.execute(site.settings.home, runner.given[0], stopping=lambda: True)
    assert shown(site, job_id).state == state


def test_a_stuck_job_is_named_and_gives_up_its_place(site: Site, runner: Held, act: Act) -> None:
    act.deaf = True
    job_id = ask(site)
    other = ask(site)
    dispatch(site, runner, upkeep=1, work=1)
    running = threading.Thread(target=lambda: job_run.execute(site.settings.home, runner.given[0]))
    running.start()
    assert dispatch(site, runner, work=1) == []
    deadline = clock.monotonic() + 20
    while shown(site, job_id).stuck_since is None:
        assert clock.monotonic() < deadline
        clock.sleep(0.05)
    assert dispatch(site, runner, work=1) == [other]
    act.go_on.set()
    running.join(10)
    view = shown(site, job_id)
    assert (view.state, view.error_code, view.stuck_since) == ("failed", "job.stuck", None)
