"""Step 4: the new volumes to the new server; and then it can be started."""

from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpResponse

from dozo.console.restore.flow import Fields, Flow, common, settled, status_of
from dozo.console.shell.errors import NothingChosen
from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.services import by_hand, restore_choices, views
from dozo.services.access import Operation
from dozo.services.views import VolumeView

_MOST = 200


@dataclass(frozen=True, kw_only=True)
class ToAttach:
    """A volume, and whether it is at the server already."""

    view: VolumeView
    attached: bool
    elsewhere: bool
    wanted: bool
    device: str


@page(Operation.VOLUME_ATTACH, methods=("GET", "POST"))
def attach(visit: Visit) -> HttpResponse:
    """Show what would be attached as what; sent, attach it."""
    flow, waiting = settled(visit, Flow.of(visit))
    fields = Fields(visit)
    context: dict[str, Any] = common(flow, "attach", waiting)
    try:
        target = visit.scope.server(flow.made, present=True) if flow.made else None
        if target is not None:
            flow = replace(flow, made=str(target.uuid))
            context |= common(flow, "attach", waiting)
        volumes = _volumes(visit, flow, fields)
    except DozoError as error:
        context["problem"] = error
        return visit.render("restore/attach.html", context, status=status_of(error))
    context |= {
        "target": views.server_views(visit.scope.site, [target])[0] if target else None,
        "volumes": volumes,
        "servers": list(restore_choices.targets(visit.scope)[:_MOST]),
        "carried": flow.without("made"),
        "lost": fields.one("refused"),
        "all_attached": bool(volumes) and all(one.attached for one in volumes),
    }
    chosen = [one for one in volumes if one.wanted and not one.attached]
    try:
        if (visit.is_post or fields.ticked("check")) and (target is None or not chosen):
            raise NothingChosen
        if visit.is_post and target is not None:
            for one in chosen:
                by_hand.attach(
                    visit.scope, one.view.volume, str(target.uuid), device=one.device or None
                )
            names = tuple(dict.fromkeys((*flow.volume, *(one.view.volume for one in chosen))))
            return visit.go(replace(flow, volume=names).address("attach"), note="done")
        if fields.ticked("check") and target is not None:
            context["plans"] = [
                by_hand.plan_attach(
                    visit.scope,
                    one.view.volume,
                    str(target.uuid),
                    device=one.device or None,
                )
                for one in chosen
            ]
    except DozoError as error:
        # Those that were attached before the one that was refused are shown as such.
        context |= {"problem": error, "volumes": _volumes(visit, flow, fields)}
        return visit.render("restore/attach.html", context, status=status_of(error))
    return visit.render("restore/attach.html", context)


def _volumes(visit: Visit, flow: Flow, fields: Fields) -> list[ToAttach]:
    """Those of the flow; without any, all that are attached to nothing."""
    if flow.volume:
        rows = [visit.scope.volume(one, Operation.VOLUME_SHOW) for one in flow.volume]
    else:
        rows = list(restore_choices.unattached(visit.scope)[:_MOST])
    said = set(fields.all("attach"))
    spoken = visit.is_post or fields.ticked("check")
    found = []
    for row, view in zip(rows, views.volume_views(visit.scope.site, rows), strict=True):
        there = row.state == "attached"
        here = there and bool(flow.made) and str(row.server_id) == flow.made
        found.append(
            ToAttach(
                view=view,
                attached=here,
                elsewhere=there and not here,
                wanted=view.volume in said if spoken else bool(flow.volume),
                device=fields.one(f"device-{view.volume}"),
            )
        )
    return found


@page(Operation.SERVER_START, methods=("POST",))
def start(visit: Visit) -> HttpResponse:
    """Start the restored server: the last thing of all."""
    return visit.ask("server.start", {"server": visit.said("server")})
