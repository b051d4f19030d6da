"""Changes at the same time: none is lost, and rules that look at several rows hold.

SQLite lets one transaction write at a time; PostgreSQL does not.
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from dozo.model.errors import DozoError
from dozo.services import accounts, audit, login, schedules, upkeep
from dozo.services.access import Operation, Role
from dozo.services.access_errors import LastOperator, LoginFailed, LoginThrottled, UserExists
from dozo.services.schedules import ScheduleNameTaken
from dozo.services.site import Site

from .access_support import PASSWORD, add_server, add_user, system

pytestmark = pytest.mark.postgres


@pytest.fixture
def at_once(django_db_blocker: Any) -> Callable[..., list[Any]]:
    """Calls everything at the same time, each with a site of its own; results or Dozo's errors."""

    def run(site: Site, *acts: Callable[[Site], Any]) -> list[Any]:
        found: list[Any] = [None] * len(acts)
        start = threading.Barrier(len(acts))

        def call(number: int) -> None:
            with django_db_blocker.unblock(), Site.open(site.settings.home) as own:
                start.wait(20)
                try:
                    found[number] = acts[number](own)
                except DozoError as error:
                    found[number] = error
                except BaseException as error:
                    found[number] = error
                    raise

        threads = [threading.Thread(target=call, args=(number,)) for number in range(len(acts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return found

    return run


def test_two_operators_who_disable_each_other(main: Site, at_once: Callable[..., Any]) -> None:
    for name in ("ann", "bea"):
        add_user(main, name, Role.OPERATOR)
    found = at_once(
        main,
        lambda site: accounts.set_active(system(site), "ann", active=False),
        lambda site: accounts.set_active(system(site), "bea", active=False),
    )
    assert [type(one) for one in found].count(LastOperator) == 1
    assert main.catalog.users.filter(role="operator", is_active=True).count() == 1


def test_a_new_password_and_a_new_name_both_stay(main: Site, at_once: Callable[..., Any]) -> None:
    add_user(main, "ann", Role.OPERATOR)
    for number in range(4):
        password = f"another good one {number}"
        found = at_once(
            main,
            lambda site, new=password: accounts.set_password(system(site), "ann", new),
            lambda site, name=str(number): accounts.update_user(
                system(site), "ann", display_name=name
            ),
        )
        assert not [one for one in found if isinstance(one, BaseException)]
        row = main.catalog.users.get(username="ann")
        assert row.check_password(password)
        assert row.display_name == str(number)


def test_names_that_differ_in_case_alone(main: Site, at_once: Callable[..., Any]) -> None:
    found = at_once(
        main,
        *(
            lambda site, name=name: accounts.create_user(
                system(site), name, password=PASSWORD, role=Role.OPERATOR
            )
            for name in ("ann", "Ann", "ANN")
        ),
    )
    assert [type(one) for one in found].count(UserExists) == 2
    assert main.catalog.users.count() == 1


def test_logins_of_one_user_and_many(main: Site, at_once: Callable[..., Any]) -> None:
    add_user(main, "ann", Role.OPERATOR)

    def attempts(site: Site, username: str, password: str) -> None:
        for _time in range(3):
            try:
                login.login(site, username, password, source="192.0.2.1")
            except (LoginFailed, LoginThrottled):
                continue

    found = at_once(
        main,
        lambda site: attempts(site, "ann", PASSWORD),
        lambda site: attempts(site, "ann", "wrong"),
        lambda site: attempts(site, "ann", PASSWORD),
        lambda site: attempts(site, "bea", "wrong"),
    )
    assert found == [None] * 4


def test_the_audit_trail_is_one_chain(main: Site, at_once: Callable[..., Any]) -> None:
    before = main.catalog.audit_entries.count()

    def note(site: Site) -> None:
        for number in range(10):
            audit.record(site, None, Operation.SITE_SYNC, detail={"number": number})

    assert at_once(main, *[note] * 6) == [None] * 6
    assert audit.verify(system(main)).entries == before + 60


def test_schedules_of_one_name(main: Site, at_once: Callable[..., Any]) -> None:
    uuid = add_server(main, "web", "default")
    fields = {
        "name": "nightly",
        "server": str(uuid),
        "timing": {"kind": "hourly", "minute": 10, "zone": "UTC"},
        "keep": {"count": 3},
    }
    found = at_once(main, *[lambda site: schedules.create(system(site), fields)] * 3)
    assert [type(one) for one in found].count(ScheduleNameTaken) == 2, found
    assert main.catalog.schedules.count() == 1


def test_upkeep_of_several_workers_is_asked_for_once(
    main: Site, at_once: Callable[..., Any]
) -> None:
    found = at_once(main, *[lambda site: upkeep.submit_due(site, upkeep.Arrivals())] * 3)
    assert not [one for one in found if isinstance(one, BaseException)]
    kinds = [row.kind for row in main.catalog.jobs.all()]
    assert sorted(set(kinds)) == sorted(kinds)
    assert connections[main.catalog.alias].in_atomic_block is False
