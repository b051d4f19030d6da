"""A tenant's policy, applied: what is asked for, against what the tenant may do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Sum

from dozo import hypervisor
from dozo.model import clock
from dozo.model import policy as rules
from dozo.model import policy_checks as checks
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.job_states import JobState
from dozo.model.policy import (
    ParallelScope,
    Policy,
    PolicyInvalid,
    PolicyPresetUnknown,
    RequiredCopies,
    RestoreKind,
)
from dozo.model.policy_checks import Resources, Stored
from dozo.model.retention import keep_from_json
from dozo.model.states import CaptureMode
from dozo.model.timing import timing_from_json

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.catalog.models_jobs import Schedule
    from dozo.services.capture_plan import CapturePlan
    from dozo.services.restore_server import ServerPlan
    from dozo.services.site import Site


@dataclass(eq=False)
class OtherTenant(DozoError):
    """A volume and a server of different tenants were to come together."""

    code = "volume.other_tenant"
    kind = ErrorKind.REFUSED
    text = (
        "volume {self.volume} is {self.of}'s and server {self.server} is {self.to}'s:"
        " they do not go together"
    )
    hint = "Give the server to the other tenant first, if it is meant."
    volume: str
    of: str
    server: str
    to: str


# Asked for like a mode: stop the server, snapshot it offline, start it again.
STOP = "stop-snapshot-start"
# More than a site ever runs at a time.
_MOST_QUEUES = 64


def of(tenant: "models.Tenant") -> Policy:
    """The tenant's preset with the operator's changes. Raises ``PolicyInvalid``."""
    return rules.overridden(rules.preset(tenant.policy), tenant.policy_overrides)


def give(site: "Site", tenant: "models.Tenant", policy: Policy) -> None:
    """Make a policy the tenant's, and remember when it last came to allow fewer generations.

    Generations of before that go by their schedules' own numbers: tightening deletes nothing.
    """
    fields = ["policy", "policy_overrides"]
    if _fewer(_generations_before(tenant), policy.max_generations):
        tenant.generations_lowered_at = clock.now()
        fields.append("generations_lowered_at")
    tenant.policy = policy.preset
    tenant.policy_overrides = rules.overrides_of(policy)
    tenant.save(using=site.catalog.alias, update_fields=fields)


def _generations_before(tenant: "models.Tenant") -> int | None:
    try:
        return of(tenant).max_generations
    except (PolicyInvalid, PolicyPresetUnknown):
        # A policy that cannot be read must not keep anybody from putting it right.
        return None


def _fewer(before: int | None, after: int | None) -> bool:
    return after is not None and (before is None or after < before)


def copies_at_peers(policy: Policy) -> bool:
    """Whether snapshots have to be at the peers as well."""
    return policy.required_copies is RequiredCopies.ALL


def capture_mode(mode: str) -> CaptureMode:
    """What a mode that a request or schedule names does to the volume."""
    return CaptureMode.OFFLINE if mode == STOP else CaptureMode(mode)


def refuse_capture(
    policy: Policy, *, mode: str | None, is_root: bool, volumes: int, recovery_point: bool
) -> None:
    """May so many volumes be snapshotted in this way? Raises the ``PolicyRefused`` errors.

    Where no mode was asked for, :func:`refuse_planned` is the one to ask about it.
    """
    if recovery_point:
        checks.refuse_recovery_point(policy)
    checks.refuse_volumes(policy, volumes)
    if mode is not None:
        checks.refuse_mode(policy, capture_mode(mode), is_root=is_root)


def refuse_hooks(policy: Policy, *names: object) -> None:
    """May something be run inside the guest? Raises ``HooksRefused``."""
    if any(names):
        checks.refuse_hooks(policy)


def refuse_planned(site: "Site", plan: "CapturePlan") -> None:
    """May these volumes be snapshotted in the mode that was chosen for them?"""
    for volume in plan.volumes:
        policy = of(site.tenant_row(volume.tenant))
        checks.refuse_mode(policy, plan.mode, is_root=volume.is_root)


def snapshot_locks(site: "Site", policy: Policy, tenant: "models.Tenant") -> tuple[str, ...]:
    """The locks that let a tenant's snapshots wait for each other, beside those of the server.

    One for each snapshot that may run at a time: a new one takes that with the shortest queue.
    """
    if policy.parallel_snapshots is None or policy.parallel_scope is not ParallelScope.TENANT:
        return ()
    count = min(policy.parallel_snapshots, _MOST_QUEUES)
    queues = {f"snapshots-of:{tenant.name}:{number}": 0 for number in range(count)}
    live = (JobState.QUEUED, JobState.WAITING, JobState.RUNNING, JobState.CANCELLING)
    for locks in site.catalog.jobs.filter(tenant=tenant, state__in=live).values_list(
        "locks", flat=True
    ):
        for lock in locks:
            if lock in queues:
                queues[lock] += 1
    return (min(queues, key=lambda lock: queues[lock]),)


def used_stored(site: "Site", tenant: "models.Tenant") -> Stored:
    """What a tenant keeps: bytes that its snapshots added when they were stored, and how many."""
    found = 0
    stored = 0
    for rows in (site.catalog.snapshots, site.catalog.templates):
        found += rows.filter(tenant=tenant, deleted_at=None).count()
    mine = site.catalog.snapshots.filter(tenant=tenant, deleted_at=None)
    stored += mine.aggregate(sum=Sum("bytes_stored"))["sum"] or 0
    return Stored(stored_bytes=stored, snapshots=found)


def refuse_more_snapshots(
    site: "Site", tenant: "models.Tenant", policy: Policy, count: int
) -> None:
    """Has the quota room for ``count`` more? Raises ``QuotaExceeded``."""
    if policy.quota_stored_bytes is None and policy.quota_snapshots is None:
        return
    checks.refuse_quota(policy, used_stored(site, tenant), Stored(snapshots=count))


def refuse_restore_here(
    site: "Site", policy: Policy, row: "models.Snapshot | models.Template", kind: str
) -> None:
    """May this snapshot be restored at this site, in this way?"""
    checks.refuse_restore_kind(policy, RestoreKind(kind))
    checks.refuse_restore_site(policy, row.origin_site.name, site.settings.name)
    checks.refuse_restore_place(policy, pools=[str(site.settings.pool)])


def used_resources(site: "Site", tenant: "models.Tenant") -> Resources:
    """What a tenant's servers and volumes at this site have."""
    servers = site.catalog.servers.filter(tenant=tenant, present=True)
    sums = servers.aggregate(cpus=Sum("cpus"), memory=Sum("memory_bytes"))
    volumes = site.catalog.volumes.filter(tenant=tenant).exclude(state="gone")
    return Resources(
        servers=servers.count(),
        cpus=sums["cpus"] or 0,
        memory_bytes=sums["memory"] or 0,
        disk_bytes=volumes.aggregate(sum=Sum("bytes_volume"))["sum"] or 0,
    )


def refuse_restore_size(site: "Site", tenant: "models.Tenant", plan: "ServerPlan") -> None:
    """Is there room for the server in what the tenant may have, and may it go there?"""
    policy = of(tenant)
    size = hypervisor.size_of(plan.definition)
    planned = Resources(
        servers=1,
        cpus=size.cpus,
        memory_bytes=size.memory_bytes,
        disk_bytes=sum(one.bytes_volume for one in plan.volumes),
    )
    checks.refuse_restore_place(policy, networks=[plan.network.value])
    checks.refuse_restore_limits(policy, used_resources(site, tenant), planned)


def refuse_attach(volume: "models.Volume", server: "models.Server") -> None:
    """May this volume go to this server? Raises :class:`OtherTenant`, ``RestoreKindRefused``."""
    checks.refuse_restore_kind(of(volume.tenant), RestoreKind.ATTACH)
    if volume.tenant_id != server.tenant_id:
        raise OtherTenant(volume.name, volume.tenant.name, server.name, server.tenant.name)


def refuse_disk(site: "Site", tenant: "models.Tenant", bytes_volume: int) -> None:
    """Is there room for a volume in what the tenant may have?"""
    checks.refuse_restore_limits(
        of(tenant), used_resources(site, tenant), Resources(disk_bytes=bytes_volume)
    )


def refuse_schedule(site: "Site", row: "Schedule") -> None:
    """May the tenant have a schedule like this?"""
    policy = of(row.tenant)
    checks.refuse_timing(policy, timing_from_json(row.timing))
    checks.refuse_generations(policy, keep_from_json(row.keep))
    refuse_hooks(policy, row.hook_before, row.hook_after)
    volume = None
    if row.target_kind == "volume":
        volume = site.catalog.volumes.filter(volume_id=row.target).first()
    refuse_capture(
        policy,
        mode=row.mode,
        is_root=volume is not None and volume.is_root,
        volumes=1,
        recovery_point=row.target_kind != "volume",
    )
