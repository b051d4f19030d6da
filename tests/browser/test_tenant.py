"""A tenant's whole way in the console, from an unprotected server to a restored one."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dozo.model import clock

from .world import Sites

pytestmark = pytest.mark.browser
Come = Callable[..., Page]

# A job and the page's next look at it.
SLOW_MS = 60_000


def server_of(sites: Sites, name: str) -> Any:
    return next(one for one in sites.api("main", "GET", "/servers")["items"] if one["name"] == name)


def confirm(page: Page, action: str, *, scripts: bool) -> None:
    """A step of the restore: look at what will happen, then let it happen.

    Without scripts somebody has to look again until the step before is done.
    """
    asked = page.locator("#step form[method=get]")
    deadline = clock.monotonic() + SLOW_MS / 1000
    while not scripts and asked.count() == 0 and clock.monotonic() < deadline:
        page.wait_for_timeout(500)
        page.reload()
    expect(asked).to_be_visible(timeout=SLOW_MS)
    page.locator("#step form[method=get] p.row button").click()
    page.locator(f"form[action='{action}'] button.primary").click()


@pytest.mark.parametrize(
    ("who", "language", "server", "scripts"),
    [
        ("alice", "en", "web", True),
        ("alice", "ja", "shop", True),
        ("ulla", "ja", "hive", False),
    ],
)
def test_from_an_unprotected_server_to_the_restored_one(
    come: Come, sites: Sites, who: str, language: str, server: str, scripts: bool
) -> None:
    page = come(who, language=language, java_script_enabled=scripts)
    uuid = server_of(sites, server)["server"]

    page.goto("/")
    page.locator(f"a[href*='/schedules/new?server={uuid}']").first.click()
    page.locator("input[name=name]").fill(f"daily-of-{server}")
    page.locator("main form button.primary").click()
    page.wait_for_url("**/schedules/*")
    assert server_of(sites, server)["server"] == uuid

    page.goto(f"/servers/{uuid}")
    page.locator(f"a[href*='/snapshot-now?server={uuid}']").first.click()
    page.locator("main form[method=post] button.primary").click()
    page.wait_for_url("**/jobs/*")
    sites.wait_job("main", page.url.rpartition("/")[2].partition("?")[0])

    page.goto(f"/restore?server={uuid}")
    page.locator("a.button[href^='/restore/template']").click()
    confirm(page, "/restore/template", scripts=scripts)
    page.wait_for_url("**/restore/new-server?*")
    confirm(page, "/restore/new-server", scripts=scripts)
    page.wait_for_url("**/restore/volumes?*")
    confirm(page, "/restore/volumes", scripts=scripts)
    page.wait_for_url("**/restore/attach?*")
    confirm(page, "/restore/attach", scripts=scripts)
    page.locator("main a.button.primary[href^='/servers/']").click(timeout=SLOW_MS)
    page.wait_for_url("**/servers/*")
    made = page.url.rpartition("/")[2].partition("?")[0]
    assert made != uuid
    restored = sites.api("main", "GET", f"/servers/{made}")
    assert [one["device"] for one in restored["volumes"]] == ["vda", "vdb"]
    page.goto("/servers")
    expect(page.locator(f"a[href='/servers/{made}']").first).to_be_visible()


def test_what_the_old_service_did_not_permit_is_refused_and_explained(
    come: Come, sites: Sites
) -> None:
    page = come("kenji")
    uuid = server_of(sites, "kura")["server"]
    page.goto(f"/snapshot-now?server={uuid}")
    expect(page.locator("input[name=mode][value=live]:enabled")).to_have_count(0)
    expect(page.get_by_text("kcps-v1").first).to_be_visible()
    # Whoever sends it all the same is refused by the service.
    answer = page.evaluate(
        """async () => {
          const form = new FormData(document.querySelector("main form[method=post]"));
          form.set("mode", "live");
          form.set("do", "take");
          const body = new URLSearchParams(form);
          const sent = await fetch(location.href, {method: "POST", body});
          return [sent.status, await sent.text()];
        }"""
    )
    assert answer[0] in {403, 409, 422}, answer[1][:300]
    assert not sites.api("main", "GET", f"/jobs?object={uuid}")["items"]
