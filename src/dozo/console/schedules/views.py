"""Schedules in a list and one by one, with their runs; pausing, running now, deleting."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.utils.translation import gettext as _

from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.model.retention import keep_from_json
from dozo.model.timing import timing_from_json
from dozo.model.timing_words import keep_in_words, timing_in_words, window_in_words
from dozo.services import schedule_runs, schedules
from dozo.services.access import Operation
from dozo.services.lists import schedules as lists
from dozo.services.policies import STOP
from dozo.services.schedule_runs import Went
from dozo.services.scheduler import NEEDS_WINDOW
from dozo.services.schedules import ScheduleView
from dozo.web.paging import cut

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dozo.catalog.models_jobs import Schedule

_SORTS = ("name", "-name", "created_at", "-created_at")
_RUNS = 25


@dataclass(frozen=True, kw_only=True)
class Row:
    """A schedule as people read it; ``last`` None before its first run."""

    schedule: ScheduleView
    when: str
    begins: str
    keeps: str
    keeps_peer: str
    last: Went | None

    @property
    def stops(self) -> bool:
        """Whether each run stops a server."""
        return self.schedule.mode == STOP

    @property
    def needs_window(self) -> bool:
        """Whether a run begins in its window or not at all."""
        return self.schedule.mode in NEEDS_WINDOW


def rows_of(visit: Visit, found: "Iterable[Schedule]") -> list[Row]:
    """Schedules in words, with as many queries for many as for one."""
    found = list(found)
    last = schedule_runs.last(visit.scope, found)
    return [_row(one, last.get(one.schedule)) for one in schedules.views(visit.scope, found)]


def _row(one: ScheduleView, last: Went | None) -> Row:
    timing, keep = timing_from_json(one.timing), keep_from_json(one.keep)
    return Row(
        schedule=one,
        when=timing_in_words(timing),
        begins=window_in_words(timing.window),
        keeps=keep_in_words(keep),
        keeps_peer=keep_in_words(keep_from_json(one.keep_peer)) if one.keep_peer else "",
        last=last,
    )


@page(Operation.SCHEDULE_LIST)
def listed(visit: Visit) -> HttpResponse:
    """Which schedules there are, when they run next, and how they went."""
    on = {"on": True, "off": False}.get(visit.query("enabled"))
    rows = lists.find(
        visit.scope,
        name=visit.query("name") or None,
        tenant=visit.query("tenant") or None,
        enabled=on,
        mode=visit.query("mode") or None,
        target_kind=visit.query("target_kind") or None,
        target=visit.query("target") or None,
    )
    sort = visit.query("sort", "name")
    sort = sort if sort in _SORTS else "name"
    part = cut(rows, limit=50, cursor=visit.query("cursor") or None, sort=sort)
    filtered = any(
        visit.query(one) for one in ("name", "tenant", "enabled", "mode", "target_kind", "target")
    )
    context = {
        "part": part,
        "rows": rows_of(visit, part.rows),
        "filtered": filtered,
        "several_tenants": visit.scope.actor.tenant is None,
        "ways": _ways(),
    }
    return visit.render("schedules/list.html", context)


def _ways() -> dict[str, Any]:
    return {
        "enabled": [("", _("On and off")), ("on", _("Only those on")), ("off", _("Only paused"))],
        "target_kind": [
            ("", _("Everything")),
            ("server", _("Servers")),
            ("volume", _("Volumes")),
            ("tag", _("Tags")),
        ],
    }


@page(Operation.SCHEDULE_SHOW)
def shown(visit: Visit, ref: str) -> HttpResponse:
    """One schedule: what it does, and what became of its runs."""
    row = visit.scope.schedule(ref, Operation.SCHEDULE_SHOW)
    return visit.render("schedules/schedule.html", _about(visit, row))


def _about(visit: Visit, row: "Schedule") -> dict[str, Any]:
    wanted = visit.query("outcome")
    runs = schedule_runs.of(row, outcome=wanted if wanted in {"started", "skipped"} else None)
    part = cut(runs, limit=_RUNS, cursor=visit.query("cursor") or None, sort="-planned_at")
    details = schedule_runs.details(visit.scope, part.rows)
    return {
        "row": rows_of(visit, [row])[0],
        "part": part,
        "runs": details,
        "live": any(one.state in schedule_runs.LIVE for one in details),
        "outcome": wanted,
        "snapshots": lists.snapshots_of(visit.scope, row),
    }


@page(Operation.SCHEDULE_UPDATE, methods=("POST",))
def enabled(visit: Visit, ref: str) -> HttpResponse:
    """Pause it, or let it go on."""
    row = visit.scope.schedule(ref, Operation.SCHEDULE_SHOW)
    wanted = {"enabled": visit.said("enabled") == "on"}
    schedules.update(visit.scope, row, wanted, version=visit.said("version") or None)
    return visit.go(f"/schedules/{row.schedule_id}", note="saved")


@page(Operation.SCHEDULE_RUN, methods=("GET", "POST"))
def run(visit: Visit, ref: str) -> HttpResponse:
    """What running it now would do, and doing it."""
    row = visit.scope.schedule(ref, Operation.SCHEDULE_RUN)
    if visit.is_post:
        try:
            schedules.run_now(visit.scope, row.schedule_id)
        except DozoError as error:
            context = {**_about(visit, row), "problem": error}
            return visit.render("schedules/run.html", context, status=409)
        return visit.go(f"/schedules/{row.schedule_id}", note="run-asked")
    return visit.render("schedules/run.html", _about(visit, row))


@page(Operation.SCHEDULE_DELETE, methods=("GET", "POST"))
def delete(visit: Visit, ref: str) -> HttpResponse:
    """What becomes of its generations, and deleting it."""
    row = visit.scope.schedule(ref, Operation.SCHEDULE_DELETE)
    if visit.is_post:
        schedules.delete(visit.scope, row)
        return visit.go("/schedules", note="deleted")
    return visit.render("schedules/delete.html", _about(visit, row))
