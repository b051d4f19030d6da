"""Servers and volumes: what is shown, what is offered to whom, and what is done."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.api.support import World

from dozo.console.servers import drawing
from dozo.model import clock
from dozo.model.job_states import JobState
from dozo.services import inventory

from .servers_scene import LONG, NASTY, Kept, history, make_scene, protect, uuid_of
from .support import Visitor, counted_queries, text_of

Come = Callable[..., Visitor]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[World]:
    """A site with a simulated hypervisor and a peer, for the whole file."""
    with django_db_blocker.unblock():
        made = make_scene(tmp_path_factory.mktemp("servers"))
        yield made
        made.site.close()


@pytest.fixture
def world(scene: World) -> Iterator[World]:
    """The same, as if nothing had been done before."""
    yield scene
    catalog = scene.site.catalog
    for rows in (
        catalog.copies,
        catalog.snapshots,
        catalog.recovery_points,
        catalog.jobs,
        catalog.schedules,
        catalog.volumes.exclude(state="attached"),
    ):
        rows.all().delete()
    catalog.tenants.update(policy="modern", policy_overrides={})
    catalog.servers.update(tags_by_hand=[])
    scene.runner.given.clear()
    inventory.sync(scene.site)


@pytest.fixture
def uuid(world: World) -> str:
    return str(uuid_of(world.site, "web"))


def volume_of(world: World, server: str, device: str) -> str:
    return str(world.site.catalog.volumes.get(server__name=server, device=device).volume_id)


def queries(look: Callable[[], object]) -> int:
    with counted_queries() as seen:
        look()
    return len(seen)


def test_the_list_shows_what_matters_and_only_what_is_theirs(visitor: Come, world: World) -> None:
    schedule = protect(world.site, "web")
    history(world.site, "web", [Kept(at=clock.now() - timedelta(hours=3), schedule=schedule)])
    page = visitor("alice").page("/servers")
    text = text_of(page)
    assert "hive" not in text
    assert LONG in text
    row = text_of(page.split(">web</bdi>")[1].split("</tr>")[0])
    assert "Protected" in row
    assert "Running" in row
    assert "3 hours ago" in row
    assert "dr Verified" in row
    assert "production" in row
    assert "no schedule covers it" in text_of(page.split(">db</bdi>")[1].split("</tr>")[0])
    everything = text_of(visitor("operator").page("/servers"))
    assert "umbrella" in everything
    assert "hive" in everything


def test_filters_are_addresses(visitor: Come, world: World) -> None:
    schedule = protect(world.site, "web")
    history(world.site, "web", [Kept(at=clock.now() - timedelta(hours=3), schedule=schedule)])
    alice = visitor("alice")
    for query, names in (
        ("name=we", {"web"}),
        ("state=running", {"web"}),
        ("tag=web", {"web"}),
        ("protection=protected", {"web"}),
        ("protection=not-protected", {"db", "spare", LONG}),
        ("protection=unprotected&tag=production", {"db"}),
        ("tenant=umbrella", set()),
        ("name=nothing", set()),
    ):
        page = alice.page(f"/servers?{query}")
        found = set(re.findall(r'<th scope="row"><a[^>]*><bdi>([^<]*)</bdi>', page))
        assert found == names, query
        assert names or "No server is like that." in text_of(page)


def test_the_list_asks_no_more_of_the_database_for_more_servers(
    visitor: Come, world: World
) -> None:
    alice = visitor("alice")
    alice.page("/servers")
    few = queries(lambda: alice.page("/servers"))
    catalog = world.site.catalog
    tenant = catalog.tenants.get(name="acme")
    for number in range(40):
        row = catalog.servers.create(
            uuid=f"{number:032x}",
            name=f"more-{number}",
            tenant=tenant,
            present=True,
            state="running",
        )
        catalog.volumes.create(
            name=f"more-{number}-vda", tenant=tenant, server=row, device="vda", state="attached"
        )
        history(world.site, f"more-{number}", [Kept(at=clock.now() - timedelta(hours=number))])
    many = queries(lambda: alice.page("/servers"))
    assert few <= many <= few + 2
    assert many < 40


def test_another_tenants_server_is_as_one_that_does_not_exist(visitor: Come, world: World) -> None:
    hive = uuid_of(world.site, "hive")
    alice = visitor("alice")
    for page in ("", "/stop", "/start", "/delete", "/live"):
        theirs = alice.get(f"/servers/{hive}{page}")
        none = alice.get(f"/servers/{'0' * 8}-0000-4000-8000-000000000000{page}")
        assert theirs.status_code == none.status_code == 404
        assert "hive" not in text_of(theirs.text)
    volume = volume_of(world, "hive", "vda")
    for page in ("", "/attach", "/detach", "/delete"):
        assert alice.get(f"/volumes/{volume}{page}").status_code == 404
    assert alice.get(f"/snapshot-now?server={hive}").status_code == 404
    assert alice.get(f"/snapshot-now?volume={volume}").status_code == 404


def test_members_are_not_offered_what_they_may_not_do(
    visitor: Come, world: World, uuid: str
) -> None:
    page = visitor("adam").page(f"/servers/{uuid}")
    assert f"/servers/{uuid}/stop" in page
    assert f"/servers/{uuid}/delete" not in page
    assert f"/servers/{uuid}/tags" not in page
    assert visitor("adam").get(f"/servers/{uuid}/delete").status_code == 403
    auditor = visitor("auditor").page(f"/servers/{uuid}")
    for what in ("stop", "tags", "tracking", "delete"):
        assert f"/servers/{uuid}/{what}" not in auditor
    assert "/snapshot-now" not in auditor
    assert visitor("auditor").get(f"/servers/{uuid}/stop").status_code == 403


def test_the_timeline_draws_points_across_the_lanes_and_says_the_same_in_a_table(
    visitor: Come, world: World, uuid: str
) -> None:
    now = clock.now()
    history(
        world.site,
        "web",
        [
            Kept(at=now - timedelta(hours=6), there="copying"),
            Kept(at=now - timedelta(hours=30), point=False, devices=["vdb"], mode="unmounted"),
        ],
    )
    page = visitor("alice").page(f"/servers/{uuid}?zoom=week")
    picture = page.split('<svg class="chart lanes"')[1].split("</svg></div>")[0]
    assert "style=" not in page
    assert picture.count('class="mark"') == 2
    assert picture.count('class="point"') == 1
    assert picture.count('<g class="dot live') == 3
    assert picture.count('<g class="dot unmounted') == 1
    assert 'class="half copying"' in picture
    assert re.search(
        r'<a class="mark" href="/recovery-points/\w+" aria-label="Recovery point', picture
    )
    assert re.search(r'<a class="mark" href="/snapshots/\w+" aria-label="Snapshot of', picture)
    assert "dr: Copying" in picture
    table = text_of(page.split('id="instants"')[1].split("</details>")[0])
    assert "Unmounted" in table
    assert "Copying" in table
    part = visitor("alice").get(
        f"/servers/{uuid}?zoom=month", headers={"HX-Request": "true", "HX-Target": "timeline"}
    )
    assert part.text.lstrip().startswith('<section class="card timeline"')


def test_a_dense_timeline_is_gathered_and_leads_closer(
    visitor: Come, world: World, uuid: str
) -> None:
    now = clock.now()
    history(world.site, "web", [Kept(at=now - timedelta(hours=one)) for one in range(1, 700)])
    alice = visitor("alice")
    alice.page(f"/servers/{uuid}")
    page = alice.page(f"/servers/{uuid}?zoom=all")
    assert page.count('class="mark"') <= drawing.WIDTH / 19
    assert 'href="?zoom=month&amp;at=' in page
    assert "look closer" in page
    assert len(page) < 250_000
    assert queries(lambda: alice.page(f"/servers/{uuid}?zoom=all")) < 45


def test_a_servers_page_escapes_what_people_named(visitor: Come, world: World, uuid: str) -> None:
    catalog = world.site.catalog
    catalog.servers.filter(uuid=uuid).update(name=NASTY)
    catalog.volumes.filter(server_id=uuid, device="vdb").update(name=f"{NASTY}-vdb")
    history(world.site, NASTY, [Kept(at=clock.now() - timedelta(hours=1))])
    for address in ("/servers", f"/servers/{uuid}", "/volumes", f"/servers/{uuid}/stop"):
        page = visitor("alice").page(address)
        assert "<script>alert" not in page, address
        assert "&lt;script&gt;alert(1)" in page, address


def test_running_jobs_are_shown_live(visitor: Come, world: World, uuid: str) -> None:
    alice = visitor("alice")
    answer = alice.post(
        "/snapshot-now",
        {"do": "take", "server": uuid, "mode": "live", "freeze": "on"},
        form=f"/snapshot-now?server={uuid}",
    )
    job = answer.headers["Location"].removeprefix("/jobs/")
    live = alice.get(f"/servers/{uuid}/live", headers={"HX-Request": "true"}).text
    assert f"/jobs/{job}" in live
    assert "every 3s" in live
    assert "Running now" in alice.page(f"/servers/{uuid}")
    world.run_jobs()
    assert world.site.catalog.jobs.get(job_id=job).state == JobState.DONE
    live = alice.get(f"/servers/{uuid}/live", headers={"HX-Request": "true"}).text
    assert "Running now" not in live


def test_stopping_says_what_happens_and_force_needs_the_name(
    visitor: Come, world: World, uuid: str
) -> None:
    alice = visitor("alice")
    form = f"/servers/{uuid}/stop"
    assert "keeps running, and the job fails" in text_of(alice.page(form))
    refused = alice.post(form, {"force": "1", "confirm": "wep", "timeout_seconds": "5"}, form=form)
    assert refused.status_code == 409
    assert "has to be confirmed" in text_of(refused.text)
    assert not world.site.catalog.jobs.exists()
    for fields in ({"timeout_seconds": "5"}, {"force": "1", "confirm": "web"}):
        answer = alice.post(form, fields, form=form)
        assert answer.headers["Location"].startswith(f"/servers/{uuid}?note=asked")
    gentle, forced = world.site.catalog.jobs.order_by("created_at")
    assert (gentle.params["timeout_seconds"], gentle.params.get("force")) == (5, None)
    assert forced.params["force"] is True


def test_a_form_that_is_sent_twice_asks_once(visitor: Come, world: World) -> None:
    db = uuid_of(world.site, "db")
    alice = visitor("alice")
    form = f"/servers/{db}/start"
    for _ in range(2):
        alice.post(form, {"once": "same"}, form=form)
    assert world.site.catalog.jobs.count() == 1


def test_tags_change_by_what_was_changed(visitor: Come, world: World, uuid: str) -> None:
    alice = visitor("alice")
    page = f"/servers/{uuid}"
    alice.post(f"{page}/tags", {"before": "", "tags": "gold, silver"}, form=page)
    world.site.catalog.servers.filter(uuid=uuid).update(tags_by_hand=["gold", "iron", "silver"])
    alice.post(f"{page}/tags", {"before": "gold silver", "tags": "gold"}, form=page)
    row = world.site.catalog.servers.get(uuid=uuid)
    assert row.tags_by_hand == ["gold", "iron"]
    assert "production" in row.tags
    wrong = alice.post(f"{page}/tags", {"before": "", "tags": "no/slash"}, form=page)
    assert wrong.status_code == 422


def test_tracking_is_set_by_hand(visitor: Come, world: World, uuid: str) -> None:
    page = f"/servers/{uuid}"
    visitor("alice").post(f"{page}/tracking", {"tracking": "off"}, form=page)
    assert world.site.catalog.servers.get(uuid=uuid).tracking == "off"
    assert "Off: every snapshot" in text_of(visitor("alice").page(page))


def test_deleting_a_server_needs_its_name_and_that_it_is_stopped(
    visitor: Come, world: World, uuid: str
) -> None:
    alice = visitor("alice")
    form = f"/servers/{uuid}/delete"
    assert alice.post(form, {"confirm": "we"}, form=form).status_code == 409
    running = alice.post(form, {"confirm": "web"}, form=form)
    assert running.status_code == 409
    spare = uuid_of(world.site, "spare")
    form = f"/servers/{spare}/delete"
    answer = alice.post(form, {"confirm": "spare"}, form=form)
    assert answer.headers["Location"] == "/servers?note=deleted"
    assert not world.site.catalog.servers.filter(uuid=spare, present=True).exists()


def test_both_languages_say_it_whole(visitor: Come, world: World, uuid: str) -> None:
    history(world.site, "web", [Kept(at=clock.now() - timedelta(hours=6), there="stored")])
    page = text_of(visitor("alice", language="ja").page(f"/servers/{uuid}"))
    for said in (
        "今すぐスナップショット取得",
        "タイムライン",
        "保存済み（未検証）",
        "OS起動ボリューム",
    ):
        assert said in page
    assert "稼働し続け" in text_of(visitor("alice", language="ja").page(f"/servers/{uuid}/stop"))
