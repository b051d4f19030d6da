"""A tenant's policy, setting by setting."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _

from dozo.console.shell.visit import Visit, page, status_of
from dozo.model.errors import DozoError
from dozo.model.policy import (
    PRESETS,
    TENANT_MODES,
    ParallelScope,
    PolicyInvalid,
    RequiredCopies,
    RestoreKind,
    RestoreSites,
)
from dozo.model.timing import TimingKind
from dozo.services import tenants
from dozo.services.access import Operation

_GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: how it is asked for. ``kind`` is flag, number, gib, word, words or names."""

    name: str
    kind: str
    label: Any
    hint: Any = ""
    words: str = ""
    choices: tuple[str, ...] = ()


def _setting(name: str, kind: str, label: Any, **more: Any) -> Setting:
    return Setting(name=name, kind=kind, label=label, **more)


SECTIONS: tuple[tuple[Any, tuple[Setting, ...]], ...] = (
    (
        _("Taking snapshots"),
        (
            _setting(
                "capture_modes",
                "words",
                _("Permitted modes"),
                words="mode",
                choices=tuple(sorted(TENANT_MODES)),
            ),
            _setting("recovery_points", "flag", _("All volumes of a server at one instant")),
            _setting("one_volume_per_request", "flag", _("One volume a request")),
            _setting(
                "parallel_snapshots",
                "number",
                _("Snapshots at the same time"),
                hint=_("Empty: no limit. The next one waits in the queue."),
            ),
            _setting(
                "parallel_scope",
                "word",
                _("Counted"),
                words="parallel",
                choices=tuple(ParallelScope),
            ),
            _setting(
                "start_wins",
                "flag",
                _("Starting a server makes its offline snapshot fail"),
                hint=_("A backup never keeps a server down."),
            ),
            _setting("guest_hooks", "flag", _("Hooks inside the guest")),
        ),
    ),
    (
        _("Schedules and generations"),
        (
            _setting(
                "schedule_kinds",
                "words",
                _("Permitted timings"),
                words="timing",
                choices=tuple(TimingKind),
            ),
            _setting(
                "max_generations",
                "number",
                _("Most generations of a volume"),
                hint=_("Of all its schedules together. Empty: no limit."),
            ),
            _setting("gfs", "flag", _("Keep hourly, daily, weekly, monthly and yearly ones")),
            _setting(
                "required_copies",
                "word",
                _("Protected when verified at"),
                words="copies",
                choices=tuple(RequiredCopies),
            ),
        ),
    ),
    (
        _("Restoring"),
        (
            _setting(
                "restore_sites",
                "word",
                _("Restore at"),
                words="restore-sites",
                choices=tuple(RestoreSites),
            ),
            _setting(
                "restore_kinds",
                "words",
                _("Permitted ways"),
                words="restore-kind",
                choices=tuple(RestoreKind),
            ),
            _setting("restore_networks", "names", _("Networks"), hint=_("Empty: any.")),
            _setting("restore_pools", "names", _("Storage pools"), hint=_("Empty: any.")),
            _setting("restore_hosts", "names", _("Hosts"), hint=_("Empty: any.")),
            _setting("max_servers", "number", _("Most servers")),
            _setting("max_cpus", "number", _("Most CPUs")),
            _setting("max_memory_bytes", "gib", _("Most memory (GiB)")),
            _setting("max_disk_bytes", "gib", _("Most disk space (GiB)")),
        ),
    ),
    (
        _("Quota"),
        (
            _setting("quota_snapshots", "number", _("Snapshots"), hint=_("Empty: no limit.")),
            _setting(
                "quota_stored_bytes",
                "gib",
                _("Stored data (GiB)"),
                hint=_("What is unique to the tenant, compressed. Empty: no limit."),
            ),
        ),
    ),
)


@page(Operation.POLICY_SET, methods=("GET", "POST"))
def edit(visit: Visit, name: str) -> HttpResponse:
    """Start from a preset, change what differs. Nothing that is there is deleted by it."""
    row = visit.scope.tenant(name, Operation.POLICY_SHOW)
    shown = tenants.policy_view(row)
    wanted = visit.query("preset")
    settings = dict(shown.settings)
    preset = shown.preset
    if wanted in PRESETS:
        base = next(one for one in tenants.list_presets(visit.scope) if one.preset == wanted)
        settings, preset = dict(base.settings), wanted
    context: dict[str, Any] = {"name": name, "version": shown.version, "presets": list(PRESETS)}
    problem = None
    if visit.is_post:
        preset = visit.said("preset")
        try:
            settings = _read(visit)
            tenants.set_policy(
                visit.scope,
                name,
                preset=preset,
                overrides=settings,
                version=visit.said("version"),
            )
            return visit.go(f"/tenants/{name}", note="saved")
        except DozoError as error:
            problem = error
    context |= {"preset": preset, "problem": problem, "sections": _asked(settings)}
    status = status_of(problem) if problem else 200
    return visit.render("people/policy.html", context, status=status)


def _asked(settings: dict[str, Any]) -> list[tuple[Any, list[tuple[Setting, Any]]]]:
    return [
        (title, [(one, _shown(one, settings.get(one.name))) for one in fields])
        for title, fields in SECTIONS
    ]


def _shown(setting: Setting, value: Any) -> Any:
    if value is None:
        return ""
    if setting.kind == "gib":
        return f"{value / _GIB:g}"
    if setting.kind == "names":
        return ", ".join(value)
    return value


def _read(visit: Visit) -> dict[str, Any]:
    """All settings as the form has them. Raises ``PolicyInvalid``."""
    return {one.name: _value(visit, one) for _title, fields in SECTIONS for one in fields}


def _value(visit: Visit, setting: Setting) -> Any:
    if setting.kind == "flag":
        return visit.ticked(setting.name)
    if setting.kind == "words":
        return visit.said_all(setting.name)
    text = visit.said(setting.name)
    if setting.kind == "word":
        return text
    if not text:
        return None
    if setting.kind == "names":
        return [one.strip() for one in text.split(",") if one.strip()]
    return _number(setting, text)


def _number(setting: Setting, text: str) -> int:
    try:
        value = float(text) * (_GIB if setting.kind == "gib" else 1)
        return int(value)
    except (ValueError, OverflowError):
        raise PolicyInvalid(setting.name, repr(text), "Give a number, or nothing.") from None
