"""What somebody may choose for a snapshot now, and why the rest is not to be had.

The policy, the state of the server and the asker's rights decide, by the same checks that the
request itself goes through; asking for it checks again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q

from dozo.model import policy_checks
from dozo.model.errors import DozoError
from dozo.model.job_states import JobState
from dozo.model.message import Message
from dozo.model.policy import Policy
from dozo.model.states import CaptureMode
from dozo.model.words import word
from dozo.services import hooks, policies
from dozo.services.access import Operation, Scope
from dozo.services.errors import ModeImpossible
from dozo.services.job_queue import ACTIVE, WAITING
from dozo.services.policies import STOP

if TYPE_CHECKING:
    from dozo.catalog import models

MODES = (
    CaptureMode.LIVE.value,
    CaptureMode.OFFLINE.value,
    CaptureMode.UNMOUNTED.value,
    STOP,
)
_OFF = ("stopped", "crashed", "")
_KINDS = ("snapshot.create", "recovery-point.create")


@dataclass(frozen=True, kw_only=True)
class ModeChoice:
    """A mode, and why it cannot be had; None where it can."""

    mode: str
    refused: DozoError | None


@dataclass(frozen=True, kw_only=True)
class CaptureChoices:
    """What there is to choose. ``server`` is None for a volume that is attached to none.

    ``volumes`` are those that may be chosen, ``chosen`` those that are; ``fitting`` is the mode
    that fits without anything to decide, None where there is none. ``before`` counts the jobs
    that come before a new one, ``seconds`` is what the last one took in which the server was off.
    """

    policy: Policy
    server: "models.Server | None"
    volumes: "tuple[models.Volume, ...]"
    chosen: "tuple[models.Volume, ...]"
    modes: tuple[ModeChoice, ...]
    several_refused: DozoError | None
    refused: DozoError | None
    hooks: tuple[str, ...]
    hooks_refused: DozoError | None
    before: int
    seconds: float | None

    @property
    def several(self) -> bool:
        """Whether more than one volume may be taken in one request."""
        return self.several_refused is None

    @property
    def fitting(self) -> str | None:
        """The first mode that can be had."""
        return next((one.mode for one in self.modes if one.refused is None), None)

    @property
    def all_chosen(self) -> bool:
        """Whether it is the whole server."""
        return len(self.chosen) == len(self.volumes)

    @property
    def is_point(self) -> bool:
        """Whether what is chosen becomes a recovery point: several volumes, or a whole server."""
        return (
            self.server is not None and self.several and (self.all_chosen or len(self.chosen) > 1)
        )


def of_server(scope: Scope, reference: str, chosen: Sequence[str] = ()) -> CaptureChoices:
    """For a server and some of its volumes, by id; all of them where that is allowed and none
    is named. Raises ``ServerUnknown``, ``Forbidden``."""
    row = scope.server(reference, Operation.SERVER_SHOW, present=True)
    volumes = list(
        row.volumes.filter(state="attached")
        .select_related("tenant", "server")
        .order_by("-is_root", "device")
    )
    usable = [one for one in volumes if not one.excluded_reason]
    several = _refusal(lambda: _several(policies.of(row.tenant), len(usable)))
    picked = [one for one in usable if str(one.volume_id) in chosen]
    if not picked:
        picked = usable if several is None else _first_by_itself(usable)
    elif several is not None:
        picked = picked[:1]
    return _choices(scope, row, row.tenant, volumes=usable, chosen=picked, several=several)


def of_volume(scope: Scope, reference: str) -> CaptureChoices:
    """For one volume. Raises ``VolumeUnknown``, ``Forbidden``."""
    row = scope.volume(reference, Operation.VOLUME_SHOW)
    if row.state == "attached" and row.server is not None:
        return of_server(scope, str(row.server.uuid), [str(row.volume_id)])
    return _choices(scope, None, row.tenant, volumes=[row], chosen=[row], several=None)


def _first_by_itself(usable: "list[models.Volume]") -> "list[models.Volume]":
    """Where one has to be chosen: a data volume, since these change."""
    return [one for one in usable if not one.is_root][:1] or usable[:1]


def _choices(
    scope: Scope,
    server: "models.Server | None",
    tenant: "models.Tenant",
    *,
    volumes: "list[models.Volume]",
    chosen: "list[models.Volume]",
    several: DozoError | None,
) -> CaptureChoices:
    policy = policies.of(tenant)
    point = server is not None and several is None and len(chosen) == len(volumes)
    return CaptureChoices(
        policy=policy,
        server=server,
        volumes=tuple(volumes),
        chosen=tuple(chosen),
        modes=tuple(_mode(scope, policy, server, chosen, one) for one in MODES),
        several_refused=several,
        refused=_refusal(
            lambda: _refuse_at_all(scope, server, tenant, policy=policy, chosen=chosen, point=point)
        ),
        hooks=tuple(hooks.names(scope.site)),
        hooks_refused=_refusal(lambda: policy_checks.refuse_hooks(policy)),
        before=_before(scope, server, volumes),
        seconds=_last_seconds(scope, server, chosen),
    )


def _refusal(check: Callable[[], None]) -> DozoError | None:
    try:
        check()
    except DozoError as error:
        return error
    return None


def _several(policy: Policy, count: int) -> None:
    policy_checks.refuse_recovery_point(policy)
    policy_checks.refuse_volumes(policy, max(count, 1))


def _refuse_at_all(
    scope: Scope,
    server: "models.Server | None",
    tenant: "models.Tenant",
    *,
    policy: Policy,
    chosen: "Sequence[models.Volume]",
    point: bool,
) -> None:
    if point:
        scope.permit(Operation.RECOVERY_POINT_CREATE, server)
    elif chosen:
        scope.permit(Operation.SNAPSHOT_CREATE, chosen[0])
    policies.refuse_more_snapshots(scope.site, tenant, policy, len(chosen))


def _mode(
    scope: Scope,
    policy: Policy,
    server: "models.Server | None",
    chosen: "Sequence[models.Volume]",
    mode: str,
) -> ModeChoice:
    def check() -> None:
        wanted = policies.capture_mode(mode)
        for is_root in sorted({one.is_root for one in chosen}):
            policy_checks.refuse_mode(policy, wanted, is_root=is_root)
        if server is None:
            _refuse_unattached(chosen, mode)
            return
        running = server.state not in _OFF
        if (mode == CaptureMode.OFFLINE.value) == running:
            raise ModeImpossible(
                mode,
                Message("server {server}", server=server.name),
                Message("it is {state}", state=word("server", server.state or "stopped")),
            )
        if mode == STOP:
            scope.permit(Operation.SERVER_STOP, server)
            scope.permit(Operation.SERVER_START, server)

    return ModeChoice(mode=mode, refused=_refusal(check))


def _refuse_unattached(chosen: "Sequence[models.Volume]", mode: str) -> None:
    if mode != CaptureMode.OFFLINE.value:
        raise ModeImpossible(
            mode,
            Message("volume {volume}", volume=chosen[0].name if chosen else ""),
            Message("it is attached to no server"),
        )


def _before(
    scope: Scope, server: "models.Server | None", volumes: "Sequence[models.Volume]"
) -> int:
    """How many snapshots of the same server are under way or wait; a new one comes after them."""
    of = Q(object_kind="volume", object_id__in=[str(one.volume_id) for one in volumes])
    if server is not None:
        of |= Q(object_kind="server", object_id=str(server.uuid))
    states = (*ACTIVE, *WAITING)
    return scope.site.catalog.jobs.filter(of, kind__in=_KINDS, state__in=states).count()


def _last_seconds(
    scope: Scope, server: "models.Server | None", chosen: "Sequence[models.Volume]"
) -> float | None:
    """How long the newest job took for which the same server was off."""
    of = Q(object_kind="volume", object_id__in=[str(one.volume_id) for one in chosen])
    if server is not None and len(chosen) > 1:
        of = Q(object_kind="server", object_id=str(server.uuid))
    done = scope.jobs.filter(of, kind__in=_KINDS, state=JobState.DONE, started_at__isnull=False)
    for row in done.order_by("-created_at")[:20]:
        if row.params.get("mode") in {STOP, CaptureMode.OFFLINE.value} and row.finished_at:
            assert row.started_at is not None  # noqa: S101  it was looked for
            return (row.finished_at - row.started_at).total_seconds()
    return None
