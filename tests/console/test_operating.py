"""The operator's pages: sites, upkeep, settings, tenants, users, policies."""

import re
from collections.abc import Callable

import pytest
from tests.api.support import World

from .support import Visitor, text_of

Come = Callable[..., Visitor]

PAGES = [
    "/sites",
    "/sites/vault",
    "/sites/prune?days=0",
    "/sites/retention",
    "/sites/peers/new",
    "/sites/rebuild",
    "/sites/rebuild-catalog",
    "/settings",
    "/tenants",
    "/tenants/new",
    "/tenants/acme",
    "/tenants/acme/disable",
    "/tenants/acme/policy",
    "/tenants/acme/policy?preset=kcps-v1",
    "/users",
    "/users/new",
    "/users/alice",
    "/users/alice/password",
]
OPEN_TO_TENANTS = {"/sites", "/tenants", "/tenants/acme"}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_page_is_there_for_an_operator(visitor: Come, language: str) -> None:
    browser = visitor("operator", language=language)
    for address in PAGES:
        page = browser.page(address)
        assert f'<html lang="{language}"' in page
        assert page.count("<h1") == 1, address


def test_a_member_is_kept_out_of_what_is_the_operators(visitor: Come) -> None:
    browser = visitor("adam")
    for address in PAGES:
        expected = 200 if address in OPEN_TO_TENANTS else 403
        assert browser.get(address).status_code == expected, address
    assert "/srv" not in browser.page("/sites")
    assert "dozo-site-" not in browser.page("/sites")


def test_another_tenant_is_as_if_it_did_not_exist(visitor: Come) -> None:
    alice = visitor("alice")
    there, never = alice.get("/tenants/umbrella"), alice.get("/tenants/nobody")
    assert there.status_code == never.status_code == 404
    assert text_of(there.text).replace("umbrella", "nobody") == text_of(never.text)
    assert alice.get("/users/ulla").status_code == 404
    assert "umbrella" not in alice.page("/tenants")
    assert "ulla" not in alice.page("/users")


def test_a_policy_is_changed_setting_by_setting(visitor: Come, world: World) -> None:
    browser = visitor("operator")
    page = browser.page("/tenants/acme/policy?preset=kcps-v1")
    assert 'name="max_generations" value="8"' in page
    fields = {**_fields_of(page), "max_generations": "5", "quota_stored_bytes": "2.5"}
    answer = browser.post("/tenants/acme/policy", fields, form="/tenants/acme/policy")
    assert "kcps-v1" in browser.follow(answer)
    row = world.site.tenant_row("acme")
    assert row.policy == "kcps-v1"
    assert row.policy_overrides == {
        "max_generations": 5,
        "quota_stored_bytes": 5 * 1024**3 // 2,
    }
    again = browser.post("/tenants/acme/policy", fields, form="/tenants/acme/policy")
    assert again.status_code == 409
    assert "has changed since you read it" in again.text
    wrong = {**_fields_of(browser.page("/tenants/acme/policy")), "max_generations": "many"}
    refused = browser.post("/tenants/acme/policy", wrong, form="/tenants/acme/policy")
    assert refused.status_code == 422
    row = world.site.tenant_row("acme")
    assert row.policy_overrides["max_generations"] == 5


def _fields_of(page: str) -> dict[str, object]:
    """What a browser would send of the form for a policy, unchanged."""
    found: dict[str, object] = {}
    for tag in re.findall(r"<input[^>]*>", page):
        name = re.search(r'name="([^"]+)"', tag)
        if name is None or name[1] in {"csrfmiddlewaretoken", "next"}:
            continue
        value = re.search(r'value="([^"]*)"', tag)
        if 'type="checkbox"' not in tag:
            found[name[1]] = value[1] if value else ""
        elif " checked" in tag:
            kept = found.setdefault(name[1], [])
            assert isinstance(kept, list)
            kept.append(value[1] if value else "on")
    for name, body in re.findall(r'<select name="([^"]+)">(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body)
        if chosen:
            found[name] = chosen[1]
    return found


def test_a_user_is_made_with_a_password_shown_once(visitor: Come, world: World) -> None:
    browser = visitor("operator")
    fields = {"username": "nina", "role": "member", "tenant": "acme"}
    made = browser.post("/users/new", fields, form="/users/new")
    assert made.status_code == 200
    password = made.text.split('id="made">')[1].split("<")[0]
    newcomer = visitor(None)
    answer = newcomer.post("/login", {"username": "nina", "password": password})
    assert answer.status_code == 302
    assert newcomer.get("/servers").status_code in {302, 404}
    assert newcomer.get("/").headers["Location"] == "/account/password"
    taken = browser.post("/users/new", fields, form="/users/new")
    assert taken.status_code == 409
    assert 'value="nina"' in taken.text


def test_a_second_operators_change_is_not_overwritten(visitor: Come) -> None:
    browser = visitor("operator")
    page = browser.page("/users/alice")
    version = page.split('name="version" value="')[1].split('"')[0]
    fields = {"version": version, "role": "tenant-admin", "display_name": "First"}
    assert browser.post("/users/alice", fields, form="/users/alice").status_code == 302
    late = browser.post("/users/alice", {**fields, "display_name": "Second"}, form="/users/alice")
    assert late.status_code == 409
    assert 'value="Second"' in late.text
    assert "First" in browser.page("/users/alice")


def test_names_are_shown_as_they_are_and_do_nothing(visitor: Come, world: World) -> None:
    browser = visitor("operator")
    name = "<script>alert(1)</script>\u202e"
    row = world.site.catalog.users.get(username="alice")
    row.display_name = name
    row.save(using=world.site.catalog.alias)
    for address in ("/users", "/users/alice"):
        page = browser.page(address)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in visitor("alice").page("/")


def test_disabling_a_tenant_asks_for_its_name(visitor: Come, world: World) -> None:
    browser = visitor("operator")
    address = "/tenants/acme/disable"
    assert browser.post(address, {"confirm": "acm"}, form=address).status_code == 422
    assert not world.site.tenant_row("acme").disabled
    browser.post(address, {"confirm": "acme"}, form=address)
    assert world.site.tenant_row("acme").disabled
    assert visitor("operator").get("/").status_code == 200
    assert visitor("alice").get("/").status_code == 302


def test_upkeep_is_asked_for_once_however_often_the_form_is_sent(
    visitor: Come, world: World
) -> None:
    browser = visitor("operator")
    fields = {"what": "scrub", "once": "the-same-form"}
    first = browser.post("/sites/upkeep", fields, form="/sites")
    second = browser.post("/sites/upkeep", fields, form="/sites")
    assert first.headers["Location"] == second.headers["Location"]
    assert world.site.catalog.jobs.filter(kind="site.scrub").count() == 1
    odd = browser.post("/sites/upkeep", {"what": "format"}, form="/sites")
    assert odd.status_code == 422


def test_a_rebuild_of_the_catalog_asks_for_the_sites_name(visitor: Come, world: World) -> None:
    browser = visitor("operator")
    address = "/sites/rebuild-catalog"
    assert browser.post(address, {"confirm": "dr"}, form=address).status_code == 422
    answer = browser.post(address, {"confirm": "main"}, form=address)
    assert answer.headers["Location"].startswith("/jobs/")


def test_servers_are_given_to_a_tenant(visitor: Come, world: World) -> None:
    world.site.catalog.servers.filter(name="web").update(assigned_by="default")
    browser = visitor("operator")
    uuid = str(world.site.catalog.servers.get(name="web").uuid)
    assert f'name="server" value="{uuid}"' in browser.page("/tenants")
    fields = {"tenant": "umbrella", "server": uuid}
    browser.post("/tenants/assign", fields, form="/tenants")
    assert world.site.catalog.servers.get(name="web").tenant.name == "umbrella"
    assert "umbrella" not in visitor("alice").page("/tenants")
