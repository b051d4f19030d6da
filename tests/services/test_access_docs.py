"""docs/access.md says what the code does."""

from pathlib import Path

import pytest

from dozo.services.access import Operation, Role
from dozo.services.access_rules import NOT_BY_TOKEN, RULES
from dozo.services.access_scopes import TokenScope

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text()
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in PAGE.splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    if len(cells) == 2 + len(Role)
}


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_is_documented_with_who_may_do_it(operation: Operation) -> None:
    about, *yes = ROWS[operation.value]
    rule = RULES[operation]
    assert about == ("anybody" if rule.reach.value == "open" else rule.reach.value)
    assert {role for role, cell in zip(Role, yes, strict=True) if cell == "yes"} == rule.roles


def test_no_operation_is_documented_that_is_not_there() -> None:
    assert set(ROWS) == set(Operation)


def test_the_scopes_of_the_page_are_scopes() -> None:
    section = PAGE.partition("| scope | permits |")[2].partition("\n\n")[0]
    scopes = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert len(scopes) >= 7
    for scope in scopes:
        TokenScope.parse(scope.replace("UUID", "00000000-0000-4000-8000-000000000000"))


def test_what_no_token_can_do_is_said() -> None:
    assert {one.value for one in NOT_BY_TOKEN} == {
        "account.update",
        "account.change-password",
        "account.second-factor",
        "user.reset-second-factor",
        "token.create",
        "user.set-password",
    }
    assert "cannot make tokens, change the account, set passwords or touch second factors" in PAGE
