"""A process that runs jobs, driven by the tests: each job's file says what it does."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dozo.jobs import JobAgain, JobCancelled, JobInterrupted, JobRunner
from dozo.model import clock


class Work:
    """What jobs do: read `NAME.job` from a folder, and append what happens to `NAME.log`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopping = threading.Event()
        self.runner: JobRunner | None = None

    def note(self, job_id: str, event: str) -> None:
        with (self.folder / f"{job_id}.log").open("a") as log:
            log.write(f"{event}\n")

    def execute(self, job_id: str) -> None:
        assert self.runner is not None
        attempt = self.runner.attempts(job_id)
        self.note(job_id, f"start {attempt}")
        self.note("all", f"{clock.monotonic():.6f} + {job_id}")
        action, _, argument = (self.folder / f"{job_id}.job").read_text().partition(" ")
        try:
            self.act(job_id, action, argument)
        finally:
            self.note("all", f"{clock.monotonic():.6f} - {job_id}")
        self.note(job_id, "end")

    def act(self, job_id: str, action: str, argument: str) -> None:
        if action == "sleep":
            clock.sleep(float(argument))
        elif action == "wait":
            self.wait(job_id)
        elif action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "fail":
            raise ValueError(argument)
        elif action == "again":
            logged = (self.folder / f"{job_id}.log").read_text().count("start")
            if logged < int(argument):
                raise JobAgain(0.2)
        elif action == "submit":
            assert self.runner is not None
            self.runner.submit(argument, "one")

    def wait(self, job_id: str) -> None:
        """Until the file `NAME.go` is there, or the job is cancelled, or the process stops."""
        while not (self.folder / f"{job_id}.go").exists():
            if (self.folder / f"{job_id}.cancel").exists():
                self.note(job_id, "cleaned up")
                raise JobCancelled
            if self.stopping.is_set():
                raise JobInterrupted
            clock.sleep(0.02)

    def give_up(self, job_id: str) -> None:
        self.note(job_id, "given up")


@contextmanager
def running(
    folder: Path, database: str, executor: str = "worker-1", *, adopt_after_s: float = 15
) -> Iterator[JobRunner]:
    """A launched runner of the test's jobs."""
    work = Work(folder)
    runner = JobRunner(
        database=database,
        executor=executor,
        version="test-1",
        execute=work.execute,
        queues={"one": 1, "two": 2, "many": None},
        give_up=work.give_up,
        adopt_after_s=adopt_after_s,
    )
    work.runner = runner
    runner.launch()
    try:
        yield runner
    finally:
        work.stopping.set()
        runner.shutdown(5)


def main() -> None:
    """`worker.py FOLDER DATABASE EXECUTOR TIMEOUT`: run until SIGTERM, then shut down."""
    folder, database, executor, timeout_s = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    work = Work(Path(folder))
    runner = JobRunner(
        database=database,
        executor=executor,
        version="test-1",
        execute=work.execute,
        queues={"one": 1, "two": 2, "many": None},
        give_up=work.give_up,
    )
    work.runner = runner
    runner.launch()
    (Path(folder) / f"{executor}.ready").touch()
    stop.wait()
    left = runner.shutdown(float(timeout_s))
    sys.stderr.write(json.dumps({"left": left}) + "\n")


if __name__ == "__main__":
    main()
