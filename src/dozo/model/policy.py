"""What a tenant may do, as a value: two presets, overrides, JSON.

The rules by number are those of docs/original-service.md. Tightening a policy never deletes
anything: it is asked when something new is begun, not about what is there.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar

from dozo.model.message import Message

from .errors import DozoError, ErrorKind
from .states import CaptureMode
from .timing import TimingKind


class RestoreKind(StrEnum):
    """The ways to give data back; the first four are the steps of rule 15."""

    TEMPLATE = "template"
    SERVER_FROM_TEMPLATE = "server-from-template"
    VOLUME = "volume"
    ATTACH = "attach"
    SERVER = "server"
    IN_PLACE = "in-place"
    IMAGE_FILE = "image-file"
    SINGLE_FILES = "single-files"
    EXPORT = "export"
    INSTANT = "instant"


FOUR_STEPS: Final = frozenset(
    {
        RestoreKind.TEMPLATE,
        RestoreKind.SERVER_FROM_TEMPLATE,
        RestoreKind.VOLUME,
        RestoreKind.ATTACH,
    }
)
TENANT_MODES: Final = frozenset({CaptureMode.LIVE, CaptureMode.OFFLINE, CaptureMode.UNMOUNTED})


class ParallelScope(StrEnum):
    """Among whose snapshots ``parallel_snapshots`` counts."""

    SERVER = "server"
    TENANT = "tenant"


class RequiredCopies(StrEnum):
    """Which sites must hold a verified copy before a snapshot is protected."""

    ALL = "all"
    OWN = "own"


class RestoreSites(StrEnum):
    """Where a snapshot may be restored."""

    ANY = "any"
    ORIGIN = "origin"


@dataclass(eq=False)
class PolicyInvalid(DozoError):
    """A policy's setting cannot be."""

    code: ClassVar[str] = "policy.invalid"
    kind: ClassVar[ErrorKind] = ErrorKind.USAGE
    text: ClassVar[str] = "{self.setting} of a policy cannot be {self.value}"
    hint: ClassVar[str] = "{self.advice}"
    setting: str
    value: str
    advice: str


@dataclass(eq=False)
class PolicyPresetUnknown(DozoError):
    """No preset has this name."""

    code: ClassVar[str] = "policy.preset_unknown"
    kind: ClassVar[ErrorKind] = ErrorKind.USAGE
    text: ClassVar[str] = "there is no policy preset {self.name!r}"
    hint: ClassVar[str] = "Use one of: {self.known}."
    name: str
    known: str


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a tenant may do. None means: any, or no limit.

    ``preset`` is what it started from. Raises :class:`PolicyInvalid` for settings that contradict
    each other; their types are checked by :func:`overridden` and :func:`policy_from_json`.
    """

    preset: str
    capture_modes: frozenset[CaptureMode]
    start_wins: bool
    one_volume_per_request: bool
    recovery_points: bool
    parallel_snapshots: int | None
    parallel_scope: ParallelScope
    schedule_kinds: frozenset[TimingKind]
    max_generations: int | None
    gfs: bool
    guest_hooks: bool
    required_copies: RequiredCopies
    restore_sites: RestoreSites
    restore_kinds: frozenset[RestoreKind]
    restore_networks: frozenset[str] | None
    restore_pools: frozenset[str] | None
    restore_hosts: frozenset[str] | None
    max_servers: int | None
    max_cpus: int | None
    max_memory_bytes: int | None
    max_disk_bytes: int | None
    quota_stored_bytes: int | None
    quota_snapshots: int | None

    def __post_init__(self) -> None:
        if self.one_volume_per_request and self.recovery_points:
            advice = Message(
                "A recovery point is several volumes in one request; allow both or neither."
            )
            raise PolicyInvalid(setting="recovery_points", value="true", advice=advice)


# Rules 3, 4, 5, 8, 11, 12 and 14 are the same under both, so nothing here sets them apart.
MODERN: Final = Policy(
    preset="modern",
    capture_modes=TENANT_MODES,  # rules 7, 13: live, so that the server never stops
    start_wins=False,  # rule 7
    one_volume_per_request=False,  # rule 9
    recovery_points=True,  # rule 9
    parallel_snapshots=None,  # rule 9
    parallel_scope=ParallelScope.SERVER,
    schedule_kinds=frozenset(TimingKind),  # rule 2
    max_generations=None,  # rule 10
    gfs=True,  # rule 10
    guest_hooks=True,  # rule 13
    required_copies=RequiredCopies.ALL,  # rule 3
    restore_sites=RestoreSites.ANY,  # rule 6
    restore_kinds=frozenset(RestoreKind),  # rules 4, 15
    restore_networks=None,
    restore_pools=None,
    restore_hosts=None,
    max_servers=None,
    max_cpus=None,
    max_memory_bytes=None,
    max_disk_bytes=None,
    quota_stored_bytes=None,
    quota_snapshots=None,
)
KCPS_V1: Final = dataclasses.replace(
    MODERN,
    preset="kcps-v1",
    capture_modes=frozenset({CaptureMode.OFFLINE, CaptureMode.UNMOUNTED}),  # rules 7, 13
    start_wins=True,  # rule 7: a backup never keeps a server down
    one_volume_per_request=True,  # rule 9
    recovery_points=False,  # rule 9
    parallel_snapshots=1,  # rule 9: the next one waits
    schedule_kinds=frozenset(TimingKind) - {TimingKind.CRON},  # rule 2
    max_generations=8,  # rule 10: of all of a volume's schedules together
    gfs=False,  # rule 10: a setting of 1 to 8, nothing else
    guest_hooks=False,  # rule 13: works without a call into the guest
    restore_sites=RestoreSites.ORIGIN,  # rule 6
    restore_kinds=FOUR_STEPS,  # rule 15
)
PRESETS: Final[Mapping[str, Policy]] = {policy.preset: policy for policy in (KCPS_V1, MODERN)}
DEFAULT_PRESET: Final = MODERN.preset


def preset(name: str) -> Policy:
    """The preset of that name, or :class:`PolicyPresetUnknown`."""
    if name not in PRESETS:
        raise PolicyPresetUnknown(name=name, known=", ".join(PRESETS))
    return PRESETS[name]


def overridden(base: Policy, overrides: Mapping[str, Any]) -> Policy:
    """``base`` with some settings changed; values as in JSON (lists, words, numbers, null).

    Raises :class:`PolicyInvalid` for an unknown setting, a wrong type or a contradiction.
    """
    changed: dict[str, Any] = {}
    for name, value in overrides.items():
        read = _READERS.get(name)
        if read is None:
            advice = Message("Known settings: {names}.", names=", ".join(_READERS))
            raise PolicyInvalid(
                setting=Message("a setting"),
                value=Message("named {name!r}", name=name),
                advice=advice,
            )
        changed[name] = read(name, value)
    return dataclasses.replace(base, **changed)


def overrides_of(policy: Policy) -> dict[str, Any]:
    """The settings in which a policy differs from its preset, as :func:`overridden` takes them."""
    base = policy_to_json(preset(policy.preset))
    return {name: value for name, value in policy_to_json(policy).items() if value != base[name]}


def policy_to_json(policy: Policy) -> dict[str, Any]:
    """All settings as plain values; sets as sorted lists."""
    data: dict[str, Any] = {}
    for field in dataclasses.fields(policy):
        value = getattr(policy, field.name)
        data[field.name] = sorted(map(str, value)) if isinstance(value, frozenset) else value
        if isinstance(value, StrEnum):
            data[field.name] = value.value
    return data


def policy_from_json(data: Mapping[str, Any]) -> Policy:
    """The value; a setting that is missing, as in a record of an older version, is the preset's.

    Raises :class:`PolicyInvalid` and :class:`PolicyPresetUnknown`.
    """
    settings = dict(data)
    return overridden(preset(str(settings.pop("preset", DEFAULT_PRESET))), settings)


_Word = TypeVar("_Word", bound=StrEnum)
_Reader = Callable[[str, object], object]


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise PolicyInvalid(setting=name, value=repr(value), advice=Message("Give true or false."))
    return value


def _number(low: int) -> _Reader:
    def read(name: str, value: object) -> int | None:
        if value is None:
            return None
        # A bool is an int to Python, and no limit to anybody who writes a policy.
        if isinstance(value, int) and not isinstance(value, bool) and value >= low:
            return value
        advice = Message("Give a whole number from {low} on, or null for no limit.", low=low)
        raise PolicyInvalid(setting=name, value=repr(value), advice=advice)

    return read


def _word(words: type[StrEnum]) -> _Reader:
    def read(name: str, value: object) -> StrEnum:
        try:
            return words(str(value))
        except ValueError:
            advice = Message("One of: {names}.", names=", ".join(words))
            raise PolicyInvalid(setting=name, value=repr(value), advice=advice) from None

    return read


def _words(allowed: frozenset[_Word]) -> _Reader:
    known = {word.value: word for word in allowed}

    def read(name: str, value: object) -> frozenset[_Word]:
        names = _texts(name, value)
        if not names <= set(known):
            advice = Message("Give a list of: {names}.", names=", ".join(sorted(known)))
            raise PolicyInvalid(setting=name, value=repr(value), advice=advice)
        return frozenset(known[one] for one in names)

    return read


def _names(name: str, value: object) -> frozenset[str] | None:
    return None if value is None else _texts(name, value)


def _texts(name: str, value: object) -> frozenset[str]:
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = [one for one in value if isinstance(one, str) and one]
        if len(texts) == len(value):
            return frozenset(texts)
    raise PolicyInvalid(setting=name, value=repr(value), advice=Message("Give a list of names."))


_READERS: Final[Mapping[str, _Reader]] = {
    "capture_modes": _words(TENANT_MODES),
    "start_wins": _flag,
    "one_volume_per_request": _flag,
    "recovery_points": _flag,
    "parallel_snapshots": _number(1),
    "parallel_scope": _word(ParallelScope),
    "schedule_kinds": _words(frozenset(TimingKind)),
    "max_generations": _number(1),
    "gfs": _flag,
    "guest_hooks": _flag,
    "required_copies": _word(RequiredCopies),
    "restore_sites": _word(RestoreSites),
    "restore_kinds": _words(frozenset(RestoreKind)),
    "restore_networks": _names,
    "restore_pools": _names,
    "restore_hosts": _names,
    "max_servers": _number(0),
    "max_cpus": _number(0),
    "max_memory_bytes": _number(0),
    "max_disk_bytes": _number(0),
    "quota_stored_bytes": _number(0),
    "quota_snapshots": _number(0),
}
