"""What a policy refuses; each check is pure and raises a :class:`PolicyRefused` or returns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from .errors import DozoError, ErrorKind, Retry
from .message import Message, joined
from .policy import ParallelScope, Policy, RequiredCopies, RestoreKind, RestoreSites
from .retention import Keep
from .states import CaptureMode
from .timing import Timing
from .words import word


@dataclass(eq=False)
class PolicyRefused(DozoError):
    """The tenant's policy forbids it. ``setting`` is the policy's field that does."""

    code: ClassVar[str] = "policy.refused"
    kind: ClassVar[ErrorKind] = ErrorKind.REFUSED
    text: ClassVar[str] = "policy {self.policy} does not allow this ({self.setting})"
    hint: ClassVar[str] = "An operator can change the setting {self.setting} of the policy."
    policy: str
    setting: str


@dataclass(eq=False)
class ModeRefused(PolicyRefused):
    """Rules 7 and 13: the capture mode is not allowed."""

    code: ClassVar[str] = "policy.mode"
    text: ClassVar[str] = "policy {self.policy} does not allow snapshots in mode {self.mode}"
    hint: ClassVar[str] = "Allowed are: {self.allowed}. An operator can change {self.setting}."
    mode: str
    allowed: str

    @property
    def mode_word(self) -> str:
        """The mode in words."""
        return word("mode", self.mode)

    @property
    def allowed_text(self) -> str:
        """The modes that are allowed, in words."""
        return _in_words("mode", self.allowed)


@dataclass(eq=False)
class RootNotUnmounted(PolicyRefused):
    """Rule 13: a root volume is never unmounted while its server runs, under any policy."""

    code: ClassVar[str] = "policy.root_not_unmounted"
    text: ClassVar[str] = "a root volume cannot be snapshotted in mode unmounted"
    hint: ClassVar[str] = "Stop the server and use mode offline, or mode live where it is allowed."


@dataclass(eq=False)
class VolumesRefused(PolicyRefused):
    """Rule 9: one volume a request."""

    code: ClassVar[str] = "policy.one_volume"
    text: ClassVar[str] = "policy {self.policy} allows one volume a request, not {self.volumes}"
    hint: ClassVar[str] = "Make one request a volume; they wait for each other."
    volumes: int


@dataclass(eq=False)
class RecoveryPointRefused(PolicyRefused):
    """Rule 9: no recovery points."""

    code: ClassVar[str] = "policy.recovery_point"
    text: ClassVar[str] = "policy {self.policy} does not allow recovery points"
    hint: ClassVar[str] = "Snapshot the volumes one by one."


@dataclass(eq=False)
class GenerationsRefused(PolicyRefused):
    """Rule 10: too many generations."""

    code: ClassVar[str] = "policy.generations"
    text: ClassVar[str] = (
        "policy {self.policy} allows at most {self.allowed} generations, not {self.generations}"
    )
    hint: ClassVar[str] = "Keep 1 to {self.allowed}, over all of the volume's schedules together."
    generations: int
    allowed: int


@dataclass(eq=False)
class GfsRefused(PolicyRefused):
    """Rule 10: numbers per period are not allowed."""

    code: ClassVar[str] = "policy.gfs"
    text: ClassVar[str] = "policy {self.policy} does not allow generations per period"
    hint: ClassVar[str] = "Say how many generations to keep."


@dataclass(eq=False)
class ScheduleKindRefused(PolicyRefused):
    """Rule 2: schedules of this kind are not allowed."""

    code: ClassVar[str] = "policy.schedule_kind"
    text: ClassVar[str] = "policy {self.policy} does not allow schedules of kind {self.wanted}"
    hint: ClassVar[str] = "Allowed are: {self.allowed}."
    wanted: str
    allowed: str

    @property
    def wanted_word(self) -> str:
        """The kind in words."""
        return word("timing", self.wanted)

    @property
    def allowed_text(self) -> str:
        """The kinds that are allowed, in words."""
        return _in_words("timing", self.allowed)


@dataclass(eq=False)
class HooksRefused(PolicyRefused):
    """Rule 13: hooks inside the guest are not allowed."""

    code: ClassVar[str] = "policy.hooks"
    text: ClassVar[str] = "policy {self.policy} does not allow hooks inside the guest"
    hint: ClassVar[str] = "Leave the hooks out; the guest can act by its own cron."


@dataclass(eq=False)
class RestoreSiteRefused(PolicyRefused):
    """Rule 6: restore only at the site that took the snapshot."""

    code: ClassVar[str] = "policy.restore_site"
    text: ClassVar[str] = (
        "policy {self.policy} allows restoring only at {self.origin}, "
        "which took the snapshot, not at {self.here}"
    )
    hint: ClassVar[str] = "Restore at {self.origin}; if it is lost, it has to be rebuilt first."
    origin: str
    here: str


@dataclass(eq=False)
class RestoreKindRefused(PolicyRefused):
    """Rule 15: this kind of restore is not allowed."""

    code: ClassVar[str] = "policy.restore_kind"
    text: ClassVar[str] = "policy {self.policy} does not allow restoring by {self.wanted}"
    hint: ClassVar[str] = "Allowed are: {self.allowed}."
    wanted: str
    allowed: str

    @property
    def wanted_word(self) -> str:
        """The kind in words."""
        return word("restore-kind", self.wanted)

    @property
    def allowed_text(self) -> str:
        """The kinds that are allowed, in words."""
        return _in_words("restore-kind", self.allowed)


@dataclass(eq=False)
class RestorePlaceRefused(PolicyRefused):
    """A network, pool or host to which the tenant may not restore."""

    code: ClassVar[str] = "policy.restore_place"
    text: ClassVar[str] = "policy {self.policy} does not allow restoring to {self.place}"
    hint: ClassVar[str] = "{self.setting} allows: {self.allowed}."
    place: str
    allowed: str


@dataclass(eq=False)
class RestoreLimitRefused(PolicyRefused):
    """Restored servers would have more than the tenant may."""

    code: ClassVar[str] = "policy.restore_limit"
    retry: ClassVar[Retry] = Retry.LATER
    text: ClassVar[str] = (
        "policy {self.policy} allows {self.allowed} ({self.setting}): "
        "{self.used} in use and {self.planned} wanted are more"
    )
    hint: ClassVar[str] = "Delete restored servers or volumes, or have the limit raised."
    used: int
    planned: int
    allowed: int


@dataclass(eq=False)
class QuotaExceeded(PolicyRefused):
    """The snapshot would go beyond the tenant's quota."""

    code: ClassVar[str] = "policy.quota"
    retry: ClassVar[Retry] = Retry.LATER
    text: ClassVar[str] = (
        "the quota of {self.allowed} ({self.setting}) has no room: "
        "{self.used} in use and {self.planned} wanted are more"
    )
    hint: ClassVar[str] = "Delete snapshots or templates, or have the quota raised."
    used: int
    planned: int
    allowed: int


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a tenant's restored servers have, or what a restore would add."""

    servers: int = 0
    cpus: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a tenant keeps, or what a snapshot would add: unique bytes as stored, and snapshots."""

    stored_bytes: int = 0
    snapshots: int = 0


def refuse_mode(policy: Policy, mode: CaptureMode, *, is_root: bool) -> None:
    """Rules 7 and 13: may a volume be snapshotted in this mode?"""
    setting = "capture_modes"
    if mode not in policy.capture_modes:
        allowed = _listed(policy.capture_modes)
        raise ModeRefused(policy=policy.preset, setting=setting, mode=mode, allowed=allowed)
    if mode is CaptureMode.UNMOUNTED and is_root:
        raise RootNotUnmounted(policy=policy.preset, setting=setting)


def refuse_volumes(policy: Policy, volumes: int) -> None:
    """Rule 9: may one request name so many volumes?"""
    if policy.one_volume_per_request and volumes > 1:
        setting = "one_volume_per_request"
        raise VolumesRefused(policy=policy.preset, setting=setting, volumes=volumes)


def refuse_recovery_point(policy: Policy) -> None:
    """Rule 9: may all volumes of a server be snapshotted at one instant?"""
    if not policy.recovery_points:
        raise RecoveryPointRefused(policy=policy.preset, setting="recovery_points")


def refuse_generations(policy: Policy, keep: Keep) -> None:
    """Rule 10: may a schedule keep so much? What several keep together is retention's ``cap``."""
    if keep.gfs and not policy.gfs:
        raise GfsRefused(policy=policy.preset, setting="gfs")
    allowed = policy.max_generations
    if allowed is not None and keep.most() > allowed:
        raise GenerationsRefused(
            policy=policy.preset,
            setting="max_generations",
            generations=keep.most(),
            allowed=allowed,
        )


def refuse_timing(policy: Policy, timing: Timing) -> None:
    """Rule 2: may a schedule tell its times like this?"""
    if timing.kind not in policy.schedule_kinds:
        raise ScheduleKindRefused(
            policy=policy.preset,
            setting="schedule_kinds",
            wanted=timing.kind,
            allowed=_listed(policy.schedule_kinds),
        )


def refuse_hooks(policy: Policy) -> None:
    """Rule 13: may something be run inside the guest before and after?"""
    if not policy.guest_hooks:
        raise HooksRefused(policy=policy.preset, setting="guest_hooks")


def refuse_restore_site(policy: Policy, origin: str, here: str) -> None:
    """Rule 6: may a snapshot that the site ``origin`` took be restored at ``here``?

    Both are the names that stand in snapshots: a site that was set up anew under the same name is
    the same origin.
    """
    if policy.restore_sites is RestoreSites.ORIGIN and origin != here:
        raise RestoreSiteRefused(
            policy=policy.preset, setting="restore_sites", origin=origin, here=here
        )


def refuse_restore_kind(policy: Policy, kind: RestoreKind) -> None:
    """Rule 15: may data be given back in this way?"""
    if kind not in policy.restore_kinds:
        raise RestoreKindRefused(
            policy=policy.preset,
            setting="restore_kinds",
            wanted=kind,
            allowed=_listed(policy.restore_kinds),
        )


def refuse_restore_place(
    policy: Policy,
    *,
    networks: Iterable[str] = (),
    pools: Iterable[str] = (),
    hosts: Iterable[str] = (),
) -> None:
    """May the tenant restore to all of these networks, storage pools and hosts?"""
    for setting, wanted, allowed in (
        ("restore_networks", networks, policy.restore_networks),
        ("restore_pools", pools, policy.restore_pools),
        ("restore_hosts", hosts, policy.restore_hosts),
    ):
        for place in wanted:
            if allowed is not None and place not in allowed:
                raise RestorePlaceRefused(
                    policy=policy.preset, setting=setting, place=place, allowed=_listed(allowed)
                )


def refuse_restore_limits(policy: Policy, used: Resources, planned: Resources) -> None:
    """May the tenant's restored servers have ``used`` and ``planned`` together?

    A restore that adds nothing of a kind passes, even where more is used than is allowed.
    """
    for setting, have, want in (
        ("max_servers", used.servers, planned.servers),
        ("max_cpus", used.cpus, planned.cpus),
        ("max_memory_bytes", used.memory_bytes, planned.memory_bytes),
        ("max_disk_bytes", used.disk_bytes, planned.disk_bytes),
    ):
        allowed: int | None = getattr(policy, setting)
        if allowed is not None and want > 0 and have + want > allowed:
            raise RestoreLimitRefused(
                policy=policy.preset, setting=setting, used=have, planned=want, allowed=allowed
            )


def refuse_quota(policy: Policy, used: Stored, planned: Stored) -> None:
    """Has the quota room for ``planned`` beside ``used``?

    What a snapshot will store is known only afterwards: plan with 0 bytes, and a quota that is
    used up to the last byte still refuses.
    """
    allowed = policy.quota_stored_bytes
    have, want = used.stored_bytes, planned.stored_bytes
    if allowed is not None and (have >= allowed or have + want > allowed):
        raise QuotaExceeded(
            policy=policy.preset,
            setting="quota_stored_bytes",
            used=have,
            planned=want,
            allowed=allowed,
        )
    allowed = policy.quota_snapshots
    have, want = used.snapshots, planned.snapshots
    if allowed is not None and want > 0 and have + want > allowed:
        raise QuotaExceeded(
            policy=policy.preset,
            setting="quota_snapshots",
            used=have,
            planned=want,
            allowed=allowed,
        )


def may_start(policy: Policy, *, running_of_server: int, running_of_tenant: int) -> bool:
    """Rule 9: whether one more snapshot may start now; otherwise it waits, it is not refused."""
    if policy.parallel_snapshots is None:
        return True
    per_server = policy.parallel_scope is ParallelScope.SERVER
    running = running_of_server if per_server else running_of_tenant
    return running < policy.parallel_snapshots


def sites_needed(policy: Policy, own: str, peers: Iterable[str]) -> frozenset[str]:
    """Rule 3: the sites that must have verified a snapshot before it is protected."""
    if policy.required_copies is RequiredCopies.OWN:
        return frozenset({own})
    return frozenset({own, *peers})


def _listed(names: Iterable[str]) -> str:
    found = sorted(str(name) for name in names)
    return joined(found) if found else Message("none")


def _in_words(kind: str, listed: str) -> str:
    if not isinstance(listed, Message) or not listed.facts:
        return listed
    return joined([word(kind, name) for name in listed.facts.values()])
