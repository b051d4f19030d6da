"""Fixtures: two sites with simulated servers and services of their own, and a browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from .world import Sites, open_sites


@pytest.fixture(autouse=True, scope="module")
def _catalogs_allowed(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Main and DR, peers of each other, each with its service; see ``world``."""
    with open_sites(tmp_path_factory.mktemp("sites")) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium from the distribution. Its event loop is in this thread until the module's end."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path is not None, "no chromium: scripts/setup --browser installs it"
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Nothing of Dozo runs in that loop.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        opened = playwright.chromium.launch(executable_path=path, args=options)
        yield opened
        opened.close()


@pytest.fixture
def come(browser: Browser, sites: Sites, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """A page of somebody who has logged in: ``come("alice", language="ja")``.

    What the browser reports of the page (errors, refused by its policy) fails the test.
    """
    complaints: list[str] = []
    contexts = []

    def heard(message: Any) -> None:
        # A refusal is an answer too; the browser notes it as a resource that failed.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def opened(
        who: str | None, *, language: str = "en", site: str = "main", **options: Any
    ) -> Page:
        context = browser.new_context(
            locale={"en": "en-GB", "ja": "ja-JP"}[language],
            timezone_id="Asia/Tokyo",
            base_url=sites.url(site),
            **{"viewport": {"width": 1280, "height": 900}, **options},
        )
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if who is not None:
            sites.enter(page, who)
        return page

    yield opened
    for number, context in enumerate(contexts):
        for page in context.pages:
            page.screenshot(path=tmp_path / f"last-{number}.png")
        context.close()
    assert complaints == []
