"""The timeline as pages show it: what each mark says, and where it leads."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.template.defaultfilters import date as formatted
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from dozo.console.servers import drawing, span
from dozo.console.servers.drawing import Column, Dot
from dozo.console.servers.span import Span
from dozo.console.shell.tags import size, word
from dozo.console.shell.visit import Visit
from dozo.model import clock
from dozo.services import timeline
from dozo.services.timeline import Timeline

if TYPE_CHECKING:
    from dozo.catalog import models

_MOST_LINES = 60


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A column with its words, and the address that it leads to."""

    column: Column
    label: str
    address: str
    gathered: bool
    dots: tuple[tuple[Dot, str], ...]

    @property
    def height(self) -> float:
        """Of the part that leads there when it is clicked."""
        return self.column.bottom - self.column.top + 28


def of_server(visit: Visit, row: "models.Server") -> dict[str, Any]:
    """What the page of a server draws."""
    bounds = timeline.bounds_of_server(visit.scope, row)
    found = _span(visit, *bounds)
    taken = timeline.of_server(visit.scope, row, found.since, found.until)
    return _context(taken, found, bounds[1], f"/recovery-points?server={row.uuid}")


def of_volume(visit: Visit, row: "models.Volume") -> dict[str, Any]:
    """What the page of a volume draws."""
    bounds = timeline.bounds_of_volume(visit.scope, row)
    found = _span(visit, *bounds)
    taken = timeline.of_volume(visit.scope, row, found.since, found.until)
    return _context(taken, found, bounds[1], f"/snapshots?volume={row.volume_id}")


def _span(visit: Visit, first_at: datetime | None, last_at: datetime | None) -> Span:
    return span.span(
        zoom=visit.query("zoom"),
        at=visit.query("at"),
        now=clock.now(),
        zone=timezone.get_current_timezone(),
        first_at=first_at,
        last_at=last_at,
    )


def _context(
    taken: Timeline, found: Span, last_at: datetime | None, whole_list: str
) -> dict[str, Any]:
    drawn = drawing.draw(taken, found, clock.now())
    lines, more = drawing.instants(taken, _MOST_LINES)
    return {
        "last_at": last_at,
        "span": found,
        "span_label": _label_of(found),
        "zooms": [(one, _zoom_word(one)) for one in span.ZOOMS],
        "drawing": drawn,
        "marks": [_mark(one, found) for one in drawn.columns],
        "ticks": [(one, _tick_label(one.at, found)) for one in drawn.ticks],
        "instants": lines,
        "more_instants": more,
        "whole_list": whole_list,
    }


def _mark(column: Column, found: Span) -> Mark:
    gathered = column.instants > 1
    return Mark(
        column=column,
        label=_column_label(column),
        address=_address(column, found),
        gathered=gathered,
        dots=tuple((one, _dot_label(one)) for one in column.dots),
    )


def _address(column: Column, found: Span) -> str:
    if column.instants == 1:
        if column.point:
            return f"/recovery-points/{column.point}"
        return f"/snapshots/{column.dots[0].taken.snapshot}"
    if found.zoom == "day":
        return "#instants"
    return "?" + urlencode({"zoom": column.zoom, "at": column.day}) + "#timeline"


def _column_label(column: Column) -> str:
    if column.instants == 1:
        when = moment(column.at)
        if column.point:
            return gettext("Recovery point of %(when)s") % {"when": when}
        return gettext("Snapshot of %(when)s") % {"when": when}
    facts = {
        "count": column.instants,
        "first": moment(column.at),
        "last": moment(column.until),
    }
    said = ngettext(
        "%(count)d point between %(first)s and %(last)s: look closer",
        "%(count)d points between %(first)s and %(last)s: look closer",
        column.instants,
    )
    return said % facts


def _dot_label(dot: Dot) -> str:
    where = f"{dot.lane.device} {dot.lane.name}".strip()
    if dot.count > 1:
        said = ngettext(
            "%(count)d snapshot; the worst: %(states)s",
            "%(count)d snapshots; the worst: %(states)s",
            dot.count,
        )
        return f"{where}: " + said % {"count": dot.count, "states": _states(dot)}
    one = dot.taken
    parts = [moment(one.created_at), word(one.mode, "mode"), word(one.consistency, "consistency")]
    if one.bytes_stored is not None:
        parts.append(gettext("%(size)s added") % {"size": size(one.bytes_stored)})
    parts += [f"{site}: {word(state, 'copy')}" for site, state in sorted(one.copies.items())]
    return f"{where}: " + " · ".join(part for part in parts if part)


def _states(dot: Dot) -> str:
    here = word(dot.here, "copy")
    if dot.there is None:
        return here
    return gettext("%(here)s at the main site, %(there)s at the DR site") % {
        "here": here,
        "there": word(dot.there, "copy"),
    }


def moment(at: datetime) -> str:
    """An instant as text, in the visitor's time zone."""
    return str(formatted(timezone.localtime(at), gettext("j M Y H:i")))


def _tick_label(at: datetime, found: Span) -> str:
    if found.days == 1:
        return str(formatted(at, "H:i"))
    if found.days > 500:
        return str(formatted(at, gettext("M Y")))
    return str(formatted(at, gettext("j M")))


def _label_of(found: Span) -> str:
    if found.days == 1:
        return str(formatted(found.since, gettext("j F Y")))
    last = found.until - timedelta(seconds=1)
    return gettext("%(first)s to %(last)s") % {
        "first": formatted(found.since, gettext("j F Y")),
        "last": formatted(last, gettext("j F Y")),
    }


def _zoom_word(zoom: str) -> str:
    return {
        "day": gettext("Day"),
        "week": gettext("Week"),
        "month": gettext("Month"),
        "all": gettext("All"),
    }[zoom]
