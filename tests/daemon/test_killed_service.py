"""The service dies, or is stopped, in the middle of a job: the next start brings it to its end."""

import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dozo.catalog.models_jobs import Job
from dozo.model import clock
from dozo.services import job_queue, operations
from dozo.services.access import Actor, Scope
from dozo.services.site import Site

from .conftest import make_site
from .support import COMMAND, Service, started

MIB = 1024 * 1024
VAULT_BYTES = 384 * MIB


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that takes a while to read back."""
    path = tmp_path_factory.mktemp("image") / "data.raw"
    with path.open("wb") as file:
        for seed in range(VAULT_BYTES // (16 * MIB)):
            file.write(random.Random(seed).randbytes(16 * MIB))
    return path


@contextmanager
def filled_site(tmp_path: Path, image: Path) -> Iterator[Site]:
    with make_site(tmp_path, "main") as made:
        vault, keys = made.settings.vault, str(made.settings.keys)
        subprocess.run(
            [COMMAND, "vault", "backup", vault, str(image), "--name", "data", "--keys", keys],
            check=True,
            capture_output=True,
        )
        yield made


@pytest.fixture
def site(tmp_path: Path, image: Path) -> Iterator[Site]:
    with filled_site(tmp_path, image) as made:
        yield made


def ask(site: Site, kind: str = "site.scrub") -> str:
    scope = Scope(site, Actor.system("test"))
    return job_queue.submit(scope, operations.kind(kind), {}).job_id


def row(site: Site, job_id: str) -> Job:
    return site.catalog.jobs.get(job_id=job_id)


def wait(site: Site, job_id: str, *states: str, seconds: float = 120) -> Job:
    deadline = clock.monotonic() + seconds
    while row(site, job_id).state not in states:
        found = row(site, job_id)
        assert clock.monotonic() < deadline, f"{found.state}: {found.error_text}"
        clock.sleep(0.01)
    return row(site, job_id)


def stopped_while_it_runs(service: Service, site: Site, job_id: str) -> None:
    """Wait until the job runs, and stop the process in the middle of it, as by SIGSTOP."""
    deadline = clock.monotonic() + 60
    while not row(site, job_id).executions:
        assert clock.monotonic() < deadline, service.log.read_text()
        clock.sleep(0.005)
    service.process.send_signal(signal.SIGSTOP)
    assert row(site, job_id).state in {"running", "cancelling"}, "the vault is too small"


def assert_nothing_hangs(site: Site) -> None:
    deadline = clock.monotonic() + 60
    while site.catalog.jobs.filter(state__in=(*job_queue.ACTIVE, *job_queue.WAITING)).exists():
        assert clock.monotonic() < deadline
        clock.sleep(0.1)


def test_a_killed_service_ends_its_jobs_after_the_next_start(site: Site) -> None:
    home = site.settings.home
    with started(home) as service:
        job_id = ask(site)
        stopped_while_it_runs(service, site, job_id)
        service.stop(signal.SIGKILL)
    assert row(site, job_id).state == "running"
    assert (home / "api.sock").exists()
    with started(home) as service:
        done = wait(site, job_id, "done", "failed", "interrupted")
        assert (done.state, done.executions) == ("done", 2)
        lines = [line.text for line in site.catalog.job_lines.filter(job_id=job_id)]
        assert "the service was restarted while this ran: it runs again" in lines
        assert_nothing_hangs(site)
        assert service.stop() == 0


def test_what_was_cancelled_before_the_kill_does_not_run_again(site: Site) -> None:
    with started(site.settings.home) as service:
        job_id = ask(site)
        stopped_while_it_runs(service, site, job_id)
        job_queue.cancel(site, row(site, job_id))
        service.stop(signal.SIGKILL)
    with started(site.settings.home):
        assert wait(site, job_id, "cancelled", "done").state == "cancelled"
        assert_nothing_hangs(site)


def test_a_service_that_is_stopped_lets_its_job_go_on_after_the_next_start(site: Site) -> None:
    with started(site.settings.home) as service:
        job_id = ask(site)
        stopped_while_it_runs(service, site, job_id)
        service.process.send_signal(signal.SIGTERM)
        began = clock.monotonic()
        service.process.send_signal(signal.SIGCONT)
        assert service.process.wait(60) == 0
        assert clock.monotonic() - began < 30
        assert "broke" not in service.log.read_text()
    assert row(site, job_id).state in {"waiting", "running", "done"}
    with started(site.settings.home):
        assert wait(site, job_id, "done", "failed", "interrupted").state == "done"
        assert_nothing_hangs(site)


def test_a_job_without_time_to_end_is_left_as_by_a_crash(site: Site) -> None:
    with started(site.settings.home, service_stop_seconds="0") as service:
        job_id = ask(site)
        stopped_while_it_runs(service, site, job_id)
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGCONT)
        assert service.process.wait(60) == 0
    with started(site.settings.home):
        assert wait(site, job_id, "done", "failed", "interrupted").state == "done"


def test_a_second_signal_ends_it_at_once(site: Site) -> None:
    with started(site.settings.home) as service:
        job_id = ask(site)
        stopped_while_it_runs(service, site, job_id)
        for number in (signal.SIGTERM, signal.SIGINT):
            service.process.send_signal(number)
        service.process.send_signal(signal.SIGCONT)
        assert service.process.wait(60) in {0, 128 + signal.SIGINT, 128 + signal.SIGTERM}
    with started(site.settings.home):
        assert wait(site, job_id, "done", "failed", "interrupted").state == "done"


def test_another_worker_takes_up_what_a_dead_one_left(
    tmp_path: Path, image: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOZO_CATALOG_DATABASE", f'"{postgres_url}"')
    with filled_site(tmp_path, image) as site:
        home = site.settings.home
        with started(home, "worker", "--name", "one", ready=False) as one:
            one.wait_logged("worker one has begun")
            job_id = ask(site)
            stopped_while_it_runs(one, site, job_id)
            one.stop(signal.SIGKILL)
        with started(home, "worker", "--name", "two", ready=False) as two:
            two.wait_logged("worker-one has died", seconds=60)
            done = wait(site, job_id, "done", "failed", "interrupted")
            assert (done.state, done.executions) == ("done", 2)
            assert two.stop() == 0
