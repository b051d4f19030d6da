"""The database server dies; and a worker's jobs are taken over."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from tests.support.postgres import PostgresCluster

from dozo.jobs import JobRunner, JobsUnavailable, RunState, runner
from dozo.model import clock

from .conftest import Jobs, eventually, kill
from .worker import Work, running


@pytest.fixture
def database(own_cluster: PostgresCluster) -> str:
    return own_cluster.create_database()


def test_the_server_dies_in_the_middle(
    jobs: Jobs, own_cluster: PostgresCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with running(jobs.folder, jobs.database) as made:
        jobs.job("job", "wait")
        jobs.job("next", "sleep 0")
        jobs.wait_log("job", "start 1")
        own_cluster.stop()
        jobs.go("job")
        jobs.wait_log("job", "end")
        with pytest.raises(JobsUnavailable):
            made.submit("other", "one")
        clock.sleep(2)
        own_cluster.start()
        jobs.wait_state("job", RunState.DONE)
        jobs.wait_state("next", RunState.DONE)
        jobs.job("after", "sleep 0")
        jobs.wait_state("after", RunState.DONE)
    assert jobs.log("job") == ["start 1", "end"]
    assert len(caplog.records) < 20, [record.getMessage() for record in caplog.records]


def test_the_dead_are_adopted_and_the_living_not(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ADOPT_AFTER_S", 1.0)
    dead = jobs.start("dead")
    jobs.job("left", "wait")
    jobs.wait_log("left", "start 1")
    jobs.start("living")
    jobs.job("kept", "wait", "many")
    jobs.wait_log("kept", "start 1")
    kill(dead)
    adopted: dict[str, int] = {}
    with running(jobs.folder, jobs.database, "third") as made:
        eventually(lambda: bool(adopted.update(made.adopt_dead()) or "dead" in adopted))
        jobs.go("left")
        jobs.wait_state("left", RunState.DONE)
        jobs.go("kept")
        jobs.wait_state("kept", RunState.DONE)
    # "kept" may have been taken by either of the two that lived then.
    assert adopted["dead"] >= 1
    assert "living" not in adopted
    assert jobs.log("left") == ["start 1", "start 2", "end"]


def test_a_process_whose_jobs_were_adopted_is_told(jobs: Jobs, tmp_path: Path) -> None:
    lost = threading.Event()
    work = Work(tmp_path)
    made = JobRunner(
        database=jobs.database,
        executor="worker-1",
        version="test-1",
        execute=work.execute,
        queues={"one": 1},
        lost=lost.set,
    )
    work.runner = made
    made.launch()
    try:
        jobs.job("job", "wait")
        jobs.wait_log("job", "start 1")
        with psycopg.connect(jobs.database, autocommit=True) as connection:
            # As another process that adopted it while this one was cut off.
            connection.execute("UPDATE dbos.workflow_status SET executor_id = 'other'")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'dozo jobs executor'"
            )
        assert lost.wait(20)
    finally:
        work.stopping.set()
        made.shutdown(5)


def test_an_end_that_cannot_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ORPHAN_S", 1.0)
    file = tmp_path / "jobs.sqlite3"
    jobs = Jobs(folder=tmp_path, database=f"sqlite:///{file}")
    with running(jobs.folder, jobs.database):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(
                "CREATE TRIGGER full BEFORE UPDATE ON workflow_status WHEN NEW.status = 'SUCCESS'"
                " BEGIN SELECT RAISE(ABORT, 'as if the disk were full'); END"
            )
            connection.commit()
            jobs.job("job", "sleep 0")
            jobs.wait_log("job", "end")
            connection.execute("DROP TRIGGER full")
            connection.commit()
        assert jobs.client.state("job") is RunState.RUNNING
        jobs.wait_state("job", RunState.DONE)
        jobs.job("after", "sleep 0")
        jobs.wait_state("after", RunState.DONE)
    jobs.close()
    assert jobs.log("job") == ["start 1", "end", "start 1", "end"]
