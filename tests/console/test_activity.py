"""Jobs and the audit trail: lists with filters, progress, cancelling, trying again, export."""

import json
from collections.abc import Callable

import pytest
from tests.api.support import World

from dozo.catalog import models
from dozo.model import clock

from .scenery_activity import add_job, with_jobs
from .support import Visitor, text_of

Come = Callable[..., Visitor]


@pytest.fixture
def jobs(world: World) -> dict[str, str]:
    return with_jobs(world)


def test_jobs_are_listed_and_filtered(visitor: Come, jobs: dict[str, str]) -> None:
    alice = visitor("alice")
    page = alice.page("/jobs")
    for job in jobs.values():
        assert job in page
    assert "<script>alert" not in page
    assert "Place 1 in the queue" in page
    ends = ("done", "failed", "cancelled", "interrupted")
    for query, shown in (
        ("state=active", set(jobs) - set(ends)),
        ("state=ended", set(ends)),
        ("state=trouble", {"failed", "interrupted"}),
        ("state=queued", {"queued"}),
        ("kind=restore.server", {"failed"}),
        ("actor=alice", set(jobs)),
        ("actor=token:alice", set()),
        ("server=web", set(jobs) - {"failed"}),
    ):
        page = alice.page(f"/jobs?{query}")
        found = {name for name, job in jobs.items() if job in page}
        assert found == shown, query
    assert "No job is like that." in alice.page("/jobs?actor=nobody")
    assert alice.get("/jobs?server=hive").status_code == 404


def test_a_jobs_page_shows_progress_and_follows_it(visitor: Come, jobs: dict[str, str]) -> None:
    page = visitor("alice").page(f"/jobs/{jobs['running']}")
    text = text_of(page)
    assert "42 %" in text
    assert "17.0 GiB / 40.0 GiB" in text
    assert "minutes left" in text
    assert "Thaw web after 143 ms" in text
    assert 'http-equiv="refresh"' in page
    part = visitor("alice").page(f"/jobs/{jobs['running']}?part=live")
    assert "<html" not in part
    assert "42 %" in part


def test_the_log_goes_on_behind_the_last_line(
    visitor: Come, world: World, jobs: dict[str, str]
) -> None:
    lines = world.site.catalog.job_lines.filter(job_id=jobs["running"]).order_by("id")
    page = visitor("alice").page(f"/jobs/{jobs['running']}/log?after={lines[2].pk}")
    assert "Read web-vda" in page
    assert "Thaw" not in page
    assert f"after={lines[3].pk}" in page
    world.site.catalog.jobs.filter(pk=jobs["running"]).update(state="done")
    assert "hx-get" not in visitor("alice").page(f"/jobs/{jobs['running']}/log?after=0")


def test_a_job_that_ends_loads_its_page_anew(visitor: Come, jobs: dict[str, str]) -> None:
    answer = visitor("alice").get(f"/jobs/{jobs['done']}?part=live")
    assert answer.headers["HX-Refresh"] == "true"
    assert 'hx-trigger="every' not in visitor("alice").page(f"/jobs/{jobs['done']}")


def test_a_waiting_job_says_what_it_waits_for(
    visitor: Come, world: World, jobs: dict[str, str]
) -> None:
    page = visitor("alice").page(f"/jobs/{jobs['queued']}")
    assert "It waits for:" in page
    assert f'href="/jobs/{jobs["cancelling"]}"' in page
    other = world.site.tenant_row("umbrella")
    mine = add_job(world, "mine", "queued", locks=["x"], created_at=clock.now())
    world.site.catalog.jobs.filter(pk=jobs["running"]).update(tenant=other, locks=["x"])
    text = text_of(visitor("alice").page(f"/jobs/{mine.job_id}"))
    assert "Another job" in text


def test_a_failed_job_says_why_and_what_to_do(visitor: Come, jobs: dict[str, str]) -> None:
    page = visitor("alice").page(f"/jobs/{jobs['failed']}")
    assert "The pool has 3 GiB left" in page
    assert "Make room in the pool" in page
    assert "<script>alert" not in page


def test_cancelling_asks_first(visitor: Come, world: World, jobs: dict[str, str]) -> None:
    alice = visitor("alice")
    address = f"/jobs/{jobs['queued']}/cancel"
    assert "nothing happens at all" in alice.page(address)
    assert world.site.catalog.jobs.get(pk=jobs["queued"]).state == "queued"
    answer = alice.post(address, {}, form=address)
    assert answer.headers["Location"] == f"/jobs/{jobs['queued']}?note=cancelling"
    assert world.site.catalog.jobs.get(pk=jobs["queued"]).state == "cancelled"
    assert alice.post(address, {}, form="/account").status_code == 409
    assert visitor("auditor").post(address, {}, form="/account").status_code == 403


def test_what_came_to_nothing_is_tried_again_once(
    visitor: Come, world: World, jobs: dict[str, str]
) -> None:
    alice = visitor("alice")
    address = f"/jobs/{jobs['interrupted']}"
    assert "Try again" in alice.page(address)
    assert "Try again" not in visitor("auditor").page(address)
    row = world.site.catalog.jobs.get(pk=jobs["interrupted"])
    world.site.catalog.jobs.filter(pk=row.pk).update(
        kind="snapshot.verify", params={"snapshots": [world.snapshots["web0"]], "everything": False}
    )
    first = alice.post(f"{address}/again", {"once": "k"}, form="/account")
    second = alice.post(f"{address}/again", {"once": "k"}, form="/account")
    assert first.headers["Location"] == second.headers["Location"]
    made = world.site.catalog.jobs.get(pk=first.headers["Location"].removeprefix("/jobs/"))
    assert (made.kind, made.actor) == ("snapshot.verify", "user:alice")
    assert alice.post(f"/jobs/{jobs['done']}/again", {}, form="/account").status_code == 409
    refused = world.post(f"/jobs/{jobs['done']}/again", {}, "alice")
    assert refused.json()["code"] == "job.nothing_to_repeat"


def test_a_job_leads_to_what_it_made(visitor: Come, world: World, jobs: dict[str, str]) -> None:
    snapshot = world.snapshots["web1"]
    result = {"snapshots": [{"snapshot": snapshot}, {"snapshot": world.snapshots["hive1"]}]}
    world.site.catalog.jobs.filter(pk=jobs["done"]).update(result=result)
    page = visitor("alice").page(f"/jobs/{jobs['done']}")
    assert "What it made" in page
    assert f'href="/snapshots/{snapshot}"' in page
    # Another tenant's is not there, whatever stands in the result.
    assert world.snapshots["hive1"] not in page


def test_other_tenants_jobs_are_not_there(visitor: Come, jobs: dict[str, str]) -> None:
    ulla = visitor("ulla")
    assert "Nothing was asked for yet." in ulla.page("/jobs")
    for part in ("", "/log", "/cancel", "?part=live"):
        assert ulla.get(f"/jobs/{jobs['running']}{part}").status_code == 404


def test_the_pages_speak_japanese(visitor: Come, jobs: dict[str, str]) -> None:
    alice = visitor("alice", language="ja")
    assert "ジョブ" in text_of(alice.page("/jobs"))
    assert "進捗" in text_of(alice.page(f"/jobs/{jobs['running']}"))
    assert "監査" in text_of(alice.page("/audit"))


def test_the_trail_is_listed_and_filtered(visitor: Come, world: World) -> None:
    operator = visitor("operator")
    assert "Make a token" in text_of(operator.page("/audit"))
    rows = world.site.catalog.audit_entries
    total = rows.filter(operation="token.create").count()
    assert f"{total} entries" in text_of(operator.page("/audit?operation=token.create"))
    own = text_of(operator.page("/audit?actor=alice&operation=token.create"))
    assert "1 entry" in own
    assert "No entry is like that." in operator.page("/audit?outcome=failed")
    assert "No entry is like that." in operator.page("/audit?until=2001-01-01")
    assert operator.get("/audit?since=nonsense").status_code == 422
    assert "ulla" in text_of(operator.page("/audit?object=ulla"))


def test_an_entry_shows_all_that_was_written(visitor: Come, world: World) -> None:
    row = world.site.catalog.audit_entries.filter(operation="token.create").first()
    assert isinstance(row, models.AuditEntry)
    page = text_of(visitor("operator").page(f"/audit/{row.sequence}"))
    assert row.hash in page
    assert '"scopes"' in page
    assert visitor("operator").get("/audit/999999").status_code == 404


def test_a_tenant_sees_its_own_part_of_the_trail(visitor: Come, world: World) -> None:
    page = text_of(visitor("alice").page("/audit"))
    assert "ulla" not in page
    other = world.site.catalog.audit_entries.filter(tenant="umbrella").first()
    assert other is not None
    assert visitor("alice").get(f"/audit/{other.sequence}").status_code == 404
    assert "/audit/verify" not in visitor("alice").page("/audit")


def test_the_trail_is_exported_as_json_lines(visitor: Come, world: World) -> None:
    answer = visitor("operator").post("/audit/export", {}, form="/audit")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="audit-main-')
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[-1]["operation"] == "audit.export"
    assert len(lines) == world.site.catalog.audit_entries.count()


def test_the_trail_is_checked(visitor: Come, world: World) -> None:
    operator = visitor("operator")
    answer = operator.post("/audit/verify", {}, form="/audit")
    assert "The trail is as it was written." in answer.text
    head = world.site.catalog.audit_heads.get(number=1)
    head.hash = "f" * 64
    head.save(using=world.site.catalog.alias)
    broken = operator.post("/audit/verify", {}, form="/audit")
    assert "is not as it was written" in broken.text
    assert visitor("alice").post("/audit/verify", {}, form="/account").status_code == 403
