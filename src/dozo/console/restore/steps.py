"""The first three of the four steps: template, server, volumes; alone, or one after another."""

from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpResponse

from dozo.console.restore.flow import Fields, Flow, choices_of, common, settled, status_of
from dozo.console.shell.errors import NothingChosen
from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.services import restore_choices, tenants, views
from dozo.services.access import Operation
from dozo.services.lists import templates as template_list
from dozo.services.restore_choices import ServerChoices, Ways

_MOST = 200
_PLAINTEXT = "restore.plaintext"
# What a service checks again: an operator without a template has no policy yet.
_NETWORKS = ("same", "isolated", "none")
_FORMATS = ("qcow2", "raw")


@page(Operation.TEMPLATE_CREATE, methods=("GET", "POST"))
def template(visit: Visit) -> HttpResponse:
    """Step 1: a template from the root volume's snapshot."""
    flow, waiting = settled(visit, Flow.of(visit))
    flow = _with_server(visit, flow)
    choices = choices_of(visit, flow)
    if choices is None:
        return visit.go("/restore")
    fields = Fields(visit)
    root = choices.root
    proposed = root.proposed if root is not None else ""
    said = {
        "snapshot": fields.one("root") or proposed or "",
        "name": fields.one("name") or f"{choices.server.name}-template",
    }
    context = {
        **common(flow, "template", waiting),
        "choices": choices,
        "said": said,
        "quota": tenants.quota(visit.scope, choices.server.tenant.name),
    }
    params = {"snapshot": said["snapshot"], "name": said["name"]}
    try:
        if visit.is_post:
            job = visit.submit("template.create", params)
            return visit.go(replace(flow, template_job=job, template="").address("new-server"))
        if fields.ticked("check"):
            context["plan"] = visit.plan("template.create", _needed(params, "snapshot"))
    except DozoError as error:
        context["problem"] = error
        return visit.render("restore/template.html", context, status=status_of(error))
    return visit.render("restore/template.html", context)


def _with_server(visit: Visit, flow: Flow) -> Flow:
    """The server that the chosen snapshots are of, where the address does not name one."""
    if flow.server or not flow.snapshot:
        return flow
    row = visit.scope.snapshot(flow.snapshot[0], Operation.SNAPSHOT_SHOW)
    return replace(flow, server=str(row.server_id) if row.server_id else "")


def _needed(params: dict[str, Any], *names: str) -> dict[str, Any]:
    """The parameters, if those are there. Raises ``NothingChosen``."""
    for name in names:
        if not params[name]:
            raise NothingChosen
    return params


@page(Operation.SERVER_CREATE, methods=("GET", "POST"))
def new_server(visit: Visit) -> HttpResponse:
    """Step 2: a new server from a template."""
    flow, waiting = settled(visit, Flow.of(visit))
    fields = Fields(visit)
    rows = template_list.find(visit.scope).order_by("-created_at", "pk")[:_MOST]
    chosen = visit.scope.template(flow.template, Operation.TEMPLATE_SHOW) if flow.template else None
    permitted = restore_choices.ways(chosen.tenant) if chosen is not None else _own_ways(visit)
    said = {
        "name": fields.one("name") or _proposed_name(chosen),
        "network": fields.one("network"),
        "start": fields.ticked("start"),
        "accept_plaintext": fields.ticked("accept_plaintext"),
    }
    context: dict[str, Any] = {
        **common(flow, "new-server", waiting),
        "templates": views.template_views(visit.scope.site, rows),
        "template": chosen,
        "networks": permitted.networks if permitted is not None else _NETWORKS,
        "carried": flow.without("template", "template_job"),
        "said": said,
    }
    params = {
        "template": flow.template,
        "name": said["name"],
        "network": said["network"] or "same",
        "start": said["start"],
        "accept_plaintext": said["accept_plaintext"],
    }
    try:
        if visit.is_post:
            job = visit.submit("server.create", _needed(params, "template", "name"))
            return visit.go(replace(flow, made_job=job, made="").address("volumes"))
        if fields.ticked("check"):
            plan = visit.plan("server.create", _needed(params, "template", "name"))
            context["plan"] = plan
    except DozoError as error:
        context |= {"problem": error, "encrypted": error.code == _PLAINTEXT}
        return visit.render("restore/new_server.html", context, status=status_of(error))
    return visit.render("restore/new_server.html", context)


def _own_ways(visit: Visit) -> Ways | None:
    name = visit.scope.actor.tenant
    return None if name is None else restore_choices.ways(visit.scope.tenant(name))


def _proposed_name(chosen: Any) -> str:
    if chosen is None:
        return ""
    source = (chosen.facts.get("server") or {}).get("name") or chosen.name
    return f"{source}-restored"[:64]


@dataclass(frozen=True, kw_only=True)
class DiskField:
    """The fields of one volume to be made."""

    device: str
    snapshot: str
    name: str
    choice: Any


@page(Operation.VOLUME_CREATE, methods=("GET", "POST"))
def volumes(visit: Visit) -> HttpResponse:
    """Step 3: new volumes from the data volumes' snapshots."""
    flow, waiting = settled(visit, Flow.of(visit))
    flow = _with_server(visit, flow)
    fields = Fields(visit)
    choices = choices_of(visit, flow)
    if choices is None and not flow.snapshot:
        return visit.go("/restore")
    kind = fields.one("format")
    said = {
        "format": kind if kind in _FORMATS else _FORMATS[0],
        "accept_plaintext": fields.ticked("accept_plaintext"),
    }
    disks = _disks(visit, flow, choices, fields)
    context: dict[str, Any] = {
        **common(flow, "volumes", waiting),
        "choices": choices,
        "disks": disks,
        "said": said,
        "formats": _FORMATS,
    }
    wanted = [{"snapshot": one.snapshot, "name": one.name, **said} for one in disks if one.snapshot]
    try:
        if visit.is_post or fields.ticked("check"):
            if not wanted:
                raise NothingChosen
            # All are looked at before the first is asked for.
            plans = [visit.plan("volume.create", one) for one in wanted]
            context["plans"] = [
                {**plan, "disk": disk}
                for plan, disk in zip(plans, (d for d in disks if d.snapshot), strict=True)
            ]
        if visit.is_post:
            return _make_volumes(visit, flow, wanted)
    except DozoError as error:
        context |= {"problem": error, "encrypted": error.code == _PLAINTEXT}
        return visit.render("restore/volumes.html", context, status=status_of(error))
    return visit.render("restore/volumes.html", context)


def _make_volumes(visit: Visit, flow: Flow, wanted: list[dict[str, Any]]) -> HttpResponse:
    jobs: list[str] = []
    lost = ""
    for one in wanted:
        try:
            job = visit.submit("volume.create", one, part=str(one["snapshot"])[:12])
        except DozoError:
            # What was asked for already must not be lost from sight.
            if not jobs:
                raise
            lost = f"&refused={len(wanted) - len(jobs)}"
            break
        jobs.append(job)
    there = replace(flow, volume_job=(*flow.volume_job, *jobs))
    return visit.go(there.address("attach") + lost)


def _disks(
    visit: Visit, flow: Flow, choices: ServerChoices | None, fields: Fields
) -> list[DiskField]:
    """The volumes that can be made, each with what was said or is proposed."""
    said = visit.is_post or fields.ticked("check")
    if choices is None:
        row = visit.scope.snapshot(flow.snapshot[0], Operation.SNAPSHOT_SHOW)
        view = views.snapshot_views(visit.scope.site, [row])[0]
        name = fields.one("name-image") or f"{view.name}-restored"
        return [DiskField(device="image", snapshot=view.snapshot, name=name, choice=None)]
    # A single snapshot that somebody came with is what is wanted, whatever it is of.
    only = flow.snapshot if len(flow.snapshot) == 1 and not flow.recovery_point else ()
    base = _made_name(visit, flow) or f"{choices.server.name}-restored"
    found = []
    for one in choices.devices:
        ids = [candidate.view.snapshot for candidate in one.candidates]
        if only and only[0] not in ids:
            continue
        if one.root and not only:
            continue
        proposed = one.proposed or ""
        found.append(
            DiskField(
                device=one.device,
                snapshot=fields.one(f"disk-{one.device}") if said else proposed,
                name=fields.one(f"name-{one.device}") or f"{base}-{one.device}",
                choice=one,
            )
        )
    return found


def _made_name(visit: Visit, flow: Flow) -> str:
    if not flow.made:
        return ""
    return visit.scope.server(flow.made).name
