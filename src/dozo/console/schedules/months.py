"""A month of runs: planned ones, and how those of before went."""

import re
from datetime import date, tzinfo

from django.http import HttpResponse
from django.utils import timezone

from dozo.console.shell.visit import Visit, page
from dozo.model import clock
from dozo.services import schedule_calendar
from dozo.services.access import Operation
from dozo.services.lists import schedules as lists

_MONTH = re.compile(r"(\d{4})-(\d{2})")
_SHOWN_A_DAY = 4


@page(Operation.SCHEDULE_LIST)
def month(visit: Visit) -> HttpResponse:
    """A month of the visitor's zone."""
    zone = timezone.get_current_timezone()
    wanted = _wanted(visit.query("month"), zone)
    row = None
    if visit.query("schedule"):
        row = visit.scope.schedule(visit.query("schedule"), Operation.SCHEDULE_SHOW)
    rows = lists.find(
        visit.scope,
        name=visit.query("name") or None,
        schedule=row.schedule_id if row is not None else None,
    )
    found = schedule_calendar.month(visit.scope, rows, wanted.year, wanted.month, zone)
    day = visit.query("day")
    chosen = next((one for week in found.weeks for one in week if str(one.date) == day), None)
    context = {
        "month": found,
        "schedule": row,
        "zone": zone,
        "chosen": chosen,
        "most": _SHOWN_A_DAY,
        "weekdays": [one.date for one in found.weeks[0]],
    }
    return visit.render("schedules/calendar.html", context)


def _wanted(text: str, zone: tzinfo) -> date:
    found = _MONTH.fullmatch(text)
    if found is not None:
        year, number = int(found[1]), int(found[2])
        if 1970 <= year <= 2999 and 1 <= number <= 12:
            return date(year, number, 1)
    today = clock.now().astimezone(zone).date()
    return today.replace(day=1)
