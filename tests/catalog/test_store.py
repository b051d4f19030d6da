"""The catalog: opened by path, never another site's rows, references as people give them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections, transaction

from dozo.catalog.errors import Ambiguous, ServerUnknown, VolumeUnknown
from dozo.catalog.store import Catalog
from dozo.model.states import Copy as CopyState

pytestmark = pytest.mark.postgres


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a catalog is."""

    path: Path
    database: str

    def open(self) -> Catalog:
        return Catalog.open(self.path, database=self.database)


@pytest.fixture
def place(tmp_path: Path, new_database: Callable[[], str]) -> Place:
    return Place(path=tmp_path / "catalog.sqlite3", database=new_database())


@pytest.fixture
def catalog(place: Place, django_db_blocker: Any) -> Iterator[Catalog]:
    with django_db_blocker.unblock():
        opened = place.open()
        yield opened
        opened.close()


def server(catalog: Catalog, name: str, uuid: UUID | None = None, *, present: bool = True) -> UUID:
    tenant, _ = catalog.tenants.get_or_create(name="default")
    uuid = uuid or uuid4()
    catalog.servers.create(uuid=uuid, name=name, tenant=tenant, present=present)
    return uuid


def test_two_catalogs_in_one_process_do_not_mix(
    catalog: Catalog, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    server(catalog, "web")
    other = Catalog.open(tmp_path / "other.sqlite3", database=new_database())
    assert other.servers.count() == 0
    other.close()
    assert catalog.servers.count() == 1


def test_a_catalog_stays_when_it_is_opened_again(catalog: Catalog, place: Place) -> None:
    server(catalog, "web")
    catalog.close()
    again = place.open()
    assert again.server("web").name == "web"


def test_names_beat_ids_and_prefixes_are_enough(catalog: Catalog) -> None:
    uuid = server(catalog, "web", UUID("12345678-0000-4000-8000-000000000001"))
    server(catalog, "12345678", UUID("99999999-0000-4000-8000-000000000001"))
    assert catalog.server("1234567").uuid == uuid
    assert catalog.server("12345678").name == "12345678"
    assert catalog.server(str(uuid)).name == "web"


def test_an_ambiguous_prefix_names_the_candidates(catalog: Catalog) -> None:
    server(catalog, "a", UUID("aaaa0000-0000-4000-8000-000000000001"))
    server(catalog, "b", UUID("aaaa1111-0000-4000-8000-000000000001"))
    with pytest.raises(Ambiguous, match=r"a \(aaaa0000.*b \(aaaa1111"):
        catalog.server("aaaa")


def test_a_server_that_is_here_beats_one_of_the_same_name_that_is_gone(catalog: Catalog) -> None:
    server(catalog, "web", present=False)
    here = server(catalog, "web")
    assert catalog.server("web").uuid == here


def test_what_does_not_exist_is_named_with_what_does(catalog: Catalog) -> None:
    server(catalog, "web")
    with pytest.raises(ServerUnknown, match=r"no server 'wab' \(there is: web\)"):
        catalog.server("wab")
    with pytest.raises(VolumeUnknown):
        catalog.volume("web/vdz")


def test_a_volume_answers_to_server_and_device(catalog: Catalog) -> None:
    uuid = server(catalog, "web")
    row = catalog.volumes.create(
        name="data",
        tenant=catalog.tenants.get(),
        server=catalog.servers.get(),
        device="vdb",
        state="attached",
    )
    for reference in ("web/vdb", f"{uuid}/vdb", "data", row.volume_id.hex[:6]):
        assert catalog.volume(reference).volume_id == row.volume_id


def test_the_migrations_are_complete(catalog: Catalog) -> None:
    call_command("makemigrations", "--check", "--dry-run", "catalog", verbosity=0)


def test_states_in_the_catalog_are_those_of_the_model() -> None:
    choices = apps.get_model("catalog", "Copy")._meta.get_field("state").choices
    assert {value for value, _ in choices} == {state.value for state in CopyState}


def test_a_catalog_that_is_open_twice_stays_open_until_the_last_is_closed(
    catalog: Catalog, place: Place
) -> None:
    second = place.open()
    server(second, "web")
    with catalog.transaction():
        # Closing must not end the connection under the other one's transaction.
        server(catalog, "db")
        second.close()
        second.close()
        server(catalog, "mail")
        transaction.set_rollback(True, using=catalog.alias)
    assert [one.name for one in catalog.servers.all()] == ["web"]
    catalog.close()
    assert catalog.alias not in connections.databases


def test_closing_in_one_thread_leaves_other_threads_their_catalog(
    catalog: Catalog, place: Place, django_db_blocker: Any
) -> None:
    seen: list[int] = []

    def open_and_close() -> None:
        with django_db_blocker.unblock():
            one = place.open()
            seen.append(one.servers.count())
            one.close()

    with catalog.transaction():
        thread = threading.Thread(target=open_and_close)
        thread.start()
        thread.join(20)
        server(catalog, "web")
    assert seen == [0]
    assert catalog.server("web").name == "web"


def test_a_new_catalog_is_made_once_by_many_threads(place: Place, django_db_blocker: Any) -> None:
    """Opened, asked, told and closed over and over from eight threads."""

    def churn(number: int) -> int:
        for turn in range(15):
            one = place.open()
            server(one, f"s-{number}-{turn}")
            # What another thread does with its catalog when this one is between two queries.
            connections.all(initialized_only=True)
            assert one.servers.filter(name__startswith=f"s-{number}-").count() == turn + 1
            one.close()
        return number

    with django_db_blocker.unblock(), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(churn, range(8))) == list(range(8))
        last = place.open()
        assert last.servers.count() == 8 * 15
        last.close()
    assert last.alias not in connections.databases


def test_a_catalog_that_was_opened_but_not_yet_asked_outlives_the_others(
    catalog: Catalog, place: Place, django_db_blocker: Any
) -> None:
    server(catalog, "web")
    with django_db_blocker.unblock(), ThreadPoolExecutor(1) as other:
        opened = other.submit(place.open).result()
        catalog.close()
        assert other.submit(opened.servers.count).result() == 1
        other.submit(opened.close).result()
    assert catalog.alias not in connections.databases
