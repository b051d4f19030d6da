"""A volume back to a snapshot, in place: what is there now is overwritten, so its name is asked."""

from dataclasses import replace
from typing import Any

from django.http import HttpResponse

from dozo.console.restore.flow import Fields, Flow, status_of
from dozo.console.shell.errors import FieldInvalid, NothingChosen, NotTyped
from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.services import restore_choices, views
from dozo.services.access import Operation

_TAKE_UP = ("resume", "go-back")


@page(Operation.RESTORE_IN_PLACE, methods=("GET", "POST"))
def in_place(visit: Visit) -> HttpResponse:
    """Choose, look at the plan, type the name; or finish or take back an interrupted one."""
    flow = Flow.of(visit)
    fields = Fields(visit)
    if not flow.volume:
        return visit.go(flow.address(""))
    row = visit.scope.volume(flow.volume[0], Operation.VOLUME_SHOW)
    view = views.volume_views(visit.scope.site, [row])[0]
    server = str(row.server_id) if row.server_id else flow.server
    flow = replace(flow, server=server, volume=(view.volume,))
    chosen = fields.one("put_back") or (flow.snapshot[0] if flow.snapshot else "")
    choice = restore_choices.of_volume(visit.scope, row, chosen=chosen)
    take_up = fields.one("take_up")
    context: dict[str, Any] = {
        "flow": flow,
        "volume": view,
        "server": row.server,
        "choice": choice,
        "chosen": chosen,
        "take_up": take_up,
        "ways": restore_choices.ways(row.tenant),
        "marked": restore_choices.interrupted(visit.scope, row),
    }
    try:
        params = _params(view.volume, chosen, take_up)
        if visit.is_post:
            if fields.one("confirm") != view.name:
                raise NotTyped(view.name)
            return visit.ask("volume.restore", params)
        if fields.ticked("check"):
            context["plan"] = visit.plan("volume.restore", params)
            context["to"] = _snapshot(visit, str(context["plan"]["snapshot"]))
    except DozoError as error:
        context["problem"] = error
        if not visit.is_post and not fields.ticked("check"):
            context.pop("problem")
            return visit.render("restore/in_place.html", context)
        context["running"] = error.code == "hypervisor.server_running"
        return visit.render("restore/in_place.html", context, status=status_of(error))
    return visit.render("restore/in_place.html", context)


def _params(volume: str, chosen: str, take_up: str) -> dict[str, Any]:
    """What the job takes. Raises ``FieldInvalid``."""
    if take_up:
        if take_up not in _TAKE_UP:
            raise FieldInvalid("take_up", take_up)
        return {"volume": volume, "go_back": True if take_up == "go-back" else None}
    if not chosen:
        raise NothingChosen
    return {"volume": volume, "snapshot": chosen}


def _snapshot(visit: Visit, snapshot: str) -> views.SnapshotView | None:
    row = visit.scope.snapshots.filter(snapshot_id=snapshot).select_related(
        "server", "volume", "origin_site", "tenant"
    )
    found = views.snapshot_views(visit.scope.site, row)
    return found[0] if found else None
