"""Coming in and going out, languages, refusals, and what every page must have."""

from collections.abc import Callable

import pytest
from tests.api.support import World

from dozo.model import clock

from .support import HOST, Visitor, text_of

Come = Callable[..., Visitor]


def test_whoever_has_not_logged_in_is_led_to_the_login_and_back(visitor: Come) -> None:
    nobody = visitor(None)
    answer = nobody.get("/?tab=a&b=c")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/login?next=%2F%3Ftab%3Da%26b%3Dc"
    assert "Log in" in nobody.page(answer.headers["Location"])


def test_a_login_opens_the_console_and_a_wrong_password_does_not(
    visitor: Come, world: World
) -> None:
    row = world.site.catalog.users.get(username="alice")
    row.set_password("correct horse battery")
    row.save(using=world.site.catalog.alias)
    browser = visitor(None)
    refused = browser.post("/login", {"username": "alice", "password": "wrong"})
    assert refused.status_code == 401
    assert "dozo_session" not in browser.cookies
    fields = {"username": "alice", "password": "correct horse battery", "next": "//evil.test/"}
    answer = browser.post("/login", fields)
    assert answer.headers["Location"] == "/"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "alice" in browser.page("/")
    browser.post("/logout", {}, form="/")
    assert browser.get("/").status_code == 302


def test_a_session_ends_with_its_time(visitor: Come, world: World) -> None:
    alice = visitor("alice")
    assert alice.get("/").status_code == 200
    world.site.catalog.tokens.filter(session=True).update(expires_at=clock.now())
    assert alice.get("/").status_code == 302


def test_a_programs_token_opens_no_page(visitor: Come, world: World) -> None:
    browser = visitor(None)
    browser.cookies["dozo_session"] = world.tokens["alice"]
    assert browser.get("/").status_code == 302


def test_a_form_from_elsewhere_is_refused(visitor: Come, world: World) -> None:
    alice = visitor("alice")
    assert alice.call("POST", "/logout", data={}).status_code == 403
    token = "a" * 64
    alice.cookies["dozo_csrf"] = token
    foreign = alice.call(
        "POST",
        "/logout",
        data={"csrfmiddlewaretoken": token},
        headers={"Origin": "https://evil.test"},
    )
    assert foreign.status_code == 403
    assert alice.get("/").status_code == 200


@pytest.mark.parametrize(("wanted", "says"), [("en", "Log in"), ("ja", "ログイン")])
def test_the_browser_chooses_the_language(visitor: Come, wanted: str, says: str) -> None:
    page = visitor(None, language=wanted).page("/login")
    assert says in text_of(page)
    assert f'<html lang="{wanted}"' in page


def test_the_chosen_language_goes_before_the_browsers(visitor: Come) -> None:
    browser = visitor("alice", language="en")
    browser.post("/preferences", {"language": "ja", "next": "/"}, form="/")
    assert '<html lang="ja"' in browser.page("/")


def test_every_answer_forbids_what_comes_from_elsewhere(visitor: Come) -> None:
    for address in ("/login", "/", "/nothing-here"):
        headers = visitor("alice").get(address).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"


def test_an_address_that_leads_nowhere_says_so(visitor: Come) -> None:
    answer = visitor("alice").get("/nothing-here")
    assert answer.status_code == 404
    assert "Not found" in answer.text


def test_files_are_kept_by_the_browser_only_under_their_own_hash(visitor: Come) -> None:
    browser = visitor(None)
    page = browser.page("/login")
    address = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert "immutable" in browser.get(address).headers["cache-control"]
    old = "/static/000000000000/dozo.css"
    assert browser.get(old).headers["cache-control"] == "no-store"
    assert browser.get("/static/0/../../catalog/settings.py").status_code == 404
    assert browser.get(f"{address}x").status_code == 404
    assert HOST not in page
