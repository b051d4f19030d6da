"""An operator loses a site and fills it again, in the console."""

import shutil
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .world import Sites

pytestmark = pytest.mark.browser
Come = Callable[..., Page]


def test_a_lost_vault_is_filled_again_from_the_peer(come: Come, sites: Sites) -> None:
    sites.snapshot("web", "monday")
    ids = {one["snapshot"] for one in sites.api("main", "GET", "/snapshots")["items"]}
    job = sites.api("main", "POST", "/snapshots/copy", {"peer": "dr", "snapshots": None})["job"]
    sites.wait_job("main", job)
    lost = sites.homes["main"].parent / "vault" / "snapshots"
    shutil.rmtree(lost)
    lost.mkdir()

    page = come("olga")
    page.goto("/sites")
    expect(page.locator("#vault-part dl")).to_be_visible()
    page.get_by_role("link", name="Rebuild this vault…").click()
    expect(page.get_by_role("heading", name="The plan")).to_be_visible()
    button = page.get_by_role("button", name="Rebuild the vault")
    expect(button).to_be_disabled()
    page.locator("input[name=confirm]").fill("main")
    expect(button).to_be_enabled()
    button.click()
    page.wait_for_url("**/jobs/*")
    sites.wait_job("main", page.url.rpartition("/")[2].partition("?")[0])
    kept = {one["snapshot"] for one in sites.api("main", "GET", "/snapshots")["items"]}
    assert kept == ids
    page.goto("/sites/rebuild")
    expect(page.get_by_text("Nothing is missing")).to_be_visible()


def test_two_tenants_do_not_see_each_other(come: Come, sites: Sites) -> None:
    hive = next(
        one["server"]
        for one in sites.api("main", "GET", "/servers")["items"]
        if one["name"] == "hive"
    )
    alice, ulla = come("alice"), come("ulla")
    for page, own, other in ((alice, "web", "hive"), (ulla, "hive", "web")):
        page.goto("/servers")
        expect(page.get_by_role("link", name=own, exact=True)).to_be_visible()
        expect(page.get_by_text(other, exact=True)).to_have_count(0)
    answer = alice.goto(f"/servers/{hive}")
    assert answer is not None
    assert answer.status == 404


def test_the_chosen_language_and_colours_stay(come: Come) -> None:
    page = come(None, language="en")
    page.goto("/login")
    page.locator("details.drop summary").first.click()
    page.get_by_role("button", name="日本語").click()
    expect(page.get_by_role("heading", name="ログイン")).to_be_visible()
    page.locator("details.drop summary").first.click()
    page.get_by_role("button", name="ダーク").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    assert page.locator("html").get_attribute("lang") == "ja"
