"""Jobs that give data back: templates, servers and volumes made of snapshots, and in place."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from dozo.hypervisor import Network
from dozo.model import clock
from dozo.model.message import Message
from dozo.model.states import Identity
from dozo.services import (
    made_before,
    policies,
    restore_in_place,
    restore_server,
    restore_volume,
    templates,
)
from dozo.services.access import Operation, Scope
from dozo.services.errors import TenantsMixed
from dozo.services.job_kinds import JobKind, Params, Prepared, lock_of_volume
from dozo.services.restore_server import ServerMade, ServerPlan
from dozo.services.site import Site
from dozo.services.views import template_view
from dozo.services.work import Work

if TYPE_CHECKING:
    from dozo.catalog import models


def _prepare_template(scope: Scope, params: Params) -> Prepared:
    row = scope.snapshot(str(params["snapshot"]), Operation.TEMPLATE_CREATE)
    policy = policies.of(row.tenant)
    policies.refuse_restore_here(scope.site, policy, row, "template")
    policies.refuse_more_snapshots(scope.site, row.tenant, policy, 1)
    name = str(params["name"])
    templates.plan(scope.site, row.snapshot_id, name=name)
    return Prepared(
        title=Message("template {name} from snapshot {snapshot}", name=name, snapshot=row.name),
        params={"snapshot": row.snapshot_id, "name": name},
        tenant=row.tenant,
        locks=(f"name:template:{name}",),
        object_kind="snapshot",
        object_id=row.snapshot_id,
        object_name=row.name,
    )


def _run_template(site: Site, params: Params, work: Work) -> Any:
    made = made_before.template(site, params)
    if made is not None:
        work.step(Message("template {name} was made before the interruption", name=made.name))
        return template_view(site, made)
    job = made_before.job_of(params)
    plan = templates.plan(site, str(params["snapshot"]), name=str(params["name"]), job=job)
    return templates.create(site, plan, work=work)


def _prepare_server_of_template(scope: Scope, params: Params) -> Prepared:
    row = scope.template(str(params["template"]), Operation.SERVER_CREATE)
    policies.refuse_restore_here(scope.site, policies.of(row.tenant), row, "server-from-template")
    plan = _plan_of_template(scope.site, row.snapshot_id, params)
    policies.refuse_restore_size(scope.site, row.tenant, plan)
    return _prepared_server(
        plan, row.tenant, {**_server_params(params), "template": row.snapshot_id}
    )


def _plan_of_template(site: Site, template: str, params: Params) -> ServerPlan:
    return restore_server.plan_from_template(
        site,
        template,
        name=str(params["name"]),
        network=Network(str(params.get("network") or Network.SAME.value)),
        start=bool(params.get("start")),
    )


def _run_server_of_template(site: Site, params: Params, work: Work) -> ServerMade:
    return _make(
        site, lambda: _plan_of_template(site, str(params["template"]), params), params, work
    )


def _prepare_server(scope: Scope, params: Params) -> Prepared:
    named = _named(scope, params)
    tenant = named.pop("tenant")
    plan = _plan_server(scope.site, {**params, **named})
    rows = scope.site.catalog.snapshots.select_related("tenant").filter(
        snapshot_id__in=[one.snapshot for one in plan.volumes]
    )
    policy = policies.of(tenant)
    refuse_other_tenants(tenant, rows)
    for row in rows:
        # A point in time may reach snapshots of before the server changed hands.
        scope.snapshot(row.snapshot_id, Operation.RESTORE_SERVER)
        policies.refuse_restore_here(scope.site, policy, row, "server")
    policies.refuse_restore_size(scope.site, tenant, plan)
    if "at" in named:
        # What was seen and permitted is what is restored, whatever is deleted until then.
        named = {"snapshots": [one.snapshot for one in plan.volumes]}
    return _prepared_server(plan, tenant, {**_server_params(params), **named})


def refuse_other_tenants(tenant: "models.Tenant", rows: "Iterable[models.Snapshot]") -> None:
    """Raises :class:`TenantsMixed` where a snapshot's data would become another tenant's."""
    for row in rows:
        if row.tenant_id != tenant.pk:
            raise TenantsMixed(row.name, row.tenant.name, tenant.name)


def _named(scope: Scope, params: Params) -> dict[str, Any]:
    """What the request names, by id, and whose it is."""
    if params.get("recovery_point"):
        point = scope.recovery_point(str(params["recovery_point"]), Operation.RESTORE_SERVER)
        tenant = (
            point.snapshots.all()[0].tenant if point.snapshots.exists() else point.server.tenant
        )
        return {"recovery_point": point.recovery_point_id, "tenant": tenant}
    if params.get("snapshots"):
        rows = [scope.snapshot(str(one), Operation.RESTORE_SERVER) for one in params["snapshots"]]
        return {"snapshots": [row.snapshot_id for row in rows], "tenant": rows[0].tenant}
    server = scope.server(str(params["server"]), Operation.RESTORE_SERVER)
    at = params.get("at") or clock.to_text(clock.now())
    return {"server": str(server.uuid), "at": at, "tenant": server.tenant}


def _plan_server(site: Site, params: Params) -> ServerPlan:
    at = params.get("at")
    identity = params.get("identity")
    return restore_server.plan(
        site,
        recovery_point=params.get("recovery_point"),
        server=params.get("server"),
        at=clock.from_text(str(at)) if at else None,
        snapshots=tuple(params.get("snapshots") or ()),
        name=params.get("name") or None,
        identity=Identity(str(identity)) if identity else None,
        network=Network(str(params.get("network") or Network.SAME.value)),
        start=bool(params.get("start")),
    )


def _run_server(site: Site, params: Params, work: Work) -> ServerMade:
    return _make(site, lambda: _plan_server(site, params), params, work)


def _server_params(params: Params) -> dict[str, Any]:
    names = ("name", "identity", "network", "start", "accept_plaintext")
    return {name: params[name] for name in names if name in params}


def _prepared_server(plan: ServerPlan, tenant: "models.Tenant", params: dict[str, Any]) -> Prepared:
    for one in plan.volumes:
        restore_volume.require_accepted(one, accept_plaintext=bool(params.get("accept_plaintext")))
    return Prepared(
        title=Message("restore server {name}", name=plan.name),
        params={**params, "tenant": tenant.name},
        tenant=tenant,
        locks=(f"name:server:{plan.name}", f"restore:{plan.note_name}"),
        object_kind="server",
        object_id=plan.original_uuid,
        object_name=plan.original_name,
        plan=plan.shown(),
    )


def _make(site: Site, planned: Callable[[], ServerPlan], params: Params, work: Work) -> ServerMade:
    tenant = site.tenant_row(str(params["tenant"]))
    images = made_before.images(site, params)
    server = made_before.server(site, images)
    if server is not None:
        work.step(
            Message("server {server} was defined before the interruption", server=server.name)
        )
        made = restore_server.finish(site, server, images, start=bool(params.get("start")))
        site.catalog.servers.filter(uuid=made.server).update(tenant=tenant)
        return made
    plan = planned()
    job = made_before.job_of(params)
    plan = replace(plan, volumes=tuple(one.made_by(job) for one in plan.volumes))
    if plan.identity is Identity.KEEP:
        # From its first moment it must not be shown to somebody who had it in between.
        gone = site.catalog.servers.filter(uuid=plan.original_uuid, present=False)
        gone.update(tenant=tenant)
    made = restore_server.apply(
        site, plan, accept_plaintext=bool(params.get("accept_plaintext")), work=work
    )
    # The hypervisor does not know whose it is.
    site.catalog.servers.filter(uuid=made.server).update(tenant=tenant)
    return made


def _prepare_volume(scope: Scope, params: Params) -> Prepared:
    row = scope.snapshot(str(params["snapshot"]), Operation.VOLUME_CREATE)
    policies.refuse_restore_here(scope.site, policies.of(row.tenant), row, "volume")
    policies.refuse_disk(scope.site, row.tenant, row.bytes_volume)
    wanted = {
        "snapshot": row.snapshot_id,
        "name": str(params["name"]),
        "format": str(params.get("format") or "qcow2"),
        "accept_plaintext": bool(params.get("accept_plaintext")),
    }
    plan = _plan_volume(scope.site, wanted)
    restore_volume.require_accepted(plan, accept_plaintext=wanted["accept_plaintext"] is True)
    return Prepared(
        title=Message(
            "volume {name} from snapshot {snapshot}", name=wanted["name"], snapshot=row.name
        ),
        params=wanted,
        tenant=row.tenant,
        locks=(f"name:volume:{row.tenant.name}:{wanted['name']}",),
        object_kind="snapshot",
        object_id=row.snapshot_id,
        object_name=row.name,
        plan={
            "snapshot": plan.snapshot,
            "path": plan.image.path,
            "bytes_volume": plan.image.bytes_volume,
            "warning": plan.warning,
        },
    )


def _plan_volume(site: Site, params: Params) -> restore_volume.VolumePlan:
    return restore_volume.plan(
        site, str(params["snapshot"]), name=str(params["name"]), format=str(params["format"])
    )


def _run_volume(site: Site, params: Params, work: Work) -> restore_volume.VolumeMade:
    for image in made_before.images(site, params):
        work.step(Message("volume {volume} was made before the interruption", volume=image.name))
        return restore_volume.finish(site, image)
    return restore_volume.apply(
        site,
        _plan_volume(site, params).made_by(made_before.job_of(params)),
        accept_plaintext=bool(params.get("accept_plaintext")),
        work=work,
    )


def _prepare_in_place(scope: Scope, params: Params) -> Prepared:
    volume = scope.volume(str(params["volume"]), Operation.RESTORE_IN_PLACE)
    wanted: dict[str, Any] = {"volume": str(volume.volume_id)}
    if params.get("snapshot"):
        row = scope.snapshot(str(params["snapshot"]))
        policies.refuse_restore_here(scope.site, policies.of(row.tenant), row, "in-place")
        wanted["snapshot"] = row.snapshot_id
    else:
        wanted["take_up"] = "go-back" if params.get("go_back") else "resume"
    plan = _plan_in_place(scope.site, wanted)
    return Prepared(
        title=Message(
            "put volume {volume} back to snapshot {snapshot}",
            volume=volume.name,
            snapshot=plan.snapshot_name,
        ),
        params=wanted,
        tenant=volume.tenant,
        locks=(lock_of_volume(volume),),
        object_kind="volume",
        object_id=str(volume.volume_id),
        object_name=volume.name,
        plan={"snapshot": plan.snapshot, "path": plan.path, "device": plan.device},
    )


def _plan_in_place(site: Site, params: Params) -> restore_in_place.InPlacePlan:
    volume = str(params["volume"])
    # A first attempt that was interrupted has left the mark of what it was doing.
    row = site.catalog.volume(volume)
    snapshot = params.get("snapshot")
    if params.get("take_up") == "go-back":
        return restore_in_place.plan_go_back(site, volume)
    if snapshot is None or row.restoring_snapshot == snapshot:
        return restore_in_place.plan_resume(site, volume)
    refuse_other_tenants(row.tenant, [site.catalog.snapshot(str(snapshot))])
    return restore_in_place.plan(site, volume, str(snapshot))


def _run_in_place(site: Site, params: Params, work: Work) -> dict[str, Any]:
    return asdict(restore_in_place.apply(site, _plan_in_place(site, params), work=work))


TEMPLATE = JobKind(
    name="template.create",
    operation=Operation.TEMPLATE_CREATE,
    prepare=_prepare_template,
    run=_run_template,
)
SERVER_OF_TEMPLATE = JobKind(
    name="server.create",
    operation=Operation.SERVER_CREATE,
    prepare=_prepare_server_of_template,
    run=_run_server_of_template,
)
SERVER = JobKind(
    name="server.restore",
    operation=Operation.RESTORE_SERVER,
    prepare=_prepare_server,
    run=_run_server,
)
VOLUME = JobKind(
    name="volume.create",
    operation=Operation.VOLUME_CREATE,
    prepare=_prepare_volume,
    run=_run_volume,
)
IN_PLACE = JobKind(
    name="volume.restore",
    operation=Operation.RESTORE_IN_PLACE,
    prepare=_prepare_in_place,
    run=_run_in_place,
)
