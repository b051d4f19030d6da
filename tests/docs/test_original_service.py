"""The page about the original service names tests that exist, and both languages say the same."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH = ROOT / "docs/original-service.md"
JAPANESE = ROOT / "docs/original-service.ja.md"


def sections(page: Path) -> dict[int, str]:
    """The text of each numbered rule."""
    parts = re.split(r"^## (\d+)$", page.read_text(), flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def named(text: str) -> list[str]:
    """Everything set as code, line breaks inside it undone."""
    return [" ".join(one.split()) for one in re.findall(r"`([^`]+)`", text)]


@pytest.mark.parametrize("page", [ENGLISH, JAPANESE], ids=["en", "ja"])
def test_all_fifteen_rules_are_there(page: Path) -> None:
    assert list(sections(page)) == list(range(1, 16))


@pytest.mark.parametrize("page", [ENGLISH, JAPANESE], ids=["en", "ja"])
def test_the_tests_that_it_names_exist(page: Path) -> None:
    for number, text in sections(page).items():
        source = ""
        for name in named(text):
            file, _, test = name.rpartition("::")
            if name.startswith("tests/"):
                source = (ROOT / (file or name)).read_text()
            if test.startswith("test_"):
                assert f"def {test}(" in source, f"rule {number}: {name}"


def test_both_languages_name_the_same_commands_and_tests() -> None:
    japanese = sections(JAPANESE)
    for number, text in sections(ENGLISH).items():
        ours = {one for one in named(text) if one.startswith(("dozo ", "tests/", "test_"))}
        theirs = {
            one for one in named(japanese[number]) if one.startswith(("dozo ", "tests/", "test_"))
        }
        assert ours == theirs, f"rule {number}"
