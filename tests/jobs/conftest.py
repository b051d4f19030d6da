"""Jobs on both databases, and processes that run them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dozo.jobs import JobClient, RunState
from dozo.model import clock

ENTRY = Path(__file__).with_name("worker.py")


def eventually(what: Callable[[], bool], *, timeout_s: float = 20, message: str = "") -> None:
    """Wait until something is so."""
    deadline = clock.monotonic() + timeout_s
    while not what():
        assert clock.monotonic() < deadline, message or "it did not happen in time"
        clock.sleep(0.02)


@dataclass(eq=False)
class Jobs:
    """A folder of jobs, their database, and the processes that run them."""

    folder: Path
    database: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _client: JobClient | None = None

    @property
    def client(self) -> JobClient:
        """Usable once a worker has made the tables."""
        if self._client is None:
            self._client = JobClient(database=self.database, version="test-1")
        return self._client

    def job(self, job_id: str, action: str, queue: str = "one", *, submit: bool = True) -> str:
        """Describe a job and submit it."""
        (self.folder / f"{job_id}.job").write_text(action)
        if submit:
            self.client.submit(job_id, queue)
        return job_id

    def go(self, job_id: str) -> None:
        """Let a job that waits end."""
        (self.folder / f"{job_id}.go").touch()

    def log(self, job_id: str) -> list[str]:
        """What a job noted."""
        path = self.folder / f"{job_id}.log"
        return path.read_text().splitlines() if path.exists() else []

    def wait_log(self, job_id: str, line: str) -> None:
        """Wait until a job has noted something."""
        eventually(lambda: line in self.log(job_id), message=f"{job_id}: no {line!r}")

    def wait_state(self, job_id: str, state: RunState) -> None:
        """Wait until a job is in a state."""
        eventually(
            lambda: self.client.state(job_id) is state, message=f"{job_id} did not become {state}"
        )

    def start(self, executor: str = "worker-1", *, timeout_s: float = 5) -> subprocess.Popen[bytes]:
        """Start a process that runs jobs, and wait until it does."""
        ready = self.folder / f"{executor}.ready"
        ready.unlink(missing_ok=True)
        output = self.folder / f"{executor}.err"
        with output.open("ab") as errors:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "error", str(ENTRY)),
                    *(str(self.folder), self.database, executor, str(timeout_s)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        self.processes.append(process)
        eventually(lambda: ready.exists() or process.poll() is not None)
        assert process.poll() is None, output.read_text()
        return process

    def output(self, executor: str = "worker-1") -> str:
        """What the processes of an executor printed."""
        return (self.folder / f"{executor}.err").read_text()

    def close(self) -> None:
        """End everything."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        if self._client is not None:
            self._client.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, and wait until the process is gone."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database for jobs."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite3"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def jobs(tmp_path: Path, database: str) -> Iterator[Jobs]:
    """A folder of jobs."""
    made = Jobs(folder=tmp_path, database=database)
    yield made
    made.close()
