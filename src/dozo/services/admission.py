"""Which waiting jobs may start now. Pure.

Jobs start in the order in which they came, as far as limits and locks allow: one that has to
wait lets others overtake it, but none that wants a lock that it waits for.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dozo.model.message import Message


class Lane(StrEnum):
    """Work is what people and schedules ask for; upkeep is what the service does by itself."""

    WORK = "work"
    UPKEEP = "upkeep"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many jobs may run at the same time; ``tenant`` counts what is a tenant's."""

    work: int = 4
    tenant: int = 2
    upkeep: int = 2


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A job as admission sees it. A stuck one keeps its locks, but nobody waits for its place."""

    job_id: str
    lane: Lane
    tenant: str | None = None
    locks: tuple[str, ...] = ()
    stuck: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What starts now, and for the rest what each waits for: job ids, or a limit's name."""

    start: tuple[str, ...]
    waits_for: dict[str, tuple[str, ...]] = field(default_factory=dict)


def decide(waiting: Sequence[Candidate], running: Iterable[Candidate], limits: Limits) -> Decision:
    """Go through ``waiting``, oldest first."""
    holders: dict[str, str] = {}
    lanes: Counter[Lane] = Counter()
    tenants: Counter[str] = Counter()
    for one in running:
        holders.update(dict.fromkeys(one.locks, one.job_id))
        if not one.stuck:
            lanes[one.lane] += 1
            if one.tenant is not None:
                tenants[one.tenant] += 1
    start: list[str] = []
    waits_for: dict[str, tuple[str, ...]] = {}
    for one in waiting:
        reasons = dict.fromkeys(holders[lock] for lock in one.locks if lock in holders)
        reasons.update(dict.fromkeys(_limits_met(one, lanes, tenants, limits)))
        # Whether it starts or waits: whoever comes later and wants the same waits for it.
        holders.update(dict.fromkeys(one.locks, one.job_id))
        if reasons:
            waits_for[one.job_id] = tuple(reasons)
            continue
        start.append(one.job_id)
        lanes[one.lane] += 1
        if one.tenant is not None:
            tenants[one.tenant] += 1
    return Decision(start=tuple(start), waits_for=waits_for)


def _limits_met(
    one: Candidate, lanes: "Counter[Lane]", tenants: "Counter[str]", limits: Limits
) -> list[str]:
    met: list[str] = []
    if one.lane is Lane.UPKEEP and lanes[Lane.UPKEEP] >= limits.upkeep:
        met.append(Message("limit of upkeep jobs"))
    if one.lane is Lane.WORK and lanes[Lane.WORK] >= limits.work:
        met.append(Message("limit of the site"))
    if one.tenant is not None and tenants[one.tenant] >= limits.tenant:
        met.append(Message("limit of the tenant"))
    return met


def place(job_id: str, waiting: Sequence[Candidate], waits_for: dict[str, tuple[str, ...]]) -> int:
    """A waiting job's place in the queue: 1 plus those before it that it waits for."""
    before = [one.job_id for one in waiting]
    earlier = before[: before.index(job_id)] if job_id in before else []
    ahead: set[str] = set()
    pending = [job_id]
    while pending:
        for reason in waits_for.get(pending.pop(), ()):
            if reason in earlier and reason not in ahead:
                ahead.add(reason)
                pending.append(reason)
    return 1 + len(ahead)
