"""Who comes in, what errors look like, and what every answer has."""

import json
from datetime import timedelta

import pytest
from tests.services.access_support import PASSWORD

from dozo.model import clock
from dozo.services import accounts, login
from dozo.services.access import Scope

from .support import World, token_for

PROBLEM = {"type", "title", "status", "detail", "code", "kind", "hint", "retry"}


def problem(response, status: int, code: str) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) >= PROBLEM
    assert (body["status"], body["code"]) == (status, code)
    assert "Traceback" not in response.text
    return body


def test_without_a_token_nothing_is_shown(world: World) -> None:
    response = world.get("/servers", None)
    problem(response, 401, "access.login_required")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["dozo_0123456789_nonsense", "x", "dozo__", "é".encode().hex()])
def test_a_wrong_token_is_refused(world: World, token: str) -> None:
    problem(world.get("/servers", token), 401, "access.token_invalid")


def test_an_expired_token_is_refused(world: World) -> None:
    world.site.catalog.tokens.filter(owner__username="alice").update(
        expires_at=clock.now() - timedelta(seconds=1)
    )
    problem(world.get("/servers", "alice"), 401, "access.token_invalid")


def test_a_narrow_token_may_do_what_it_names_and_no_more(world: World) -> None:
    token = token_for(world.site, "alice", "server.list")
    assert world.get("/servers", token).status_code == 200
    body = problem(world.get("/jobs", token), 403, "access.forbidden")
    assert body["operation"] == "job.list"


def test_the_socket_in_the_home_needs_no_token(world: World) -> None:
    body = world.local("GET", "/account").json()
    assert (body["actor"], body["role"]) == ("local", "operator")
    assert world.local("GET", "/servers").json()["total"] == 2
    problem(world.get("/account", None), 401, "access.login_required")
    # A token that is sent counts, also there.
    headers = {"Authorization": "Bearer nonsense"}
    problem(world.local("GET", "/account", headers=headers), 401, "access.token_invalid")


def test_log_in_change_the_password_log_out(world: World) -> None:
    made = world.post("/login", {"username": "alice", "password": PASSWORD}, None).json()
    token = made["token"]
    assert world.get("/account", token).json()["username"] == "alice"
    assert world.post("/tokens", {"name": "cron", "scopes": ["*.list"]}, token).status_code == 201
    # An API token may not do that: it would outlive its owner's trust.
    new = {"old": PASSWORD, "new": "another horse battery"}
    problem(world.post("/account/password", new, "alice"), 403, "access.forbidden")
    other = world.post("/login", {"username": "alice", "password": PASSWORD}, None).json()["token"]
    assert world.post("/account/password", new, token).status_code == 200
    problem(world.get("/account", other), 401, "access.token_invalid")
    assert world.post("/logout", {}, token).status_code == 200
    problem(world.get("/account", token), 401, "access.token_invalid")
    problem(world.post("/logout", {}, "alice"), 409, "access.no_session")


def test_a_wrong_password_and_too_many(world: World) -> None:
    wrong = {"username": "alice", "password": "no"}
    for _ in range(5):
        problem(world.post("/login", wrong, None), 401, "access.login_failed")
    # The sixth is the first that has to wait afterwards.
    codes = {world.post("/login", wrong, None).json()["code"] for _ in range(3)}
    assert "access.login_throttled" in codes
    response = world.post("/login", wrong, None)
    problem(response, 429, "access.login_throttled")
    assert int(response.headers["retry-after"]) >= 1


def test_a_password_that_somebody_else_set_can_only_be_changed(world: World) -> None:
    operator = world.site.catalog.users.get(username="operator")
    scope = Scope(world.site, login.actor_of(operator))
    accounts.set_password(scope, "adam", "temporary password")
    login_body = {"username": "adam", "password": "temporary password"}
    token = world.post("/login", login_body, None).json()["token"]
    problem(world.get("/servers", token), 403, "access.password_change_required")
    new = {"old": "temporary password", "new": "my very own password"}
    assert world.post("/account/password", new, token).status_code == 200
    assert world.get("/servers", token).status_code == 200


def test_another_tenants_object_answers_as_one_that_does_not_exist(world: World) -> None:
    foreign = world.get("/servers/hive", "alice")
    unknown = world.get("/servers/hivX", "alice")
    problem(foreign, 404, "catalog.server_unknown")
    assert foreign.text.replace("hive", "hivX") == unknown.text
    # Its id says no more than its name.
    snapshot = world.get(f"/snapshots/{world.snapshots['hive0']}", "alice")
    nothing = world.get(f"/snapshots/{'0' * 64}", "alice")
    assert snapshot.text.replace(world.snapshots["hive0"], "0" * 64) == nothing.text
    body = {"snapshots": [world.snapshots["hive0"]]}
    problem(world.post("/snapshots/delete", body, "alice"), 404, "catalog.snapshot_unknown")
    assert world.site.catalog.snapshots.filter(deleted_at=None).count() == 6


def test_what_is_not_there(world: World) -> None:
    problem(world.get("/nothing"), 404, "api.route_unknown")
    problem(world.get("/nothing", None), 404, "api.route_unknown")
    response = world.call("PATCH", "/servers")
    problem(response, 405, "api.method_not_allowed")
    assert response.headers["allow"] == "GET, POST"


def test_a_request_that_does_not_fit_says_where(world: World) -> None:
    body = problem(world.post("/servers", {"name": "x", "wrong": 1}), 422, "api.request_invalid")
    assert {one["where"].split(".")[-1] for one in body["errors"]} == {"template", "wrong"}
    problem(world.get("/servers?limit=0"), 422, "api.request_invalid")
    problem(world.get("/servers?limit=501"), 422, "api.request_invalid")
    problem(world.get("/servers?sort=secret"), 422, "api.request_invalid")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff",
        b'{"name": "\\ud800", "template": "x"}',
        b'{"name": "\\u0000", "template": "x"}',
        b"[" * 100 + b"]" * 100,
        b"[" * 100_000,
        b'{"name": NaN}',
        b'{"name": 1e999}' + b" " * 10,
    ],
)
def test_a_body_that_cannot_be_read(world: World, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = world.call("POST", "/servers", content=content, headers=headers)
    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == "application/problem+json"


def test_a_body_of_another_kind_or_size(world: World) -> None:
    headers = {"Content-Type": "text/plain"}
    response = world.call("POST", "/servers", content=b"{}", headers=headers)
    problem(response, 415, "api.media_type_unknown")
    large = json.dumps({"name": "x" * 1024 * 1024}).encode()
    headers = {"Content-Type": "application/json"}
    problem(
        world.call("POST", "/servers", content=large, headers=headers),
        413,
        "api.body_too_large",
    )

    async def in_pieces():
        for _ in range(20):
            yield b"x" * 100_000

    response = world.call("POST", "/servers", content=in_pieces(), headers=headers)
    problem(response, 413, "api.body_too_large")


def test_every_answer_has_the_security_headers(world: World) -> None:
    for path in ("/servers", "/nothing", "/openapi.json"):
        headers = world.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert "strict-transport-security" not in headers


def test_a_component_that_does_not_answer(world: World) -> None:
    body = problem(
        world.call("PUT", "/servers/web/tracking", json={"tracking": "off"}),
        503,
        "hypervisor.libvirt_unavailable",
    )
    assert body["kind"] == "unavailable"


def test_a_defect_shows_a_reference_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("dozo.services.views.server_views", broken)
    body = problem(world.get("/servers"), 500, "api.unexpected")
    assert "secret" not in json.dumps(body)
    assert body["reference"] in caplog.text
    assert "secret detail" in caplog.text


def test_the_description_is_for_everybody(world: World) -> None:
    response = world.get("/openapi.json", None)
    assert response.json()["openapi"].startswith("3.1")
    problem(world.post("/openapi.json", {}, None), 405, "api.method_not_allowed")
