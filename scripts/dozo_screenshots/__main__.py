"""`scripts/screenshots`, after set-up."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from tests.browser import pages
from tests.browser.world import Sites, open_sites

LOOKS = (
    ("ja", "light", 1280),
    ("en", "light", 1280),
    ("ja", "dark", 1280),
    ("en", "dark", 400),
    ("ja", "light", 400),
)


def main() -> int:
    """Take them all; the exit code."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as home, open_sites(Path(home)) as sites:
        pages.furnish(sites)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=options)
            count = sum(_of(browser, sites, folder, look) for look in LOOKS)
            browser.close()
    print(f"{count} pictures in {folder}")
    return 0


def _of(browser: Browser, sites: Sites, folder: Path, look: tuple[str, str, int]) -> int:
    language, theme, width = look
    count = 0
    for who, addresses in (("alice", pages.of_a_tenant(sites)), ("olga", pages.OF_AN_OPERATOR)):
        context = browser.new_context(
            locale={"en": "en-GB", "ja": "ja-JP"}[language],
            timezone_id="Asia/Tokyo",
            base_url=sites.url("main"),
            viewport={"width": width, "height": 900},
            color_scheme="dark" if theme == "dark" else "light",
        )
        page = context.new_page()
        sites.enter(page, who)
        for address in addresses:
            page.goto(address)
            page.wait_for_load_state("networkidle")
            name = re.sub(r"[0-9a-f]{8}[0-9a-f-]{24,28}", "ID", address)
            name = re.sub(r"[^A-Za-z]+", "-", name).strip("-") or "overview"
            page.screenshot(
                path=folder / f"{name}-{who}-{language}-{theme}-{width}.png", full_page=True
            )
            count += 1
        context.close()
    return count


if __name__ == "__main__":
    sys.exit(main())
