"""A worker that comes back under another name, as on a host that was renamed."""

import signal
import subprocess
import sys

from dozo.services import job_queue, operations
from dozo.services.access import Actor, Scope
from dozo.services.site import Site

from .jobs import wait_for

_WORKER = """
import os, signal, sys, time
from pathlib import Path
from dozo.catalog.store import set_up_django
set_up_django()
from dozo.daemon.worker import Worker
from dozo.services import operations
from dataclasses import replace
kind = operations.KINDS["site.prune"]
def run(site, params, work):
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"ran": sys.argv[2]}
operations.KINDS["site.prune"] = replace(kind, run=run)
worker = Worker(Path(sys.argv[1]), name=sys.argv[2])
worker.start()
print("begun", flush=True)
time.sleep(60)
os._exit(0)
"""


def test_what_the_old_name_left_goes_on(main: Site) -> None:
    scope = Scope(main, Actor.system())
    asked = job_queue.submit(scope, operations.kind("site.prune"), {})
    home = str(main.settings.home)
    dead = subprocess.run([sys.executable, "-c", _WORKER, home, "dies"], check=False, timeout=60)
    assert dead.returncode == -signal.SIGKILL
    row = main.catalog.jobs.get(job_id=asked.job_id)
    assert row.state == "running"
    with subprocess.Popen([sys.executable, "-c", _WORKER, home, "lives"]) as living:
        try:
            wait_for(lambda: main.catalog.jobs.get(job_id=asked.job_id).state == "done", 40)
        finally:
            living.kill()
    assert main.catalog.jobs.get(job_id=asked.job_id).result == {"ran": "lives"}
