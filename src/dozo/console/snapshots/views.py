"""Snapshots: the list and one of them."""

from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext

from dozo.console.shell.instants import instant
from dozo.console.shell.visit import Visit, page
from dozo.console.shell.words import word
from dozo.model.errors import DozoError
from dozo.model.states import CaptureMode, Copy
from dozo.services import by_hand, deletion_outlook, restore_choices, views
from dozo.services.access import Operation
from dozo.services.lists import snapshots as lists
from dozo.web.paging import cut

_ROWS = 50


@page(Operation.SNAPSHOT_LIST)
def snapshots(visit: Visit) -> HttpResponse:
    """The list, with its filters in the address."""
    sort = visit.query("sort")
    sort = sort if sort in lists.SORTS else "-created_at"
    context: dict[str, Any] = {
        "choices": _choices(visit),
        "filtered": any(visit.query(name) for name in _FILTERS),
    }
    try:
        rows = lists.find(visit.scope, **_wanted(visit))
    except DozoError as error:
        return visit.render("snapshots/list.html", {**context, "problem": error}, status=422)
    part = cut(rows, limit=_ROWS, cursor=visit.query("cursor") or None, sort=sort, then="name")
    shown = views.snapshot_views(visit.scope.site, part.rows)
    context |= {
        "part": part,
        "rows": shown,
        "held": lists.held_until(visit.scope),
        "peers": lists.peer_names(visit.scope),
    }
    return visit.render("snapshots/list.html", context)


_FILTERS = (
    "name",
    "server",
    "volume",
    "recovery_point",
    "tenant",
    "schedule",
    "origin",
    "mode",
    "copy",
    "root",
    "taken",
    "held",
    "since",
    "until",
    "deleted",
)


def _wanted(visit: Visit) -> dict[str, Any]:
    """The filters as the service takes them. Raises ``FieldInvalid``."""
    state, _, site = visit.query("copy").partition(":")
    names = ("name", "server", "volume", "recovery_point", "tenant", "schedule", "origin", "mode")
    return {
        **{name: visit.query(name) or None for name in names},
        "copy_state": state or None,
        "copy_site": site or None,
        "root": {"root": True, "data": False}.get(visit.query("root")),
        "scheduled": {"scheduled": True, "manual": False}.get(visit.query("taken")),
        "held": True if visit.query("held") else None,
        "since": instant(visit.query("since"), "since"),
        "until": instant(visit.query("until"), "until", end_of_day=True),
        "deleted": bool(visit.query("deleted")),
    }


def _choices(visit: Visit) -> dict[str, list[tuple[str, str]]]:
    """What the filters' selects offer."""
    sites = lists.site_names(visit.scope)
    copies = [
        (f"{state.value}:{site}", f"{site}: {word('copy', state).label}")
        for site in sites
        for state in Copy
    ]
    return {
        "copy": [("", gettext("Any")), *copies],
        "origin": [("", gettext("Any site")), *[(one, one) for one in sites]],
        "mode": [("", gettext("Any")), *[(one, word("mode", one).label) for one in CaptureMode]],
        "taken": [
            ("", gettext("Any")),
            *[(one, word("origin", one).label) for one in ("scheduled", "manual")],
        ],
        "root": [
            ("", gettext("Any")),
            *[(one, word("volume-role", one).label) for one in ("root", "data")],
        ],
    }


@page(Operation.SNAPSHOT_SHOW)
def snapshot(visit: Visit, ref: str) -> HttpResponse:
    """One snapshot: what it is, where its copies are, what can be done with it."""
    row = visit.scope.snapshot(ref, Operation.SNAPSHOT_SHOW)
    shown = views.snapshot_views(visit.scope.site, [row])[0]
    deleted = row.deleted_at
    context = {
        "row": shown,
        "reason": row.deleted_reason,
        "copies": lists.copies_of(visit.scope, row.snapshot_id),
        "holds": by_hand.holds_of(visit.scope, row.snapshot_id),
        "peers": lists.peer_names(visit.scope),
        "ways": restore_choices.ways(row.tenant),
        "point": row.recovery_point,
        "undo_until": deletion_outlook.undo_until(visit.scope, deleted) if deleted else None,
    }
    return visit.render("snapshots/snapshot.html", context)
