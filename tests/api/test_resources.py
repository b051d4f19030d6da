"""Lists in pages, versions, confirmations, and how many questions a list asks the database."""

from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from tests.services.access_support import add_server
from tests.services.support import MadeServer, later, random_bytes, store

from dozo.services import schedules, tenants, views
from dozo.services.access import Actor, Scope

from .support import World
from .test_basics import problem
from .test_endpoints import SCHEDULE


def pages(world: World, path: str, limit: int, who: str = "operator") -> list[list[Any]]:
    found, cursor = [], ""
    while True:
        joint = "&" if "?" in path else "?"
        query = f"{path}{joint}limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        body = world.get(query, who).json()
        found.append(body["items"])
        cursor = body["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize(
    "sort", ["created_at", "-created_at", "name", "-name", "bytes_volume", "-bytes_volume"]
)
def test_pages_show_everything_once_in_order(world: World, sort: str) -> None:
    whole = world.get(f"/snapshots?sort={sort}").json()
    assert whole["total"] == len(whole["items"]) == 6
    parts = pages(world, f"/snapshots?sort={sort}", 2)
    assert [len(part) for part in parts] == [2, 2, 2]
    flat = [one["snapshot"] for part in parts for one in part]
    assert flat == [one["snapshot"] for one in whole["items"]]
    name = sort.removeprefix("-")
    values = [one[name] for one in whole["items"]]
    assert values == sorted(values, reverse=sort.startswith("-"))


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
def test_snapshots_of_one_instant_come_in_the_order_of_their_names(world: World, sort: str) -> None:
    world.site.catalog.snapshots.update(created_at=later(0))
    for number in range(3):
        uuid = world.site.catalog.servers.get(name="web").uuid
        volume = world.site.catalog.volumes.get(server_id=uuid)
        made = MadeServer(name="web", uuid=uuid, volume_ids={"vda": volume.volume_id})
        store(world.site, made, "vda", random_bytes(number, 512), name="same", at=later(0))
    whole = world.get(f"/snapshots?sort={sort}").json()["items"]
    names = [one["name"] for one in whole]
    assert names == sorted(names)
    flat = [one["snapshot"] for part in pages(world, f"/snapshots?sort={sort}", 2) for one in part]
    assert flat == [one["snapshot"] for one in whole]


def test_what_comes_and_goes_moves_no_other_row(world: World) -> None:
    first = world.get("/snapshots?limit=2").json()
    before = [one["snapshot"] for one in world.get("/snapshots").json()["items"]]
    # One that is newer than the page, and one of the page goes.
    uuid = world.site.catalog.servers.get(name="web").uuid
    volume = world.site.catalog.volumes.get(server_id=uuid)
    made = MadeServer(name="web", uuid=uuid, volume_ids={"vda": volume.volume_id})
    store(world.site, made, "vda", random_bytes(9, 4096), name="new", at=later(50))
    gone = {"snapshots": [first["items"][0]["snapshot"]]}
    assert world.post("/snapshots/delete", gone).status_code == 200
    rest = []
    cursor = first["next_cursor"]
    while cursor:
        body = world.get(f"/snapshots?limit=2&cursor={cursor}").json()
        rest += [one["snapshot"] for one in body["items"]]
        cursor = body["next_cursor"]
    assert rest == before[2:]


@pytest.mark.parametrize("cursor", ["x", "e30", "W10", "WyJuYW1lIiwgMSwgMl0", "A" * 1000])
def test_a_cursor_that_no_list_gave(world: World, cursor: str) -> None:
    problem(world.get(f"/snapshots?cursor={cursor}"), 400, "api.cursor_invalid")


def test_a_cursor_belongs_to_its_order(world: World) -> None:
    cursor = world.get("/snapshots?limit=1&sort=name").json()["next_cursor"]
    problem(world.get(f"/snapshots?limit=1&cursor={cursor}"), 400, "api.cursor_invalid")


def test_lists_are_filtered(world: World) -> None:
    def names(path: str) -> set[str]:
        return {one["name"] for one in world.get(path).json()["items"]}

    assert names("/snapshots?server=web") == {"web-0", "web-1", "web-2"}
    assert names("/snapshots?name=hive&tenant=umbrella") == {"hive-0", "hive-1", "hive-2"}
    assert names("/snapshots?since=2026-02-01T12:00:00Z&server=web") == {"web-1", "web-2"}
    assert names("/snapshots?until=2026-02-01T12:00:00%2B00:00&server=web") == {"web-0"}
    world.call("PUT", "/servers/web/tags", json={"tags": ["gold"]})
    assert names("/servers?tag=gold") == {"web"}
    assert names("/servers?tag=go") == set()
    assert names("/volumes?server=hive") == {"hive-vda"}
    problem(world.get("/snapshots?server=nothing"), 404, "catalog.server_unknown")
    problem(world.get("/snapshots?since=2026-02-01T12:00:00"), 422, "api.request_invalid")


def test_deleting_more_than_one_needs_their_number(world: World) -> None:
    ids = [world.snapshots["web0"], world.snapshots["web1"]]
    problem(world.post("/snapshots/delete", {"snapshots": ids}), 409, "request.count_not_confirmed")
    wrong = {"snapshots": ids, "confirm_count": 3}
    problem(world.post("/snapshots/delete", wrong), 409, "request.count_not_confirmed")
    right = {"snapshots": ids, "confirm_count": 2}
    assert world.post("/snapshots/delete", right, "alice").json() == {"done": ids}
    assert world.get("/snapshots?server=web").json()["total"] == 1
    assert world.get("/snapshots?server=web&deleted=true").json()["total"] == 3
    # In the vault they are the default tenant's: `make_world` says otherwise in the catalog alone.
    assert world.post("/snapshots/undelete", {"snapshots": ids}).status_code == 200
    assert world.get("/snapshots?server=web").json()["total"] == 3


def test_a_held_snapshot_is_not_deleted(world: World) -> None:
    hold = {"until": "2040-01-01T00:00:00Z", "note": "law"}
    path = f"/snapshots/{world.snapshots['web0']}/holds"
    assert world.post(path, hold, "alice").status_code == 201
    problem(world.post(path, hold, "adam"), 403, "access.forbidden")
    assert world.get("/holds", "adam").json()[0]["note"] == "law"
    assert world.get("/holds", "ulla").json() == []
    body = {"snapshots": [world.snapshots["web0"]]}
    assert world.post("/snapshots/delete", body, "alice").status_code == 409


def test_deleting_a_volume_needs_its_name(world: World) -> None:
    problem(world.call("DELETE", "/volumes/web-vda"), 409, "request.not_confirmed")
    problem(world.call("DELETE", "/volumes/web-vda?confirm=web"), 409, "request.not_confirmed")
    response = world.call("DELETE", "/volumes/web-vda?confirm=web-vda")
    problem(response, 503, "hypervisor.libvirt_unavailable")


def test_a_volume_goes_to_no_server_of_another_tenant(world: World) -> None:
    body = {"server": "hive"}
    problem(world.post("/volumes/web-vda/attach", body), 409, "volume.other_tenant")
    problem(world.post("/volumes/web-vda/attach", body, "alice"), 404, "catalog.server_unknown")


def test_a_key_is_never_read_from_a_path(world: World) -> None:
    peer = {"name": "dr", "vault": "/v", "public_key": "/etc/hostname"}
    problem(world.post("/site/peers", peer), 422, "api.request_invalid")


@pytest.mark.parametrize(
    ("path", "method", "change", "code"),
    [
        ("/schedules/nightly", "PATCH", {"enabled": False}, "schedule.changed"),
        ("/users/adam", "PATCH", {"display_name": "A"}, "user.changed"),
        ("/tenants/acme/policy", "PUT", {"preset": "kcps-v1"}, "policy.changed"),
    ],
)
def test_whoever_was_slower_learns_of_it(
    world: World, path: str, method: str, change: dict[str, Any], code: str
) -> None:
    world.post("/schedules", SCHEDULE)
    read = world.get(path).headers["etag"]
    headers = {"If-Match": read}
    done = world.call(method, path, json=change, headers=headers)
    assert done.status_code == 200, done.text
    assert done.headers["etag"] != read
    problem(world.call(method, path, json=change, headers=headers), 412, code)
    again = {"If-Match": done.headers["etag"]}
    assert world.call(method, path, json=change, headers=again).status_code == 200


def test_a_schedule_is_run_now(world: World) -> None:
    assert world.post("/schedules", SCHEDULE, "alice").status_code == 201
    planned = world.get("/schedules/nightly", "alice").json()["next_at"]
    (run,) = world.post("/schedules/nightly/run", {}, "adam").json()
    assert run["outcome"] == "started"
    assert run["target_name"] == "server web"
    job = world.get(f"/jobs/{run['jobs'][0]}", "alice").json()
    assert (job["kind"], job["object_name"]) == ("recovery-point.create", "web")
    assert world.get("/schedules/nightly/runs", "alice").json()["items"] == [run]
    assert world.get("/schedules/nightly", "alice").json()["next_at"] == planned
    # While one goes on or waits, the next is skipped as the schedule says.
    problem(world.post("/schedules/nightly/run", {}, "ulla"), 404, "schedule.unknown")
    problem(world.post("/schedules/nightly/run", {}, "auditor"), 403, "access.forbidden")


def test_the_overview_shows_what_the_asker_may_see(world: World) -> None:
    everything = world.get("/overview").json()
    mine = world.get("/overview", "ulla").json()
    assert (everything["servers"]["unprotected"], mine["servers"]["unprotected"]) == (2, 1)
    assert (everything["snapshots"], mine["snapshots"]) == (6, 3)
    assert {one["name"] for one in mine["attention"]} == {"hive"}
    assert sum(mine["copies"]["main"].values()) == 3


def test_settings_hold_no_secret(world: World) -> None:
    object.__setattr__(world.site.settings, "notify", ("mailto://me:hunter2@mail.example",))
    object.__setattr__(world.site.settings, "database", "postgresql://dozo:hunter2@db/dozo")
    body = world.get("/settings").json()
    assert "hunter2" not in str(body)
    assert (body["notify"], body["database"]) == (["mailto"], "postgresql://…@db/dozo")


def test_the_export_is_the_whole_trail(world: World) -> None:
    lines = world.get("/audit/export").text.splitlines()
    assert len(lines) == world.site.catalog.audit_entries.count()
    mine = world.get("/audit/export", "alice").text
    assert "umbrella" not in mine
    problem(world.get("/audit/export", "adam"), 403, "access.forbidden")
    assert world.get("/audit?sort=sequence&limit=1").json()["items"][0]["sequence"] == 1


def test_a_list_asks_as_much_for_many_as_for_few(world: World) -> None:
    site = world.site
    scope = Scope(site, Actor.system())

    def asked() -> list[int]:
        counts = []
        servers = list(site.catalog.servers.select_related("tenant"))
        volumes = list(site.catalog.volumes.select_related("server"))
        for ask in (
            lambda: views.server_views(site, servers),
            lambda: views.volume_views(site, volumes),
            lambda: views.recovery_point_views(
                site, site.catalog.recovery_points.select_related("server")
            ),
            lambda: tenants.tenant_views(scope, site.catalog.tenants),
            lambda: schedules.views(scope, site.catalog.schedules.select_related("tenant")),
        ):
            with CaptureQueriesContext(connections[site.catalog.alias]) as seen:
                ask()
            counts.append(len(seen))
        return counts

    world.post("/schedules", SCHEDULE)
    few = asked()
    for number in range(10):
        add_server(site, f"more{number}", f"tenant{number}")
        body = {**SCHEDULE, "name": f"s{number}", "server": f"more{number}"}
        assert world.post("/schedules", body).status_code == 201
    assert asked() == few
