"""The table of every operation against every other is complete, and no reason is idle."""

import inspect
import re
from pathlib import Path

import dozo.vault
from dozo.vault import Vault

TEXT = (Path(dozo.vault.__file__).parent / "protocol.md").read_text()
# They make a vault or open one: nobody else is at work there through them.
BEFORE = {"init", "open"}


def rows(head: str) -> list[list[str]]:
    """The cells of the table that starts with that line."""
    lines = TEXT[TEXT.index(head) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


OPERATIONS = {row[0]: row[1] for row in rows("| operation |")}
REASONS = {int(number) for number in re.findall(r"^- \*\*(\d+)\.", TEXT, re.MULTILINE)}


def test_every_method_of_a_vault_belongs_to_an_operation() -> None:
    named = set(re.findall(r"`Vault\.(\w+)`", " ".join(OPERATIONS.values())))
    methods = {
        name for name, _each in inspect.getmembers(Vault, callable) if not name.startswith("_")
    }
    assert named == methods - BEFORE


def test_every_pair_has_a_reason_and_every_reason_a_pair() -> None:
    head = TEXT[TEXT.index("| |backup") :].splitlines()[0]
    across = [cell.strip() for cell in head.strip("|").split("|")][1:]
    assert across == list(OPERATIONS)
    found = rows(head)
    assert [row[0].strip("*") for row in found] == across
    used: set[int] = set()
    for number, row in enumerate(found):
        for other, cell in enumerate(row[1:]):
            if other < number:
                assert not cell
                continue
            reasons = {int(each) for each in cell.split()}
            assert reasons, (row[0], across[other])
            assert reasons <= REASONS
            used |= reasons
    assert used == REASONS
