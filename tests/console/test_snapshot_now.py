"""Snapshot now: what is offered, what is said beforehand, and what is asked for."""

import re

from tests.api.support import World

from .support import text_of
from .test_servers import Come, scene, uuid, volume_of, world

__all__ = ["scene", "uuid", "world"]


def plan_of(page: str) -> str:
    return text_of(page.split('id="plan"')[1].split("</section>", maxsplit=1)[0])


def mode(page: str, name: str) -> str:
    """What is said of a mode; the tag of its field comes first."""
    label = page.split(f'value="{name}"', maxsplit=1)[0].rsplit("<label", 1)[1]
    return label + page.split(f'value="{name}"')[1].split("</label>", maxsplit=1)[0]


def test_a_running_server_is_taken_live_as_a_whole(visitor: Come, world: World, uuid: str) -> None:
    page = visitor("alice").page(f"/snapshot-now?server={uuid}")
    plan = plan_of(page)
    assert "The server keeps running." in plan
    assert "frozen for less than a second" in plan
    assert "One recovery point of these volumes" in plan
    assert page.count('type="checkbox" name="volumes"') == 3
    assert "disabled" in mode(page, "offline")
    assert "Not possible:" in text_of("<" + mode(page, "offline"))
    assert "root volume cannot be snapshotted in mode unmounted" in text_of(page)


def test_the_plan_follows_what_is_chosen_with_and_without_scripts(
    visitor: Come, world: World, uuid: str
) -> None:
    alice = visitor("alice")
    form = f"/snapshot-now?server={uuid}"
    fields = {
        "do": "preview",
        "server": uuid,
        "volumes": [volume_of(world, "web", "vdb")],
        "mode": "unmounted",
    }
    whole = alice.post("/snapshot-now", fields, form=form)
    assert whole.status_code == 200
    assert "One snapshot of this volume" in plan_of(whole.text)
    assert "where there is none, the snapshot is refused" in plan_of(whole.text)
    assert not world.site.catalog.jobs.exists()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', whole.text)
    assert token is not None
    part = alice.call(
        "POST",
        "/snapshot-now",
        data={**fields, "mode": "stop-snapshot-start", "csrfmiddlewaretoken": token[1]},
        headers={"HX-Request": "true"},
    ).text
    assert "<html" not in part
    assert 'id="modes" hx-swap-oob="true"' in part
    assert "The server will be stopped for as long as reading its volumes takes" in plan_of(part)
    assert "It is started again whatever becomes of the snapshot." in plan_of(part)


def test_what_is_chosen_is_what_is_asked_for(visitor: Come, world: World, uuid: str) -> None:
    alice = visitor("alice")
    form = f"/snapshot-now?server={uuid}"
    vdb, vdc = (volume_of(world, "web", one) for one in ("vdb", "vdc"))
    for volumes, kind in (
        ([], "recovery-point.create"),
        ([vdb, vdc], "recovery-point.create"),
        ([vdb], "snapshot.create"),
    ):
        fields = {"do": "take", "server": uuid, "volumes": volumes, "mode": "live", "name": "mine"}
        answer = alice.post("/snapshot-now", fields, form=form)
        job = world.site.catalog.jobs.get(job_id=answer.headers["Location"].split("/")[-1])
        assert job.kind == kind
        assert job.params["freeze"] is False
        assert job.params["name"] == "mine"
        assert job.params.get("volumes") or volumes in ([], [vdb])


def test_a_stopped_server_stays_stopped(visitor: Come, world: World) -> None:
    volume = volume_of(world, "db", "vda")
    page = visitor("alice").page(f"/snapshot-now?volume={volume}")
    assert "The server stays stopped." in plan_of(page)
    assert "disabled" in mode(page, "live")
    assert "disabled" in mode(page, "stop-snapshot-start")


def test_the_originals_rules_are_explained_and_kept(visitor: Come, world: World, uuid: str) -> None:
    world.site.catalog.tenants.filter(name="acme").update(policy="kcps-v1")
    alice = visitor("alice")
    page = alice.page(f"/snapshot-now?server={uuid}")
    text = text_of(page)
    assert "One volume a request." in text
    assert "The server has to be stopped" in text
    assert "the start wins" in text
    assert page.count('type="radio" name="volumes"') == 3
    assert "disabled" in mode(page, "live")
    assert "does not allow snapshots in mode" in text_of("<" + mode(page, "live"))
    assert "does not allow hooks" in text
    root = volume_of(world, "web", "vda")
    fields = {"do": "take", "server": uuid, "volumes": [root], "mode": "live"}
    refused = alice.post("/snapshot-now", fields, form=f"/snapshot-now?server={uuid}")
    assert refused.status_code == 409
    assert "does not allow snapshots in mode live" in plan_of(refused.text)
    assert not world.site.catalog.jobs.exists()
    stopped = {**fields, "mode": "stop-snapshot-start"}
    answer = alice.post("/snapshot-now", stopped, form=f"/snapshot-now?server={uuid}")
    job = world.site.catalog.jobs.get(job_id=answer.headers["Location"].split("/")[-1])
    assert (job.kind, job.params["mode"]) == ("snapshot.create", "stop-snapshot-start")
    japanese = text_of(visitor("alice", language="ja").page(f"/snapshot-now?server={uuid}"))
    assert "1回の操作で取得できるのは1ボリュームです" in japanese
    assert "復旧ポイントは使えません" in japanese


def test_a_full_quota_is_said_before(visitor: Come, world: World, uuid: str) -> None:
    world.site.catalog.tenants.filter(name="acme").update(policy_overrides={"quota_snapshots": 2})
    page = visitor("alice").page(f"/snapshot-now?server={uuid}")
    assert "the quota of 2" in plan_of(page)
    assert re.search(r'value="take" disabled', page)


def test_which_server_is_asked_where_none_is_named(visitor: Come, world: World) -> None:
    page = visitor("alice").page("/snapshot-now")
    assert ">web</option>" in page
    assert "hive" not in page
    assert visitor("auditor").get("/snapshot-now").status_code == 403
