"""The worker: runs the jobs of a site, its schedules and its upkeep, until it is told to stop."""

import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from django.db import DatabaseError, connections

from dozo.jobs import JobRunner
from dozo.model.errors import DozoError
from dozo.services import job_queue, job_run, leftovers, scheduler, upkeep
from dozo.services.admission import Limits
from dozo.services.site import Site

log = logging.getLogger(__name__)

QUEUE = "host"
# Jobs in flight survive an upgrade of Dozo as long as this stays.
VERSION = "1"

_DISPATCH_SECONDS = 0.3
_SCHEDULE_SECONDS = 1.0
_UPKEEP_SECONDS = 5.0
_CLEAN_SECONDS = 60.0


def limits_of(site: Site) -> Limits:
    """The limits of the site's settings."""
    settings = site.settings
    return Limits(
        work=settings.parallel_jobs,
        tenant=settings.parallel_jobs_tenant,
        upkeep=settings.parallel_jobs_upkeep,
    )


def jobs_database(site: Site) -> str:
    """Where the runner keeps its own records."""
    return site.settings.database or f"sqlite:///{site.settings.home / 'jobs.sqlite3'}"


class Worker:
    """Everything of the service that nobody asks for over the network."""

    def __init__(self, home: Path, *, name: str | None = None) -> None:
        self._home = home
        self._name = name or socket.gethostname()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._runner: JobRunner | None = None

    def start(self) -> None:
        """Clean up after a crash, take up the jobs that were running, and begin.

        A server that Dozo had stopped is started before anything else.
        """
        with Site.open(self._home) as site:
            for line in leftovers.clean(site).lines:
                log.warning("left over: %s", line)
            limits = limits_of(site)
            # Room for stuck jobs, whose places others take.
            most = 2 * (limits.work + limits.upkeep)
            runner = JobRunner(
                database=jobs_database(site),
                executor=f"worker-{self._name}",
                version=VERSION,
                execute=self._execute,
                queues={QUEUE: most},
                listen=[QUEUE],
                give_up=lambda run_id: job_run.give_up(self._home, run_id),
            )
            runner.launch()
            self._runner = runner
            job_queue.hand_over_again(site, runner, QUEUE)
        self._repeat("dispatch", _DISPATCH_SECONDS, self._dispatch)
        self._repeat("schedules", _SCHEDULE_SECONDS, scheduler.tick)
        arrivals = upkeep.Arrivals()
        self._repeat("upkeep", _UPKEEP_SECONDS, lambda site: upkeep.submit_due(site, arrivals))
        self._repeat("clean", _CLEAN_SECONDS, self._clean)
        log.info("worker %s has begun", self._name)

    def stop(self, timeout_seconds: float = 60) -> list[str]:
        """Begin nothing new, let what runs come to an end or give way; what still runs then.

        Jobs that can go on later do so when the worker starts again.
        """
        self._stopping.set()
        left = self._runner.shutdown(timeout_seconds) if self._runner is not None else []
        for thread in self._threads:
            thread.join(10)
        log.info("worker %s has stopped", self._name)
        return left

    def cancel(self, run_id: str) -> None:
        """Tell the runner that a job is not wanted any more."""
        if self._runner is not None:
            self._runner.cancel(run_id)

    def alive(self) -> dict[str, bool]:
        """Which of its loops go on, for a health check."""
        return {thread.name: thread.is_alive() for thread in self._threads}

    def _execute(self, run_id: str) -> None:
        job_run.execute(self._home, run_id, stopping=self._stopping.is_set)

    def _dispatch(self, site: Site) -> None:
        if self._runner is not None:
            job_queue.dispatch(site, self._runner, limits_of(site), QUEUE)

    def _clean(self, site: Site) -> None:
        for line in leftovers.clean(site).lines:
            log.warning("left over: %s", line)

    def _repeat(self, name: str, seconds: float, act: Callable[[Site], object]) -> None:
        thread = threading.Thread(
            target=self._loop, args=(name, seconds, act), name=f"dozo-{name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _loop(self, name: str, seconds: float, act: Callable[[Site], object]) -> None:
        """Do one thing again and again; trouble is logged, and costs no more than a turn."""
        with Site.open(self._home) as site:
            while not self._stopping.wait(seconds):
                try:
                    act(site)
                except (DozoError, DatabaseError) as error:
                    log.warning("%s: %s", name, error)
                    connections[site.catalog.alias].close_if_unusable_or_obsolete()
                except Exception:
                    log.exception("%s broke", name)
