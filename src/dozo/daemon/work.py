"""`dozo worker`: a worker alone, beside a service or other workers."""

import logging
import os
from pathlib import Path

from dozo.daemon import logs, systemd
from dozo.daemon.home_lock import HomeLock
from dozo.daemon.logs import LogFormat
from dozo.daemon.serve import Stop, end
from dozo.daemon.worker import Worker
from dozo.services.site import Site

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0


def run(home: Path, *, name: str | None = None, log_format: LogFormat = LogFormat.AUTO) -> None:
    """Run jobs until a signal asks to stop; then the process is over.

    Raises ``WorkerRuns``, ``ExecutorAlive``, and what a site that cannot be opened raises.
    """
    stop = Stop()
    with Site.open(home) as site:
        settings = site.settings
        if not settings.database:
            HomeLock.of_worker(settings.home)
    worker = Worker(home, name=name, beside_service=True)
    stop.listen()
    logs.set_up(settings.name, log_format)
    worker.start()
    systemd.ready()
    code = 0
    while not stop.asked.wait(_LOOK_SECONDS):
        dead = [loop for loop, alive in worker.alive().items() if not alive]
        if dead:
            log.error("the worker ends because parts of it do not go on: %s", ", ".join(dead))
            code = 1
            break
    systemd.stopping()
    end(1, stop_seconds=settings.stop_seconds)
    worker.stop(settings.stop_seconds)
    logs.flush()
    os._exit(code)
