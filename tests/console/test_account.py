"""One's own account: profile, password, sessions, API tokens."""

import re
from collections.abc import Callable

import pyotp
from tests.api.support import World

from dozo.model import clock

from .support import PASSWORD, Visitor, text_of

Come = Callable[..., Visitor]
BETTER = "four quite random words"


def _with_password(world: World, who: str, *, must_change: bool = False) -> None:
    row = world.site.catalog.users.get(username=who)
    row.set_password(PASSWORD)
    row.must_change_password = must_change
    row.save(using=world.site.catalog.alias)


def test_the_profile_is_changed_and_the_language_with_it(visitor: Come, world: World) -> None:
    alice = visitor("alice")
    fields = {
        "display_name": "<b>Alice</b>",
        "email": "alice@acme.test",
        "language": "ja",
        "time_zone": "Asia/Tokyo",
    }
    page = alice.follow(alice.post("/account", fields, form="/account"))
    assert '<html lang="ja"' in page
    assert "&lt;b&gt;Alice" in page
    assert "<b>Alice" not in page
    assert "保存しました" in page
    row = world.site.catalog.users.get(username="alice")
    assert (row.language, row.time_zone) == ("ja", "Asia/Tokyo")
    fields["language"] = ""
    alice.post("/account", fields, form="/account")
    assert '<html lang="en"' in alice.page("/account")


def test_what_cannot_be_is_said_and_what_was_typed_stays(visitor: Come) -> None:
    alice = visitor("alice")
    fields = {"display_name": "A", "email": "nonsense", "language": "", "time_zone": ""}
    answer = alice.post("/account", fields, form="/account")
    assert answer.status_code == 422
    assert 'value="nonsense"' in answer.text
    assert 'role="alert"' in answer.text


def test_a_password_set_by_somebody_else_is_changed_first(visitor: Come, world: World) -> None:
    _with_password(world, "alice", must_change=True)
    alice = visitor("alice")
    assert alice.get("/").headers["Location"] == "/account/password"
    assert "Choose a password of your own first." in alice.page("/account/password")
    fields = {"old": PASSWORD, "new": BETTER, "again": BETTER}
    page = alice.follow(alice.post("/account/password", fields, form="/account/password"))
    assert "The password is changed." in page
    assert alice.get("/").status_code == 200


def test_a_new_password_ends_the_other_sessions(visitor: Come, world: World) -> None:
    _with_password(world, "alice")
    here, elsewhere = visitor("alice"), visitor("alice")
    fields = {"old": PASSWORD, "new": BETTER, "again": BETTER}
    for wrong in ({"old": "wrong"}, {"again": "differs"}, {"new": "short", "again": "short"}):
        answer = here.post("/account/password", {**fields, **wrong}, form="/account/password")
        assert answer.status_code == 422
        assert BETTER not in answer.text
    here.post("/account/password", fields, form="/account/password")
    assert here.get("/account").status_code == 200
    assert elsewhere.get("/account").headers["Location"].startswith("/login")


def test_sessions_are_listed_and_ended(visitor: Come) -> None:
    here, elsewhere, third = visitor("alice"), visitor("alice"), visitor("alice")
    other = elsewhere.cookies["dozo_session"].split("_")[1]
    assert other in here.page("/account")
    here.post(f"/account/sessions/{other}/end", {}, form="/account")
    assert elsewhere.get("/account").status_code == 302
    assert third.get("/account").status_code == 200
    here.post("/account/sessions/end-others", {}, form="/account")
    assert third.get("/account").status_code == 302
    assert here.get("/account").status_code == 200


def test_nobody_ends_somebody_elses_session(visitor: Come) -> None:
    ulla = visitor("ulla")
    other = ulla.cookies["dozo_session"].split("_")[1]
    answer = visitor("alice").post(f"/account/sessions/{other}/end", {}, form="/account")
    assert answer.status_code == 404
    assert ulla.get("/account").status_code == 200


def test_a_token_for_one_volume_is_shown_once_and_works(visitor: Come, world: World) -> None:
    alice = visitor("alice")
    volume = str(world.site.catalog.volumes.get(name="web-vda").volume_id)
    fields = {"name": "cron", "purpose": "volume", "volume": volume, "lifetime": "30"}
    answer = alice.post("/account/tokens", fields, form="/account/tokens")
    found = re.search(r'id="token"[^>]*>(dozo_[^<]+)<', answer.text)
    assert found is not None
    assert found[1] not in alice.page("/account/tokens")
    row = world.site.catalog.tokens.get(name="cron")
    assert row.scopes == [f"snapshot.create:volume={volume}"]
    assert row.expires_at is not None
    world.tokens["cron"] = found[1]
    assert world.get("/servers", "cron").status_code == 403
    wanted = {"volume": volume}
    assert world.post("/snapshots?dry_run=true", wanted, "cron").status_code != 403


def test_a_token_is_revoked_after_asking(visitor: Come, world: World) -> None:
    alice = visitor("alice")
    prefix = world.tokens["alice"].split("_")[1]
    address = f"/account/tokens/{prefix}/revoke"
    assert "refused from now on" in text_of(alice.page(address))
    assert world.get("/servers", "alice").status_code == 200
    alice.post(address, {}, form=address)
    assert world.get("/servers", "alice").status_code == 401
    assert visitor("ulla").get(address).status_code == 404


def test_an_invalid_scope_or_day_makes_no_token(visitor: Come, world: World) -> None:
    alice = visitor("alice")
    before = world.site.catalog.tokens.count()
    fields = {"name": "x", "purpose": "chosen", "scopes": "nonsense", "lifetime": "never"}
    for wrong in (
        fields,
        {**fields, "scopes": "*", "lifetime": "date", "until": "yesterday"},
        {**fields, "scopes": "*", "lifetime": "date", "until": "2001-01-01"},
    ):
        answer = alice.post("/account/tokens", wrong, form="/account/tokens")
        assert answer.status_code == 422
        assert 'value="x"' in answer.text
    assert world.site.catalog.tokens.count() == before


def test_a_second_factor_is_set_up_used_and_taken_away(visitor: Come, world: World) -> None:
    site = world.site
    row = site.catalog.users.get(username="alice")
    row.set_password("correct horse battery")
    row.save(using=site.catalog.alias)
    alice = visitor("alice")
    form = "/account/second-factor"
    page = alice.post(form, {}, form=form).text
    assert "data:image/svg+xml" in page
    secret = page.split('id="secret">')[1].split("<")[0]
    app = pyotp.TOTP(secret)
    now = int(clock.now().timestamp())
    assert alice.post(form, {"code": "000000"}, form=form).status_code == 422
    shown = alice.post(form, {"code": app.at(now)}, form=form).text
    spare = shown.split('id="spare" class="log">')[1].split("</pre>")[0].split()
    assert len(spare) == 10

    browser = visitor(None)
    first = browser.post("/login", {"username": "alice", "password": "correct horse battery"})
    assert first.status_code == 200
    assert "dozo_session" not in browser.cookies
    assert "correct horse battery" not in first.text
    fields = dict(re.findall(r'name="(pending|days|next)" value="([^"]*)"', first.text))
    wrong = browser.post("/login/code", {**fields, "code": "123456"})
    assert wrong.status_code == 401
    answer = browser.post("/login/code", {**fields, "code": spare[0]})
    assert answer.status_code == 302
    assert "alice" in browser.page("/account")
    forged = visitor(None).post("/login/code", {"pending": "x", "code": spare[1]})
    assert forged.headers["Location"] == "/login?note=too-late"

    remove = "/account/second-factor/remove"
    assert browser.post(remove, {"password": "wrong"}, form=remove).status_code == 401
    assert (
        browser.post(remove, {"password": "correct horse battery"}, form=remove).status_code == 302
    )
