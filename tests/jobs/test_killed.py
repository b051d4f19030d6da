"""Real processes that run jobs, and are killed."""

import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest

from dozo.jobs import ExecutorAlive, JobRunner, JobsUnavailable, RunState
from dozo.model import clock

from .conftest import Jobs, eventually, kill
from .worker import running


def test_killed_in_the_middle_runs_again(jobs: Jobs) -> None:
    process = jobs.start()
    jobs.job("job", "wait")
    jobs.wait_log("job", "start 1")
    kill(process)
    assert jobs.client.state("job") is RunState.RUNNING

    jobs.start()
    jobs.wait_log("job", "start 2")
    assert jobs.client.attempts("job") == 2
    jobs.go("job")
    jobs.wait_state("job", RunState.DONE)
    assert jobs.log("job") == ["start 1", "start 2", "end"]


def test_killed_before_the_start_starts_once(jobs: Jobs) -> None:
    process = jobs.start()
    jobs.job("first", "wait")
    jobs.wait_log("first", "start 1")
    jobs.job("second", "sleep 0")
    kill(process)
    assert jobs.client.state("second") is RunState.QUEUED

    jobs.go("first")
    jobs.start()
    jobs.wait_state("second", RunState.DONE)
    assert jobs.log("second") == ["start 1", "end"]


def test_submitted_while_nobody_runs(jobs: Jobs) -> None:
    kill(jobs.start())
    jobs.job("job", "sleep 0")
    jobs.start()
    jobs.wait_state("job", RunState.DONE)


def test_a_job_that_kills_its_process_ends_failed(jobs: Jobs) -> None:
    process = jobs.start()
    jobs.job("poison", "die")
    jobs.job("other", "sleep 0", "two")
    for attempt in (1, 2, 3):
        process.wait(timeout=20)
        assert jobs.log("poison")[-1] == f"start {attempt}"
        process = jobs.start()
    jobs.wait_state("poison", RunState.FAILED)
    assert jobs.log("poison") == ["start 1", "start 2", "start 3", "given up"]
    jobs.wait_state("other", RunState.DONE)
    jobs.job("next", "sleep 0")
    jobs.wait_state("next", RunState.DONE)
    assert process.poll() is None


def test_a_worker_adopts_what_a_dead_one_left(jobs: Jobs) -> None:
    dead = jobs.start("dead")
    jobs.job("job", "wait")
    jobs.wait_log("job", "start 1")
    with running(jobs.folder, jobs.database, "living") as runner:
        with pytest.raises(ExecutorAlive, match="'dead'"):
            runner.adopt("dead")
        kill(dead)
        eventually(lambda: adopted(runner, "dead"))
        jobs.go("job")
        jobs.wait_state("job", RunState.DONE)
    assert jobs.log("job") == ["start 1", "start 2", "end"]


def adopted(runner: JobRunner, executor: str) -> bool:
    """Adopt from an executor, once the database has noticed its death."""
    try:
        return runner.adopt(executor) == 1
    except ExecutorAlive:
        return False


def test_graceful_shutdown_waits_for_what_runs(jobs: Jobs) -> None:
    process = jobs.start(timeout_s=10)
    jobs.job("job", "sleep 1.5")
    jobs.job("next", "sleep 0")
    jobs.wait_log("job", "start 1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert jobs.client.state("job") is RunState.DONE
    assert jobs.client.state("next") is RunState.QUEUED
    assert '{"left": []}' in jobs.output()


def test_what_outlives_the_shutdown_runs_at_the_next_launch(jobs: Jobs) -> None:
    process = jobs.start(timeout_s=0.2)
    jobs.job("job", "wait")
    jobs.wait_log("job", "start 1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert '{"left": ["job"]}' in jobs.output()
    assert jobs.client.state("job") is RunState.RUNNING

    jobs.start()
    # A restart that was announced is not the job's fault.
    jobs.go("job")
    jobs.wait_state("job", RunState.DONE)
    assert jobs.log("job") == ["start 1", "start 1", "end"]


def test_two_processes_of_one_name(jobs: Jobs) -> None:
    jobs.start()
    with pytest.raises(AssertionError, match="ExecutorAlive"):
        jobs.start()


def test_nothing_is_printed(jobs: Jobs) -> None:
    process = jobs.start()
    jobs.job("job", "sleep 0")
    jobs.wait_state("job", RunState.DONE)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert jobs.output() == '{"left": []}\n'


def test_a_database_started_anew_kills_no_worker(tmp_path: Path, own_cluster: Any) -> None:
    """Names are locks of the database, which forgets them: the living have to take theirs again."""
    own_cluster.start()
    jobs = Jobs(folder=tmp_path, database=own_cluster.url("postgres"))
    try:
        other = jobs.start("other")
        jobs.job("job", "wait")
        jobs.wait_log("job", "start 1")
        with running(jobs.folder, jobs.database, "living", adopt_after_s=4) as runner:
            own_cluster.stop()
            own_cluster.start()
            until = clock.monotonic() + 8
            while clock.monotonic() < until:
                with contextlib.suppress(JobsUnavailable):
                    assert runner.adopt_dead() == {}
                clock.sleep(0.5)
            with pytest.raises(ExecutorAlive):
                runner.adopt("other")
            kill(other)
            eventually(lambda: runner.adopt_dead() == {"other": 1})
            jobs.go("job")
            jobs.wait_state("job", RunState.DONE)
        assert jobs.log("job") == ["start 1", "start 2", "end"]
    finally:
        jobs.close()
