"""Richer data for looking at pages and for testing them: what the small world has not got.

Each part adds a function of its own and calls it in :func:`dress`; none relies on another.
"""

from datetime import timedelta
from typing import Any

from tests.api.support import World

from dozo.model import clock
from dozo.services import job_queue, login, operations, schedules
from dozo.services.access import Scope


def dress(world: World) -> None:
    """Everything."""
    with_schedules(world)


def scope_of(world: World, who: str) -> Scope:
    """Somebody's own scope."""
    row = world.site.catalog.users.select_related("tenant").get(username=who)
    return Scope(world.site, login.actor_of(row))


def with_schedules(world: World) -> dict[str, str]:
    """Schedules of every kind, with runs of the last days in every state; ids by name."""
    scope = scope_of(world, "alice")
    web = scope.server("web")
    volume = str(web.volumes.get().volume_id)
    keep = {"daily": 7, "weekly": 4, "monthly": 6, "zone": "Asia/Tokyo"}
    at_night = {"kind": "daily", "hour": 0, "minute": 10, "zone": "Asia/Tokyo"}
    wanted: list[dict[str, Any]] = [
        {"name": "web-nightly", "server": str(web.uuid), "mode": "live", "timing": at_night},
        {
            "name": "os-disk-stopped-once-a-week-so-that-it-is-clean-by-the-book-of-2019",
            "volume": volume,
            "mode": "stop-snapshot-start",
            "timing": {**at_night, "kind": "weekly", "weekdays": ["sun"], "hour": 3},
            "keep": {"count": 8},
        },
        {
            "name": "every-hour",
            "tag": "prod",
            "mode": "live",
            "timing": {"kind": "hourly", "minute": 5, "zone": "Europe/Berlin"},
            "keep": {"hourly": 24, "daily": 7, "zone": "Europe/Berlin"},
        },
        {
            "name": "accounts",
            "volume": volume,
            "mode": "unmounted",
            "stated_unmounted": True,
            "enabled": False,
            "timing": {**at_night, "kind": "monthly", "day": "last"},
        },
    ]
    made = {}
    for fields in wanted:
        view = schedules.create(scope, {"keep": keep, **fields})
        made[view.name] = view.schedule
    # Names that no schedule of today's could have, as another version may have let them through.
    rows = world.site.catalog.schedules
    rows.filter(schedule_id=made["every-hour"]).update(name="<script>alert(1)</script>")
    rows.filter(schedule_id=made["accounts"]).update(name="毎月の会計データ")
    _runs(world, scope, made["web-nightly"], f"server:{web.uuid}")
    return made


_WENT = (
    ("started", "done", "", ""),
    ("started", "done", "", ""),
    ("started", "failed", "", "the disk vda of web is being migrated"),
    ("skipped", "", "overlap", ""),
    ("started", "done", "", ""),
    ("skipped", "", "superseded", ""),
    ("started", "cancelled", "", "cancelled by alice"),
    ("started", "running", "", ""),
)


def _runs(world: World, scope: Scope, schedule: str, target: str) -> None:
    catalog = world.site.catalog
    row = catalog.schedules.get(schedule_id=schedule)
    kind = operations.kind("recovery-point.create")
    newest = clock.now().replace(minute=10, second=0, microsecond=0)
    for number, (outcome, state, reason, error) in enumerate(reversed(_WENT)):
        at = newest - timedelta(days=number)
        run = catalog.schedule_runs.create(
            schedule=row,
            planned_at=at,
            target=target,
            outcome=outcome,
            reason=reason,
            decided_at=at,
        )
        if outcome != "started":
            continue
        prepared = kind.prepare(scope, {"server": target.partition(":")[2], "mode": "live"})
        queued = job_queue.enqueue(scope, kind, prepared, run=run)
        catalog.jobs.filter(pk=queued.job_id).update(
            state=state,
            created_at=at,
            started_at=at,
            finished_at=None if state == "running" else at + timedelta(minutes=3),
            error_code="schedule.failed" if error else "",
            error_text=error,
        )
