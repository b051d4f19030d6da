"""What is done to a server: start, stop, tags, change tracking, delete."""

import re
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse

from dozo.console.servers.errors import ForceNotConfirmed
from dozo.console.servers.views import running
from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.model.states import Tracking
from dozo.services import by_hand, tenants
from dozo.services.access import Operation

if TYPE_CHECKING:
    from dozo.catalog import models

_DEFAULT_SECONDS = 120
_MOST_SECONDS = 3600


@page(Operation.SERVER_START, methods=("GET", "POST"))
def start(visit: Visit, ref: str) -> HttpResponse:
    """Start it; where a snapshot needs it stopped, say so before."""
    row = visit.scope.server(ref, Operation.SERVER_START, present=True)
    params = {"server": str(row.uuid), "fail_snapshot": visit.ticked("fail_snapshot") or None}
    return _asked(visit, row, "server.start", params, "servers/start.html")


@page(Operation.SERVER_STOP, methods=("GET", "POST"))
def stop(visit: Visit, ref: str) -> HttpResponse:
    """Ask the guest to shut down, within a time; or cut the power, with the name typed."""
    row = visit.scope.server(ref, Operation.SERVER_STOP, present=True)
    force = visit.ticked("force")
    seconds = _seconds(visit.said("timeout_seconds", str(_DEFAULT_SECONDS)))
    if visit.is_post and force and visit.said("confirm") != row.name:
        error = ForceNotConfirmed(row.name)
        return _again(visit, row, "servers/stop.html", error, seconds=seconds, force=True)
    params = {"server": str(row.uuid), "timeout_seconds": seconds, "force": force or None}
    return _asked(visit, row, "server.stop", params, "servers/stop.html", seconds=seconds)


def _asked(
    visit: Visit,
    row: "models.Server",
    kind: str,
    params: dict[str, Any],
    template: str,
    **context: Any,
) -> HttpResponse:
    if not visit.is_post:
        return visit.render(template, _about(visit, row, **context))
    try:
        return visit.ask(kind, params, go_to=f"/servers/{row.uuid}")
    except DozoError as error:
        return _again(visit, row, template, error, **context)


def _about(visit: Visit, row: "models.Server", **context: Any) -> dict[str, Any]:
    volumes = [str(one) for one in row.volumes.values_list("volume_id", flat=True)]
    return {
        "server": row,
        "jobs": running(visit, server=str(row.uuid), volumes=volumes),
        "problem": None,
        **context,
    }


def _again(
    visit: Visit, row: "models.Server", template: str, error: DozoError, **context: Any
) -> HttpResponse:
    shown = _about(visit, row, **{**context, "problem": error})
    return visit.render(template, shown, status=visit.refused(error).status_code)


def _seconds(said: str) -> int:
    try:
        return min(max(int(said), 1), _MOST_SECONDS)
    except ValueError:
        return _DEFAULT_SECONDS


@page(Operation.SERVER_TAG, methods=("POST",))
def tags(visit: Visit, ref: str) -> HttpResponse:
    """Change the tags by what was added to and taken from those that the form began with.

    So nothing is lost of what somebody else changed meanwhile.
    """
    before = set(_words(visit.said("before")))
    wanted = set(_words(visit.said("tags")))
    row = tenants.set_tags(
        visit.scope, ref, add=sorted(wanted - before), remove=sorted(before - wanted)
    )
    return visit.go(f"/servers/{row.uuid}", note="saved")


def _words(text: str) -> list[str]:
    return [one for one in re.split(r"[\s,、]+", text) if one]


@page(Operation.SERVER_TRACK, methods=("POST",))
def tracking(visit: Visit, ref: str) -> HttpResponse:
    """Say whether changes may be tracked."""
    wanted = visit.said("tracking")
    setting = Tracking(wanted) if wanted in set(Tracking) else Tracking.AUTO
    done = by_hand.set_tracking(visit.scope, ref, setting)
    return visit.go(f"/servers/{done.server}", note="saved")


@page(Operation.SERVER_UNTRACK, methods=("POST",))
def untrack(visit: Visit, ref: str) -> HttpResponse:
    """Remove every trace of change tracking."""
    row = visit.scope.server(ref, Operation.SERVER_UNTRACK, present=True)
    return visit.ask("server.untrack", {"server": str(row.uuid)}, go_to=f"/servers/{row.uuid}")


@page(Operation.SERVER_DELETE, methods=("GET", "POST"))
def delete(visit: Visit, ref: str) -> HttpResponse:
    """Delete a stopped server, with its name typed; its snapshots stay."""
    row = visit.scope.server(ref, Operation.SERVER_DELETE, present=True)
    volumes = list(row.volumes.filter(state="attached").order_by("device"))
    context = {
        "volumes": volumes,
        "foreign": [one for one in volumes if not one.created_here],
        "volumes_too": visit.ticked("volumes"),
    }
    if not visit.is_post:
        return visit.render("servers/delete.html", _about(visit, row, **context))
    try:
        by_hand.delete_server(
            visit.scope,
            str(row.uuid),
            confirm=visit.said("confirm"),
            volumes_too=visit.ticked("volumes"),
        )
    except DozoError as error:
        return _again(visit, row, "servers/delete.html", error, **context)
    return visit.go("/servers", note="deleted")
