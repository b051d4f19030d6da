"""Jobs that wait for a guest: stopping a server, and starting one that is in a snapshot's way."""

from collections.abc import Callable
from typing import Any

from dozo.model.message import Message
from dozo.services import policies, power, start_again, tracking
from dozo.services.access import Operation, Scope
from dozo.services.job_kinds import JobKind, Params, Prepared, lock_of_server
from dozo.services.site import Site
from dozo.services.work import Work


def _prepared(
    scope: Scope, params: Params, operation: Operation, title: Callable[[str], str]
) -> Prepared:
    server = scope.server(str(params["server"]), operation, present=True)
    return Prepared(
        title=title(server.name),
        params={**params, "server": str(server.uuid)},
        tenant=server.tenant,
        object_kind="server",
        object_id=str(server.uuid),
        object_name=server.name,
    )


def _prepare_stop(scope: Scope, params: Params) -> Prepared:
    return _prepared(
        scope,
        params,
        Operation.SERVER_STOP,
        lambda name: Message("stop server {server}", server=name),
    )


def _run_stop(site: Site, params: Params, work: Work) -> Any:
    work.step(Message("ask the guest to shut down"))
    # Somebody wants it off: it is not for a snapshot's sake that it must come back.
    start_again.forget(site, str(params["server"]))
    return power.stop(
        site,
        str(params["server"]),
        timeout_seconds=float(params.get("timeout_seconds") or 120),
        force=bool(params.get("force")),
        look=work.check,
    )


def _prepare_start(scope: Scope, params: Params) -> Prepared:
    prepared = _prepared(
        scope,
        params,
        Operation.SERVER_START,
        lambda name: Message("start server {server}", server=name),
    )
    if prepared.tenant is not None and policies.of(prepared.tenant).start_wins:
        prepared.params["fail_snapshot"] = True
    return prepared


def _run_start(site: Site, params: Params, work: Work) -> Any:
    work.step(Message("start the server"))
    return power.start(site, str(params["server"]), fail_snapshot=bool(params.get("fail_snapshot")))


def _prepare_untrack(scope: Scope, params: Params) -> Prepared:
    prepared = _prepared(
        scope,
        params,
        Operation.SERVER_UNTRACK,
        lambda name: Message("untrack server {server}", server=name),
    )
    return Prepared(
        title=prepared.title,
        params=prepared.params,
        tenant=prepared.tenant,
        locks=(lock_of_server(prepared.object_id),),
        object_kind=prepared.object_kind,
        object_id=prepared.object_id,
        object_name=prepared.object_name,
    )


def _run_untrack(site: Site, params: Params, work: Work) -> Any:
    work.step(Message("remove checkpoints and bitmaps"))
    return tracking.untrack(site, str(params["server"]))


STOP = JobKind(
    name="server.stop",
    operation=Operation.SERVER_STOP,
    prepare=_prepare_stop,
    run=_run_stop,
    repeatable=lambda _params: False,
)
START = JobKind(
    name="server.start",
    operation=Operation.SERVER_START,
    prepare=_prepare_start,
    run=_run_start,
    repeatable=lambda _params: False,
)
UNTRACK = JobKind(
    name="server.untrack",
    operation=Operation.SERVER_UNTRACK,
    prepare=_prepare_untrack,
    run=_run_untrack,
)
