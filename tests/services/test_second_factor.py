"""The second factor: an app's codes, each once, spare codes, and what a lost one means."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest

from dozo.model import clock
from dozo.services import login, second_factor, sessions
from dozo.services.access import Forbidden, Role, Scope
from dozo.services.access_errors import (
    LoginFailed,
    LoginThrottled,
    SecondFactorRequired,
    SecondFactorWrong,
)
from dozo.services.second_factor import CodeWrong, FactorMissing, FactorThere
from dozo.services.site import Site

from .access_support import PASSWORD, add_user
from .jobs import Shifted
from .support import make_site


@pytest.fixture(autouse=True)
def _catalogs_allowed(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with make_site(tmp_path, "main") as made:
        add_user(made, "olga", Role.OPERATOR)
        add_user(made, "alice", Role.MEMBER, "acme")
        yield made


def scope_of(site: Site, name: str) -> Scope:
    row = site.catalog.users.select_related("tenant").get(username=name)
    return Scope(site, login.actor_of(row), source="192.0.2.1")


def turn_on(site: Site, name: str = "alice") -> tuple[pyotp.TOTP, tuple[str, ...]]:
    begun = second_factor.begin(scope_of(site, name))
    app = pyotp.TOTP(begun.secret)
    return app, second_factor.confirm(scope_of(site, name), code_of(app)).spare_codes


def code_of(app: pyotp.TOTP, steps: int = 0) -> str:
    return app.at(int(clock.now().timestamp()) + 30 * steps)


def enter(site: Site, code: str = "", password: str = PASSWORD) -> str:
    return sessions.open_session(site, "alice", password, code=code).view.owner


def test_once_on_a_login_needs_the_code_too(site: Site) -> None:
    assert enter(site) == "alice"
    app, _ = turn_on(site)
    with pytest.raises(SecondFactorRequired):
        enter(site)
    with pytest.raises(LoginFailed):
        enter(site, code_of(app, 1), "wrong password")
    with pytest.raises(SecondFactorWrong):
        enter(site, "000000")
    assert enter(site, code_of(app, 1)) == "alice"


def test_a_code_counts_once(site: Site) -> None:
    app, _ = turn_on(site)
    with pytest.raises(SecondFactorWrong):
        enter(site, code_of(app))  # confirming has used it up
    code = code_of(app, 1)
    assert enter(site, code) == "alice"
    with pytest.raises(SecondFactorWrong):
        enter(site, code)


def test_a_spare_code_lets_in_once_when_the_app_is_lost(site: Site) -> None:
    _, spare = turn_on(site)
    assert len(set(spare)) == 10
    assert enter(site, spare[3].upper()) == "alice"
    with pytest.raises(SecondFactorWrong):
        enter(site, spare[3])
    assert second_factor.show(scope_of(site, "alice")).spare_codes == 9


def test_codes_are_guessed_no_faster_than_passwords(site: Site) -> None:
    app, _ = turn_on(site)
    for _ in range(5):
        with pytest.raises(SecondFactorWrong):
            enter(site, "000000")
    with pytest.raises(LoginThrottled):
        enter(site, code_of(app, 1))


def test_the_two_steps_of_a_page_are_one_login(site: Site) -> None:
    app, _ = turn_on(site)
    pending = sessions.pending(site, "alice")
    assert "alice" not in pending
    with pytest.raises(SecondFactorWrong):
        sessions.finish_session(site, pending, "000000")
    with pytest.raises(LoginFailed):
        sessions.finish_session(site, pending[:-2] + "xx", code_of(app, 1))
    made = sessions.finish_session(site, pending, code_of(app, 1))
    assert login.authenticate(site, made.token).username == "alice"


def test_it_counts_only_once_a_code_was_right(site: Site) -> None:
    begun = second_factor.begin(scope_of(site, "alice"))
    assert enter(site) == "alice"
    assert second_factor.begun(scope_of(site, "alice")) == begun
    with pytest.raises(CodeWrong):
        second_factor.confirm(scope_of(site, "alice"), "000000")
    assert not second_factor.show(scope_of(site, "alice")).on
    again = second_factor.begin(scope_of(site, "alice"))
    assert again.secret != begun.secret
    second_factor.confirm(scope_of(site, "alice"), code_of(pyotp.TOTP(again.secret)))
    with pytest.raises(FactorThere):
        second_factor.begin(scope_of(site, "alice"))


def test_removing_it_asks_for_the_password(site: Site) -> None:
    turn_on(site)
    with pytest.raises(LoginFailed):
        second_factor.remove(scope_of(site, "alice"), "wrong")
    second_factor.remove(scope_of(site, "alice"), PASSWORD)
    assert enter(site) == "alice"
    with pytest.raises(FactorMissing):
        second_factor.remove(scope_of(site, "alice"), PASSWORD)


def test_an_operator_takes_a_lost_one_away_and_a_member_does_not(site: Site) -> None:
    turn_on(site)
    with pytest.raises(Forbidden):
        second_factor.reset(scope_of(site, "alice"), "alice")
    second_factor.reset(scope_of(site, "olga"), "alice")
    assert enter(site) == "alice"


def test_the_catalog_alone_gives_no_code_away(site: Site) -> None:
    begun = second_factor.begin(scope_of(site, "alice"))
    spare = second_factor.confirm(
        scope_of(site, "alice"), code_of(pyotp.TOTP(begun.secret))
    ).spare_codes
    row = site.catalog.second_factors.get()
    stored = f"{row.sealed_secret} {row.spare_hashes}"
    assert begun.secret not in stored
    assert not any(one in stored for one in spare)
    assert (site.settings.home / "sealing.key").stat().st_mode & 0o077 == 0


def test_a_clock_that_is_a_little_wrong_does_no_harm(site: Site) -> None:
    app, _ = turn_on(site)
    with clock.use_clock(Shifted(by=timedelta(minutes=5))):
        assert enter(site, code_of(app, -1)) == "alice"
        with pytest.raises(SecondFactorWrong):
            enter(site, code_of(app, 4))
