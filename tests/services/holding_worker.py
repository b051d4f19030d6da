"""A worker that knows one more kind of job, which notes who runs it and waits for a file.

As a script: ``holding_worker.py HOME NAME`` works until SIGTERM.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from dozo.catalog.store import set_up_django
from dozo.daemon.worker import Worker
from dozo.model import clock
from dozo.services import operations
from dozo.services.access import Operation, Scope
from dozo.services.job_kinds import JobKind, Params, Prepared
from dozo.services.site import Site
from dozo.services.work import Work

NAME = "test.hold"
_who = ["nobody"]


def _prepare(_scope: Scope, params: Params) -> Prepared:
    return Prepared(title="hold", params=dict(params), object_kind="site", object_id="x")


def _run(_site: Site, params: Params, work: Work) -> dict[str, Any]:
    folder, name = Path(params["folder"]), str(params["name"])
    with (folder / f"{name}.log").open("a") as log:
        log.write(f"{_who[0]}\n")
    work.step("hold")
    while not (folder / f"{name}.go").exists():
        work.check()
        clock.sleep(0.02)
    return {"by": _who[0]}


KIND = JobKind(name=NAME, operation=Operation.SITE_SYNC, prepare=_prepare, run=_run)


def main() -> None:
    """Work."""
    set_up_django()
    operations.KINDS[NAME] = KIND
    home, _who[0] = Path(sys.argv[1]), sys.argv[2]
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    worker = Worker(home, name=_who[0])
    worker.start()
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    over.wait()
    worker.stop(20)
    os._exit(0)


if __name__ == "__main__":
    main()
