"""A runner of jobs inside the test's process."""

import threading
from pathlib import Path

import pytest

from dozo.jobs import (
    JobRunner,
    JobsUnavailable,
    NameInvalid,
    NotLaunched,
    QueueUnknown,
    RunnerExists,
    RunState,
)
from dozo.model import clock

from .conftest import Jobs, eventually
from .worker import running


def test_submitting_twice_runs_once(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database) as runner:
        jobs.job("job", "sleep 0", submit=False)
        assert runner.state("job") is None
        runner.submit("job", "one")
        runner.submit("job", "one")
        jobs.wait_state("job", RunState.DONE)
        runner.submit("job", "one")
        jobs.job("after", "sleep 0")
        jobs.wait_state("after", RunState.DONE)
    assert jobs.log("job") == ["start 1", "end"]


def test_a_failure_is_noted_and_others_go_on(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database):
        jobs.job("bad", "fail on purpose")
        jobs.wait_state("bad", RunState.FAILED)
        jobs.job("good", "sleep 0")
        jobs.wait_state("good", RunState.DONE)


def test_a_queued_job_is_cancelled(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database) as runner:
        jobs.job("first", "wait")
        jobs.wait_log("first", "start 1")
        jobs.job("second", "sleep 0")
        assert runner.state("second") is RunState.QUEUED
        assert runner.cancel("second")
        assert runner.state("second") is RunState.CANCELLED
        assert runner.cancel("second")
        jobs.go("first")
        jobs.wait_state("first", RunState.DONE)
        jobs.job("third", "sleep 0")
        jobs.wait_state("third", RunState.DONE)
    assert jobs.log("second") == []


def test_a_running_job_is_cancelled_by_its_own_means(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database) as runner:
        jobs.job("job", "wait")
        jobs.wait_log("job", "start 1")
        (jobs.folder / "job.cancel").touch()
        assert not runner.cancel("job")
        jobs.wait_state("job", RunState.CANCELLED)
        assert not runner.cancel("job")
    assert jobs.log("job") == ["start 1", "cleaned up"]


def test_a_queue_keeps_its_limit(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database):
        names = [jobs.job(f"job-{number}", "sleep 0.3", "two") for number in range(5)]
        for name in names:
            jobs.wait_state(name, RunState.DONE)
    count = most = 0
    for line in jobs.log("all"):
        count += 1 if " + " in line else -1
        most = max(most, count)
    assert most == 2


def test_a_queue_without_limit(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database):
        names = [jobs.job(f"job-{number}", "wait", "many") for number in range(8)]
        for name in names:
            jobs.wait_log(name, "start 1")
        for name in names:
            jobs.go(name)
        for name in names:
            jobs.wait_state(name, RunState.DONE)


def test_a_job_asks_to_run_again(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database) as runner:
        jobs.job("job", "again 3")
        jobs.wait_state("job", RunState.DONE)
        assert jobs.log("job") == ["start 1", "start 1", "start 1", "end"]
        runner.submit("job", "one")
        jobs.job("after", "sleep 0")
        jobs.wait_state("after", RunState.DONE)
    assert len(jobs.log("job")) == 4


def test_later_is_not_before(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database) as runner:
        jobs.job("job", "sleep 0", submit=False)
        started = clock.monotonic()
        runner.submit_later("job", "one", 1.5)
        assert runner.state("job") is RunState.QUEUED
        jobs.wait_state("job", RunState.DONE)
        assert clock.monotonic() - started >= 1.5
        jobs.job("never", "sleep 0", submit=False)
        runner.submit_later("never", "one", 3600)
        assert runner.cancel("never")
        assert runner.state("never") is RunState.CANCELLED


def test_a_job_submits_another(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database):
        jobs.job("child", "sleep 0", submit=False)
        jobs.job("parent", "submit child")
        jobs.wait_state("child", RunState.DONE)
        jobs.wait_state("parent", RunState.DONE)


def test_launched_several_times(jobs: Jobs) -> None:
    for number in range(3):
        with running(jobs.folder, jobs.database):
            jobs.job(f"job-{number}", "sleep 0")
            jobs.wait_state(f"job-{number}", RunState.DONE)


def test_one_runner_a_process(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database, "one"):
        with pytest.raises(RunnerExists, match="'one'"), running(jobs.folder, jobs.database, "two"):
            pass
        jobs.job("job", "sleep 0")
        jobs.wait_state("job", RunState.DONE)


def test_interrupted_jobs_run_at_the_next_launch(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database):
        jobs.job("job", "wait")
        jobs.wait_log("job", "start 1")
    assert jobs.client.state("job") is RunState.RUNNING
    jobs.go("job")
    with running(jobs.folder, jobs.database):
        jobs.wait_state("job", RunState.DONE)
    assert jobs.log("job") == ["start 1", "start 1", "end"]


def test_ended_jobs_are_forgotten(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database) as runner:
        jobs.job("done", "sleep 0")
        jobs.wait_state("done", RunState.DONE)
        jobs.job("running", "wait")
        jobs.wait_log("running", "start 1")
        clock.sleep(0.01)
        assert jobs.client.forget_ended(clock.now()) == 1
        assert runner.state("done") is None
        assert runner.state("running") is RunState.RUNNING
        jobs.go("running")
        jobs.wait_state("running", RunState.DONE)


def test_wrong_use(jobs: Jobs) -> None:
    with running(jobs.folder, jobs.database) as runner:
        with pytest.raises(QueueUnknown):
            runner.submit("job", "nowhere")
        with pytest.raises(NameInvalid):
            runner.submit("a job", "one")
    with pytest.raises(NotLaunched):
        runner.submit("job", "one")


@pytest.mark.parametrize(
    "database",
    [
        "sqlite:///:memory:",
        "mysql://host/database",
        "nonsense",
        "sqlite:////nowhere/jobs.sqlite3",
        "postgresql://postgres:secret@/jobs?host=/nowhere",
    ],
)
def test_an_unusable_database(database: str, tmp_path: Path) -> None:
    with pytest.raises(JobsUnavailable) as caught, running(tmp_path, database):
        pass
    assert "secret" not in str(caught.value)


def test_no_threads_stay(jobs: Jobs) -> None:
    before = set(threading.enumerate())
    with running(jobs.folder, jobs.database):
        jobs.job("job", "sleep 0")
        jobs.wait_state("job", RunState.DONE)
    eventually(lambda: not (set(threading.enumerate()) - before))


def test_an_unlaunched_runner_does_nothing(tmp_path: Path) -> None:
    runner = JobRunner(
        database=f"sqlite:///{tmp_path}/jobs.sqlite3",
        executor="one",
        version="1",
        execute=lambda _: None,
        queues={},
    )
    assert runner.shutdown(0) == []
    assert list(tmp_path.iterdir()) == []
