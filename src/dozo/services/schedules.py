"""Schedules: made, changed, previewed, listed, and their runs."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dozo.model import clock, retention, schedule_times
from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.message import Message, from_json
from dozo.model.retention import keep_from_json, keep_to_json
from dozo.model.states import CaptureMode
from dozo.model.timing import timing_from_json, timing_to_json
from dozo.services import estimates, hooks, policies, scheduler
from dozo.services.access import Operation, Scope, about, permit
from dozo.services.audit import audited
from dozo.services.estimates import Estimate
from dozo.services.policies import STOP
from dozo.services.pool import checked_name

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.catalog.models_jobs import Schedule, ScheduleRun

PREVIEW_RUNS = 20
MOST_SCHEDULES = 5000
"""Of one tenant: each one is looked at when it is due, for everybody in one turn."""
# Simulating takes a processor for itself: so many runs, and one at a time in a process.
_MOST_SIMULATED = 10_000
_SIMULATING_SECONDS = 20.0
_simulating = threading.Lock()
_MODES = frozenset({*(one.value for one in CaptureMode if one is not CaptureMode.FILE), STOP})
_TARGETS = ("server", "volume", "tag")
_CHANGEABLE = (
    "freeze",
    "stated_unmounted",
    "stop_timeout_seconds",
    "force_stop",
    "hook_before",
    "hook_after",
    "hook_timeout_seconds",
    "enabled",
)


@dataclass(eq=False)
class ScheduleInvalid(DozoError):
    """A schedule cannot be like that."""

    code = "schedule.invalid"
    kind = ErrorKind.USAGE
    text = "{self.field} of the schedule: {self.problem}"
    hint = "Correct it; docs/schedules.md describes every field."
    field: str
    problem: str


@dataclass(eq=False)
class ScheduleNameTaken(DozoError):
    """The tenant has a schedule of that name."""

    code = "schedule.name_taken"
    kind = ErrorKind.REFUSED
    text = "there is a schedule called {self.name!r} already"
    hint = "Choose another name, or change the one that is there."
    name: str


@dataclass(eq=False)
class ScheduleChanged(DozoError):
    """Somebody else has changed the schedule meanwhile."""

    code = "schedule.changed"
    kind = ErrorKind.REFUSED
    text = "schedule {self.name!r} has changed since you read it (version {self.version} now)"
    hint = "Read it again, and make your change to what is there now."
    name: str
    version: int


@dataclass(eq=False)
class TooManySchedules(DozoError):
    """A tenant has as many schedules as it may have."""

    code = "schedule.too_many"
    kind = ErrorKind.REFUSED
    text = "the tenant has {self.limit} schedules already"
    hint = "Let one schedule cover many servers by a tag, and delete those that nobody needs."
    limit: int


@dataclass(eq=False)
class PreviewBusy(DozoError):
    """Too many people think about schedules at once."""

    code = "schedule.preview_busy"
    kind = ErrorKind.THROTTLED
    retry = Retry.LATER
    text = "other previews are being made"
    hint = "Try again in a moment."


@dataclass(frozen=True, kw_only=True)
class ScheduleView:
    """A schedule; ``timing`` and ``keep`` are their JSON forms."""

    schedule: str
    name: str
    tenant: str
    enabled: bool
    target_kind: str
    target: str
    target_name: str
    covers: int
    mode: str
    freeze: bool
    stated_unmounted: bool
    stop_timeout_seconds: int
    force_stop: bool
    hook_before: str
    hook_after: str
    hook_timeout_seconds: int
    timing: Mapping[str, Any]
    keep: Mapping[str, Any]
    keep_peer: Mapping[str, Any]
    version: int
    created_at: datetime
    next_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class RunView:
    """What became of one planned time for one server or volume."""

    planned_at: datetime
    target: str
    target_name: str
    outcome: str
    reason: str | None
    decided_at: datetime
    jobs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KeptGeneration:
    """A generation that a schedule would keep, and what for."""

    created_at: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """When a schedule will run, which generations there will be after so many days, and what
    they will cost, where it is said what the schedule covers."""

    runs: tuple[datetime, ...]
    days: int
    kept: tuple[KeptGeneration, ...]
    estimate: Estimate | None


def create(scope: Scope, fields: Mapping[str, Any]) -> ScheduleView:
    """Make a schedule. Raises :class:`ScheduleInvalid`, :class:`ScheduleNameTaken`, policies."""
    reference = str(fields.get("name") or "")
    with audited(scope, Operation.SCHEDULE_CREATE, reference=reference) as attempt:
        row = _create(scope, fields)
        attempt.on(row)
        attempt.detail["fields"] = dict(fields)
    return view(scope, row)


def _create(scope: Scope, fields: Mapping[str, Any]) -> "Schedule":
    tenant, target_kind, target = _target(scope, fields)
    rows = scope.site.catalog.schedules
    now = clock.now()
    row = rows.model(
        name=str(fields.get("name") or ""),
        tenant=tenant,
        target_kind=target_kind,
        target=target,
        created_at=now,
        decided_until=now,
    )
    scope.permit(Operation.SCHEDULE_CREATE, row)
    _refuse_name(scope, tenant, checked_name(row.name))
    if rows.filter(tenant=tenant, deleted_at=None).count() >= MOST_SCHEDULES:
        raise TooManySchedules(MOST_SCHEDULES)
    _apply(scope, row, fields)
    _permit_what_it_does(scope, row)
    row.next_at = scheduler.next_start(row, now)
    row.save(using=scope.site.catalog.alias, force_insert=True)
    return row


def update(
    scope: Scope, row: "Schedule", fields: Mapping[str, Any], *, version: int | str | None = None
) -> ScheduleView:
    """Change a schedule; fields that are not given stay. :class:`ScheduleChanged` where
    ``version`` is not the present one.

    A new time counts from now on: what the old one missed is not caught up.
    """
    with (
        audited(scope, Operation.SCHEDULE_UPDATE, detail={"fields": dict(fields)}) as attempt,
        scope.site.catalog.turn("schedules"),
    ):
        attempt.on(row)
        scope.permit(Operation.SCHEDULE_UPDATE, row)
        row.refresh_from_db(using=scope.site.catalog.alias)
        if version is not None and str(version) != str(row.version):
            raise ScheduleChanged(row.name, row.version)
        if fields.get("name") and fields["name"] != row.name:
            _refuse_name(scope, row.tenant, checked_name(str(fields["name"])))
            row.name = str(fields["name"])
        if any(fields.get(one) is not None for one in _TARGETS):
            tenant, row.target_kind, row.target = _target(scope, fields)
            if tenant != row.tenant:
                raise ScheduleInvalid("target", Message("it belongs to another tenant"))
        before = (row.timing, row.enabled)
        _apply(scope, row, fields)
        if not (row.enabled is False and set(fields) == {"enabled"}):
            _permit_what_it_does(scope, row)
        if before != (row.timing, row.enabled):
            row.decided_until = clock.now()
        row.next_at = scheduler.next_start(row, row.decided_until) if row.enabled else None
        row.version += 1
        row.save(using=scope.site.catalog.alias)
    return view(scope, row)


def delete(scope: Scope, row: "Schedule") -> None:
    """Remove a schedule; its snapshots stay, and no generation of it is removed any more."""
    with (
        audited(scope, Operation.SCHEDULE_DELETE) as attempt,
        scope.site.catalog.turn("schedules"),
    ):
        attempt.on(row)
        scope.permit(Operation.SCHEDULE_DELETE, row)
        scope.site.catalog.schedules.filter(schedule_id=row.schedule_id).update(
            deleted_at=clock.now(), enabled=False, next_at=None
        )


def preview(scope: Scope, fields: Mapping[str, Any], *, days: int = 365) -> Preview:
    """The next runs of a schedule that is being thought about, and what it would keep and cost.

    Fewer ``days`` where it runs very often; the answer has the number. Raises
    :class:`PreviewBusy` where others keep this process busy.
    Raises ``Forbidden``, and what looking up what it covers raises.
    """
    volumes = _previewed_volumes(scope, fields)
    timing = timing_from_json(fields.get("timing") or {})
    keep = keep_from_json(fields.get("keep") or {})
    now = clock.now()
    runs = tuple(schedule_times.next_times(timing, now, PREVIEW_RUNS))
    days = _days_to_simulate(runs, days)
    if not _simulating.acquire(timeout=_SIMULATING_SECONDS):
        raise PreviewBusy
    try:
        kept = retention.simulate(timing, keep, now, days)
    finally:
        _simulating.release()
    cost = None
    if volumes is not None:
        cost = estimates.estimate(scope.site, volumes, runs, [at for at, _ in kept])
    return Preview(
        runs=runs,
        days=days,
        estimate=cost,
        kept=tuple(
            KeptGeneration(created_at=at, reasons=tuple(one.value for one in reasons))
            for at, reasons in kept
        ),
    )


def _days_to_simulate(runs: Sequence[datetime], days: int) -> int:
    """As many of the days as have no more runs than a simulation gets through in seconds."""
    if len(runs) < 2:
        return days
    per_day = timedelta(days=1) * (len(runs) - 1) / max(runs[-1] - runs[0], timedelta(minutes=1))
    return max(1, min(days, int(_MOST_SIMULATED / max(per_day, 1e-6))))


def _previewed_volumes(scope: Scope, fields: Mapping[str, Any]) -> "list[models.Volume] | None":
    """The volumes that it would cover now; None where nothing is said about that."""
    if not any(fields.get(one) for one in _TARGETS):
        permit(scope.actor, Operation.SCHEDULE_PREVIEW, scope.actor.tenant)
        return None
    tenant, kind, target = _target(scope, fields)
    rows = scope.site.catalog.schedules
    row = rows.model(tenant=tenant, target_kind=kind, target=target)
    permit(scope.actor, Operation.SCHEDULE_PREVIEW, tenant.name, about=_about_target(scope, row))
    volumes = scope.site.catalog.volumes.filter(tenant=tenant)
    if kind == "volume":
        return list(volumes.filter(volume_id=target))
    attached = volumes.filter(state="attached", server__present=True, excluded_reason="")
    if kind == "server":
        return list(attached.filter(server_id=target))
    return [
        one
        for one in attached.select_related("server")
        if one.server and scheduler.covers(row, one.server)
    ]


def run_now(scope: Scope, reference: str) -> list[RunView]:
    """Run a schedule beside its times: a job for each server or volume that it covers.

    What the policy refuses is a run that was skipped, as at any other time. Raises
    ``ScheduleUnknown``, ``Forbidden``.
    """
    with audited(scope, Operation.SCHEDULE_RUN, reference=reference) as attempt:
        row = scope.schedule(reference, Operation.SCHEDULE_RUN)
        attempt.on(row)
        _permit_captures(scope, row)
        runs = run_views(scope, scheduler.run_now(scope.site, row))
        attempt.detail["jobs"] = [job for run in runs for job in run.jobs]
    return runs


def views(scope: Scope, rows: Iterable["Schedule"]) -> list[ScheduleView]:
    """Schedules in the order given, with as many queries for many as for one."""
    rows = list(rows)
    by_tag = _servers_by_tag(scope, {row.tenant_id for row in rows if row.target_kind == "tag"})
    names: dict[tuple[str, str], str] = {}
    servers = [row.target for row in rows if row.target_kind == "server"]
    for server in scope.servers.filter(uuid__in=servers):
        names["server", str(server.uuid)] = server.name
    volumes = [row.target for row in rows if row.target_kind == "volume"]
    for volume in scope.volumes.filter(volume_id__in=volumes):
        names["volume", str(volume.volume_id)] = volume.name
    return [
        _view(
            row,
            names.get((row.target_kind, row.target), row.target),
            by_tag[row.tenant_id, row.target] if row.target_kind == "tag" else 1,
        )
        for row in rows
    ]


def _servers_by_tag(scope: Scope, tenants: set[int]) -> Counter[tuple[int, str]]:
    found: Counter[tuple[int, str]] = Counter()
    if tenants:
        for server in scope.site.catalog.servers.filter(tenant_id__in=tenants, present=True):
            for tag in {*server.tags, *server.tags_by_hand}:
                found[server.tenant_id, tag] += 1
    return found


def view(scope: Scope, row: "Schedule") -> ScheduleView:
    """One schedule."""
    return views(scope, [row])[0]


def _view(row: "Schedule", target_name: str, covers: int) -> ScheduleView:
    return ScheduleView(
        schedule=row.schedule_id,
        name=row.name,
        tenant=row.tenant.name,
        enabled=row.enabled,
        target_kind=row.target_kind,
        target=row.target,
        target_name=target_name,
        covers=covers,
        mode=row.mode,
        freeze=row.freeze,
        stated_unmounted=row.stated_unmounted,
        stop_timeout_seconds=row.stop_timeout_seconds,
        force_stop=row.force_stop,
        hook_before=row.hook_before,
        hook_after=row.hook_after,
        hook_timeout_seconds=row.hook_timeout_seconds,
        timing=row.timing,
        keep=row.keep,
        keep_peer=row.keep_peer,
        version=row.version,
        created_at=row.created_at,
        next_at=row.next_at,
    )


def run_views(scope: Scope, rows: Iterable["ScheduleRun"]) -> list[RunView]:
    """Runs in the order given, with as many queries for many as for one."""
    rows = list(rows)
    ids: dict[str, list[str]] = {"server": [], "volume": []}
    for row in rows:
        kind, _, one = row.target.partition(":")
        ids.setdefault(kind, []).append(one)
    catalog = scope.site.catalog
    # What was given to another tenant since has no name for this one.
    tenants = {row.schedule.tenant_id for row in rows}
    servers = catalog.servers.filter(uuid__in=ids["server"], tenant_id__in=tenants)
    volumes = catalog.volumes.filter(volume_id__in=ids["volume"], tenant_id__in=tenants)
    names = {
        f"server:{one.uuid}": Message("server {server}", server=one.name) for one in servers
    } | {f"volume:{one.volume_id}": Message("volume {volume}", volume=one.name) for one in volumes}
    return [_run_view(row, names) for row in rows]


def _run_view(row: "ScheduleRun", names: Mapping[str, str]) -> RunView:
    return RunView(
        planned_at=row.planned_at,
        target=row.target,
        target_name=names.get(row.target, row.target),
        outcome=row.outcome,
        reason=from_json(row.reason_told, row.reason) or None,
        decided_at=row.decided_at,
        jobs=tuple(job.job_id for job in row.jobs.all()),
    )


def _target(scope: Scope, fields: Mapping[str, Any]) -> tuple["models.Tenant", str, str]:
    given = [one for one in _TARGETS if fields.get(one)]
    if len(given) != 1:
        raise ScheduleInvalid(
            "target", Message("name exactly one of {names}", names=", ".join(_TARGETS))
        )
    kind, reference = given[0], str(fields[given[0]])
    if kind == "server":
        server = scope.server(reference)
        return server.tenant, kind, str(server.uuid)
    if kind == "volume":
        volume = scope.volume(reference)
        return volume.tenant, kind, str(volume.volume_id)
    return scope.tenant(_tenant_name(scope, fields)), kind, reference


def _tenant_name(scope: Scope, fields: Mapping[str, Any]) -> str:
    """Whose servers a tag means: the actor's own tenant, or the one that an operator names."""
    name = fields.get("tenant") or scope.actor.tenant
    if not name:
        raise ScheduleInvalid("tenant", Message("say whose servers the tag is to cover"))
    return str(name)


def _refuse_name(scope: Scope, tenant: "models.Tenant", name: str) -> None:
    if scope.site.catalog.schedules.filter(tenant=tenant, name=name, deleted_at=None).exists():
        raise ScheduleNameTaken(name)


def _apply(scope: Scope, row: "Schedule", fields: Mapping[str, Any]) -> None:
    """Put the given fields into the row, checked; the row is not saved."""
    if fields.get("mode"):
        row.mode = str(fields["mode"])
    if row.mode not in _MODES:
        raise ScheduleInvalid(
            "mode",
            Message("{mode!r} is none of {names}", mode=row.mode, names=", ".join(sorted(_MODES))),
        )
    for name in _CHANGEABLE:
        if fields.get(name) is not None:
            setattr(row, name, fields[name])
    if fields.get("timing") is not None:
        row.timing = timing_to_json(timing_from_json(fields["timing"]))
    if not row.timing:
        raise ScheduleInvalid("timing", Message("it is missing"))
    if fields.get("keep"):
        row.keep = keep_to_json(keep_from_json(fields["keep"]))
    if fields.get("keep_peer") is not None:
        # Empty: as here, again.
        given = fields["keep_peer"]
        row.keep_peer = keep_to_json(keep_from_json(given)) if given else {}
    if not row.keep:
        raise ScheduleInvalid("keep", Message("it is missing: say how many generations to keep"))
    _refuse_contradictions(row)
    policies.refuse_schedule(scope.site, row)
    hooks.check_names(scope.site, (row.hook_before, row.hook_after))


def _permit_what_it_does(scope: Scope, row: "Schedule") -> None:
    """A schedule acts as a member of its tenant, so whoever makes one may do what it will do.

    It removes the generations that are over, too. Raises ``Forbidden``.
    """
    _permit_captures(scope, row)
    of_volume = row.target_kind == "volume"
    deletes = Operation.SNAPSHOT_DELETE if of_volume else Operation.RECOVERY_POINT_DELETE
    permit(scope.actor, deletes, row.tenant.name, about=_about_target(scope, row))


def _permit_captures(scope: Scope, row: "Schedule") -> None:
    """May the actor do to the servers what each run does? Raises ``Forbidden``."""
    of_volume = row.target_kind == "volume"
    takes = Operation.SNAPSHOT_CREATE if of_volume else Operation.RECOVERY_POINT_CREATE
    named = _about_target(scope, row)
    permit(scope.actor, takes, row.tenant.name, about=named)
    if row.mode == STOP:
        # A token for one volume is none for stopping its server.
        servers = {one for one in named if one.startswith("server=")}
        for operation in (Operation.SERVER_STOP, Operation.SERVER_START):
            permit(scope.actor, operation, row.tenant.name, about=servers)


def _about_target(scope: Scope, row: "Schedule") -> frozenset[str]:
    named = about(row)
    if row.target_kind == "volume":
        volume = scope.site.catalog.volumes.filter(volume_id=row.target).first()
        named |= about(volume) if volume is not None else set()
    return named


def _refuse_contradictions(row: "Schedule") -> None:
    if row.force_stop and row.mode != STOP:
        raise ScheduleInvalid("force_stop", Message("it goes with mode {mode} alone", mode=STOP))
    if row.stated_unmounted and row.mode != CaptureMode.UNMOUNTED.value:
        raise ScheduleInvalid("stated_unmounted", Message("it goes with mode unmounted alone"))
