"""What is true of every page: it can be read and used by everybody, it is light, it fits."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from . import pages
from .world import Sites

pytestmark = pytest.mark.browser
Come = Callable[..., Page]

# WCAG 2.2 AA, and what axe advises for every page.
_RULES = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
    "resultTypes": ["violations"],
}
MOST_BYTES = 250_000


@pytest.fixture(scope="module")
def furnished(sites: Sites) -> Sites:
    pages.furnish(sites)
    return sites


def violations(page: Page) -> list[str]:
    found: dict[str, Any] = Axe().run(page, options=_RULES).response
    return [
        f"{one['id']}: {node['html'][:160]}"
        for one in found["violations"]
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize(
    ("who", "language", "theme", "width"),
    [
        ("alice", "en", "light", 1280),
        ("alice", "ja", "dark", 400),
        ("olga", "ja", "light", 1280),
        ("olga", "en", "dark", 400),
    ],
)
def test_it_can_be_used_by_everybody_and_fits(
    come: Come, furnished: Sites, who: str, language: str, theme: str, width: int
) -> None:
    page = come(
        who,
        language=language,
        viewport={"width": width, "height": 900},
        color_scheme=theme,
    )
    addresses = pages.of_a_tenant(furnished) if who == "alice" else pages.OF_AN_OPERATOR
    wrong: list[str] = []
    for address in addresses:
        answer = page.goto(address)
        assert answer is not None
        if answer.status != 200:
            wrong.append(f"{address}: {answer.status}")
            continue
        page.wait_for_load_state("networkidle")
        wrong += [f"{address}: {one}" for one in violations(page)]
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            wrong.append(f"{address}: {wide} px wide")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("address", ["/", "/servers", "/snapshots"])
def test_a_first_visit_transfers_little(come: Come, furnished: Sites, address: str) -> None:
    page = come("alice")
    sizes: list[int] = []
    page.on("requestfinished", lambda one: sizes.append(one.sizes()["responseBodySize"]))
    page.goto(address)
    page.wait_for_load_state("networkidle")
    assert sum(sizes) < MOST_BYTES, sizes
