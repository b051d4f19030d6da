"""What is done with snapshots: verify, copy, hold, delete, bring back, download."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse

from dozo.console.shell.errors import NothingChosen
from dozo.console.shell.instants import instant
from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.services import by_hand, deletion_outlook, views
from dozo.services.access import Operation
from dozo.web import downloads

_FORMATS = ("qcow2", "raw")


@page(Operation.SNAPSHOT_LIST, methods=("POST",))
def chosen(visit: Visit) -> HttpResponse:
    """What the buttons above a list do with those that are ticked."""
    ids = visit.said_all("snapshot")
    if not ids:
        raise NothingChosen
    what, _, peer = visit.said("what").partition(":")
    if what == "verify":
        return visit.ask("snapshot.verify", {"snapshots": ids, "everything": False})
    if what == "verify-everything":
        return visit.ask("snapshot.verify", {"snapshots": ids, "everything": True})
    if what == "copy":
        return visit.ask("snapshot.copy", {"snapshots": ids, "peer": peer})
    if what == "undelete":
        by_hand.undelete_snapshots(visit.scope, ids)
        back = f"/snapshots/{ids[0]}" if len(ids) == 1 else "/snapshots"
        return visit.go(back, note="undeleted")
    return visit.go("/snapshots/delete?" + urlencode([("snapshot", one) for one in ids]))


@page(Operation.SNAPSHOT_DELETE, methods=("GET", "POST"))
def delete(visit: Visit) -> HttpResponse:
    """Say what deleting means at each site; sent, with the count for several, delete."""
    ids = visit.said_all("snapshot") if visit.is_post else visit.request.GET.getlist("snapshot")
    if not ids:
        raise NothingChosen
    rows = deletion_outlook.chosen(visit.scope, ids, Operation.SNAPSHOT_DELETE)
    context: dict[str, Any] = {"outlook": deletion_outlook.outlook(visit.scope, rows)}
    if visit.is_post:
        try:
            by_hand.delete_snapshots(visit.scope, ids, confirm_count=count_said(visit, len(rows)))
        except DozoError as error:
            context["problem"] = error
            return visit.render("snapshots/delete.html", context, status=409)
        return visit.go("/snapshots", note="deleted")
    return visit.render("snapshots/delete.html", context)


def count_said(visit: Visit, count: int) -> int | None:
    """The number that was typed; for a single one its button says enough."""
    said = visit.said("count")
    if count == 1 and not said:
        return 1
    return int(said) if said.isascii() and said.isdigit() and len(said) < 6 else None


@page(Operation.HOLD_PLACE, methods=("GET", "POST"))
def hold(visit: Visit, ref: str) -> HttpResponse:
    """Hold a snapshot, or hold it longer; nobody can take that back, so it is confirmed."""
    row = visit.scope.snapshot(ref, Operation.HOLD_PLACE)
    context: dict[str, Any] = {
        "row": views.snapshot_views(visit.scope.site, [row])[0],
        "holds": by_hand.holds_of(visit.scope, row.snapshot_id),
        "said": {"until": visit.said("until"), "note": visit.said("note")},
    }
    if visit.is_post:
        try:
            until = instant(visit.said("until"), "until", end_of_day=True)
            if until is None or not visit.ticked("sure"):
                raise NothingChosen
            by_hand.hold(visit.scope, row.snapshot_id, until=until, note=visit.said("note")[:1000])
        except DozoError as error:
            context["problem"] = error
            return visit.render("snapshots/hold.html", context, status=409)
        return visit.go(f"/snapshots/{row.snapshot_id}", note="saved")
    return visit.render("snapshots/hold.html", context)


@page(Operation.SNAPSHOT_RESTORE_FILE)
def download(visit: Visit, ref: str) -> Any:
    """The snapshot as an image file."""
    kind = visit.query("format")
    kind = kind if kind in _FORMATS else _FORMATS[0]
    return downloads.answer(visit.request, visit.scope, ref, format=kind)
