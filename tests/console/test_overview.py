"""The first page: whether to worry, what to do first, how old the snapshots are."""

from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from tests.api.support import World
from tests.services.access_support import add_server, system

from dozo.model import clock
from dozo.services import capacity, overview

from .scenery_activity import (
    GIB,
    run_of,
    schedule_of,
    snapshot_of,
    with_activity,
    with_jobs,
    with_peer,
    with_protection,
)
from .support import Visitor, text_of

Come = Callable[..., Visitor]


def _protect(world: World, *servers: str) -> None:
    for name in servers:
        schedule = schedule_of(world, name, f"{name} nightly")
        run_of(world, schedule)
        uuid = world.site.catalog.servers.get(name=name).uuid
        snapshot_of(world, uuid, schedule, 0.0001, here="verified")


def test_all_well_is_one_sentence(visitor: Come, world: World) -> None:
    _protect(world, "web", "hive")
    page = text_of(visitor("operator").page("/"))
    assert "All 2 servers are protected." in page
    assert "Needs attention" not in page
    assert "全1台の仮想サーバーが保護されています。" in visitor("alice", language="ja").page("/")


def test_what_is_wrong_comes_with_a_button(visitor: Come, world: World) -> None:
    with_activity(world)
    page = visitor("operator").page("/")
    text = text_of(page)
    assert "4 of 7 servers are not protected." in text
    web = world.site.catalog.servers.get(name="web").uuid
    assert f'href="/schedules/new?server={web}"' in page
    failed = world.site.catalog.jobs.get(object_name="mail")
    assert f'href="/jobs/{failed.job_id}"' in page
    # The worst comes first, and what a server is failing for stands there once.
    assert text.index("is damaged") < text.index("the guest agent of mail does not answer")
    assert text.count("the guest agent of mail does not answer") == 1
    assert "<script>alert" not in page
    assert "Mend from dr" in text


def test_a_peer_that_is_behind_is_told_to_those_who_run_the_site(
    visitor: Come, world: World
) -> None:
    with_peer(world)
    now = clock.now()
    world.site.catalog.incidents.create(
        key="peer-behind:dr", kind="peer-behind", title="behind", opened_at=now, told_at=now
    )
    assert "Snapshots are not verified there in time" in text_of(visitor("operator").page("/"))
    assert "not verified there" not in text_of(visitor("alice").page("/"))


def test_a_job_that_got_through_since_is_no_trouble_any_more(world: World) -> None:
    with_jobs(world)
    scope = system(world.site)
    about = {one.name for one in overview.overview(scope).attention if one.kind == "job"}
    assert "snapshot of volume web-vda" in about
    rows = world.site.catalog.jobs
    rows.filter(state="done", kind="snapshot.create").update(finished_at=clock.now())
    about = {one.name for one in overview.overview(scope).attention if one.kind == "job"}
    assert "snapshot of volume web-vda" not in about


def test_a_tenant_sees_only_its_own(visitor: Come, world: World) -> None:
    with_activity(world)
    page = text_of(visitor("ulla").page("/"))
    assert "The server is not protected." in page
    assert "hive" in page
    assert "mail" not in page
    assert "Backup storage" not in page
    assert "Use of backup storage" in page


def test_nobody_without_the_right_is_offered_what_mends(visitor: Come, world: World) -> None:
    with_activity(world)
    page = visitor("auditor").page("/")
    assert "/schedules/new" not in page
    assert "/attention/" not in page
    answer = visitor("adam").post("/attention/repair", {"peer": "dr"}, form="/")
    assert answer.status_code == 403


def test_a_damaged_copy_is_mended_from_the_peer(visitor: Come, world: World) -> None:
    with_activity(world)
    operator = visitor("operator")
    answer = operator.post("/attention/repair", {"peer": "dr", "once": "a"}, form="/")
    job = world.site.catalog.jobs.get(kind="site.scrub")
    assert answer.headers["Location"] == f"/jobs/{job.job_id}"
    assert job.params == {"repair_from": "dr"}


def test_the_running_jobs_are_a_part_of_their_own(visitor: Come, world: World) -> None:
    with_jobs(world)
    part = visitor("alice").page("/?part=jobs")
    assert "<html" not in part
    assert "Read web-vda" in part
    assert 'max="42949672960"' in part


def test_a_simulated_site_says_so(
    visitor: Come, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "simulated" not in visitor("alice").page("/")
    monkeypatch.setattr(type(world.site.settings), "simulated", property(lambda _: True))
    assert "no real server is protected" in visitor("alice").page("/")


def test_the_number_of_queries_does_not_grow_with_the_servers(world: World) -> None:
    def count() -> int:
        with CaptureQueriesContext(connections[world.site.catalog.alias]) as seen:
            overview.glance(system(world.site))
        return len(seen)

    with_peer(world)
    with_protection(world)
    few = count()
    for number in range(30):
        name = f"more-{number}"
        uuid = add_server(world.site, name, "acme")
        schedule = schedule_of(world, name, name)
        run_of(world, schedule)
        snapshot_of(world, uuid, schedule, 0.001, here="verified")
    assert count() == few


def test_the_vault_is_measured_once_a_day(world: World) -> None:
    site = world.site
    today = clock.now().astimezone(UTC).date()
    old = today - capacity.KEPT - timedelta(days=1)
    for day, stored in ((old, 1), (today - timedelta(days=10), 0)):
        site.catalog.vault_figures.create(
            day=day, at=clock.now(), bytes_stored=stored, bytes_protected=0, snapshots=0
        )
    capacity.note(site)
    capacity.note(site)
    found = capacity.show(system(site))
    assert [one.day for one in found.figures] == [today - timedelta(days=10), today]
    assert found.newest is not None
    assert found.newest.snapshots == 6
    assert found.growth_bytes == found.newest.bytes_stored / 10
    assert site.catalog.vault_figures.count() == 2


def test_space_that_runs_out_has_a_date(visitor: Come, world: World) -> None:
    with_activity(world)
    found = capacity.show(system(world.site))
    assert found.growth_bytes is not None
    assert 2 * GIB < found.growth_bytes < 4 * GIB
    assert found.full_at is not None
    page = text_of(visitor("operator").page("/"))
    assert "2.9 GiB a day" in page
    assert "300 GiB" in page
