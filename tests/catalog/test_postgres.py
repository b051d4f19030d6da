"""The catalog on PostgreSQL: its address, its schema, and connections that the server ends."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import Error, connections
from django.test.utils import override_settings
from sqlalchemy import make_url

from dozo.catalog import postgres
from dozo.catalog.errors import CatalogNewer, CatalogServerUnusable
from dozo.catalog.store import Catalog
from dozo.model import clock

UNUSED = Path("unused")


@pytest.fixture(autouse=True)
def _catalogs_allowed(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def catalog(catalog_databases: Callable[[], str]) -> Iterator[Catalog]:
    opened = Catalog.open(UNUSED, database=catalog_databases())
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://dozo@/dozo", "postgresql://dozo@/dozo"),
        ("postgresql:///dozo", "postgresql://@/dozo"),
        (
            "postgresql://dozo@db.example.org:5433/dozo",
            "postgresql://dozo@/dozo?host=db.example.org&port=5433",
        ),
        (
            "postgresql://dozo@%2Frun%2Fpostgresql/dozo",
            "postgresql://dozo@/dozo?host=%2Frun%2Fpostgresql",
        ),
        (
            "postgresql://dozo:s3cret%2F%40@/d%20b?host=/run/postgresql&sslmode=require",
            "postgresql://dozo@/d%20b?host=%2Frun%2Fpostgresql&sslmode=require",
        ),
    ],
)
def test_addresses_in_every_form_mean_the_same_to_each_library(text: str, shown: str) -> None:
    address = postgres.parse(text)
    assert address.shown == shown
    assert repr(address) == f"Address({shown})"
    assert postgres.parse(address.url) == address
    other = make_url(address.url)
    assert (other.username or "", other.password or "") == (address.user, address.password)
    assert (other.database, other.query.get("host", "")) == (address.database, address.host)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sqlite:///x", "must begin with"),
        ("postgres://dozo:s3cret@/dozo", "must begin with"),
        ("host=/run dbname=dozo password=s3cret", "must begin with"),
        ("postgresql://dozo:s3cret@host", "names no database"),
        ("postgresql://dozo:s3c/ret@host/dozo", "cannot be read|no number"),
        ("postgresql://dozo:s3cret%@host/dozo", "cannot be read"),
        ("postgresql://dozo:s3cret@host:s3cret/dozo", "no number"),
        ("postgresql://dozo@host/dozo?s3cret=1", "cannot be read"),
        ("postgresql://[::1/dozo", "must begin with|cannot be read"),
    ],
)
def test_an_address_that_cannot_be_is_refused_without_showing_it(text: str, problem: str) -> None:
    with pytest.raises(postgres.AddressInvalid, match=problem) as caught:
        postgres.parse(text)
    for secret in ("s3cret", "s3c", "ret@"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def end_connections(url: str) -> None:
    """As when the server is started anew, for all but this one connection."""
    with psycopg.connect(url, autocommit=True) as other:
        others = "FROM pg_stat_activity WHERE datname = current_database()"
        others += " AND pid <> pg_backend_pid()"
        # Ending takes a moment.
        while other.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall():
            clock.sleep(0.01)


def test_a_connection_that_the_server_ended_is_made_anew(
    catalog_databases: Callable[[], str],
) -> None:
    url = catalog_databases()
    catalog = Catalog.open(UNUSED, database=url)
    catalog.tenants.create(name="a")
    end_connections(url)
    assert catalog.tenants.count() == 1
    end_connections(url)
    with catalog.transaction():
        catalog.tenants.create(name="b")
    end_connections(url)
    with catalog.turn("x"):
        assert catalog.tenants.count() == 2
    catalog.close()


def test_what_was_done_in_a_transaction_that_the_server_ended_fails_as_a_whole(
    catalog_databases: Callable[[], str],
) -> None:
    url = catalog_databases()
    catalog = Catalog.open(UNUSED, database=url)

    def act() -> None:
        with catalog.transaction():
            catalog.tenants.create(name="a")
            end_connections(url)
            catalog.tenants.create(name="b")

    with pytest.raises(Error):
        act()
    assert catalog.tenants.count() == 0
    with catalog.transaction():
        catalog.tenants.create(name="c")
    assert catalog.tenants.count() == 1
    catalog.close()


def test_a_server_that_is_away_is_said_and_found_again(own_cluster: Any) -> None:
    url = own_cluster.url("postgres")
    with pytest.raises(CatalogServerUnusable) as caught:
        Catalog.open(UNUSED, database=url)
    assert "docs/operations.md" in caught.value.hint_text()
    own_cluster.start()
    catalog = Catalog.open(UNUSED, database=url)
    catalog.tenants.create(name="a")
    own_cluster.stop()
    with pytest.raises(Error):
        catalog.tenants.count()
    own_cluster.start()
    assert catalog.tenants.count() == 1
    catalog.close()


def test_a_wrong_password_is_not_shown(postgres_cluster: Any) -> None:
    with pytest.raises(CatalogServerUnusable) as caught:
        Catalog.open(
            UNUSED, database="postgresql://nobody:s3cret@/x?host=" + str(postgres_cluster.folder)
        )
    assert "s3cret" not in str(caught.value)


OPEN = """
import sys
from pathlib import Path
from dozo.catalog.store import Catalog
sys.stdin.readline()
print(Catalog.open(Path("unused"), database=sys.argv[1]).sites.count())
"""


def test_processes_that_start_at_once_do_not_both_migrate(postgres_url: str) -> None:
    environment = {key: one for key, one in os.environ.items() if key != "DOZO_HOME"}
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, postgres_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(3)
    ]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
    for opener in openers:
        out, err = opener.communicate(timeout=120)
        assert opener.returncode == 0, err
        assert out.strip() == "0"


def test_a_database_of_newer_code_is_refused(catalog_databases: Callable[[], str]) -> None:
    url = catalog_databases()
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('catalog', '9999_later', now())"
        )
    with pytest.raises(CatalogNewer, match="9999_later"):
        Catalog.open(UNUSED, database=url)


def _shape(catalog: Catalog) -> dict[str, Any]:
    """The tables of a database: columns, constraints and indexes, without made-up names."""
    connection = connections[catalog.alias]
    shape: dict[str, Any] = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            # Django's own tables differ a little, which is Django's affair.
            if not table.startswith("catalog_"):
                continue
            columns = connection.introspection.get_table_description(cursor, table)
            constraints = connection.introspection.get_constraints(cursor, table)
            shape[table] = (
                sorted(
                    (one.name, one.type_code, one.display_size, one.null_ok, one.default)
                    for one in columns
                ),
                sorted(
                    repr(
                        {
                            key: value
                            for key, value in one.items()
                            if key not in {"definition", "options"}
                        }
                    )
                    for one in constraints.values()
                ),
            )
    return shape


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_schema_made_at_once_is_the_one_that_migrations_make(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    database = "" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    migrated = Catalog.open(tmp_path / "migrated.sqlite3", database=database)
    by_migrations = _shape(migrated)
    assert "catalog_job" in by_migrations
    with connections[migrated.alias].cursor() as cursor:
        if kind == "sqlite":
            cursor.execute("PRAGMA foreign_keys=OFF")
        for table in connections[migrated.alias].introspection.table_names(cursor):
            cursor.execute(f'DROP TABLE "{table}"' + ("" if kind == "sqlite" else " CASCADE"))
    # Without their migrations, Django makes the tables from the models.
    without = dict.fromkeys(("catalog", "auth", "contenttypes", "sessions"))
    with override_settings(MIGRATION_MODULES=without):
        call_command(
            "migrate", database=migrated.alias, run_syncdb=True, verbosity=0, interactive=False
        )
    at_once = _shape(migrated)
    migrated.close()
    assert at_once == by_migrations
