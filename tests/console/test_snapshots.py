"""Snapshots, recovery points and templates in the console: found, shown, held, deleted."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.api.support import World, make_world
from tests.services.support import make_site

from dozo.model import clock
from dozo.services import snapshots

from .support import Visitor, counted_queries, text_of

Come = Callable[..., Visitor]


# One world for those that only look; what is deleted or held is told in one of its own.
@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("house")
    with django_db_blocker.unblock(), make_site(folder, "main") as site:
        world = make_world(site)
        site.catalog.snapshots.filter(name="web-2").update(scheduled=True, mode="offline")
        peer = site.catalog.sites.create(site_id="dr-id", name="dr")
        site.catalog.copies.create(snapshot_id=world.snapshots["web1"], site=peer, state="verified")
        yield world


@pytest.fixture
def look(house: World) -> Callable[..., Visitor]:
    def come(who: str, *, language: str = "en") -> Visitor:
        made = Visitor(world=house, language=language)
        made.enter(who)
        return made

    return come


def names_on(page: str) -> set[str]:
    return {one for one in ("web-0", "web-1", "web-2", "hive-0") if f"<bdi>{one}</bdi></a>" in page}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"web-0", "web-1", "web-2"}),
        ("name=b-1", {"web-1"}),
        ("server=web", {"web-0", "web-1", "web-2"}),
        ("volume=web-vda&taken=scheduled", {"web-2"}),
        ("taken=manual", {"web-0", "web-1"}),
        ("mode=offline", {"web-2"}),
        ("copy=verified:dr", {"web-1"}),
        ("copy=missing:dr", {"web-0", "web-2"}),
        ("origin=main&root=root", {"web-0", "web-1", "web-2"}),
        ("since=2026-02-01", {"web-1", "web-2"}),
        ("until=2026-01-31", {"web-0"}),
        ("held=1", set()),
    ],
)
def test_the_list_is_what_its_address_says(look: Come, query: str, found: set[str]) -> None:
    assert names_on(look("alice").page(f"/snapshots?{query}")) == found


def test_filters_that_mean_nothing_are_said(look: Come) -> None:
    alice = look("alice")
    for query in ("server=nobody", "server=hive", "since=yesterday"):
        answer = alice.get(f"/snapshots?{query}")
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
    assert "No snapshot fits these filters." in text_of(alice.page("/snapshots?name=zzz"))


def test_api_and_console_filter_alike(look: Come, house: World) -> None:
    for query, wanted in (("copy_site=dr&copy_state=verified", 1), ("held=false", 3)):
        answer = house.get(f"/snapshots?{query}", "alice").json()
        assert answer["total"] == wanted


@pytest.mark.parametrize(
    "path",
    [
        "/snapshots/{snapshot}",
        "/snapshots/{snapshot}/hold",
        "/snapshots/{snapshot}/download",
        "/snapshots/delete?snapshot={snapshot}",
        "/recovery-points/{point}",
        "/recovery-points/{point}/delete",
    ],
)
def test_anothers_is_not_there(look: Come, house: World, path: str) -> None:
    hive = house.site.catalog.snapshots.get(name="hive-0")
    address = path.format(snapshot=hive.snapshot_id, point=hive.recovery_point_id)
    assert look("alice").get(address).status_code == 404
    assert look("operator").get(address).status_code == 200


def test_roles_see_what_they_may_do(look: Come, house: World) -> None:
    one = house.snapshots["web0"]
    auditor = look("auditor")
    page = auditor.page(f"/snapshots/{one}")
    assert "Delete…" not in page
    assert "/download" not in page
    assert auditor.get(f"/snapshots/delete?snapshot={one}").status_code == 403
    assert look("adam").get(f"/snapshots/{one}/hold").status_code == 403
    assert "Hold…" not in look("adam").page(f"/snapshots/{one}")
    assert "Hold…" in look("alice").page(f"/snapshots/{one}")


def test_a_snapshot_is_downloaded_from_its_page(look: Come, house: World) -> None:
    alice = look("alice")
    one = house.snapshots["web0"]
    assert f"/snapshots/{one}/download?format=raw" in alice.page(f"/snapshots/{one}")
    answer = alice.get(f"/snapshots/{one}/download?format=raw")
    assert len(answer.content) == 64 * 1024
    assert answer.headers["content-disposition"].startswith("attachment")


def test_pages_are_japanese_and_escaped(look: Come, house: World) -> None:
    rows = house.site.catalog.snapshots.filter(snapshot_id=house.snapshots["web0"])
    rows.update(name="<script>x</script>")
    alice = look("alice", language="ja")
    point = rows.get().recovery_point_id
    for address in (
        "/snapshots",
        f"/snapshots/{house.snapshots['web0']}",
        f"/snapshots/{house.snapshots['web0']}/hold",
        f"/snapshots/delete?snapshot={house.snapshots['web0']}",
        f"/recovery-points/{point}",
        f"/recovery-points/{point}/delete",
    ):
        page = alice.page(address)
        assert "<script>x" not in page
        assert "スナップショット" in text_of(page)
    assert "テンプレートはまだありません" in text_of(alice.page("/templates"))
    rows.update(name="web-0")


def test_the_number_of_queries_does_not_grow_with_rows(look: Come, house: World) -> None:
    one = house.site.catalog.snapshots.get(name="web-1")
    same = {field.attname: getattr(one, field.attname) for field in one._meta.fields}
    made = [
        type(one)(**{**same, "snapshot_id": f"{number:032x}", "name": f"many-{number}"})
        for number in range(120)
    ]
    house.site.catalog.snapshots.bulk_create(made)
    alice = look("alice")
    with counted_queries() as seen:
        page = alice.page("/snapshots")
    assert len(seen) <= 20
    assert page.count('name="snapshot" value=') == 50
    assert 'rel="next"' in page
    house.site.catalog.snapshots.filter(name__startswith="many-").delete()


def test_deleting_says_what_it_means_and_asks_for_the_count(visitor: Come, world: World) -> None:
    # What is in the vault is the default tenant's, and shows as such once it was touched.
    someone = visitor("operator")
    ids = [world.snapshots["web0"], world.snapshots["web1"]]
    chosen = someone.post(
        "/snapshots/chosen", {"what": "delete", "snapshot": ids}, form="/snapshots"
    )
    address = chosen.headers["Location"]
    says = text_of(someone.page(address))
    assert "Delete 2 snapshots" in says
    assert "At main, this site: deleted at once. It can be brought back until" in says
    rows = world.site.catalog.snapshots
    for count in ("", "3", "x"):
        refused = someone.post("/snapshots/delete", {"snapshot": ids, "count": count}, form=address)
        assert refused.status_code == 409
        assert 'role="alert"' in refused.text
    assert not rows.exclude(deleted_at=None).exists()
    done = someone.post("/snapshots/delete", {"snapshot": ids, "count": "2"}, form=address)
    assert done.headers["Location"].startswith("/snapshots?note=deleted")
    assert rows.exclude(deleted_at=None).count() == 2
    assert names_on(someone.page("/snapshots")) == {"web-2", "hive-0"}

    last = f"/snapshots/delete?snapshot={world.snapshots['web2']}"
    assert "After that there is no snapshot left of: web-vda" in text_of(someone.page(last))
    gone = someone.page(f"/snapshots/{ids[0]}")
    assert "This site keeps it at least until" in text_of(gone)
    someone.post(
        "/snapshots/chosen", {"what": "undelete", "snapshot": ids[0]}, form=f"/snapshots/{ids[0]}"
    )
    assert rows.get(snapshot_id=ids[0]).deleted_at is None


def test_a_hold_is_confirmed_shown_and_keeps(visitor: Come, world: World) -> None:
    alice = visitor("alice")
    one = world.snapshots["web0"]
    address = f"/snapshots/{one}/hold"
    day = (clock.now() + timedelta(days=30)).date().isoformat()
    unsure = alice.post(address, {"until": day, "note": "audit <b>"}, form=address)
    assert unsure.status_code == 409
    assert 'value="audit &lt;b&gt;"' in unsure.text
    assert not snapshots.holds(world.site)
    alice.post(address, {"until": day, "note": "audit <b>", "sure": "1"}, form=address)
    page = alice.page(f"/snapshots/{one}")
    assert "Held until" in text_of(page)
    assert "audit &lt;b&gt;" in page
    assert names_on(alice.page("/snapshots?held=1")) == {"web-0"}
    earlier = (clock.now() + timedelta(days=3)).date().isoformat()
    shorter = alice.post(address, {"until": earlier, "sure": "1"}, form=address)
    assert shorter.status_code == 409
    delete = f"/snapshots/delete?snapshot={one}"
    assert "nobody can delete them yet" in text_of(alice.page(delete))
    forced = alice.post("/snapshots/delete", {"snapshot": one}, form=address)
    assert forced.status_code == 409


def test_verifying_is_one_click_and_a_template_goes_only_by_name(
    visitor: Come, world: World
) -> None:
    # What is in the vault is the default tenant's, and shows as such once it was touched.
    someone = visitor("operator")
    one = world.snapshots["web0"]
    asked = someone.post(
        "/snapshots/chosen", {"what": "verify", "snapshot": one}, form=f"/snapshots/{one}"
    )
    job = world.site.catalog.jobs.get()
    assert asked.headers["Location"] == f"/jobs/{job.job_id}"
    first = {"what": "template", "root": one, "name": "golden"}
    someone.post("/restore/template", {**first, "snapshot": one}, form=f"/snapshots/{one}")
    world.run_jobs()
    made = world.site.catalog.templates.get(name="golden")
    assert "golden" in someone.page("/templates")
    assert "New server…" in someone.page(f"/templates/{made.snapshot_id}")
    address = f"/templates/{made.snapshot_id}/delete"
    assert someone.post(address, {"confirm": "gold"}, form=address).status_code == 409
    made.refresh_from_db()
    assert made.deleted_at is None
    assert someone.post(address, {"confirm": "golden"}, form=address).status_code == 302
    made.refresh_from_db()
    assert made.deleted_at is not None
    assert visitor("ulla").get(f"/templates/{made.snapshot_id}").status_code == 404


def test_a_recovery_point_is_deleted_by_the_count_of_its_snapshots(
    visitor: Come, world: World
) -> None:
    # What is in the vault is the default tenant's, and shows as such once it was touched.
    someone = visitor("operator")
    row = world.site.catalog.snapshots.get(name="web-0")
    address = f"/recovery-points/{row.recovery_point_id}"
    assert "web-0" in someone.page(address)
    assert someone.post(f"{address}/delete", {}, form=f"{address}/delete").status_code == 302
    row.refresh_from_db()
    assert row.deleted_at is not None
    someone.post(f"{address}/do", {"what": "undelete"}, form=address)
    row.refresh_from_db()
    assert row.deleted_at is None
