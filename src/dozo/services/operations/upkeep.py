"""Jobs between vaults and within one: copy, verify, keep step, retain, prune, scrub, rebuild."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dozo.model.message import Message, joined
from dozo.services import project, replicate, retain, snapshots
from dozo.services.access import ActorKind, Operation, Scope
from dozo.services.admission import Lane
from dozo.services.errors import ScrubFoundDamage
from dozo.services.job_kinds import JobKind, Params, Prepared
from dozo.services.settings import Peer
from dozo.services.site import Site
from dozo.services.work import Work

if TYPE_CHECKING:
    from dozo.catalog import models

_DAY_SECONDS = 24 * 3600
# A result is one row of the catalog.
_MOST_VERIFIED = 1000


def _peer(site: Site, params: Params) -> Peer:
    return replicate.peer_or_only(site, str(params.get("peer") or ""))


def _owner(rows: "Sequence[models.Snapshot | models.Template]") -> "models.Tenant | None":
    """Whose the job is: nobody's where it shows what several tenants have."""
    tenants = {row.tenant_id: row.tenant for row in rows}
    return next(iter(tenants.values())) if len(tenants) == 1 else None


def _prepare_verify(scope: Scope, params: Params) -> Prepared:
    rows = [scope.snapshot(str(one), Operation.SNAPSHOT_VERIFY) for one in params["snapshots"]]
    return Prepared(
        title=Message("verify {count} snapshots", count=len(rows)),
        params={
            "snapshots": [row.snapshot_id for row in rows],
            "everything": bool(params.get("everything")),
        },
        tenant=_owner(rows),
        object_kind="snapshot",
        object_id=rows[0].snapshot_id,
        object_name=rows[0].name,
    )


def _run_verify(site: Site, params: Params, work: Work) -> dict[str, Any]:
    rows = list(site.catalog.snapshots.filter(snapshot_id__in=params["snapshots"]))
    done = snapshots.verify(site, rows, everything=bool(params["everything"]), work=work)
    snapshots.refuse_damage(done)
    return {"verified": done}


def _prepare_copy(scope: Scope, params: Params) -> Prepared:
    peer = _peer(scope.site, params)
    wanted = params.get("snapshots")
    if wanted is None:
        scope.permit(Operation.SITE_SYNC)
    rows = [_to_copy(scope, str(one)) for one in wanted or ()]
    # What the service copies by itself waits for no tenant's turn, and is nobody's to see.
    by_itself = scope.actor.kind is ActorKind.SYSTEM
    tenant = None if by_itself else _owner(rows)
    what = (
        Message("everything") if wanted is None else Message("{count} snapshots", count=len(rows))
    )
    return Prepared(
        title=Message("copy {what} to {peer}", what=what, peer=peer.name),
        params={
            "peer": peer.name,
            "snapshots": None if wanted is None else [row.snapshot_id for row in rows],
            # Only the service itself knows that they are meant for the peer too.
            "deleted": list(params.get("deleted") or ()) if by_itself else [],
        },
        tenant=tenant,
        locks=(f"peer:{peer.name}:{tenant.name}" if tenant else f"peer:{peer.name}",),
        object_kind="site",
        object_id=peer.site_id,
        object_name=peer.name,
    )


def _to_copy(scope: Scope, reference: str) -> "models.Snapshot | models.Template":
    """A snapshot; or a template by its id, as upkeep names what a peer lacks."""
    if scope.templates.filter(snapshot_id=reference).exists():
        return scope.template(reference, Operation.SNAPSHOT_COPY)
    return scope.snapshot(reference, Operation.SNAPSHOT_COPY)


def _run_copy(site: Site, params: Params, work: Work) -> replicate.Copied:
    return replicate.copy(
        site,
        _peer(site, params),
        params.get("snapshots"),
        deleted=params.get("deleted") or (),
        work=work,
    )


def _of_site(scope: Scope, operation: Operation, title: str, lock: str, **params: Any) -> Prepared:
    scope.permit(operation)
    return Prepared(
        title=title,
        params=params,
        locks=(lock,),
        object_kind="site",
        object_id=scope.site.settings.site_id,
        object_name=scope.site.settings.name,
    )


def _prepare_sync(scope: Scope, params: Params) -> Prepared:
    verify = params.get("verify") is not False
    return _of_site(scope, Operation.SITE_SYNC, Message("keep step"), "sync", verify=verify)


def _run_sync(site: Site, params: Params, work: Work) -> dict[str, Any]:
    done = replicate.sync(site, verify=bool(params["verify"]), work=work)
    snapshots.refuse_damage(done.verified)
    return {**asdict(done), **_verified(done.verified)}


def _verified(rows: Sequence[snapshots.Verified]) -> dict[str, Any]:
    """What was read back, for a job's result: the first ones of many, and how many there are."""
    return {
        "verified": [asdict(one) for one in rows[:_MOST_VERIFIED]],
        "verified_count": len(rows),
    }


def _prepare_retain(scope: Scope, params: Params) -> Prepared:
    title = Message("remove generations that are over")
    allow_many = bool(params.get("allow_many"))
    return _of_site(scope, Operation.SITE_RETAIN, title, "retain", allow_many=allow_many)


def _run_retain(site: Site, params: Params, work: Work) -> dict[str, Any]:
    if params.get("allow_many"):
        retain.believe_clock()
    plans = retain.plan(site, allow_many=bool(params.get("allow_many")))
    return retain.apply(site, plans, work=work)


def _prepare_prune(scope: Scope, params: Params) -> Prepared:
    grace = params.get("grace_seconds")
    if grace is None:
        grace = scope.site.settings.undelete_days * _DAY_SECONDS
    return _of_site(
        scope,
        Operation.SITE_PRUNE,
        Message("reclaim the space of deleted snapshots"),
        "prune",
        grace_seconds=int(grace),
    )


def _run_prune(site: Site, params: Params, work: Work) -> Any:
    work.step(Message("look for what nothing needs"))
    done = site.vault.prune(grace_seconds=int(params["grace_seconds"]))
    project.rebuild(site, everything=False)
    return done


def _prepare_scrub(scope: Scope, params: Params) -> Prepared:
    peer = params.get("repair_from")
    if peer:
        peer = scope.site.settings.peer(str(peer)).name
    title = Message("read everything back") + (
        Message(", mend from {peer}", peer=peer) if peer else ""
    )
    return _of_site(scope, Operation.SITE_SCRUB, title, "scrub", repair_from=peer or "")


def _run_scrub(site: Site, params: Params, work: Work) -> dict[str, Any]:
    source = None
    if params.get("repair_from"):
        source = site.peer_vault(site.settings.peer(str(params["repair_from"])))
    work.step(Message("read everything back"))
    done = site.vault.scrub(repair_from=source, progress=work.bytes_of("scrub"))
    touched = sorted(done.snapshots_touched)
    site.catalog.copies.filter(site=site.own_row, snapshot_id__in=touched).update(
        state="damaged", verified_at=None
    )
    if not done.is_clean:
        raise ScrubFoundDamage(
            len(done.findings), joined(one[:12] for one in touched) or Message("none")
        )
    return {
        "bytes_read": done.bytes_read,
        "packs_read": done.packs_read,
        "repaired": done.repaired,
    }


def _prepare_rebuild(scope: Scope, params: Params) -> Prepared:
    peer = _peer(scope.site, params)
    scope.permit(Operation.SITE_REBUILD)
    plan = replicate.plan_rebuild(scope.site, peer)
    return Prepared(
        title=Message("rebuild this site's vault from {peer}", peer=peer.name),
        params={"peer": peer.name, "verify": params.get("verify") is not False},
        locks=(f"peer:{peer.name}", "rebuild"),
        object_kind="site",
        object_id=scope.site.settings.site_id,
        object_name=scope.site.settings.name,
        plan={
            "peer": peer.name,
            "snapshots_here": plan.snapshots_here,
            "snapshots_missing": list(plan.snapshots_missing),
            "bytes_volume_missing": plan.bytes_volume_missing,
        },
    )


def _run_rebuild(site: Site, params: Params, work: Work) -> dict[str, Any]:
    plan = replicate.plan_rebuild(site, _peer(site, params))
    done = replicate.rebuild(site, plan, verify=bool(params["verify"]), work=work)
    snapshots.refuse_damage(done.verified)
    return {**asdict(done), **_verified(done.verified)}


def _prepare_rebuild_catalog(scope: Scope, _params: Params) -> Prepared:
    title = Message("rebuild the catalog from the vault")
    return _of_site(scope, Operation.SITE_REBUILD_CATALOG, title, "sync")


def _run_rebuild_catalog(site: Site, _params: Params, work: Work) -> Any:
    work.step(Message("read the vault"))
    return project.rebuild(site)


VERIFY = JobKind(
    name="snapshot.verify",
    operation=Operation.SNAPSHOT_VERIFY,
    prepare=_prepare_verify,
    run=_run_verify,
)
COPY = JobKind(
    name="snapshot.copy",
    operation=Operation.SNAPSHOT_COPY,
    prepare=_prepare_copy,
    run=_run_copy,
    lane=Lane.UPKEEP,
    tries=10,
)
SYNC = JobKind(
    name="site.sync",
    operation=Operation.SITE_SYNC,
    prepare=_prepare_sync,
    run=_run_sync,
    lane=Lane.UPKEEP,
    tries=1,
)
RETAIN = JobKind(
    name="site.retain",
    operation=Operation.SITE_RETAIN,
    prepare=_prepare_retain,
    run=_run_retain,
    lane=Lane.UPKEEP,
    tries=1,
)
PRUNE = JobKind(
    name="site.prune",
    operation=Operation.SITE_PRUNE,
    prepare=_prepare_prune,
    run=_run_prune,
    lane=Lane.UPKEEP,
    quiet_seconds=_DAY_SECONDS,
)
SCRUB = JobKind(
    name="site.scrub",
    operation=Operation.SITE_SCRUB,
    prepare=_prepare_scrub,
    run=_run_scrub,
    lane=Lane.UPKEEP,
)
REBUILD = JobKind(
    name="site.rebuild",
    operation=Operation.SITE_REBUILD,
    prepare=_prepare_rebuild,
    run=_run_rebuild,
    tries=10,
)
REBUILD_CATALOG = JobKind(
    name="site.rebuild-catalog",
    operation=Operation.SITE_REBUILD_CATALOG,
    prepare=_prepare_rebuild_catalog,
    run=_run_rebuild_catalog,
)
