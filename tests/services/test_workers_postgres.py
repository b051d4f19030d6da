"""Several workers on one PostgreSQL, one of which dies; and a PostgreSQL that goes away."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import Error

from dozo.model import clock
from dozo.services import job_queue, operations
from dozo.services.access import Actor, Scope
from dozo.services.job_queue import JobView
from dozo.services.site import Site

from . import holding_worker
from .support import make_site, use_databases


@dataclass
class Workers:
    """The workers that a test started, and the files that their jobs look at."""

    site: Site
    folder: Path
    running: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def start(self, name: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, holding_worker.__file__, str(self.site.settings.home), name],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running[name] = process
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        return process

    def ask(self, name: str) -> str:
        scope = Scope(self.site, Actor.system())
        params = {"folder": str(self.folder), "name": name}
        return job_queue.submit(scope, operations.kind(holding_worker.NAME), params).job_id

    def go(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()

    def log(self, name: str) -> list[str]:
        path = self.folder / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []

    def shown(self, job_id: str) -> JobView:
        rows = self.site.catalog.jobs.filter(job_id=job_id)
        return job_queue.views(Scope(self.site, Actor.system()), rows)[0]

    def wait_done(self, job_id: str) -> JobView:
        wait_for(lambda: self.shown(job_id).finished_at)
        view = self.shown(job_id)
        assert view.state == "done", view.error
        return view


def wait_for(what: Callable[[], object], seconds: float = 90) -> None:
    deadline = clock.monotonic() + seconds
    while True:
        # The database may be away right now.
        with contextlib.suppress(Error):
            if what():
                return
        assert clock.monotonic() < deadline, "waited in vain"
        clock.sleep(0.1)


@pytest.fixture
def cluster(own_cluster: Any) -> Any:
    own_cluster.start()
    return own_cluster


@pytest.fixture
def workers(tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setitem(operations.KINDS, holding_worker.NAME, holding_worker.KIND)
    use_databases(cluster.create_database)
    site = make_site(tmp_path, "main")
    made = Workers(site=site, folder=tmp_path)
    yield made
    for process in made.running.values():
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    site.close()


def test_two_workers_run_each_job_once_and_one_goes_on_for_the_other(workers: Workers) -> None:
    for name in ("one", "two"):
        workers.start(name)
    quick = [f"quick{number}" for number in range(12)]
    for name in quick:
        workers.go(name)
    jobs = [workers.ask(name) for name in quick]
    done = [workers.wait_done(job_id) for job_id in jobs]
    assert [len(workers.log(name)) for name in quick] == [1] * len(quick)
    assert {view.result["by"] for view in done} <= {"one", "two"}

    held = workers.ask("held")
    wait_for(lambda: workers.log("held"))
    victim = workers.log("held")[0]
    survivor = "two" if victim == "one" else "one"
    workers.running[victim].kill()
    wait_for(lambda: len(workers.log("held")) == 2)
    assert workers.log("held") == [victim, survivor]
    workers.go("held")
    assert workers.wait_done(held).result == {"by": survivor}
    lines = [row.text for row in workers.site.catalog.job_lines.filter(job_id=held)]
    assert "the service was restarted while this ran: it runs again" in lines


def test_a_database_that_goes_away_loses_nothing_and_leaves_nothing_stuck(
    workers: Workers, cluster: Any
) -> None:
    process = workers.start("one")
    before = workers.ask("before")
    ends_meanwhile = workers.ask("meanwhile")
    for name in ("before", "meanwhile"):
        wait_for(lambda name=name: workers.log(name))
    for _time in range(2):
        cluster.stop()
        # A job that ends while nobody can write it down.
        workers.go("meanwhile")
        clock.sleep(3)
        cluster.start()
        assert workers.wait_done(ends_meanwhile).result == {"by": "one"}
    after = workers.ask("after")
    workers.go("after")
    workers.wait_done(after)
    assert workers.shown(before).state == "running"
    workers.go("before")
    workers.wait_done(before)
    for name in ("before", "meanwhile", "after"):
        assert workers.log(name) == ["one"]
    assert process.poll() is None


def test_a_worker_without_its_database_says_so(workers: Workers, cluster: Any) -> None:
    cluster.stop()
    environment = {**os.environ, "DOZO_HOME": str(workers.site.settings.home)}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dozo")), "worker"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 6
    assert "catalog.server_unusable" in done.stderr or "cannot be used" in done.stderr
    assert "docs/operations.md" in done.stderr
    assert "Traceback" not in done.stderr
