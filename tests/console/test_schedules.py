"""Schedules in the console: the list, the form and its preview, runs, the calendar."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from tests.api.support import World
from tests.services.access_support import TestClock

from dozo.model import clock
from dozo.services import schedules, tenants

from . import scenery
from .scenery import scope_of
from .support import Visitor, counted_queries, text_of

Come = Callable[..., Visitor]

FORM = {
    "name": "nightly",
    "target_kind": "server",
    "target_server": "web",
    "kind": "daily",
    "time": "00:10",
    "zone": "Asia/Tokyo",
    "mode": "live",
    "freeze": "on",
    "keep": "periods",
    "daily": "7",
    "weekly": "4",
    "monthly": "6",
}


@pytest.fixture
def ids(world: World) -> dict[str, str]:
    return scenery.with_schedules(world)


def test_the_list_says_when_what_and_how_it_went(visitor: Come, ids: dict[str, str]) -> None:
    page = visitor("alice").page("/schedules")
    text = text_of(page)
    assert "daily at 00:10 (Asia/Tokyo)" in text
    assert "7 daily, 4 weekly, 6 monthly" in text
    assert "Paused" in text
    assert "Running" in text
    assert "<script>alert" not in page
    japanese = text_of(visitor("alice", language="ja").page("/schedules"))
    assert "毎日 0:10（Asia/Tokyo）" in japanese
    assert "一時停止中" in japanese


def test_filters_are_addresses(visitor: Come, ids: dict[str, str]) -> None:
    alice = visitor("alice")
    paused = text_of(alice.page("/schedules?enabled=off"))
    assert "毎月の会計データ" in paused
    assert "web-nightly" not in paused
    assert "web-nightly" not in text_of(alice.page("/schedules?target_kind=tag"))
    assert "No schedule fits" in alice.page("/schedules?name=nothing-like-it")


def test_another_tenants_schedules_do_not_exist(visitor: Come, ids: dict[str, str]) -> None:
    ulla = visitor("ulla")
    assert "web-nightly" not in ulla.page("/schedules")
    assert "There is no schedule yet" in ulla.page("/schedules")
    for end in ("", "/edit", "/delete", "/run"):
        assert ulla.get(f"/schedules/{ids['web-nightly']}{end}").status_code == 404
    assert ulla.get("/schedules/new?server=web").status_code == 404


def test_an_auditor_reads_and_changes_nothing(visitor: Come, ids: dict[str, str]) -> None:
    auditor = visitor("auditor")
    page = auditor.page(f"/schedules/{ids['web-nightly']}")
    assert "Run now" not in page
    assert "/edit" not in page
    assert auditor.get("/schedules/new").status_code == 403
    assert auditor.get(f"/schedules/{ids['web-nightly']}/edit").status_code == 403


def test_the_form_begins_with_good_choices_and_makes_a_schedule(
    visitor: Come, world: World
) -> None:
    alice = visitor("alice")
    uuid = str(world.site.catalog.servers.get(name="web").uuid)
    page = alice.page(f"/schedules/new?server={uuid}")
    assert re.search(rf'<option value="{uuid}" selected>', page)
    assert re.search(r'name="mode" value="live" checked', page)
    assert 'name="daily" type="number" min="0" max="10000" value="7"' in page
    assert "The next 20 runs" in text_of(page)
    assert "What it will probably store" in text_of(page)
    answer = alice.post("/schedules/new", FORM, form="/schedules/new")
    shown = text_of(alice.follow(answer))
    assert "daily at 00:10 (Asia/Tokyo)" in shown
    row = world.site.catalog.schedules.get(name="nightly")
    assert row.keep["daily"] == 7
    assert row.keep["zone"] == "Asia/Tokyo"
    assert row.keep_peer == {}
    assert row.freeze


def test_a_mistake_keeps_what_was_typed(visitor: Come) -> None:
    alice = visitor("alice")
    wrong = {**FORM, "kind": "cron", "cron": "* * *", "name": "kept-as-typed"}
    answer = alice.post("/schedules/new", wrong, form="/schedules/new")
    assert answer.status_code == 422
    assert "3 fields, not 5" in answer.text
    assert "kept-as-typed" in answer.text
    answer = alice.post("/schedules/new", {**FORM, "daily": "x"}, form="/schedules/new")
    assert answer.status_code == 422
    assert "Generations" in answer.text


def test_the_preview_works_without_scripts_and_marks_the_switch(
    visitor: Come, world: World
) -> None:
    alice = visitor("alice")
    asked = {**FORM, "zone": "Europe/Berlin", "time": "02:30", "name": "typed"}
    with clock.use_clock(TestClock(datetime(2026, 3, 20, tzinfo=UTC))):
        world.site.catalog.tokens.filter(session=True).update(
            created_at=clock.now(), expires_at=datetime(2027, 1, 1, tzinfo=UTC)
        )
        page = alice.post("/schedules/new", {**asked, "preview": "1"}, form="/login").text
        part = alice.post("/schedules/preview", asked, form="/login").text
    for shown in (page, part):
        assert "the clock skips the planned time" in shown
        assert shown.count("<circle") == 7 + 4 + 6
        assert "15 generations" in shown or "16 generations" in shown or "14 generations" in shown
    assert 'value="typed"' in page
    assert "<html" not in part
    assert not world.site.catalog.schedules.exists()


def test_numbers_of_its_own_at_the_dr_site_come_and_go(visitor: Come, world: World) -> None:
    alice = visitor("alice")
    apart = {**FORM, "peer_apart": "on", "peer_keep": "count", "peer_count": "3"}
    alice.follow(alice.post("/schedules/new", apart, form="/schedules/new"))
    row = world.site.catalog.schedules.get(name="nightly")
    assert row.keep_peer["count"] == 3
    address = f"/schedules/{row.schedule_id}/edit"
    alice.follow(alice.post(address, {**FORM, "version": "1"}, form=address))
    row.refresh_from_db()
    assert row.keep_peer == {}


def test_what_the_form_does_not_show_stays(visitor: Come, world: World) -> None:
    scope = scope_of(world, "alice")
    keep = {"daily": 3, "zone": "Europe/Berlin", "min_age_seconds": 5400}
    timing = {"kind": "daily", "hour": 1, "minute": 0, "jitter_seconds": 90}
    fields = {"name": "odd", "server": "web", "mode": "live", "timing": timing, "keep": keep}
    made = schedules.create(scope, {**fields, "window": None})
    before = world.site.catalog.schedules.get(name="odd")
    alice = visitor("alice")
    address = f"/schedules/{made.schedule}/edit"
    alice.follow(alice.post(address, _fields(alice.page(address)), form=address))
    after = world.site.catalog.schedules.get(name="odd")
    assert after.version == before.version + 1
    for name in ("timing", "keep", "keep_peer", "mode", "freeze", "stop_timeout_seconds"):
        assert getattr(after, name) == getattr(before, name), name


def _fields(page: str) -> dict[str, Any]:
    """What a browser would send of the form, untouched."""
    form = page[page.index('id="schedule"') :]
    found: dict[str, Any] = {}
    for tag in re.findall(r"<input [^>]*>", form):
        name, value = re.search(r'name="([^"]+)"', tag), re.search(r'value="([^"]*)"', tag)
        ticks = 'type="radio"' in tag or 'type="checkbox"' in tag
        if name and (not ticks or " checked" in tag):
            found[name[1]] = unescape(value[1]) if value else "on"
    for name, options in re.findall(r'<select name="([^"]+)">(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', options)
        found[name] = (chosen[1] if chosen[1] is not None else chosen[2]) if chosen else ""
    return found


def test_a_change_by_somebody_else_is_seen_and_nothing_is_lost(
    visitor: Come, world: World, ids: dict[str, str]
) -> None:
    alice = visitor("alice")
    address = f"/schedules/{ids['web-nightly']}/edit"
    mine = {**_fields(alice.page(address)), "time": "04:44"}
    row = scope_of(world, "adam").schedule(ids["web-nightly"])
    schedules.update(
        scope_of(world, "adam"),
        row,
        {"timing": {"kind": "daily", "hour": 5, "minute": 55, "zone": "Asia/Tokyo"}},
    )
    answer = alice.post(address, mine, form=address)
    assert answer.status_code == 409
    text = text_of(answer.text)
    assert "Somebody changed it meanwhile" in text
    assert "05:55 04:44" in text
    again = _fields(answer.text)
    assert again["time"] == "04:44"
    alice.follow(alice.post(address, again, form=address))
    row.refresh_from_db()
    assert (row.timing["hour"], row.timing["minute"]) == (4, 44)


def test_pausing_and_resuming_say_what_they_do(
    visitor: Come, world: World, ids: dict[str, str]
) -> None:
    alice = visitor("alice")
    page = f"/schedules/{ids['web-nightly']}"
    shown = alice.follow(alice.post(f"{page}/enabled", {"version": "1"}, form=page))
    assert "This schedule is paused" in shown
    answer = alice.post(f"{page}/enabled", {"version": "1", "enabled": "on"}, form=page)
    assert answer.status_code == 409
    alice.follow(alice.post(f"{page}/enabled", {"version": "2", "enabled": "on"}, form=page))
    assert world.site.catalog.schedules.get(schedule_id=ids["web-nightly"]).enabled


def test_deleting_says_that_the_generations_stay(
    visitor: Come, world: World, ids: dict[str, str]
) -> None:
    alice = visitor("alice")
    snapshot = world.snapshots["web1"]
    rows = world.site.catalog.snapshots
    rows.filter(pk=snapshot).update(scheduled=True, schedule_id=ids["web-nightly"])
    address = f"/schedules/{ids['web-nightly']}/delete"
    assert "The snapshot that it took stays" in text_of(alice.page(address))
    assert world.site.catalog.schedules.get(schedule_id=ids["web-nightly"]).deleted_at is None
    alice.follow(alice.post(address, {}, form=address))
    assert alice.get(f"/schedules/{ids['web-nightly']}").status_code == 404
    assert rows.filter(pk=snapshot, deleted_at=None).exists()


def test_running_now_warns_before_a_server_is_stopped(
    visitor: Come, world: World, ids: dict[str, str]
) -> None:
    alice = visitor("alice")
    stopping = next(one for name, one in ids.items() if name.startswith("os-disk"))
    page = alice.page(f"/schedules/{stopping}")
    assert f'href="/schedules/{stopping}/run"' in page
    asked = f"/schedules/{stopping}/run"
    assert "Nobody can use it in the meantime" in alice.page(asked)
    shown = alice.follow(alice.post(asked, {}, form=asked))
    assert "The schedule runs now" in shown
    assert world.site.catalog.jobs.filter(run__schedule_id=stopping).count() == 1


def test_runs_tell_their_reason_and_their_job(visitor: Come, ids: dict[str, str]) -> None:
    alice = visitor("alice")
    page = alice.page(f"/schedules/{ids['web-nightly']}")
    text = text_of(page)
    assert "the run before it was still going on" in text
    assert "is being migrated" in text
    assert page.count('href="/jobs/') == 6
    skipped = text_of(alice.page(f"/schedules/{ids['web-nightly']}?outcome=skipped"))
    assert "is being migrated" not in skipped
    assert "a later run took its place" in skipped


def test_the_old_policy_is_explained_and_kept_to(visitor: Come, world: World) -> None:
    tenants.set_policy(scope_of(world, "operator"), "acme", preset="kcps-v1", overrides={})
    alice = visitor("alice")
    page = alice.page("/schedules/new")
    text = text_of(page)
    assert "keep at most 8 generations" in text
    assert 'value="live"' not in page
    assert 'value="cron"' not in page
    assert re.search(r'name="mode" value="stop-snapshot-start" checked', page)
    assert re.search(r'name="keep" value="count" checked', page)
    japanese = text_of(visitor("alice", language="ja").page("/schedules/new"))
    assert "最大8世代" in japanese
    volume = str(world.site.catalog.volumes.get(server__name="web").volume_id)
    fields = {
        **_fields(page),
        "name": "old",
        "target_kind": "volume",
        "target_volume": volume,
        "count": "9",
    }
    refused = alice.post("/schedules/new", fields, form="/schedules/new")
    assert refused.status_code == 409
    alice.follow(alice.post("/schedules/new", {**fields, "count": "8"}, form="/schedules/new"))


def test_a_tightened_policy_changes_no_schedule_unseen(
    visitor: Come, world: World, ids: dict[str, str]
) -> None:
    row = world.site.catalog.schedules.get(schedule_id=ids["every-hour"])
    row.timing = {"kind": "cron", "cron": "5 * * * *", "zone": "UTC"}
    row.save()
    tenants.set_policy(scope_of(world, "operator"), "acme", preset="kcps-v1", overrides={})
    alice = visitor("alice")
    address = f"/schedules/{row.schedule_id}/edit"
    sent = _fields(alice.page(address))
    assert (sent["kind"], sent["mode"], sent["keep"]) == ("cron", "live", "periods")
    assert alice.post(address, sent, form=address).status_code == 409
    row.refresh_from_db()
    assert row.timing["cron"] == "5 * * * *"


def test_the_calendar_shows_what_was_and_what_will_be(visitor: Come, ids: dict[str, str]) -> None:
    alice = visitor("alice")
    page = alice.page("/schedules/calendar")
    assert "Planned" in page
    assert 'aria-current="date"' in page
    today = clock.now().date()
    day = text_of(alice.page(f"/schedules/calendar?day={today}"))
    assert "How it went" in day
    assert "web-nightly" in day
    far = text_of(alice.page("/schedules/calendar?month=2031-02"))
    assert "February 2031" in far
    assert (
        "00:05 \N{MULTIPLICATION SIGN}24" in far
        or "04:05 \N{MULTIPLICATION SIGN}24" in far
        or "23:05 \N{MULTIPLICATION SIGN}24" in far
    )
    japanese = text_of(visitor("alice", language="ja").page("/schedules/calendar?month=2031-02"))
    assert "2031年2月" in japanese
    assert alice.get("/schedules/calendar?month=9999-99").status_code == 200
    assert "web-nightly" not in visitor("ulla").page("/schedules/calendar")


def test_a_schedule_of_every_minute_does_not_stall_the_calendar(
    visitor: Come, world: World
) -> None:
    fields = {"name": "busy", "server": "web", "mode": "live", "keep": {"count": 3}}
    timing = {"kind": "cron", "cron": "* * * * *"}
    schedules.create(scope_of(world, "alice"), {**fields, "timing": timing})
    page = text_of(visitor("alice").page("/schedules/calendar?month=2031-02"))
    assert page.count("00:00 \N{MULTIPLICATION SIGN}25+ busy") == 28 + 7


def test_queries_do_not_grow_with_rows(visitor: Come, world: World, ids: dict[str, str]) -> None:
    alice = visitor("alice")
    counts = []
    for _round in range(2):
        for address in ("/schedules", "/schedules/calendar", f"/schedules/{ids['web-nightly']}"):
            with counted_queries() as seen:
                alice.page(address)
            counts.append(len(seen))
        scope = scope_of(world, "alice")
        for number in range(20):
            schedules.create(
                scope,
                {**FORM_FIELDS, "name": f"more-{_round}-{number}"},
            )
    assert max(counts) < 30
    # The first look at all also fills what is kept between pages.
    assert all(later <= first for first, later in zip(counts[:3], counts[3:], strict=True))


FORM_FIELDS: dict[str, Any] = {
    "server": "web",
    "mode": "live",
    "timing": {"kind": "daily", "hour": 1, "minute": 0},
    "keep": {"count": 3},
}
