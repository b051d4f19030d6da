"""A whole server at once: chosen, planned, shown, and only then asked for."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.http import HttpResponse

from dozo.console.restore.flow import Fields, Flow, choices_of, status_of
from dozo.console.shell.errors import FieldInvalid, NothingChosen
from dozo.console.shell.instants import as_field, instant
from dozo.console.shell.visit import Visit, page
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.services.access import Operation
from dozo.services.restore_choices import ServerChoices

_SOURCES = ("point", "time", "each")


@page(Operation.RESTORE_SERVER, methods=("GET", "POST"))
def server(visit: Visit) -> HttpResponse:
    """The form; with ``check`` the plan beside it; sent, the job."""
    flow = Flow.of(visit)
    if flow.recovery_point and not flow.server:
        row = visit.scope.recovery_point(flow.recovery_point, Operation.RECOVERY_POINT_SHOW)
        flow = replace(flow, server=str(row.server_id))
    choices = choices_of(visit, flow, points=True)
    if choices is None:
        return visit.go("/restore")
    said = _said(visit, flow, choices)
    disks = [
        (one, said["each"][one.device] if said["chosen"] else one.proposed)
        for one in choices.devices
    ]
    context: dict[str, Any] = {"flow": flow, "choices": choices, "said": said, "disks": disks}
    if not visit.is_post and not said["check"]:
        return visit.render("restore/server.html", context)
    try:
        params = _params(visit, flow, choices, said)
        if visit.is_post:
            return visit.ask("server.restore", params)
        context["plan"] = _shown(visit.plan("server.restore", params))
        context["sent"] = _sent(params, context["plan"])
    except DozoError as error:
        context["problem"] = error
        context["encrypted"] = error.code == "restore.plaintext"
        return visit.render("restore/server.html", context, status=status_of(error))
    return visit.render("restore/server.html", context)


def _said(visit: Visit, flow: Flow, choices: ServerChoices) -> dict[str, Any]:
    """The fields as the form shows them again, with what is proposed where nothing was said."""
    fields = Fields(visit)
    source = fields.one("from")
    if source not in _SOURCES:
        complete = [one for one in choices.points if one.complete]
        source = "point" if flow.recovery_point or (complete and not flow.at) else "time"
        if flow.snapshot and not flow.recovery_point:
            source = "each"
    present = choices.server.present
    identity = fields.one("identity") or ("copy" if present else "keep")
    return {
        "check": fields.ticked("check"),
        "from": source,
        "recovery_point": flow.recovery_point,
        "at": _at(flow),
        "name": fields.one("name"),
        "identity": identity,
        "network": fields.one("network") or choices.ways.networks[0]
        if choices.ways.networks
        else "",
        "start": fields.ticked("start"),
        "accept_plaintext": fields.ticked("accept_plaintext"),
        "each": {one.device: fields.one(f"disk-{one.device}") for one in choices.devices},
        "chosen": fields.ticked("check") or visit.is_post,
    }


def _at(flow: Flow) -> str:
    """The time as its field takes it; what cannot be read stays, to be corrected."""
    try:
        found = instant(flow.at, "at")
    except FieldInvalid:
        return flow.at
    # The field knows whole seconds: what was taken in this one is to be among it.
    return as_field(found or clock.now() + timedelta(seconds=1))


def _params(
    visit: Visit, flow: Flow, choices: ServerChoices, said: dict[str, Any]
) -> dict[str, Any]:
    """What the job takes. Raises ``NothingChosen``, ``FieldInvalid``."""
    params: dict[str, Any] = {
        "name": said["name"] or None,
        "identity": said["identity"],
        "network": said["network"] or "same",
        "start": said["start"],
        "accept_plaintext": said["accept_plaintext"],
    }
    if visit.is_post:
        # Exactly what the plan showed.
        if flow.recovery_point:
            return {**params, "recovery_point": flow.recovery_point}
        return {**params, "snapshots": list(flow.snapshot) or _nothing()}
    if said["from"] == "point":
        return {**params, "recovery_point": flow.recovery_point or _nothing()}
    if said["from"] == "time":
        at = instant(said["at"], "at") or _nothing()
        return {**params, "server": str(choices.server.uuid), "at": clock.to_text(at)}
    each = [one for one in said["each"].values() if one]
    return {**params, "snapshots": each or _nothing()}


def _nothing() -> Any:
    raise NothingChosen


def _shown(plan: dict[str, Any]) -> dict[str, Any]:
    size = sum(int(one["bytes_volume"]) for one in plan["volumes"])
    return {**plan, "bytes_volume": size}


def _sent(params: dict[str, Any], plan: dict[str, Any]) -> list[tuple[str, str]]:
    """The fields with which exactly this plan is asked for."""
    pairs = [
        ("name", str(params["name"] or "")),
        ("identity", str(plan["identity"])),
        ("network", str(plan["network"])),
        ("start", "1" if params["start"] else ""),
        ("accept_plaintext", "1" if params["accept_plaintext"] else ""),
    ]
    if "recovery_point" in params:
        pairs.append(("recovery_point", str(params["recovery_point"])))
    else:
        pairs += [("snapshot", str(one["snapshot"])) for one in plan["volumes"]]
    return [(name, value) for name, value in pairs if value]
