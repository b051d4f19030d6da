"""A temporary PostgreSQL cluster for tests: of Debian's package, on a Unix socket only."""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from dozo.model import clock

USER = "postgres"
SETTINGS = {
    "listen_addresses": "",
    # Clusters of tests need not survive a power cut, and fsync is most of their time.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
}


def programs() -> Path:
    """The folder of the newest PostgreSQL server that is installed; fails the test if none is."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    if not found:
        pytest.fail("PostgreSQL is missing: install the package postgresql", pytrace=False)
    return found[-1].parent


@dataclass(frozen=True, kw_only=True)
class PostgresCluster:
    """A running cluster; `folder` holds its data and its socket."""

    folder: Path
    bin: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as its user: the server refuses to run as root."""
        command = [str(self.bin / program), *arguments]
        if os.geteuid() == 0:
            command = [
                "setpriv",
                f"--reuid={USER}",
                f"--regid={USER}",
                "--init-groups",
                "--no-new-privs",
                *command,
            ]
        log = self.folder / f"{program}.log"
        # Not a pipe: the server would inherit and hold it.
        with log.open("ab") as output:
            done = subprocess.run(
                command, cwd=self.folder, stdout=output, stderr=output, timeout=60, check=False
            )
        assert done.returncode == 0, f"{' '.join(command)} failed:\n{log.read_text()}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())
        self.run(
            "pg_ctl",
            "--wait",
            f"--pgdata={self.data}",
            f"--log={self.folder / 'server.log'}",
            f"--options=-k {self.folder} {options}",
            "start",
        )

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; ``immediate`` is as sudden as a crash."""
        self.run("pg_ctl", "--wait", f"--pgdata={self.data}", f"--mode={mode}", "stop")

    def kill(self) -> None:
        """Kill the postmaster as `kill -9` does, and see its servers off."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = _children(pid)
        os.kill(pid, signal.SIGKILL)
        deadline = clock.monotonic() + 30
        # They see that it has died; a new one does not start before the last of them has gone.
        while any(Path(f"/proc/{one}").exists() for one in (pid, *children)):
            assert clock.monotonic() < deadline, "PostgreSQL's servers outlive its postmaster"
            clock.sleep(0.05)

    @property
    def runs(self) -> bool:
        """Whether the server was started and not stopped since."""
        return (self.data / "postmaster.pid").exists()

    def remove(self) -> None:
        """Remove a stopped cluster's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """The address of one of the cluster's databases."""
        return f"postgresql://{USER}@/{database}?host={quote(str(self.folder), safe='')}"

    def create_database(self, template: str = "template0") -> str:
        """A new database, empty or like ``template``; its address."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        name = url.partition("@/")[2].partition("?")[0]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in path.read_text().split()]


def make_cluster() -> PostgresCluster:
    """A new cluster that is not started."""
    # A short path of everybody's: the socket's name is limited to 107 bytes, and pytest's
    # folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="dozo-pg-", dir="/tmp"))
    cluster = PostgresCluster(folder=folder, bin=programs())
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    cluster.run(
        "initdb",
        f"--pgdata={cluster.data}",
        f"--username={USER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    )
    return cluster


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    """A cluster that all tests of a run share; each test makes databases of its own in it."""
    cluster = make_cluster()
    try:
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        cluster.remove()


@pytest.fixture
def own_cluster() -> Iterator[PostgresCluster]:
    """A cluster of the test's own, to be started and stopped by it."""
    cluster = make_cluster()
    yield cluster
    if cluster.runs:
        cluster.stop()
    cluster.remove()


@pytest.fixture
def postgres_url(postgres_cluster: PostgresCluster) -> Iterator[str]:
    """The address of an empty database, removed after the test."""
    url = postgres_cluster.create_database()
    yield url
    postgres_cluster.drop_database(url)


@pytest.fixture(scope="session")
def catalog_template(postgres_cluster: PostgresCluster, django_db_blocker: Any) -> str:
    """The name of a database with the catalog's tables and nothing in them, to make others from."""
    from dozo.catalog.store import Catalog  # noqa: PLC0415  most tests do without

    url = postgres_cluster.create_database()
    with django_db_blocker.unblock():
        Catalog.open(Path("unused"), database=url).close()
    return url.partition("@/")[2].partition("?")[0]


@pytest.fixture
def catalog_databases(
    postgres_cluster: PostgresCluster, catalog_template: str
) -> Iterator[Callable[[], str]]:
    """Makes databases for catalogs, each with its tables; they are removed after the test."""
    made: list[str] = []

    def make() -> str:
        made.append(postgres_cluster.create_database(catalog_template))
        return made[-1]

    yield make
    for url in made:
        postgres_cluster.drop_database(url)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked ``postgres`` runs on both databases; all does on PostgreSQL alone if asked."""
    if "new_database" not in metafunc.fixturenames:
        return
    if metafunc.config.getoption("--postgres"):
        metafunc.parametrize("new_database", ["postgresql"], indirect=True)
    elif metafunc.definition.get_closest_marker("postgres"):
        metafunc.parametrize("new_database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def new_database(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes the database of a catalog: its address, empty for SQLite at the catalog's path."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return str
    made: Callable[[], str] = request.getfixturevalue("catalog_databases")
    return made
