"""Users, passwords, logins and tokens."""

import stat
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher

from dozo.model import clock
from dozo.services import accounts, login, sessions, upkeep
from dozo.services.access import Actor, Forbidden, Role, Scope
from dozo.services.access_errors import (
    LastOperator,
    LoginFailed,
    LoginThrottled,
    PasswordRefused,
    TenantUnknown,
    TokenExpiryInvalid,
    TokenInvalid,
    TokenUnknown,
    UserExists,
    UserInvalid,
    UserUnknown,
)
from dozo.services.site import Site

from .access_support import PASSWORD, TestClock, add_user, system, token_scope
from .support import NOON


@pytest.fixture
def time() -> Iterator[TestClock]:
    made = TestClock(NOON)
    with clock.use_clock(made):
        yield made


def test_a_login_answers_with_who_it_is(main: Site) -> None:
    add_user(main, "alice", Role.MEMBER, "acme")
    actor = login.login(main, "alice", PASSWORD)
    assert (actor.name, actor.role, actor.tenant) == ("user:alice", Role.MEMBER, "acme")
    assert main.catalog.users.get(username="alice").password.startswith("argon2")


def test_unknown_wrong_and_disabled_cannot_be_told_apart(main: Site) -> None:
    add_user(main, "alice", Role.MEMBER, "acme")
    add_user(main, "bob", Role.MEMBER, "acme")
    add_user(main, "carol", Role.MEMBER, "closed")
    accounts.set_active(system(main), "bob", active=False)
    main.catalog.tenants.filter(name="closed").update(disabled=True)
    answers = set()
    for username, password in [
        ("alice", "wrong"),
        ("nobody", PASSWORD),
        ("bob", PASSWORD),
        ("carol", PASSWORD),
        ("alice", PASSWORD + "x" * 2000),
    ]:
        with pytest.raises(LoginFailed) as caught:
            login.login(main, username, password)
        answers.add((str(caught.value), str(caught.value.details())))
    assert len(answers) == 1


def test_a_password_is_hashed_even_where_there_is_no_user(
    main: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a login must not say who exists; counted, because times are no test."""
    add_user(main, "alice", Role.MEMBER, "acme")
    hashed: list[str] = []
    encode, verify = Argon2PasswordHasher.encode, Argon2PasswordHasher.verify
    monkeypatch.setattr(
        Argon2PasswordHasher, "encode", lambda *a: hashed.append("hash") or encode(*a)
    )
    monkeypatch.setattr(
        Argon2PasswordHasher, "verify", lambda *a: hashed.append("hash") or verify(*a)
    )
    counts = []
    for username, password in [("alice", "wrong"), ("nobody", "wrong"), ("alice", "x" * 5000)]:
        hashed.clear()
        with pytest.raises(LoginFailed):
            login.login(main, username, password)
        counts.append(len(hashed))
    assert counts == [1, 1, 1]


def test_failures_of_a_user_wait_longer_and_longer_but_never_for_ever(
    main: Site, time: TestClock
) -> None:
    add_user(main, "alice", Role.MEMBER, "acme")
    for _ in range(5):
        with pytest.raises(LoginFailed):
            login.login(main, "alice", "wrong")
    waits = []
    for _ in range(8):
        with pytest.raises(LoginThrottled) as caught:
            login.login(main, "alice", PASSWORD)
        waits.append(caught.value.seconds)
        time.sleep(caught.value.seconds)
        with pytest.raises(LoginFailed):
            login.login(main, "alice", "wrong")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    time.sleep(60)
    assert login.login(main, "alice", PASSWORD).username == "alice"
    with pytest.raises(LoginFailed):
        login.login(main, "alice", "wrong")


def test_an_address_is_throttled_over_many_names_and_ipv6_by_network(
    main: Site, time: TestClock
) -> None:
    for number in range(20):
        with pytest.raises(LoginFailed):
            login.login(main, f"user{number}", "wrong", source=f"2001:db8::{number:x}")
    with pytest.raises(LoginThrottled):
        login.login(main, "another", "wrong", source="2001:db8::ffff")
    with pytest.raises(LoginFailed):
        login.login(main, "another", "wrong", source="2001:db8:0:1::1")


def test_an_own_account_does_not_free_an_address_to_guess_others(
    main: Site, time: TestClock
) -> None:
    add_user(main, "mallory", Role.MEMBER, "acme")
    for number in range(15):
        with pytest.raises(LoginFailed):
            login.login(main, f"victim{number}", "guess", source="192.0.2.9")
    login.login(main, "mallory", PASSWORD, source="192.0.2.9")
    for number in range(15, 20):
        with pytest.raises(LoginFailed):
            login.login(main, f"victim{number}", "guess", source="192.0.2.9")
    with pytest.raises(LoginThrottled):
        login.login(main, "mallory", PASSWORD, source="192.0.2.9")


def test_old_failures_are_forgotten(main: Site, time: TestClock) -> None:
    for number in range(30):
        with pytest.raises(LoginFailed):
            login.login(main, f"name{number}", "wrong")
    time.sleep(3700)
    with pytest.raises(LoginFailed):
        login.login(main, "one more", "wrong")
    assert main.catalog.login_failures.count() == 1


def test_what_was_typed_as_a_name_is_not_kept(main: Site) -> None:
    with pytest.raises(LoginFailed):
        login.login(main, "hunter2-my-password", "x")
    assert "hunter2" not in str(list(main.catalog.login_failures.values()))
    assert "hunter2" not in str(list(main.catalog.audit_entries.values()))


@pytest.mark.parametrize(
    "password", ["too-shrt", "password1234", "123456789012345", "alice-in-chains", "x" * 2000]
)
def test_weak_passwords_are_refused(main: Site, password: str) -> None:
    main.tenant_row("acme")
    with pytest.raises(PasswordRefused) as caught:
        accounts.create_user(
            system(main), "alice-in-chain", password=password, tenant="acme", role=Role.MEMBER
        )
    assert password not in str(caught.value.details())
    assert not main.catalog.users.exists()


def test_a_password_set_by_another_must_be_changed(main: Site) -> None:
    admin = add_user(main, "admin1", Role.TENANT_ADMIN, "acme")
    accounts.create_user(admin, "alice@acme", password=PASSWORD)
    scope = Scope(main, login.login(main, "alice@acme", PASSWORD))
    assert scope.actor.must_change_password
    with pytest.raises(LoginFailed):
        accounts.change_password(scope, "wrong", "another good password")
    with pytest.raises(PasswordRefused):
        accounts.change_password(scope, PASSWORD, PASSWORD)
    accounts.change_password(scope, PASSWORD, "another good password")
    assert not login.login(main, "alice@acme", "another good password").must_change_password
    with pytest.raises(LoginFailed):
        login.login(main, "alice@acme", PASSWORD)


def test_ended_sessions_and_tokens_are_forgotten_after_a_while(main: Site) -> None:
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    owner = main.catalog.users.get()
    kept = sessions.make_session(main, owner, days=365).view.prefix
    sessions.make_session(main, owner, days=7)
    revoked = accounts.issue_token(alice, name="old", scopes=["*"]).view.prefix
    accounts.revoke_token(alice, revoked)
    lasting = accounts.issue_token(alice, name="cron", scopes=["*"]).view.prefix
    assert upkeep.forget_old(main) == 0
    with clock.use_clock(TestClock(clock.now() + timedelta(days=38))):
        assert upkeep.forget_old(main) == 2
    assert {one.prefix for one in main.catalog.tokens.all()} == {kept, lasting}


def test_a_session_guesses_no_password_faster_than_a_login(main: Site) -> None:
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    for _ in range(login.BY_USER.free):
        with pytest.raises(LoginFailed):
            accounts.change_password(alice, "wrong", "another good password")
    with pytest.raises(LoginThrottled):
        accounts.change_password(alice, PASSWORD, "another good password")
    # A token that may not even try makes nobody forget how often it was wrong.
    token = token_scope(alice, "snapshot.*")
    with pytest.raises(Forbidden):
        accounts.change_password(token, PASSWORD, "another good password")
    with pytest.raises(LoginThrottled):
        login.login(main, "alice", PASSWORD)


def test_a_tenant_admin_manages_the_own_tenant_and_no_operators(main: Site) -> None:
    admin = add_user(main, "admin1", Role.TENANT_ADMIN, "acme")
    add_user(main, "eve", Role.MEMBER, "other")
    add_user(main, "op", Role.OPERATOR)
    made = accounts.create_user(admin, "alice@acme", password=PASSWORD)
    assert (made.tenant, made.role) == ("acme", "member")
    assert [one.username for one in accounts.list_users(admin)] == ["admin1", "alice@acme"]
    for call in (
        lambda name: accounts.show_user(admin, name),
        lambda name: accounts.set_active(admin, name, active=False),
        lambda name: accounts.set_password(admin, name, "another good password"),
        lambda name: accounts.update_user(admin, name, display_name="x"),
        lambda name: accounts.list_tokens_of(admin, name),
        lambda name: accounts.revoke_token(admin, "0000", username=name),
    ):
        texts = set()
        for name in ("eve", "op", "not-there"):
            with pytest.raises(UserUnknown) as caught:
                call(name)
            texts.add(str(caught.value).replace(name, "NAME"))
        assert texts == {"no user 'NAME'"}
    with pytest.raises(TenantUnknown):
        accounts.create_user(admin, "zoe", password=PASSWORD, tenant="other")
    with pytest.raises(Forbidden):
        accounts.create_user(admin, "zoe", password=PASSWORD, role=Role.OPERATOR)
    with pytest.raises(Forbidden):
        accounts.update_user(admin, "alice@acme", role=Role.OPERATOR)


def test_a_tenant_admin_learns_nothing_of_who_else_has_an_account(main: Site) -> None:
    admin = add_user(main, "admin1", Role.TENANT_ADMIN, "acme")
    add_user(main, "eve", Role.MEMBER, "other")
    texts = set()
    for name in ("eve", "EVE", "nobody"):
        with pytest.raises(UserInvalid) as caught:
            accounts.create_user(admin, name, password=PASSWORD)
        texts.add(str(caught.value).replace(name, "NAME"))
    assert len(texts) == 1
    accounts.create_user(admin, "eve@Acme", password=PASSWORD)
    with pytest.raises(UserExists):
        accounts.create_user(admin, "Eve@acme", password=PASSWORD)
    # So that none of those names is taken by somebody else.
    with pytest.raises(UserInvalid):
        accounts.create_user(system(main), "zoe@acme", password=PASSWORD, tenant="other")
    accounts.create_user(system(main), "zoe@example.org", password=PASSWORD, tenant="other")


def test_members_manage_nobody(main: Site) -> None:
    member = add_user(main, "alice", Role.MEMBER, "acme")
    with pytest.raises(Forbidden):
        accounts.create_user(member, "zoe", password=PASSWORD)
    with pytest.raises(Forbidden):
        accounts.list_users(member)


def test_roles_and_tenants_fit_and_names_are_taken_once(main: Site) -> None:
    main.tenant_row("acme")
    with pytest.raises(UserInvalid):
        accounts.create_user(
            system(main), "op", password=PASSWORD, role=Role.OPERATOR, tenant="acme"
        )
    with pytest.raises(UserInvalid):
        accounts.create_user(system(main), "alice", password=PASSWORD, role=Role.MEMBER)
    add_user(main, "alice", Role.MEMBER, "acme")
    with pytest.raises(UserExists):
        accounts.create_user(system(main), "Alice", password=PASSWORD, tenant="acme")
    for field, value in [("email", "no address"), ("time_zone", "Mars/Base"), ("language", "xx")]:
        with pytest.raises(UserInvalid):
            accounts.update_user(system(main), "alice", **{field: value})


def test_the_last_operator_stays(main: Site) -> None:
    op = add_user(main, "op", Role.OPERATOR)
    with pytest.raises(LastOperator):
        accounts.set_active(op, "op", active=False)
    with pytest.raises(LastOperator):
        accounts.update_user(op, "op", role=Role.AUDITOR)
    add_user(main, "op2", Role.OPERATOR)
    assert not accounts.set_active(op, "op", active=False).active


def test_a_token_speaks_for_its_owner_and_its_secret_is_kept_nowhere(main: Site) -> None:
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    issued = accounts.issue_token(alice, name="cron", scopes=["snapshot.*", "job.show"])
    word, prefix, secret = issued.token.split("_")
    assert (word, prefix) == ("dozo", issued.view.prefix)
    assert len(secret) >= 40
    actor = login.authenticate(main, issued.token)
    assert (actor.username, actor.tenant, actor.name) == ("alice", "acme", f"token:alice/{prefix}")
    main.catalog.close()
    for path in main.settings.home.iterdir():
        if path.is_file():
            assert secret.encode() not in path.read_bytes()
            assert PASSWORD.encode() not in path.read_bytes()


def test_tokens_end(main: Site, time: TestClock) -> None:
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    with pytest.raises(TokenExpiryInvalid):
        accounts.issue_token(alice, name="x", scopes=["*"], expires_at=time.now())
    short = accounts.issue_token(
        alice, name="short", scopes=["*"], expires_at=time.now() + timedelta(minutes=5)
    )
    gone = accounts.issue_token(alice, name="gone", scopes=["*"])
    assert login.authenticate(main, short.token)
    accounts.revoke_token(alice, gone.view.prefix)
    accounts.revoke_token(alice, gone.view.prefix)
    time.sleep(300)
    for token in (short.token, gone.token, "dozo_x_y", "", short.token + "x", "\udcff"):
        with pytest.raises(TokenInvalid):
            login.authenticate(main, token)
    assert [one.valid for one in accounts.list_tokens(alice)] == [False, False]


def test_a_disabled_owner_s_tokens_rest_and_a_reset_revokes_them(main: Site) -> None:
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    token = accounts.issue_token(alice, name="cron", scopes=["*"]).token
    accounts.set_active(system(main), "alice", active=False)
    with pytest.raises(TokenInvalid):
        login.authenticate(main, token)
    accounts.set_active(system(main), "alice", active=True)
    assert login.authenticate(main, token)
    main.catalog.tenants.filter(name="acme").update(disabled=True)
    with pytest.raises(TokenInvalid):
        login.authenticate(main, token)
    main.catalog.tenants.filter(name="acme").update(disabled=False)
    accounts.set_password(system(main), "alice", "another good password")
    with pytest.raises(TokenInvalid):
        login.authenticate(main, token)


def test_the_last_use_is_written_at_most_once_a_minute(main: Site, time: TestClock) -> None:
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    token = accounts.issue_token(alice, name="cron", scopes=["*"]).token
    seen = []
    for _ in range(4):
        login.authenticate(main, token)
        seen.append(main.catalog.tokens.get().last_used_at)
        time.sleep(25)
    assert seen == [NOON, NOON, NOON, NOON + timedelta(seconds=75)]


def test_tokens_make_no_tokens_and_no_passwords(main: Site) -> None:
    op = add_user(main, "op", Role.OPERATOR)
    add_user(main, "alice", Role.MEMBER, "acme")
    token = Scope(
        main,
        login.authenticate(main, accounts.issue_token(op, name="all", scopes=["*"]).token),
    )
    with pytest.raises(Forbidden):
        accounts.issue_token(token, name="more", scopes=["*"])
    with pytest.raises(Forbidden):
        accounts.change_password(token, PASSWORD, "another good password")
    with pytest.raises(Forbidden):
        accounts.set_password(token, "alice", "another good password")


def test_tokens_are_revoked_by_their_owner_and_by_who_manages_the_owner(main: Site) -> None:
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    bob = add_user(main, "bob", Role.MEMBER, "acme")
    admin = add_user(main, "admin1", Role.TENANT_ADMIN, "acme")
    prefix = accounts.issue_token(alice, name="cron", scopes=["*"]).view.prefix
    with pytest.raises(TokenUnknown):
        accounts.revoke_token(bob, prefix)
    with pytest.raises(Forbidden):
        accounts.revoke_token(bob, prefix, username="alice")
    assert [one.prefix for one in accounts.list_tokens_of(admin, "alice")] == [prefix]
    assert not accounts.revoke_token(admin, prefix, username="alice").valid


def test_the_first_operator_gets_a_password_that_only_the_owner_reads(main: Site) -> None:
    made = accounts.first_operator(main)
    assert made is not None
    assert made.password_file is not None
    assert stat.S_IMODE(made.password_file.stat().st_mode) == 0o600
    actor = login.login(main, "admin", made.password_file.read_text().strip())
    assert actor.role is Role.OPERATOR
    assert actor.must_change_password
    assert accounts.first_operator(main) is None


def test_the_first_operator_s_password_may_be_given(main: Site) -> None:
    made = accounts.first_operator(main, PASSWORD)
    assert made is not None
    assert made.password_file is None
    assert not login.login(main, "admin", PASSWORD).must_change_password


def test_only_people_have_tokens(main: Site) -> None:
    with pytest.raises(Forbidden):
        accounts.issue_token(Scope(main, Actor.system()), name="x", scopes=["*"])
