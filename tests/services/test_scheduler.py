"""Schedules: what is due becomes jobs once, what is missed is said, and generations go."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from dozo.model import clock
from dozo.model.clock import SystemClock
from dozo.services import protection, retain, scheduler, schedules
from dozo.services.access import Actor, Scope
from dozo.services.protection import Protection
from dozo.services.schedules import (
    ScheduleChanged,
    ScheduleInvalid,
    ScheduleNameTaken,
    ScheduleView,
)
from dozo.services.site import Site

from .support import MadeServer, make_site, random_bytes, store

pytestmark = pytest.mark.postgres

START = datetime(2026, 3, 2, 11, 30, tzinfo=UTC)
HOURLY = {"kind": "hourly", "minute": 0, "zone": "UTC"}


@dataclass
class Now:
    """A clock that the test sets."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - START).total_seconds()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def move(self, **delta: float) -> None:
        self.at += timedelta(**delta)


@pytest.fixture
def now() -> Iterator[Now]:
    clock_of_test = Now()
    with clock.use_clock(clock_of_test):
        yield clock_of_test


@pytest.fixture
def site(tmp_path: Path, now: Now) -> Iterator[Site]:
    site = make_site(tmp_path, "main")
    yield site
    site.close()


@pytest.fixture
def scope(site: Site) -> Scope:
    return Scope(site, Actor.system())


def add_server(site: Site, name: str = "web", **fields: object) -> str:
    uuid = uuid4()
    server = site.catalog.servers.create(
        uuid=uuid, name=name, tenant=site.tenant_row(), present=True, state="running", **fields
    )
    site.catalog.volumes.create(
        name=f"{name}-vda",
        tenant=server.tenant,
        server=server,
        state="attached",
        device="vda",
        is_root=True,
    )
    return str(uuid)


def add(scope: Scope, **fields: object) -> ScheduleView:
    whole = {"name": "hourly", "timing": HOURLY, "keep": {"count": 3}, "mode": "live", **fields}
    return schedules.create(scope, whole)


def runs(site: Site) -> list[tuple[datetime, str, str]]:
    return [
        (row.planned_at, row.outcome, row.reason)
        for row in site.catalog.schedule_runs.order_by("planned_at")
    ]


def at(hour: int, minute: int = 0, day: int = 2) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def test_what_is_due_becomes_one_job(site: Site, scope: Scope, now: Now) -> None:
    uuid = add_server(site)
    view = add(scope, server=uuid)
    assert view.next_at == at(12)
    assert scheduler.tick(site) == []
    now.at = at(12, 0)
    (job_id,) = scheduler.tick(site)
    assert scheduler.tick(site) == []

    job = site.catalog.jobs.get(job_id=job_id)
    assert (job.kind, job.object_id, job.locks) == (
        "recovery-point.create",
        uuid,
        [f"server:{uuid}"],
    )
    assert job.params["schedule_id"] == view.schedule
    assert job.params["keep"]["here"]["count"] == 3
    assert runs(site) == [(at(12), "started", "")]
    assert schedules.view(scope, scope.schedule("hourly")).next_at == at(13)


def test_a_missed_live_run_is_caught_up_once(site: Site, scope: Scope, now: Now) -> None:
    add(scope, server=add_server(site))
    now.at = at(15, 20)
    assert len(scheduler.tick(site)) == 1
    assert runs(site) == [
        (at(12), "skipped", "superseded"),
        (at(13), "skipped", "superseded"),
        (at(14), "skipped", "superseded"),
        (at(15), "started", ""),
    ]


def test_a_run_that_needs_its_window_is_skipped_outside(site: Site, scope: Scope, now: Now) -> None:
    uuid = add_server(site)
    add(scope, server=uuid, mode="stop-snapshot-start")
    now.at = at(12, 20)
    assert scheduler.tick(site) == []
    assert runs(site) == [(at(12), "skipped", "outside-window")]
    now.at = at(13, 5)
    (job_id,) = scheduler.tick(site)
    assert site.catalog.jobs.get(job_id=job_id).not_after == at(13, 15)


def test_an_overlapping_run_is_skipped_and_said(site: Site, scope: Scope, now: Now) -> None:
    add(scope, server=add_server(site))
    now.at = at(12)
    (job_id,) = scheduler.tick(site)
    site.catalog.jobs.filter(job_id=job_id).update(state="running")
    now.at = at(13)
    assert scheduler.tick(site) == []
    assert runs(site)[-1] == (at(13), "skipped", "overlap")


def test_a_tag_covers_new_servers_by_itself(site: Site, scope: Scope, now: Now) -> None:
    add(scope, tag="gold", tenant="default")
    now.at = at(12)
    assert scheduler.tick(site) == []
    assert runs(site) == [(at(12), "skipped", "nothing-covered")]
    add_server(site, "a", tags=["gold"])
    add_server(site, "b", tags_by_hand=["gold"])
    add_server(site, "c", tags=["silver"])
    now.at = at(13)
    assert len(scheduler.tick(site)) == 2


def test_what_the_policy_forbids_is_refused_when_it_is_made(site: Site, scope: Scope) -> None:
    uuid = add_server(site)
    site.catalog.tenants.update(policy="kcps-v1")
    with pytest.raises(Exception, match="recovery points"):
        add(scope, server=uuid)
    volume = str(site.catalog.volumes.get().volume_id)
    with pytest.raises(Exception, match="mode live"):
        add(scope, volume=volume)
    with pytest.raises(Exception, match="at most 8 generations"):
        add(scope, volume=volume, mode="offline", keep={"count": 9})
    made = add(scope, volume=volume, mode="offline", keep={"count": 8})
    assert made.target_name == "web-vda"


def test_a_tightened_policy_refuses_the_run_and_says_so(site: Site, scope: Scope, now: Now) -> None:
    add(scope, server=add_server(site))
    site.catalog.tenants.update(policy="kcps-v1")
    now.at = at(12)
    assert scheduler.tick(site) == []
    ((_, outcome, reason),) = runs(site)
    assert outcome == "skipped"
    assert "does not allow recovery points" in reason


def test_two_people_change_a_schedule(site: Site, scope: Scope) -> None:
    uuid = add_server(site)
    view = add(scope, server=uuid)
    row = scope.schedule("hourly")
    changed = schedules.update(scope, row, {"keep": {"count": 5}}, version=view.version)
    assert changed.keep["count"] == 5
    with pytest.raises(ScheduleChanged):
        schedules.update(scope, row, {"keep": {"count": 6}}, version=view.version)
    with pytest.raises(ScheduleNameTaken):
        add(scope, server=uuid)
    with pytest.raises(ScheduleInvalid):
        add(scope, name="two", server=uuid, tag="x")
    schedules.delete(scope, row)
    assert add(scope, server=uuid).name == "hourly"


def test_a_new_time_catches_nothing_up(site: Site, scope: Scope, now: Now) -> None:
    add(scope, server=add_server(site))
    now.at = at(14, 10)
    row = scope.schedule("hourly")
    schedules.update(scope, row, {"timing": {**HOURLY, "minute": 30}})
    assert scheduler.tick(site) == []
    now.at = at(14, 30)
    assert len(scheduler.tick(site)) == 1
    assert runs(site) == [(at(14, 30), "started", "")]


def test_a_preview_shows_runs_and_generations(scope: Scope, now: Now) -> None:
    fields = {"timing": HOURLY, "keep": {"daily": 7, "weekly": 4}}
    seen = schedules.preview(scope, fields, days=60)
    assert seen.estimate is None
    assert len(seen.runs) == 20
    assert seen.runs[0] == at(12)
    assert 10 <= len(seen.kept) <= 12


def test_a_preview_of_what_runs_very_often_is_cut_short(scope: Scope, now: Now) -> None:
    often = {"timing": {"kind": "cron", "cron": "* * * * *"}, "keep": {"daily": 7, "yearly": 2}}
    began = SystemClock().monotonic()
    seen = schedules.preview(scope, often, days=3660)
    assert seen.days == 6
    assert SystemClock().monotonic() - began < 20
    yearly = {"timing": {"kind": "monthly", "day": 1, "hour": 1, "minute": 0}}
    assert schedules.preview(scope, {**often, **yearly}, days=3660).days == 3660


def test_a_preview_tells_the_cost_from_what_earlier_snapshots_added(
    site: Site, scope: Scope, now: Now
) -> None:
    fields: dict[str, object] = {"timing": HOURLY, "keep": {"count": 5}}
    uuid = add_server(site)
    volume = site.catalog.volumes.get()
    site.catalog.volumes.update(bytes_volume=1_000_000)
    new = schedules.preview(scope, {**fields, "server": str(uuid)}).estimate
    assert new is not None
    # Nothing is known of it but its size.
    assert (new.volumes, new.measured, new.each_run.high) == (1, 0, 0)
    assert (new.first.low, new.first.high) == (0, 1_000_000)
    server = MadeServer(name="web", uuid=uuid, volume_ids={"vda": volume.volume_id})
    # Two-hourly until now: 20, 30 and 40 kB were new each time.
    for hours, added in ((7, 900_000), (5, 20_000), (3, 30_000), (1, 40_000)):
        at_ = now.at - timedelta(hours=hours)
        made = store(site, server, "vda", random_bytes(hours), at=at_)
        site.catalog.snapshots.filter(snapshot_id=made).update(bytes_stored=added, parent_id="")
    told = schedules.preview(scope, {**fields, "server": str(uuid)}).estimate
    assert told is not None
    assert (told.measured, told.measurements) == (1, 3)
    # Within one hour at least half of what two brought, and at most all of it.
    assert (told.each_run.low, told.each_run.high) == (10_000, 40_000)
    # The first comes 1.5 hours after the newest.
    assert (told.first.low, told.first.high) == (15_000, 40_000)
    assert (told.kept.low, told.kept.high) == (55_000, 200_000)
    weekly = {"timing": {"kind": "weekly", "weekdays": ["mon"], "hour": 1, "minute": 0}}
    rare = schedules.preview(scope, {**fields, **weekly, "volume": str(volume.volume_id)}).estimate
    assert rare is not None
    # Never more than the volume has.
    assert (rare.each_run.low, rare.each_run.high) == (20_000, 1_000_000)


def generation(site: Site, server: MadeServer, number: int, schedule_id: str) -> str:
    """A scheduled snapshot, verified here."""
    taken = store(site, server, "vda", random_bytes(number), at=at(12) + timedelta(hours=number))
    site.catalog.snapshots.filter(snapshot_id=taken).update(scheduled=True, schedule_id=schedule_id)
    site.catalog.copies.filter(snapshot_id=taken).update(
        state="verified", received_at=at(12) + timedelta(hours=number)
    )
    return taken


def test_generations_over_the_number_go_and_others_stay(site: Site, scope: Scope, now: Now) -> None:
    server = MadeServer.new("db", ("vda",))
    first = generation(site, server, 0, "")
    volume = site.catalog.snapshots.get(snapshot_id=first).volume
    assert volume is not None
    view = add(scope, volume=str(volume.volume_id), keep={"count": 2})
    site.catalog.snapshots.update(schedule_id=view.schedule)
    ids = [first, *(generation(site, server, number, view.schedule) for number in (1, 2, 3))]
    manual = store(site, server, "vda", random_bytes(9), at=at(9))
    now.at = at(12, day=3)

    done = retain.apply(site, retain.plan(site))
    assert sorted(done["removed"]) == sorted(ids[:2])
    left = set(site.catalog.snapshots.filter(deleted_at=None).values_list("pk", flat=True))
    assert left == {*ids[2:], manual}
    assert retain.apply(site, retain.plan(site))["removed"] == []


def test_what_is_not_verified_pushes_nothing_out(site: Site, scope: Scope, now: Now) -> None:
    server = MadeServer.new("db", ("vda",))
    first = generation(site, server, 0, "")
    volume = site.catalog.snapshots.get(snapshot_id=first).volume
    assert volume is not None
    view = add(scope, volume=str(volume.volume_id), keep={"count": 1})
    site.catalog.snapshots.update(schedule_id=view.schedule)
    second = generation(site, server, 1, view.schedule)
    site.catalog.copies.filter(snapshot_id=second).update(state="stored")
    now.at = at(12, day=3)
    assert retain.apply(site, retain.plan(site))["removed"] == []
    site.catalog.copies.filter(snapshot_id=second).update(state="verified")
    assert retain.apply(site, retain.plan(site))["removed"] == [first]


def test_a_clock_that_jumped_removes_nothing(site: Site, scope: Scope, now: Now) -> None:
    server = MadeServer.new("db", ("vda",))
    first = generation(site, server, 0, "")
    volume = site.catalog.snapshots.get(snapshot_id=first).volume
    assert volume is not None
    view = add(scope, volume=str(volume.volume_id), keep={"count": 1})
    site.catalog.snapshots.update(schedule_id=view.schedule)
    generation(site, server, 1, view.schedule)
    now.at = at(11, 45)
    with pytest.raises(retain.RetentionStopped, match="clock-went-back"):
        retain.apply(site, retain.plan(site))


def test_a_clock_that_was_ahead_stops_no_schedule(site: Site, scope: Scope, now: Now) -> None:
    server = add_server(site)
    add(scope, server=server)
    # The host came up years ahead, and was put right after a while.
    now.at = at(12, 5).replace(year=2036)
    assert len(scheduler.tick(site)) == 1
    now.at = at(12, 30)
    assert scheduler.tick(site) == []
    row = site.catalog.schedules.get()
    assert row.next_at == at(13)
    site.catalog.jobs.update(state="done")
    now.at = at(13, 0)
    assert len(scheduler.tick(site)) == 1


def test_what_was_decided_before_the_clock_went_back_is_not_decided_again(
    site: Site, scope: Scope, now: Now
) -> None:
    server = add_server(site)
    add(scope, server=server)
    now.at = at(12)
    assert len(scheduler.tick(site)) == 1
    site.catalog.jobs.update(state="done")
    now.at = at(11, 40)
    scheduler.tick(site)
    now.at = at(12)
    assert scheduler.tick(site) == []
    assert site.catalog.schedules.get().decided_until == at(12)
    now.at = at(13)
    assert len(scheduler.tick(site)) == 1


def test_a_schedule_that_does_not_run_any_more_leaves_nothing_protected(
    site: Site, scope: Scope, now: Now
) -> None:
    server = add_server(site)
    view = add(scope, server=server)
    now.at = at(12)
    scheduler.tick(site)
    site.catalog.jobs.update(state="done")
    volume = site.catalog.volumes.get()
    site.catalog.snapshots.create(
        snapshot_id="a" * 32,
        name="s",
        tenant=volume.tenant,
        origin_site=site.own_row,
        created_at=at(12, 1),
        bytes_volume=1,
        volume=volume,
        schedule_id=view.schedule,
        scheduled=True,
    )
    site.catalog.copies.create(snapshot_id="a" * 32, site=site.own_row, state="verified")
    now.at = at(12, 30)
    assert protection.of_volume(site, volume).state is Protection.PROTECTED
    now.at = at(14)
    found = protection.of_volume(site, volume)
    assert (found.state, found.reason) == (Protection.BEHIND, "schedule hourly is late")
