"""The guide: its pages are what docs/guide.md says, in both languages; links lead there."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from dozo.console.guide.views import CHAPTERS

from .support import Visitor, text_of

ROOT = Path(__file__).parents[2]
CONSOLE = ROOT / "src" / "dozo" / "console"
Come = Callable[..., Visitor]


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_guide", ROOT / "scripts/write_guide.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_guide_says(writer: ModuleType) -> None:
    assert tuple(writer.ADDRESSES) == CHAPTERS
    for path, text in writer.pages().items():
        assert path.read_text() == text, f"{path}: run scripts/write_guide.py"


@pytest.mark.parametrize(
    ("language", "titles"),
    [
        ("en", ["Backup", "Constraints", "Patterns of use", "How to restore", "Limits"]),
        ("ja", ["バックアップ", "制約", "使用パターン", "リストアの手順", "制限"]),
    ],
)
def test_every_chapter_opens_in_the_visitors_language(
    visitor: Come, language: str, titles: list[str]
) -> None:
    reader = visitor("adam", language=language)
    contents = text_of(reader.page("/help"))
    for address, title in zip(CHAPTERS, titles, strict=True):
        assert title in contents
        page = reader.page(f"/help/{address}")
        assert re.search(rf"<h1>{title}</h1>", page)
        assert page.count("<h1") == 1
        assert 'aria-current="page"' in page


def test_what_is_no_chapter_is_not_found(visitor: Come) -> None:
    assert visitor("adam").get("/help/nothing").status_code == 404
    assert visitor(None).get("/help").status_code == 302


def test_links_to_the_guide_lead_to_a_section(writer: ModuleType) -> None:
    places = {
        *writer.ADDRESSES,
        *(f"{one}#{part}" for one, parts in writer.ADDRESSES.items() for part in parts),
    }
    named = set()
    for template in CONSOLE.glob("*/templates/**/*.html"):
        named |= set(re.findall(r'{% guide "([^"]+)" %}', template.read_text()))
        named |= set(re.findall(r'href="/help/([^"{]+)"', template.read_text()))
    assert named
    assert named <= places


def test_nothing_of_the_guide_is_a_script(writer: ModuleType) -> None:
    for text in writer.pages().values():
        assert not re.search(r"<(script|style|img|iframe)|style=|\bon\w+=", text)
