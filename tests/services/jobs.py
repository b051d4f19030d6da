"""Jobs run by the test itself: what the worker does all the time, one step when it is told to."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dozo.model import clock
from dozo.model.clock import SystemClock
from dozo.services import (
    job_queue,
    job_run,
    operations,
    scheduler,
    schedules,
    tenants,
    upkeep,
)
from dozo.services.access import Actor, ActorKind, Role, Scope
from dozo.services.admission import Limits
from dozo.services.job_queue import JobView
from dozo.services.schedules import ScheduleView
from dozo.services.site import Site

# Generous, so that a test meets the locks and not the limits.
LIMITS = Limits(work=8, tenant=8, upkeep=8)


class Held:
    """A runner that keeps what it is given, and runs it when the test says so."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.given: list[str] = []
        self.cancelled: list[str] = []

    def submit(self, run_id: str, queue: str) -> None:
        if run_id not in self.given:
            self.given.append(run_id)

    def cancel(self, run_id: str) -> None:
        self.cancelled.append(run_id)

    def run_all(self) -> None:
        for run_id in self.given:
            job_run.execute(self.home, run_id)


@dataclass
class Shifted:
    """The machine's clock, put forward by the test: programs outside go by the real one."""

    by: timedelta = timedelta()
    _clock: SystemClock = field(default_factory=SystemClock)

    def now(self) -> datetime:
        return self._clock.now() + self.by

    def monotonic(self) -> float:
        return self._clock.monotonic() + self.by.total_seconds()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def move(self, **delta: float) -> None:
        self.by += timedelta(**delta)

    def move_to(self, at: datetime) -> None:
        self.by += at.astimezone(UTC) - self.now()


def member(tenant: str = "default", name: str = "alice", role: Role = Role.MEMBER) -> Actor:
    """A user of a tenant."""
    return Actor(kind=ActorKind.USER, name=f"user:{name}", role=role, tenant=tenant, username=name)


class Service:
    """A site with its queue, its scheduler and its upkeep, driven by hand."""

    def __init__(self, site: Site, *, actor: Actor | None = None) -> None:
        self.site = site
        self.runner = Held(site.settings.home)
        self.actor = actor or member()
        self.scope = Scope(site, self.actor)
        self.operator = Scope(site, Actor.system("test"))
        self._arrivals = upkeep.Arrivals()

    def policy(self, preset: str, **overrides: Any) -> None:
        """Give the tenant of the tests a policy."""
        name = self.site.tenant_row().name
        tenants.set_policy(self.operator, name, preset=preset, overrides=overrides)

    def ask(self, kind: str, *, scope: Scope | None = None, **params: Any) -> str:
        """Queue a job as the tenant's user; its id."""
        return job_queue.submit(scope or self.scope, operations.kind(kind), params).job_id

    def dispatch(self) -> list[str]:
        """Hand over what may start now, and run nothing."""
        return job_queue.dispatch(self.site, self.runner, LIMITS, "q")

    def run(self) -> None:
        """Run what is queued, one job after the other, until nothing more may start."""
        while self.dispatch():
            self.runner.run_all()
            self.runner.given.clear()

    def run_beside(self) -> threading.Thread:
        """Run what was handed over in a thread of its own."""
        thread = threading.Thread(target=self._run_beside, daemon=True)
        thread.start()
        return thread

    def _run_beside(self) -> None:
        given, self.runner.given = self.runner.given, []
        for run_id in given:
            job_run.execute(self.runner.home, run_id)

    def view(self, job_id: str) -> JobView:
        """The job as people see it."""
        rows = self.site.catalog.jobs.filter(job_id=job_id)
        return job_queue.views(Scope(self.site, Actor.system()), rows, LIMITS)[0]

    def do(self, kind: str, **params: Any) -> Mapping[str, Any]:
        """Ask for a job and run it to its good end; its result."""
        job_id = self.ask(kind, **params)
        self.run()
        return self.result(job_id)

    def result(self, job_id: str) -> Mapping[str, Any]:
        """The result of a job that has to be done."""
        view = self.view(job_id)
        assert view.state == "done", f"{view.title}: {view.state}: {view.error}"
        found: Mapping[str, Any] = view.result
        return found

    def schedule(self, **fields: Any) -> ScheduleView:
        """Make a schedule as the tenant's user."""
        return schedules.create(self.scope, fields)

    def tick(self) -> list[str]:
        """Let the scheduler look once; the new jobs."""
        return scheduler.tick(self.site)

    def upkeep(self) -> list[str]:
        """Queue the upkeep that is due, and run it; the kinds that ran."""
        queued = upkeep.submit_due(self.site, self._arrivals)
        self.run()
        return [self.site.catalog.jobs.get(job_id=one).kind for one in queued]

    def runs(self) -> list[tuple[str, str]]:
        """What became of the planned runs, oldest first: outcome and reason."""
        rows = self.site.catalog.schedule_runs.order_by("planned_at", "target")
        return [(row.outcome, row.reason) for row in rows]


def wait_for(happened: Any, seconds: float = 30) -> None:
    """Wait until ``happened()`` is true; the test fails if it never is."""
    deadline = clock.monotonic() + seconds
    while not happened():
        assert clock.monotonic() < deadline, f"waited for {happened}"
        clock.sleep(0.05)
