"""The worker: runs the jobs of a site, its schedules and its upkeep, until it is told to stop."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from django.db import Error as DatabaseProblem
from django.db import connections

from dozo.daemon import logs
from dozo.jobs import JobInterrupted, JobRunner
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.services import (
    capacity,
    inventory,
    job_queue,
    job_run,
    leftovers,
    notify,
    scheduler,
    upkeep,
)
from dozo.services.admission import Limits
from dozo.services.patience import ServiceStopping
from dozo.services.site import Site

log = logging.getLogger(__name__)

QUEUE = "host"
# Jobs in flight survive an upgrade of Dozo as long as this stays.
VERSION = "1"

_DISPATCH_SECONDS = 0.3
_SCHEDULE_SECONDS = 1.0
_UPKEEP_SECONDS = 5.0
_ADOPT_SECONDS = 5.0
_MEND_SECONDS = 5.0
_NEWS_SECONDS = 20.0
_TELL_SECONDS = 3.0
_CLEAN_SECONDS = 60.0
_FORGET_SECONDS = 3600.0
_FORGOTTEN_AT_ONCE = 500
_INVENTORY_SECONDS = 10.0
# A loop whose turn takes longer does not go on any more.
_LONGEST_TURN_SECONDS = 900.0
_LONGEST_PAUSE_SECONDS = 15.0
_THREAD_SECONDS = 10.0


def _threads(limits: Limits) -> int:
    """Of the runner: with room for stuck jobs, whose places others take."""
    return 2 * (limits.work + limits.upkeep)


def jobs_database(site: Site) -> str:
    """Where the runner keeps its own records."""
    return site.settings.database or f"sqlite:///{site.settings.home / 'jobs.sqlite3'}"


class Worker:
    """Everything of the service that nobody asks for over the network."""

    def __init__(
        self, home: Path, *, name: str | None = None, beside_service: bool = False
    ) -> None:
        """``name`` is the same after a restart, and no other living worker's of the site."""
        self._home = home
        host = socket.gethostname()
        self._name = name or (f"{host}-beside" if beside_service else host)
        self._stopping = threading.Event()
        self._loops: list[_Loop] = []
        self._runner: JobRunner | None = None
        self._most = 0
        self._limits_used = self._limits_wanted = Limits()
        self._guard = threading.Lock()

    def start(self) -> None:
        """Clean up after a crash, take up the jobs that were running, and begin.

        A server that Dozo had stopped is started before anything else.
        """
        with Site.open(self._home) as site:
            for line in leftovers.clean(site).lines:
                log.warning("left over: %s", line)
            self._limits_used = site.limits
            self._most = _threads(site.limits)
            runner = JobRunner(
                database=jobs_database(site),
                executor=f"worker-{self._name}",
                version=VERSION,
                execute=self._execute,
                queues={QUEUE: self._most},
                listen=[QUEUE],
                give_up=lambda run_id: job_run.give_up(self._home, run_id),
            )
            runner.launch()
            self._runner = runner
            job_queue.hand_over_again(site, runner, QUEUE)
            with contextlib.suppress(DozoError):
                # Whoever asks first should see what there is.
                inventory.sync(site)
        self._repeat("dispatch", _DISPATCH_SECONDS, self._dispatch)
        self._repeat("schedules", _SCHEDULE_SECONDS, scheduler.tick)
        arrivals = upkeep.Arrivals()
        submit_due = partial(upkeep.submit_due, arrivals=arrivals)
        self._repeat("upkeep", _UPKEEP_SECONDS, submit_due, rest=4)
        self._repeat("inventory", _INVENTORY_SECONDS, inventory.sync)
        self._repeat("mend", _MEND_SECONDS, self._mend)
        self._repeat("clean", _CLEAN_SECONDS, self._clean)
        self._repeat("forget", _FORGET_SECONDS, self._forget)
        self._repeat("news", _NEWS_SECONDS, notify.look, rest=9)
        self._repeat("tell", _TELL_SECONDS, notify.deliver)
        # Also where only one may run: after a host was renamed its own jobs are another's.
        self._repeat("adopt", _ADOPT_SECONDS, self._adopt)
        log.info("worker %s has begun", self._name)

    def stop(self, timeout_seconds: float = 60) -> list[str]:
        """Begin nothing new, let what runs come to an end or give way; what still runs then.

        Jobs that can go on later do so when the worker starts again. May be repeated.
        """
        self._stopping.set()
        with self._guard:
            runner, self._runner = self._runner, None
            left = runner.shutdown(timeout_seconds) if runner is not None else []
            loops, self._loops = self._loops, []
            for loop in loops:
                loop.thread.join(_THREAD_SECONDS)
        if left:
            log.warning("%d jobs did not give way: the next start takes them up", len(left))
        if loops:
            log.info("worker %s has stopped", self._name)
        return left

    def cancel(self, run_id: str) -> None:
        """Tell the runner that a job is not wanted any more."""
        runner = self._runner
        if runner is not None:
            runner.cancel(run_id)

    def alive(self) -> dict[str, bool]:
        """Which of its loops go on, for a health check."""
        return {loop.name: loop.goes_on for loop in self._loops}

    def _execute(self, run_id: str) -> None:
        with logs.about(job=run_id.partition(".")[0]):
            log.info("job begins")
            try:
                job_run.execute(self._home, run_id, stopping=self._stopping.is_set)
            except ServiceStopping as error:
                raise JobInterrupted from error
            log.info("job ends")

    def _dispatch(self, site: Site) -> None:
        runner = self._runner
        if runner is not None:
            job_queue.dispatch(site, runner, self._limits(site), QUEUE)

    def _limits(self, site: Site) -> Limits:
        """The limits as they are set now, as far as the runner has threads for them."""
        limits = site.limits
        if _threads(limits) <= self._most:
            self._limits_used = limits
        elif limits != self._limits_wanted:
            log.warning("jobs.parallel: so many more jobs at a time need a restart")
        self._limits_wanted = limits
        return self._limits_used

    def _mend(self, site: Site) -> None:
        runner = self._runner
        if runner is None:
            return
        for run_id in job_queue.silent(site):
            state = runner.state(run_id)
            if state is None:
                runner.submit(run_id, QUEUE)
            elif state.is_final:
                job_run.settle(site, run_id)

    def _adopt(self, _site: Site) -> None:
        runner = self._runner
        if runner is not None:
            for executor, count in runner.adopt_dead().items():
                log.warning("%s has died: its %d jobs go on here", executor, count)

    def _clean(self, site: Site) -> None:
        for line in leftovers.clean(site).lines:
            log.warning("left over: %s", line)

    def _forget(self, site: Site) -> None:
        """Note the day's figures, and remove what is too old, the runner's own records too."""
        upkeep.forget_old(site)
        capacity.note(site)
        runner = self._runner
        before = clock.now() - upkeep.LINES_KEPT
        while runner is not None and not self._stopping.is_set():
            if runner.client.forget_ended(before, limit=_FORGOTTEN_AT_ONCE) < _FORGOTTEN_AT_ONCE:
                return

    def _repeat(
        self, name: str, seconds: float, act: Callable[[Site], object], *, rest: float = 0
    ) -> None:
        loop = _Loop(self._home, name, seconds, act, self._stopping, rest=rest)
        self._loops.append(loop)
        loop.thread.start()


class _Loop:
    """One thing done again and again, in a thread; trouble is logged and costs a turn, no more."""

    def __init__(
        self,
        home: Path,
        name: str,
        seconds: float,
        act: Callable[[Site], object],
        stopping: threading.Event,
        *,
        rest: float,
    ) -> None:
        """``rest``: pause at least so many times as long as a turn took."""
        self.name = name
        self.thread = threading.Thread(target=self._run, name=f"dozo-{name}", daemon=True)
        self._home = home
        self._seconds = seconds
        self._act = act
        self._stopping = stopping
        self._rest = rest
        self._turn_began: float | None = None
        self._said = ""
        self._site: Site | None = None

    @property
    def goes_on(self) -> bool:
        """Whether its thread lives and is not lost in a turn."""
        began = self._turn_began
        lost = began is not None and clock.monotonic() - began > _LONGEST_TURN_SECONDS
        return self.thread.is_alive() and not lost

    def _run(self) -> None:
        try:
            pause = self._seconds
            while not self._stopping.wait(pause):
                began = self._turn_began = clock.monotonic()
                good = self._turn()
                self._turn_began = None
                took = clock.monotonic() - began
                # What is away for a while is neither hammered nor complained about each time.
                often = max(self._seconds, self._rest * took)
                pause = often if good else min(2 * pause + 0.5, _LONGEST_PAUSE_SECONDS)
        finally:
            self._leave()

    def _turn(self) -> bool:
        """Whether it went well."""
        try:
            self._act(self._current())
        except (DozoError, DatabaseProblem) as error:
            # A hypervisor that is away for a week is said once.
            if str(error) != self._said:
                log.warning("%s: %s", self.name, error)
            self._said = str(error)
        except Exception:
            log.exception("%s broke", self.name)
        else:
            self._said = ""
            return True
        self._leave()
        return False

    def _current(self) -> Site:
        """The site, opened again after trouble and when its settings were changed."""
        if self._site is not None and self._site.is_outdated:
            self._leave()
        if self._site is None:
            self._site = Site.open(self._home)
        return self._site

    def _leave(self) -> None:
        site, self._site = self._site, None
        if site is None:
            return
        try:
            connections[site.catalog.alias].close_if_unusable_or_obsolete()
            site.close()
        except Exception:
            log.exception("%s: the site could not be closed", self.name)
