"""A schedule that is being thought about: what may be chosen, what is proposed, what would come."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from dozo.model import clock, schedule_times
from dozo.model.errors import DozoError
from dozo.model.policy import MODERN, Policy
from dozo.model.retention import MAX_SIMULATED_DAYS, Keep, keep_from_json
from dozo.model.states import CaptureMode
from dozo.model.timing import Timing, TimingKind, timing_from_json
from dozo.model.timing_words import (
    OnTheWall,
    keep_in_words,
    on_the_wall,
    timing_in_words,
    window_in_words,
)
from dozo.services import hooks, policies, schedules
from dozo.services.access import Operation, Scope, permit
from dozo.services.policies import STOP
from dozo.services.scheduler import NEEDS_WINDOW
from dozo.services.schedules import KeptGeneration, Preview

if TYPE_CHECKING:
    from dozo.catalog import models

# A picture that follows every key must not take a second: some 0.1 ms a run.
_MOST_RUNS: Final = 5000
_DAYS: Final = {"daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a tenant's policy lets a schedule be, in the order in which to offer it.

    ``fields`` are a good beginning, as :func:`dozo.services.schedules.create` takes them.
    ``max_generations`` None: any number. ``whole_servers``: servers and tags may be covered, not
    only single volumes.
    """

    preset: str
    modes: tuple[str, ...]
    kinds: tuple[str, ...]
    periods: bool
    max_generations: int | None
    whole_servers: bool
    hooks: tuple[str, ...]
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a schedule would do. ``days`` from now ``kept`` would be there, oldest first.

    ``counts``: how many of them are kept for each reason; one may be kept for several. ``shown``
    is what the API's preview says of the same, its cost too.
    """

    when: str
    begins: str
    keeps: str
    keeps_peer: str
    needs_window: bool
    runs: tuple[OnTheWall, ...]
    days: int
    ends_at: datetime
    kept: tuple[KeptGeneration, ...]
    counts: Mapping[str, int]
    most: int
    shown: Preview


def offer(scope: Scope, tenant: "models.Tenant | None", zone: str) -> Offer:
    """What a schedule of a tenant may be; without a tenant, what the default policy permits."""
    whose = tenant.name if tenant is not None else scope.actor.tenant
    permit(scope.actor, Operation.SCHEDULE_CREATE, whose)
    policy = policies.of(tenant) if tenant is not None else MODERN
    named = hooks.names(scope.site) if policy.guest_hooks else []
    return Offer(
        preset=policy.preset,
        modes=_modes(policy),
        kinds=tuple(one.value for one in TimingKind if one in policy.schedule_kinds),
        periods=policy.gfs,
        max_generations=policy.max_generations,
        whole_servers=policy.recovery_points,
        hooks=tuple(named),
        fields=_proposed(policy, zone),
    )


def _modes(policy: Policy) -> tuple[str, ...]:
    permitted = policy.capture_modes
    modes = [
        one.value
        for one in (CaptureMode.LIVE, CaptureMode.UNMOUNTED, CaptureMode.OFFLINE)
        if one in permitted
    ]
    return (*modes, STOP) if CaptureMode.OFFLINE in permitted else tuple(modes)


def _proposed(policy: Policy, zone: str) -> dict[str, Any]:
    """Daily in the night, as gently as the policy permits, with as much as it lets be kept."""
    modes = _modes(policy)
    keep: dict[str, Any] = {"daily": 7, "weekly": 4, "monthly": 6, "zone": zone}
    most = policy.max_generations
    if not policy.gfs or (most is not None and most < 7 + 4 + 6):
        keep = {"count": min(most or 8, 8)}
    kinds = policy.schedule_kinds
    kind = TimingKind.DAILY if TimingKind.DAILY in kinds or not kinds else min(kinds)
    timing: dict[str, Any] = {"kind": kind.value, "zone": zone}
    if kind in {TimingKind.DAILY, TimingKind.WEEKLY, TimingKind.MONTHLY}:
        timing |= {"hour": 1, "minute": 0}
    mode = modes[0] if modes else CaptureMode.LIVE.value
    if mode == CaptureMode.UNMOUNTED.value and STOP in modes:
        # Unmounting is the guest's affair; stopping works for every server.
        mode = STOP
    return {"mode": mode, "timing": timing, "keep": keep}


def outlook(scope: Scope, fields: Mapping[str, Any]) -> Outlook:
    """What the schedule would do. Raises what making it would raise about times and numbers."""
    timing = timing_from_json(fields.get("timing") or {})
    keep = keep_from_json(fields.get("keep") or {})
    peer = keep_from_json(fields["keep_peer"]) if fields.get("keep_peer") else keep
    now = clock.now()
    shown = _preview(scope, fields, _days_to_show(timing, keep, now))
    counts = Counter(reason for one in shown.kept for reason in one.reasons)
    return Outlook(
        when=timing_in_words(timing),
        begins=window_in_words(timing.window),
        keeps=keep_in_words(keep),
        keeps_peer=keep_in_words(peer),
        needs_window=fields.get("mode") in NEEDS_WINDOW,
        runs=tuple(on_the_wall(timing, shown.runs, now)),
        days=shown.days,
        ends_at=now + timedelta(days=shown.days),
        kept=shown.kept,
        counts=dict(counts),
        most=keep.most(),
        shown=shown,
    )


def _preview(scope: Scope, fields: Mapping[str, Any], days: int) -> Preview:
    try:
        return schedules.preview(scope, fields, days=days)
    except DozoError:
        # What is covered may be half typed: everything but its cost can be shown all the same.
        timed = {name: fields[name] for name in ("timing", "keep") if name in fields}
        return schedules.preview(scope, timed, days=days)


def _days_to_show(timing: Timing, keep: Keep, now: datetime) -> int:
    """After how many days everything that is to be kept is there; fewer where that is too much."""
    times = schedule_times.next_times(timing, now, schedules.PREVIEW_RUNS)
    if len(times) < 2:
        return MAX_SIMULATED_DAYS
    between = (times[-1] - times[0]).total_seconds() / 86400 / (len(times) - 1)
    wanted = (keep.count or 0) * between
    for period, days in _DAYS.items():
        wanted = max(wanted, getattr(keep, period) * days)
    wanted = max(wanted, keep.hourly / 24) + max(between, 1) + 1
    most = max(int(_MOST_RUNS * between), 1)
    return int(min(wanted, most, MAX_SIMULATED_DAYS))
