"""Rows 2 and 10 of the original service: schedules, and the generations that they keep."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.services.jobs import Service, Shifted
from tests.services.support import MadeServer, random_bytes, store

from dozo.model.policy_checks import GenerationsRefused, GfsRefused, ScheduleKindRefused
from dozo.services import retain, schedules
from dozo.services.site import Site

DAILY = {"kind": "daily", "hour": 0, "minute": 10, "zone": "Asia/Tokyo"}
NIGHT = datetime(2027, 3, 1, 15, 10, tzinfo=UTC)
"""Ten past midnight of 2 March in Tokyo."""


@pytest.fixture
def volume(service: Service, later: Shifted) -> str:
    """A data volume of a server that runs, as the catalog has it, on the evening before."""
    later.move_to(NIGHT - timedelta(hours=6))
    return make_volume(service.site)


def make_volume(site: Site, name: str = "web", volume_id: UUID | None = None) -> str:
    tenant = site.tenant_row()
    server = site.catalog.servers.create(
        uuid=uuid4(), name=name, tenant=tenant, present=True, state="running"
    )
    row = site.catalog.volumes.create(
        volume_id=volume_id or uuid4(),
        name=f"{name}-vdb",
        tenant=tenant,
        server=server,
        state="attached",
        device="vdb",
    )
    return str(row.volume_id)


def test_row_02_a_schedule_makes_its_jobs_once(
    service: Service, later: Shifted, volume: str, preset: str
) -> None:
    mode = "offline" if preset == "kcps-v1" else "live"
    view = service.schedule(
        name="nightly", volume=volume, timing=DAILY, keep={"count": 8}, mode=mode
    )
    assert view.next_at == NIGHT
    assert service.tick() == []
    later.move_to(NIGHT)
    (job,) = service.tick()
    assert service.tick() == []
    row = service.site.catalog.jobs.get(job_id=job)
    assert (row.kind, row.object_id, row.actor) == (
        "snapshot.create",
        volume,
        "schedule:default/nightly",
    )
    assert service.runs() == [("started", "")]


@pytest.mark.parametrize("mode", ["offline", "unmounted", "stop-snapshot-start", "live"])
def test_row_02_a_missed_run(
    service: Service, later: Shifted, volume: str, preset: str, mode: str
) -> None:
    """Live ones are caught up, once; what needs its window is skipped outside, and reported."""
    fields: dict[str, Any] = {"volume": volume, "timing": DAILY, "keep": {"count": 3}}
    if mode == "live" and preset == "kcps-v1":
        # No live runs there, so nothing is ever caught up.
        with pytest.raises(Exception, match="mode live"):
            service.schedule(name="nightly", mode=mode, **fields)
        return
    stated = {"stated_unmounted": True} if mode == "unmounted" else {}
    service.schedule(name="nightly", mode=mode, **fields, **stated)
    # The service was down for two nights.
    later.move_to(NIGHT + timedelta(days=1, hours=8))
    jobs = service.tick()
    if mode == "live":
        assert len(jobs) == 1
        assert service.runs() == [("skipped", "superseded"), ("started", "")]
        return
    assert jobs == []
    assert service.runs() == [("skipped", "superseded"), ("skipped", "outside-window")]
    # In its window the next one runs, and not after it, whatever keeps the queue busy.
    later.move_to(NIGHT + timedelta(days=2, minutes=5))
    (job,) = service.tick()
    later.move(minutes=11)
    assert service.dispatch() == []
    view = service.view(job)
    assert (view.state, view.error_code) == ("failed", "job.expired")


def test_row_02_how_schedules_may_tell_their_times(
    service: Service, volume: str, preset: str
) -> None:
    cron = {"kind": "cron", "cron": "10 0 * * MON-FRI", "zone": "Asia/Tokyo"}
    fields: dict[str, Any] = {"volume": volume, "keep": {"count": 3}, "mode": "offline"}
    if preset == "kcps-v1":
        with pytest.raises(ScheduleKindRefused):
            service.schedule(name="cron", timing=cron, **fields)
    else:
        service.schedule(name="cron", timing=cron, **fields)
    for name, timing in {
        "hourly": {"kind": "hourly", "minute": 5},
        "weekly": {"kind": "weekly", "weekdays": ["sun"], "hour": 3, "minute": 0},
        "monthly": {"kind": "monthly", "day": "last", "hour": 3, "minute": 0},
    }.items():
        assert service.schedule(name=name, timing=timing, **fields).next_at is not None


class Volume:
    """A volume with snapshots of its schedules, made without a hypervisor."""

    def __init__(self, service: Service, later: Shifted) -> None:
        self.service, self.later = service, later
        self.server = MadeServer.new("db", ("vdb",))
        self.made = 0
        self.volume = ""
        self.manual("first")

    def manual(self, name: str) -> str:
        """A snapshot by hand, verified."""
        return self._store(name)

    def scheduled(self, schedule: str, *, state: str = "verified") -> str:
        """The next good run of a schedule, a day later, and what retention makes of it."""
        self.later.move(days=1)
        return self._store(f"{schedule[:4]}-{self.made}", state, schedule)

    def _store(self, name: str, state: str = "verified", schedule: str = "") -> str:
        self.made += 1
        site, at = self.service.site, self.later.now()
        data = random_bytes(self.made, 1 << 16)
        taken = store(site, self.server, "vdb", data, name=name, at=at, schedule=schedule)
        site.catalog.copies.filter(snapshot_id=taken).update(state=state, received_at=at)
        self.volume = str(site.catalog.snapshots.get(snapshot_id=taken).volume_id)
        return taken

    def retained(self) -> list[str]:
        """Let retention run, as the service does every quarter of an hour; what it removed."""
        self.later.move(hours=2)
        scope = self.service.operator
        job = self.service.ask("site.retain", scope=scope)
        self.service.run()
        return list(self.service.result(job)["removed"])

    def there(self) -> set[str]:
        rows = self.service.site.catalog.snapshots.filter(deleted_at=None)
        return set(rows.values_list("snapshot_id", flat=True))


@pytest.fixture
def db(service: Service, later: Shifted) -> Volume:
    """A database's data volume with one snapshot by hand."""
    return Volume(service, later)


def schedule(service: Service, db: Volume, name: str, count: int) -> str:
    return service.schedule(
        name=name, volume=db.volume, timing=DAILY, keep={"count": count}, mode="offline"
    ).schedule


def test_row_10_a_schedule_keeps_one_to_eight(service: Service, db: Volume, preset: str) -> None:
    assert schedule(service, db, "eight", 8)
    gfs = {"timing": DAILY, "keep": {"daily": 4, "weekly": 4}, "mode": "offline"}
    if preset == "kcps-v1":
        with pytest.raises(GenerationsRefused):
            schedule(service, db, "nine", 9)
        with pytest.raises(GfsRefused):
            service.schedule(name="gfs", volume=db.volume, **gfs)
    else:
        assert schedule(service, db, "nine", 9)
        assert service.schedule(name="gfs", volume=db.volume, **gfs).keep["weekly"] == 4


def test_row_10_all_schedules_of_a_volume_together_keep_eight(
    service: Service, db: Volume, preset: str
) -> None:
    by_day, by_week = schedule(service, db, "daily", 8), schedule(service, db, "weekly", 8)
    manual = db.manual("before the update")
    taken = [db.scheduled(by_week if n in {2, 5} else by_day) for n in range(8)]
    assert db.retained() == []
    # The next one is there, but it is not verified: it pushes nothing out.
    unproven = db.scheduled(by_day, state="stored")
    assert db.retained() == []
    service.site.catalog.copies.filter(snapshot_id=unproven).update(state="verified")
    removed = db.retained()
    if preset == "kcps-v1":
        assert removed == taken[:1]
        another = db.scheduled(by_week)
        assert db.retained() == taken[1:2]
        assert {another, unproven, manual, *taken[2:]} < db.there()
    else:
        # Each schedule counts its own alone: seven and two.
        assert removed == []
    # Manual ones are neither counted nor removed.
    manual_left = service.site.catalog.snapshots.filter(deleted_at=None, scheduled=False)
    assert manual_left.count() == 2


def test_row_10_tightening_a_policy_deletes_nothing(
    service: Service, db: Volume, preset: str
) -> None:
    service.policy("modern")
    many = schedule(service, db, "many", 12)
    old = [db.scheduled(many) for _ in range(12)]
    assert db.retained() == []
    service.policy(preset)
    assert db.retained() == []
    # They go by their schedule's own number, one for each new good one...
    new = [db.scheduled(many)]
    assert db.retained() == old[:1]
    new += [db.scheduled(many) for _ in range(3)]
    assert sorted(db.retained()) == sorted(old[1:4])
    # ...and what is taken from now on keeps to the policy: its ninth removes its first.
    new += [db.scheduled(many) for _ in range(4)]
    assert sorted(db.retained()) == sorted(old[4:8])
    new.append(db.scheduled(many))
    removed = db.retained()
    assert removed == ([old[8], new[0]] if preset == "kcps-v1" else [old[8]])


def test_row_10_the_same_policy_again_is_no_tightening(
    service: Service, db: Volume, preset: str
) -> None:
    """Else saying it again would let the generations grow beyond the number."""
    row = service.site.tenant_row()
    service.policy("kcps-v1")
    row.refresh_from_db()
    first = row.generations_lowered_at
    service.policy("kcps-v1", max_generations=8)
    service.policy("modern")
    row.refresh_from_db()
    assert row.generations_lowered_at == first
    service.policy(preset, max_generations=4)
    row.refresh_from_db()
    assert row.generations_lowered_at != first


def test_row_10_a_deleted_schedule_leaves_what_it_has(service: Service, db: Volume) -> None:
    one = schedule(service, db, "one", 2)
    taken = [db.scheduled(one) for _ in range(2)]
    schedules.delete(service.scope, service.scope.schedule("one"))
    assert db.retained() == []
    assert set(taken) < db.there()
    assert retain.plan(service.site)[0].plan.refused is None
