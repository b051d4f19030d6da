"""Restoring through the console: the four steps, all at once, in place; seen before done."""

import html
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.api.support import World, make_world
from tests.services.support import befriend, make_site
from tests.support.simulated import Simulation, simulate

from dozo.services import replicate, tenants
from dozo.services.access import Actor, Scope

from .restoring import furnish
from .support import Visitor, counted_queries, text_of

Come = Callable[..., Visitor]


# One world for all: each test that changes something has a server of its own in it.
@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Iterator[tuple[World, Simulation]]:
    folder = tmp_path_factory.mktemp("house")
    made = simulate(folder / "simulated")
    with django_db_blocker.unblock(), make_site(folder, "main", libvirt=made.uri) as site:
        yield make_world(site), made
    made.host.close()


@pytest.fixture
def world(house: tuple[World, Simulation]) -> World:
    return house[0]


@pytest.fixture
def furnished(house: tuple[World, Simulation]) -> Callable[..., str]:
    def make(name: str, tenant: str = "acme") -> str:
        return furnish(house[0].site, house[1].host, server=name, tenant=tenant)

    return make


@pytest.fixture(scope="module")
def shop(house: tuple[World, Simulation], django_db_blocker: Any) -> str:
    with django_db_blocker.unblock():
        return furnish(house[0].site, house[1].host)


def snapshot(world: World, name: str) -> str:
    return str(world.site.catalog.snapshots.get(name=name).snapshot_id)


def send(browser: Visitor, address: str) -> str:
    """Send the form that acts, as it stands on a page; where it leads."""
    page = browser.page(address)
    pattern = r'<form method="post" action="(/restore/[^"]+)"[^>]*>(.*?)</form>'
    form = re.search(pattern, page, re.DOTALL)
    assert form is not None, text_of(page)
    tags = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[2])
    data: dict[str, list[str]] = {}
    for name, value in tags:
        data.setdefault(name, []).append(html.unescape(value))
    if "data-confirm" in form[2]:
        data["confirm"] = [re.findall(r'data-confirm="([^"]+)"', form[2])[0]]
    answer = browser.call("POST", form[1], data=data)
    assert answer.status_code == 302, (answer.status_code, text_of(answer.text))
    return answer.headers["Location"]


def kcps(world: World) -> None:
    operator = Scope(world.site, Actor.system("test"))
    tenants.set_policy(operator, "umbrella", preset="kcps-v1", overrides={})


def test_the_four_steps_lead_to_a_server_under_the_original_services_rules(
    visitor: Come, world: World, furnished: Callable[..., str]
) -> None:
    kcps(world)
    shop = furnished("till", "umbrella")
    ulla = visitor("ulla")
    begin = text_of(ulla.page(f"/restore?server={shop}"))
    assert "does not allow it. The four steps lead to the same server." in begin
    assert ulla.get(f"/restore/server?server={shop}&check=1&name=x&from=time").status_code == 409

    first = f"/restore/template?server={shop}"
    root = snapshot(world, "till-point-vda")
    assert root in ulla.page(first)
    second = send(ulla, f"{first}&check=1&root={root}&name=golden")
    assert second.startswith("/restore/new-server?")
    assert "This page goes on by itself" in text_of(ulla.page(second))
    world.run_jobs()
    page = ulla.page(second)
    assert "golden" in page
    template = world.site.catalog.templates.get(name="golden").snapshot_id
    third = send(ulla, f"{second}&template={template}&check=1&name=till-2&network=same")
    assert third.startswith("/restore/volumes?")
    world.run_jobs()
    assert 'value="till-2-vdb"' in ulla.page(third)
    data = snapshot(world, "till-point-vdb")
    fourth = send(ulla, f"{third}&check=1&disk-vdb={data}&name-vdb=till-2-data&format=raw")
    assert fourth.startswith("/restore/attach?")
    world.run_jobs()
    volume = world.site.catalog.volumes.get(name="till-2-data")
    assert "till-2-data" in ulla.page(fourth)
    last = send(ulla, f"{fourth}&check=1&attach={volume.volume_id}")
    end = text_of(ulla.page(last))
    assert "All volumes are attached" in end
    assert "Start the server" in end
    volume.refresh_from_db()
    assert volume.server.name == "till-2"
    assert volume.device == "vdb"


def test_a_whole_server_is_restored_exactly_as_its_plan_showed(
    visitor: Come, world: World, shop: str
) -> None:
    alice = visitor("alice")
    asked = {"server": shop, "check": "1", "from": "time", "at": "2100-01-01T00:00"}
    how = {"name": "shop-2", "identity": "copy", "network": "isolated", "start": "1"}
    address = "/restore/server?" + urlencode({**asked, **how})
    says = text_of(alice.page(address))
    assert "A new server shop-2 is made at main." in says
    assert "The server shop and its volumes are not touched." in says
    assert "All volumes are from the same instant." in says
    before = world.site.catalog.jobs.count()
    where = send(alice, address)
    assert world.site.catalog.jobs.count() == before + 1
    row = world.site.catalog.jobs.get(job_id=where.removeprefix("/jobs/"))
    assert sorted(row.params["snapshots"]) == sorted(
        snapshot(world, f"shop-point-{one}") for one in ("vda", "vdb")
    )
    world.run_jobs()
    made = world.site.catalog.servers.get(name="shop-2")
    assert (made.state, made.tenant.name) == ("running", "acme")


def test_a_form_sent_twice_restores_once(visitor: Come, world: World, shop: str) -> None:
    alice = visitor("alice")
    point = world.site.catalog.recovery_points.get(name="shop-point").recovery_point_id
    address = f"/restore/server?server={shop}&check=1&from=point&recovery_point={point}&name=two"
    page = alice.page(address)
    form = page[page.index('<form method="post" action="/restore/server">') :]
    form = form[: form.index("</form>")]
    data = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form))
    before = world.site.catalog.jobs.count()
    answers = [alice.call("POST", "/restore/server", data=data) for _ in range(2)]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert world.site.catalog.jobs.count() == before + 1


def test_what_is_refused_is_said_beside_the_form_and_keeps_what_was_typed(
    visitor: Come, world: World, shop: str
) -> None:
    alice = visitor("alice")
    asked = f"/restore/server?server={shop}&check=1&from=time&at=2100-01-01T00:00"
    answer = alice.get(f"{asked}&name=shop&identity=copy")
    assert answer.status_code == 409
    assert 'role="alert"' in answer.text
    assert 'name="name" value="shop"' in answer.text
    keep = alice.get(f"{asked}&identity=keep")
    assert keep.status_code == 409
    assert "Restore now" not in keep.text
    nothing = alice.get(f"/restore/server?server={shop}&check=1&from=each&disk-vda=&disk-vdb=")
    assert nothing.status_code in {409, 422}
    assert alice.get(f"{asked}&name=x&at=never").status_code in {200, 409, 422}


def test_in_place_asks_for_the_name_and_overwrites_nothing_without(
    visitor: Come, world: World, furnished: Callable[..., str], house: tuple[World, Simulation]
) -> None:
    alice = visitor("alice")
    shop = furnished("desk")
    volume = world.site.catalog.volumes.get(server_id=shop, device="vdb")
    data = snapshot(world, "desk-point-vdb")
    address = f"/restore/in-place?volume={volume.volume_id}&put_back={data}&check=1"
    says = text_of(alice.page(address))
    assert f"What is on volume {volume.name} now is overwritten." in says
    assert "A safety snapshot of what is there now is taken." in says
    fields = {"volume": str(volume.volume_id), "put_back": data, "confirm": "wrong"}
    assert alice.post("/restore/in-place", fields, form=address).status_code in {409, 422}
    assert not world.site.catalog.jobs.filter(kind="volume.restore").exists()
    where = send(alice, address)
    world.run_jobs()
    row = world.site.catalog.jobs.get(kind="volume.restore")
    assert where == f"/jobs/{row.job_id}"
    assert row.state == "done"
    assert world.site.catalog.snapshots.filter(snapshot_id=row.result["safety_snapshot"]).exists()
    house[1].host.start("desk")
    running = alice.get(address)
    assert running.status_code == 409
    assert "to stop it" in text_of(running.text)


def test_an_interrupted_one_can_be_finished_or_taken_back(
    visitor: Come, world: World, furnished: Callable[..., str]
) -> None:
    shop = furnished("shed")
    volume = world.site.catalog.volumes.get(server_id=shop, device="vdb")
    data = snapshot(world, "shed-point-vdb")
    volume.restoring_snapshot = volume.safety_snapshot = data
    volume.save(using=world.site.catalog.alias)
    alice = visitor("alice")
    page = alice.page(f"/restore/in-place?volume={volume.volume_id}")
    assert "A restore of this volume was interrupted" in text_of(page)
    for way, says in (("resume", "Finish the restore"), ("go-back", "Take the restore back")):
        address = f"/restore/in-place?volume={volume.volume_id}&take_up={way}&check=1"
        assert says in text_of(alice.page(address))


@pytest.mark.parametrize(
    "address",
    [
        "/restore?server={hive}",
        "/restore?snapshot={theirs}",
        "/restore/server?server={hive}",
        "/restore/template?server={hive}",
        "/restore/template?snapshot={theirs}",
        "/restore/volumes?snapshot={theirs}",
        "/restore/in-place?volume={disk}",
        "/restore/attach?volume={disk}",
        "/restore/attach?made={hive}",
        "/restore/new-server?template_job=0123",
    ],
)
def test_what_is_anothers_is_not_there(visitor: Come, world: World, address: str) -> None:
    hive = world.site.catalog.servers.get(name="hive")
    disk = world.site.catalog.volumes.get(server=hive)
    theirs = world.snapshots["hive0"]
    filled = address.format(hive=hive.uuid, theirs=theirs, disk=disk.volume_id)
    assert visitor("alice").get(filled).status_code == 404
    if "job" not in address and "made" not in address:
        assert visitor("ulla").get(filled).status_code in {200, 302}


def test_an_auditor_looks_but_is_offered_nothing(visitor: Come, world: World, shop: str) -> None:
    auditor = visitor("auditor")
    page = auditor.page(f"/restore?server={shop}")
    assert "Restore the whole server…" not in page
    assert "Begin with step 1" not in page
    assert auditor.get(f"/restore/server?server={shop}").status_code == 403
    assert auditor.get(f"/restore/template?server={shop}").status_code == 403


def test_names_are_escaped_and_pages_are_japanese(visitor: Come, world: World, shop: str) -> None:
    named = world.site.catalog.servers.filter(uuid=shop)
    named.update(name="<script>x</script>")
    alice = visitor("alice", language="ja")
    for address in (
        "/restore",
        f"/restore?server={shop}",
        f"/restore/server?server={shop}",
        f"/restore/template?server={shop}",
        f"/restore/volumes?server={shop}",
        "/restore/attach",
    ):
        page = alice.page(address)
        assert "<script>x" not in page
        assert "リストア" in text_of(page)
    named.update(name="shop")


def test_a_snapshot_of_no_server_becomes_a_volume(visitor: Come, world: World) -> None:
    one = world.snapshots["web0"]
    world.site.catalog.snapshots.filter(snapshot_id=one).update(server=None, volume=None)
    page = visitor("alice").page(f"/restore?snapshot={quote(one)}")
    assert "Make a new volume" in page


def test_the_number_of_queries_does_not_grow_with_snapshots(
    visitor: Come, world: World, shop: str
) -> None:
    alice = visitor("alice")
    one = world.site.catalog.snapshots.get(name="shop-point-vdb")
    same = {field.attname: getattr(one, field.attname) for field in one._meta.fields}
    world.site.catalog.snapshots.bulk_create(
        type(one)(**{**same, "snapshot_id": f"{number:032x}"}) for number in range(200)
    )
    with counted_queries() as seen:
        alice.page(f"/restore?server={shop}")
    assert len(seen) <= 25


def test_a_job_leads_on_to_the_next_step(visitor: Come, world: World, shop: str) -> None:
    alice = visitor("alice")
    root = snapshot(world, "shop-point-vda")
    address = f"/restore/template?server={shop}&check=1&root={root}&name=led"
    send(alice, address)
    world.run_jobs()
    job = world.site.catalog.jobs.filter(kind="template.create", title__contains="led").get()
    made = world.site.catalog.templates.get(name="led").snapshot_id
    page = html.unescape(alice.page(f"/jobs/{job.job_id}"))
    assert f"/restore/new-server?template={made}&server={shop}" in page


def test_at_the_other_site_a_policy_decides_and_the_original_comes_back(
    world: World, furnished: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    shop = furnished("kiosk")
    folder = tmp_path_factory.mktemp("dr")
    there = simulate(folder / "simulated")
    with make_site(folder, "dr", libvirt=there.uri) as dr:
        befriend(world.site, dr)
        ids = [snapshot(world, f"kiosk-point-{one}") for one in ("vda", "vdb")]
        replicate.copy(world.site, replicate.peer_or_only(world.site, "dr"), ids)
        other = make_world(dr)
        replicate.sync(dr)
        ruth = Visitor(world=other)
        ruth.enter("alice")
        form = ruth.page(f"/restore/server?server={shop}")
        assert 'value="keep" checked' in form
        address = f"/restore/server?server={shop}&check=1&from=time&identity=keep"
        says = text_of(ruth.page(address))
        assert "The server kiosk is made again at dr" in says
        assert "Make sure that the original does not run at the other site" in says
        operator = Scope(dr, Actor.system("test"))
        tenants.set_policy(operator, "acme", preset="modern", overrides={"restore_sites": "origin"})
        refused = text_of(ruth.page(f"/restore/server?server={shop}"))
        assert "restoring it only at main, which took it" in refused
        assert ruth.get(f"{address}&at=2100-01-01T00:00").status_code == 409
    there.host.close()
