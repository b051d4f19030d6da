"""Every operation of the API: documented, permitted, and known by a request that it answers."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dozo.api.root import description
from dozo.services import accounts, login
from dozo.services.access import Operation, Scope
from dozo.services.access_rules import NOT_BY_TOKEN

from .support import World, token_for

ROOT = Path(__file__).parents[2]
SCHEDULE = {
    "name": "nightly",
    "server": "web",
    "timing": {"kind": "daily", "hour": 1, "minute": 30, "zone": "Asia/Tokyo"},
    "keep": {"count": 7},
}

# A request for each operation, and what an operator gets. Paths are filled in from `facts`.
EXAMPLES: dict[str, tuple[str, Any, set[int]]] = {
    "show_account": ("/account", None, {200}),
    "update_account": ("/account", {"language": "ja"}, {200}),
    "change_password": ("/account/password", {"old": "x", "new": "y"}, {401}),
    "show_second_factor": ("/account/second-factor", None, {200}),
    "begin_second_factor": ("/account/second-factor", {}, {201}),
    "confirm_second_factor": ("/account/second-factor/confirm", {"code": "1"}, {409, 400}),
    "remove_second_factor": ("/account/second-factor/remove", {"password": "x"}, {401}),
    "list_tokens": ("/tokens", None, {200}),
    "create_token": ("/tokens", {"name": "x", "scopes": ["*"]}, {201}),
    "revoke_token": ("/tokens/0123456789", None, {404}),
    "list_servers": ("/servers", None, {200}),
    "create_server": ("/servers", {"template": "gold", "name": "new"}, {409, 503}),
    "restore_server": (
        "/servers/restore",
        {"server": "web", "identity": "copy", "name": "new"},
        {409, 503},
    ),
    "start_server": ("/servers/web/start", {}, {202}),
    "stop_server": ("/servers/web/stop", {}, {202}),
    "untrack_server": ("/servers/web/untrack", {}, {202}),
    "set_tracking": ("/servers/web/tracking", {"tracking": "off"}, {503}),
    "set_tags": ("/servers/web/tags", {"tags": ["gold"]}, {200}),
    "set_tenant": ("/servers/web/tenant", {"tenant": "acme"}, {200}),
    "show_server_protection": ("/servers/web/protection", None, {200}),
    "show_server": ("/servers/web", None, {200}),
    "delete_server": ("/servers/web", None, {409}),
    "list_volumes": ("/volumes", None, {200}),
    "create_volume": ("/volumes", {"snapshot": "{snapshot}", "name": "new"}, {202, 503}),
    "attach_volume": ("/volumes/web-vda/attach", {"server": "web"}, {503}),
    "detach_volume": ("/volumes/web%2Fvda/detach", {"server": "web"}, {503}),
    "restore_volume": ("/volumes/web/vda/restore", {"snapshot": "{snapshot}"}, {503}),
    "show_volume": ("/volumes/web%2Fvda", None, {200}),
    "delete_volume": ("/volumes/web-vda", None, {409}),
    "list_snapshots": ("/snapshots", None, {200}),
    "create_snapshot": ("/snapshots", {"volume": "web-vda"}, {503}),
    "delete_snapshots": ("/snapshots/delete", {"snapshots": ["{snapshot}"]}, {200}),
    "undelete_snapshots": ("/snapshots/undelete", {"snapshots": ["{snapshot}"]}, {200}),
    "verify_snapshots": ("/snapshots/verify", {"snapshots": ["{snapshot}"]}, {202}),
    "copy_snapshots": ("/snapshots/copy", {"snapshots": ["{snapshot}"]}, {404}),
    "list_snapshot_holds": ("/snapshots/{snapshot}/holds", None, {200}),
    "create_hold": (
        "/snapshots/{other}/holds",
        {"until": "2030-01-01T00:00:00Z", "note": "law"},
        {201},
    ),
    "download_snapshot": ("/snapshots/{snapshot}/download", None, {200}),
    "show_snapshot": ("/snapshots/{snapshot}", None, {200}),
    "list_holds": ("/holds", None, {200}),
    "list_recovery_points": ("/recovery-points", None, {200}),
    "create_recovery_point": ("/recovery-points", {"server": "web"}, {503}),
    "verify_recovery_point": ("/recovery-points/{point}/verify", {}, {202}),
    "copy_recovery_point": ("/recovery-points/{point}/copy", {}, {404}),
    "delete_recovery_point": ("/recovery-points/{point}/delete", {}, {200}),
    "undelete_recovery_point": ("/recovery-points/{point}/undelete", {}, {200, 409}),
    "show_recovery_point": ("/recovery-points/{point}", None, {200}),
    "list_templates": ("/templates", None, {200}),
    "create_template": ("/templates", {"snapshot": "{snapshot}", "name": "new"}, {202}),
    "show_template": ("/templates/gold", None, {200}),
    "delete_template": ("/templates/gold", None, {200}),
    "list_schedules": ("/schedules", None, {200}),
    "create_schedule": ("/schedules", {**SCHEDULE, "name": "other"}, {201}),
    "preview_schedule": (
        "/schedules/preview",
        {"timing": SCHEDULE["timing"], "keep": SCHEDULE["keep"], "server": "web"},
        {200},
    ),
    "list_schedule_runs": ("/schedules/nightly/runs", None, {200}),
    "run_schedule": ("/schedules/nightly/run", {}, {202}),
    "show_schedule": ("/schedules/nightly", None, {200}),
    "update_schedule": ("/schedules/nightly", {"enabled": False}, {200}),
    "delete_schedule": ("/schedules/nightly", None, {204}),
    "list_jobs": ("/jobs", None, {200}),
    "show_job": ("/jobs/{job}", None, {200}),
    "show_job_log": ("/jobs/{job}/log", None, {200}),
    "cancel_job": ("/jobs/{job}/cancel", {}, {409}),
    "repeat_job": ("/jobs/{job}/again", {}, {409}),
    "show_job_events": ("/jobs/{job}/events", None, {200}),
    "show_overview": ("/overview", None, {200}),
    "list_sites": ("/sites", None, {200}),
    "show_site": ("/site", None, {200}),
    "show_retention": ("/site/retention", None, {200}),
    "show_capacity": ("/site/capacity?days=7", None, {200}),
    "sync_site": ("/site/sync", {}, {202}),
    "retain_site": ("/site/retain", {}, {202}),
    "prune_site": ("/site/prune", {}, {202}),
    "scrub_site": ("/site/scrub", {}, {202}),
    "rebuild_site": ("/site/rebuild", {}, {404}),
    "rebuild_catalog": ("/site/rebuild-catalog", {}, {202}),
    "add_peer": (
        "/site/peers",
        {"name": "dr", "vault": "/nowhere", "public_key": "dozo-site-x"},
        {400, 404},
    ),
    "test_notifications": ("/site/notify-test", {}, {409}),
    "run_doctor": ("/doctor", None, {200}),
    "show_settings": ("/settings", None, {200}),
    "list_tenants": ("/tenants", None, {200}),
    "create_tenant": ("/tenants", {"name": "globex"}, {201}),
    "show_tenant": ("/tenants/acme", None, {200}),
    "disable_tenant": ("/tenants/umbrella/disable", {}, {200}),
    "enable_tenant": ("/tenants/umbrella/enable", {}, {200}),
    "show_policy": ("/tenants/acme/policy", None, {200}),
    "set_policy": ("/tenants/acme/policy", {"preset": "modern"}, {200}),
    "show_quota": ("/tenants/acme/quota", None, {200}),
    "list_policies": ("/policies", None, {200}),
    "list_users": ("/users", None, {200}),
    "create_user": (
        "/users",
        {"username": "new", "password": "correct horse battery", "tenant": "acme"},
        {201},
    ),
    "show_user": ("/users/adam", None, {200}),
    "update_user": ("/users/adam", {"display_name": "Adam"}, {200}),
    "disable_user": ("/users/adam/disable", {}, {200}),
    "enable_user": ("/users/adam/enable", {}, {200}),
    "set_user_password": ("/users/adam/password", {"password": "another horse battery"}, {200}),
    "reset_second_factor": ("/users/adam/second-factor/reset", {}, {409}),
    "list_user_tokens": ("/users/adam/tokens", None, {200}),
    "revoke_user_token": ("/users/adam/tokens/0123456789", None, {404}),
    "list_audit": ("/audit", None, {200}),
    "verify_audit": ("/audit/verify", None, {200}),
    "export_audit": ("/audit/export", None, {200}),
    # Last: it ends the session.
    "logout": ("/logout", {}, {200}),
}


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation, by its id."""
    return {
        one["operationId"]: (method.upper(), path, one)
        for path, methods in json.loads(description())["paths"].items()
        for method, one in methods.items()
    }


def session_for(world: World, username: str) -> str:
    body = {"username": username, "password": "correct horse battery"}
    return str(world.post("/login", body, None).json()["token"])


def furnished(world: World) -> dict[str, str]:
    """A template, a schedule and a job, and how they are called."""
    template = {"snapshot": world.snapshots["web1"], "name": "gold"}
    job = world.post("/templates", template).json()["job"]
    world.run_jobs()
    assert world.get("/templates/gold").status_code == 200
    assert world.post("/schedules", SCHEDULE).status_code == 201
    return {
        "snapshot": world.snapshots["web0"],
        "other": world.snapshots["web2"],
        "point": f"{0:032x}",
        "job": job,
    }


def filled(value: Any, facts: dict[str, str]) -> Any:
    text = json.dumps(value)
    for name, fact in facts.items():
        text = text.replace("{" + name + "}", fact)
    return json.loads(text)


def ask(world: World, name: str, who: str, facts: dict[str, str]) -> Any:
    method, _, _ = operations()[name]
    path, body, _ = EXAMPLES[name]
    more = {} if body is None else {"json": filled(body, facts)}
    return world.call(method, filled(path, facts), who, **more)


def test_there_is_an_example_for_every_operation() -> None:
    assert set(EXAMPLES) | {"login"} == set(operations())


def test_every_operation_answers_an_operator(world: World) -> None:
    facts = furnished(world)
    operator = session_for(world, "operator")
    for name, (_, _, expected) in EXAMPLES.items():
        response = ask(world, name, operator, facts)
        assert response.status_code in expected, (name, response.text)
        if "2" in str(response.status_code)[:1] and response.status_code != 204:
            assert response.content, name


def test_every_operation_asks_for_its_right(world: World) -> None:
    facts = furnished(world)
    token = token_for(world.site, "operator", "metrics.show")
    for name in EXAMPLES:
        response = ask(world, name, token, facts)
        # What is narrowed to nothing sees no object, or is told that it may not.
        assert response.status_code in {403, 404}, (name, response.text)
    # The other way round: the right that the description names is the one that opens it.
    for name, (_, _, described) in operations().items():
        operation = Operation(described["x-dozo-operation"])
        if name == "login" or operation in NOT_BY_TOKEN:
            continue
        # What is done to a recovery point is done to its snapshots.
        rights = {operation.value, operation.value.replace("recovery-point", "snapshot")}
        if operation.group == "schedule":
            # Who makes one may do what it does.
            rights |= {"recovery-point.create", "recovery-point.delete"}
        response = ask(world, name, token_for(world.site, "operator", *rights), facts)
        assert response.status_code != 403, name


def test_nobody_gets_in_anywhere(world: World) -> None:
    facts = {"snapshot": "x", "other": "x", "point": "x", "job": "x"}
    for name, (path, body, _) in EXAMPLES.items():
        method, _, _ = operations()[name]
        more = {} if body is None else {"json": filled(body, facts)}
        response = world.call(method, filled(path, facts), None, **more)
        assert response.status_code == 401, name


def test_the_page_lists_every_operation() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    for method, path, _ in operations().values():
        assert f"`{method} {path.removeprefix('/api/v1')}`" in page
    script = ROOT / "scripts" / "write_api_docs.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0, "run scripts/write_api_docs.py"


def test_the_description_is_good_for_generated_clients() -> None:
    schema = json.loads(description())
    assert schema["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"
    for name, (_, _, one) in operations().items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert {"400", "401", "403", "404", "409", "422", "429", "500", "503"} <= set(
            one["responses"]
        )
        assert one.get("security") or name == "login"
        assert one["description"]
    assert all("_" not in name for name in schema["components"]["schemas"])


def test_every_change_is_recorded(world: World) -> None:
    facts = furnished(world)
    operator = session_for(world, "operator")
    # What is asked for again is recorded as what it is, once it can be asked for.
    silent = {"preview_schedule", "repeat_job"}
    described = operations()
    for name in EXAMPLES:
        method, _, one = described[name]
        if method == "GET" or name in silent:
            continue
        before = world.site.catalog.audit_entries.count()
        ask(world, name, operator, facts)
        new = world.site.catalog.audit_entries.filter(sequence__gt=before)
        told = {entry.operation for entry in new}
        # Recovery points are verified and copied as their snapshots are.
        wanted = one["x-dozo-operation"].replace("recovery-point.verify", "snapshot.verify")
        assert wanted.replace("recovery-point.copy", "snapshot.copy") in told, (name, told)


@pytest.mark.parametrize("who", ["alice", "adam", "ulla", "auditor"])
def test_nobody_sees_where_a_vault_is_but_those_who_run_the_site(world: World, who: str) -> None:
    text = world.get("/sites", who).text
    assert (world.site.settings.vault in text) == (who == "auditor")


def test_a_scope_of_an_operator_is_not_needed_to_log_in(world: World) -> None:
    row = world.site.catalog.users.get(username="operator")
    assert accounts.list_tokens(Scope(world.site, login.actor_of(row)))
