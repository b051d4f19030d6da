"""A catalog's schema is brought up to date by one process, with a copy from before."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from dozo.catalog import databases, migrating
from dozo.catalog import settings as catalog_settings
from dozo.catalog.errors import CatalogNewer, CatalogUnusable
from dozo.catalog.store import Catalog, set_up_django

OPEN = """
import sys
from pathlib import Path
from dozo.catalog.store import Catalog
sys.stdin.readline()
catalog = Catalog.open(Path(sys.argv[1]))
print(catalog.sites.count())
"""


@pytest.fixture(autouse=True)
def _catalogs_allowed(django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite3"


def old_catalog(path: Path, migration: str) -> None:
    """A catalog as an older version left it, with one site in it."""
    set_up_django()
    alias = str(path)
    use = databases.use(
        alias,
        lambda: catalog_settings.sqlite_database(alias),
        first=lambda: call_command("migrate", "catalog", migration, database=alias, verbosity=0),
    )
    with connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO catalog_site VALUES ('s1', 'main', 1, '')")
    databases.leave(use)


def test_a_new_catalog_needs_no_copy_and_is_the_owners_alone(path: Path) -> None:
    Catalog.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.glob("*.before-*")) == []


def test_an_old_catalog_is_copied_before_it_is_changed(path: Path) -> None:
    old_catalog(path, "0001")
    catalog = Catalog.open(path)
    assert catalog.sites.get().name == "main"
    catalog.close()
    copy = path.with_name("catalog.sqlite3.before-0002")
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("SELECT name FROM catalog_site").fetchall() == [("main",)]
        tables = {row[0] for row in old.execute("SELECT name FROM sqlite_master")}
        assert "catalog_job" not in tables
    Catalog.open(path).close()
    assert [one.name for one in path.parent.glob("*.before-*")] == [copy.name]


def test_the_last_three_copies_stay(path: Path) -> None:
    old_catalog(path, "0001")
    for number in ("0010", "0011", "0009", "0012"):
        migrating._keep_copy(path, number)
    names = sorted(one.name.rpartition("-")[2] for one in path.parent.glob("*.before-*"))
    assert names == ["0010", "0011", "0012"]


def test_a_catalog_of_newer_code_is_refused_and_left_alone(path: Path) -> None:
    Catalog.open(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('catalog', '9999_later', '2030-01-01')"
        )
        database.commit()
    with pytest.raises(CatalogNewer, match="9999_later"):
        Catalog.open(path)
    assert list(path.parent.glob("*.before-*")) == []


def test_what_cannot_be_copied_is_not_changed(path: Path) -> None:
    old_catalog(path, "0001")
    # What is in the copy's way cannot be removed.
    path.with_name("catalog.sqlite3.before-new").mkdir()
    with pytest.raises(CatalogUnusable):
        Catalog.open(path)
    with closing(sqlite3.connect(path)) as old:
        tables = {row[0] for row in old.execute("SELECT name FROM sqlite_master")}
        assert "catalog_job" not in tables


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_processes_that_start_at_once_do_not_both_change_it(path: Path, *, old: bool) -> None:
    if old:
        old_catalog(path, "0001")
    environment = {key: one for key, one in os.environ.items() if key != "DOZO_HOME"}
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(4)
    ]
    answers = []
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
    for opener in openers:
        out, err = opener.communicate(timeout=120)
        assert opener.returncode == 0, err
        answers.append(out.strip())
    assert answers == ["1" if old else "0"] * 4


def test_a_file_that_is_no_database_is_refused_with_the_way_out(
    path: Path,
) -> None:
    path.write_text("this is no database, whatever its name says" * 100)
    with pytest.raises(CatalogUnusable, match="cannot be used") as caught:
        Catalog.open(path)
    assert "rebuild-catalog" in caught.value.hint_text()
