"""Jobs that take snapshots: of a volume, or of all volumes of a server at one instant."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dozo.hypervisor import ServerStarted
from dozo.model import clock
from dozo.model.message import Message
from dozo.model.policy import Policy
from dozo.model.states import CaptureMode
from dozo.services import found, hooks, made_before, policies, protect, snapshots, start_again
from dozo.services.access import Operation, Scope
from dozo.services.capture_plan import CapturePlan
from dozo.services.errors import GaveWay
from dozo.services.job_kinds import (
    JobKind,
    Params,
    Prepared,
    lock_of_server,
    lock_of_volume,
)
from dozo.services.policies import STOP
from dozo.services.protect import Protected
from dozo.services.site import Site
from dozo.services.work import Work

if TYPE_CHECKING:
    from dozo.catalog import models


_SHARED = (
    "name",
    "mode",
    "stated_unmounted",
    "freeze",
    "full",
    "schedule_id",
    "keep",
    "stop_timeout_seconds",
    "force_stop",
    "hook_before",
    "hook_after",
    "hook_timeout_seconds",
)


def _prepare_volume(scope: Scope, params: Params) -> Prepared:
    volume = scope.volume(str(params["volume"]), Operation.SNAPSHOT_CREATE)
    policy = policies.of(volume.tenant)
    mode = _asked_mode(params)
    policies.refuse_capture(
        policy,
        mode=_wanted(mode),
        is_root=volume.is_root,
        volumes=1,
        recovery_point=False,
    )
    policies.refuse_more_snapshots(scope.site, volume.tenant, policy, 1)
    _refuse_around(scope, volume.server if volume.state == "attached" else None, policy, params)
    return Prepared(
        title=Message("snapshot of volume {volume}", volume=volume.name),
        params={"volume": str(volume.volume_id), **_kept(params)},
        tenant=volume.tenant,
        locks=(lock_of_volume(volume), *policies.snapshot_locks(scope.site, policy, volume.tenant)),
        object_kind="volume",
        object_id=str(volume.volume_id),
        object_name=volume.name,
        not_after=_not_after(params),
    )


def _prepare_server(scope: Scope, params: Params) -> Prepared:
    server = scope.server(str(params["server"]), Operation.RECOVERY_POINT_CREATE, present=True)
    policy = policies.of(server.tenant)
    mode = _asked_mode(params)
    chosen = [str(one) for one in params.get("volumes") or ()]
    attached = server.volumes.filter(state="attached")
    count = len(chosen) or attached.count()
    policies.refuse_capture(
        policy,
        mode=_wanted(mode),
        is_root=attached.filter(is_root=True).exists() and not chosen,
        volumes=count,
        recovery_point=True,
    )
    policies.refuse_more_snapshots(scope.site, server.tenant, policy, count)
    _refuse_around(scope, server, policy, params)
    return Prepared(
        title=Message("recovery point of server {server}", server=server.name),
        params={"server": str(server.uuid), "volumes": chosen, **_kept(params)},
        tenant=server.tenant,
        locks=(
            lock_of_server(server.uuid),
            *policies.snapshot_locks(scope.site, policy, server.tenant),
        ),
        object_kind="server",
        object_id=str(server.uuid),
        object_name=server.name,
        not_after=_not_after(params),
    )


def _refuse_around(
    scope: Scope, server: "models.Server | None", policy: Policy, params: Params
) -> None:
    """May the actor have done to the server what goes with the snapshot?"""
    names = [str(params.get(one) or "") for one in ("hook_before", "hook_after")]
    policies.refuse_hooks(policy, *names)
    hooks.check_names(scope.site, names)
    if params.get("mode") == STOP and server is not None:
        # A token for snapshots alone is none for stopping servers.
        scope.permit(Operation.SERVER_STOP, server)
        scope.permit(Operation.SERVER_START, server)


def _foresee_volume(site: Site, params: Params) -> dict[str, Any]:
    if params.get("mode") == STOP:
        server = found.volume(site, str(params["volume"])).server
        return _stop_foreseen(server)
    plan = protect.plan_volume(site, str(params["volume"]), **_plan_options(params))
    return _foreseen(_allowed(site, plan))


def _foresee_server(site: Site, params: Params) -> dict[str, Any]:
    if params.get("mode") == STOP:
        return _stop_foreseen(found.server(site, str(params["server"])).row)
    volumes = params.get("volumes") or ()
    server = str(params["server"])
    plan = protect.plan_server(site, server, volumes=volumes, **_plan_options(params))
    return _foreseen(_allowed(site, plan))


def _allowed(site: Site, plan: CapturePlan) -> CapturePlan:
    """Ask the policy again, now that the hypervisor has said whether the server runs."""
    policies.refuse_planned(site, plan)
    return plan


def _stop_foreseen(server: "models.Server | None") -> dict[str, Any]:
    return {"mode": STOP, "server": server.name if server else None}


def _foreseen(plan: CapturePlan) -> dict[str, Any]:
    return {
        "mode": plan.mode.value,
        "server": plan.server_name,
        "volumes": [
            {
                "volume": one.name,
                "device": one.device,
                "incremental": one.parent is not None,
                "full_reason": one.full_reason,
            }
            for one in plan.volumes
        ],
        "left_out": [{"device": one.device, "reason": one.reason} for one in plan.left_out],
    }


def _run_volume(site: Site, params: Params, work: Work) -> dict[str, Any]:
    volume = found.volume(site, str(params["volume"]))
    server = volume.server if volume.state == "attached" else None
    reference = str(volume.volume_id)
    params = _as_it_stands(site, server, params)
    return _run(
        site,
        server,
        params,
        work,
        lambda: protect.plan_volume(site, reference, **_plan_options(params)),
    )


def _run_server(site: Site, params: Params, work: Work) -> dict[str, Any]:
    server = site.catalog.server(str(params["server"]))
    params = _as_it_stands(site, server, params)
    return _run(
        site,
        server,
        params,
        work,
        lambda: protect.plan_server(
            site, str(server.uuid), volumes=params.get("volumes") or (), **_plan_options(params)
        ),
    )


def _as_it_stands(site: Site, server: "models.Server | None", params: Params) -> Params:
    """A schedule's wish for the server as it is: one that is stopped is read offline.

    That promises more than the schedule asks for: what is stopped has nothing mounted, and
    nothing that a hook could prepare.
    """
    wanted = params.get("mode") in {CaptureMode.LIVE.value, CaptureMode.UNMOUNTED.value}
    if server is None or not wanted or not params.get("schedule_id"):
        return params
    if found.server(site, str(server.uuid)).info.active:
        return params
    stopped = {"mode": CaptureMode.OFFLINE.value, "stated_unmounted": False}
    return {**params, **stopped, "hook_before": "", "hook_after": ""}


def _run(
    site: Site,
    server: "models.Server | None",
    params: Params,
    work: Work,
    plan: "Callable[[], CapturePlan]",
) -> dict[str, Any]:
    made = made_before.capture(site, params)
    if made is None:
        made = _take(site, server, params, work, plan)
    else:
        work.step(Message("{name} was taken before the interruption", name=made.name))
    _read_back(site, made, work)
    return _result(made)


def _take(
    site: Site,
    server: "models.Server | None",
    params: Params,
    work: Work,
    plan: "Callable[[], CapturePlan]",
) -> Protected:
    with ExitStack() as stack:
        if server is not None:
            stack.enter_context(hooks.around(site, server, params, work))
            if params.get("mode") == STOP:
                stack.enter_context(
                    start_again.stopped(
                        site,
                        found.server(site, str(server.uuid)),
                        timeout_seconds=float(params.get("stop_timeout_seconds") or 300),
                        force=bool(params.get("force_stop")),
                        work=work,
                    )
                )
        wanted = replace(_allowed(site, plan()), job=made_before.job_of(params))
        return protect.apply(site, wanted, work=work)


def _read_back(site: Site, made: Protected, work: Work) -> None:
    """Verify at this site what was just stored; damage is named, and fails the job."""
    ids = [one.snapshot for one in made.snapshots]
    rows = list(site.catalog.snapshots.filter(snapshot_id__in=ids))
    for missing in {*ids} - {row.snapshot_id for row in rows}:
        # Raises where it is not in the vault any more.
        snapshots.refresh(site, missing)
        rows.append(site.catalog.snapshots.get(snapshot_id=missing))
    snapshots.refuse_damage(snapshots.verify(site, rows, work=work))


def _result(made: Protected) -> dict[str, Any]:
    return {
        "name": made.name,
        "recovery_point": made.recovery_point,
        "server": made.server,
        "created_at": made.created_at,
        "mode": made.mode.value,
        "consistency": made.consistency.value,
        "freeze_ms": made.freeze_ms,
        "agent_ms": made.agent_ms,
        "snapshots": list(made.snapshots),
        "left_out": list(made.left_out),
        "notes": dict(made.notes),
    }


def _asked_mode(params: Params) -> str | None:
    mode = params.get("mode")
    if mode in {None, "", STOP}:
        return mode or None
    return CaptureMode(str(mode)).value


def _wanted(mode: str | None) -> str | None:
    """The mode as a policy sees it; None where the hypervisor has to say whether the server runs.

    What the catalog says about that may be minutes old.
    """
    return CaptureMode.OFFLINE.value if mode == STOP else mode


def _plan_options(params: Params) -> dict[str, Any]:
    mode = _asked_mode(params)
    return {
        "name": params.get("name") or None,
        "mode": CaptureMode.OFFLINE if mode == STOP else CaptureMode(mode) if mode else None,
        "stated_unmounted": bool(params.get("stated_unmounted")),
        "freeze": params.get("freeze") is not False,
        "full": bool(params.get("full")),
        "schedule_id": params.get("schedule_id") or None,
        "keep": params.get("keep") or None,
    }


def _kept(params: Params) -> dict[str, Any]:
    return {name: params[name] for name in _SHARED if name in params}


def _not_after(params: Params) -> datetime | None:
    """For a guest that keeps a volume unmounted for so long and not longer."""
    seconds = params.get("begin_within_seconds")
    return clock.now() + timedelta(seconds=float(seconds)) if seconds else None


def _repeatable(params: Params) -> bool:
    """Later the server may be needed, and the volume mounted again."""
    return params.get("mode") not in {STOP, CaptureMode.UNMOUNTED.value}


# A start wins: who started the server wants it up, and not a snapshot a little later.
_FINAL = frozenset({ServerStarted.code, GaveWay.code})

SNAPSHOT = JobKind(
    name="snapshot.create",
    operation=Operation.SNAPSHOT_CREATE,
    prepare=_prepare_volume,
    run=_run_volume,
    foresee=_foresee_volume,
    repeatable=_repeatable,
    final=_FINAL,
)
RECOVERY_POINT = JobKind(
    name="recovery-point.create",
    operation=Operation.RECOVERY_POINT_CREATE,
    prepare=_prepare_server,
    run=_run_server,
    foresee=_foresee_server,
    repeatable=_repeatable,
    final=_FINAL,
)
