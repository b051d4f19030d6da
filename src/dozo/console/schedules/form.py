"""The form of a schedule: what somebody typed, and the fields that the service takes."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from dozo.console.shell.errors import FieldInvalid
from dozo.web.text import is_clean

_PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")
_MINUTE, _HOUR = 60, 3600
_TEXTS = ("name", "mode", "hook_before", "hook_after")
_TICKS = ("freeze", "stated_unmounted", "force_stop")

Typed = dict[str, Any]


def typed(data: QueryDict) -> Typed:
    """What stands in the form that was sent, as text; ``weekdays`` is a list."""
    found: Typed = {
        name: str(value).strip()[:255] for name, value in data.items() if is_clean(str(value))
    }
    found["weekdays"] = [one for one in data.getlist("weekdays") if is_clean(one)]
    return found


def fields_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the service takes. Raises :class:`FieldInvalid` for what is no number or time."""
    fields: dict[str, Any] = {name: said.get(name, "") for name in _TEXTS}
    kind = said.get("target_kind", "server")
    fields[kind] = said.get(f"target_{kind}", "")
    if kind == "tag" and said.get("tenant"):
        fields["tenant"] = said["tenant"]
    # What belongs to another mode was folded away, or cannot be meant.
    if fields["mode"] == "live":
        fields["freeze"] = "freeze" in said
    fields["stated_unmounted"] = "stated_unmounted" in said and fields["mode"] == "unmounted"
    fields["force_stop"] = "force_stop" in said and fields["mode"] == "stop-snapshot-start"
    if said.get("stop_timeout"):
        label = _("Time limit for the stop")
        fields["stop_timeout_seconds"] = _seconds(label, said["stop_timeout"], _MINUTE)
    if said.get("hook_timeout"):
        fields["hook_timeout_seconds"] = _number(_("Time limit of a hook"), said["hook_timeout"])
    fields["timing"] = _timing(said)
    fields["keep"] = _keep(said, "", fields["timing"]["zone"])
    apart = "peer_apart" in said
    fields["keep_peer"] = _keep(said, "peer_", fields["timing"]["zone"]) if apart else {}
    return fields


def _timing(said: Mapping[str, Any]) -> dict[str, Any]:
    kind = said.get("kind", "daily")
    timing: dict[str, Any] = {"kind": kind, "zone": said.get("zone") or "UTC"}
    if kind == "hourly":
        timing["minute"] = _number(_("Minute"), said.get("minute") or "0")
    elif kind == "cron":
        timing["cron"] = said.get("cron", "")
    else:
        timing["hour"], timing["minute"] = _clock_time(_("Time of day"), said.get("time", ""))
    if kind == "weekly":
        timing["weekdays"] = list(said.get("weekdays", ()))
    if kind == "monthly":
        day = said.get("day", "1")
        timing["day"] = day if day == "last" else _number(_("Day of the month"), day)
    if said.get("jitter"):
        timing["jitter_seconds"] = _seconds(_("Spread"), said["jitter"], _MINUTE)
    timing["overlap"] = said.get("overlap") or "skip"
    window = said.get("window", "")
    if window == "after":
        label = _("Minutes after the planned time")
        after = _seconds(label, said.get("window_minutes", ""), _MINUTE)
        timing["window"] = {"after_seconds": after}
    elif window == "between":
        timing["window"] = {
            "start": said.get("window_start", ""),
            "end": said.get("window_end", ""),
        }
    return timing


def _keep(said: Mapping[str, Any], prefix: str, zone: str) -> dict[str, Any]:
    if said.get(f"{prefix}keep", "periods") == "count":
        keep: dict[str, Any] = {
            "count": _number(_("Generations"), said.get(f"{prefix}count", "")),
        }
    else:
        keep = {
            period: _number(_("Generations"), said.get(f"{prefix}{period}") or "0")
            for period in _PERIODS
        }
        keep["zone"] = said.get(f"{prefix}keep_zone") or zone
    if said.get("min_age"):
        keep["min_age_seconds"] = _seconds(_("Minimum age"), said["min_age"], _HOUR)
    return keep


def _number(label: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise FieldInvalid(label, text)
    return int(text)


def _seconds(label: str, text: str, unit: int) -> int:
    whole, _point, part = text.partition(".")
    _number(label, whole + part)
    return round(float(text) * unit)


def _units(seconds: int, unit: int) -> str:
    return f"{seconds / unit:.6g}"


def _clock_time(label: str, text: str) -> tuple[int, int]:
    hour, _colon, minute = text.partition(":")
    # Browsers add seconds where the step allows them.
    return _number(label, hour), _number(label, minute[:2])


def from_fields(fields: Mapping[str, Any]) -> Typed:
    """What the form shows of a schedule: of one that is there, or of what is proposed."""
    timing, keep = fields["timing"], fields["keep"]
    found: Typed = {name: fields.get(name, "") for name in _TEXTS}
    found |= {name: "on" for name in _TICKS if fields.get(name)}
    found["kind"], found["zone"] = timing["kind"], timing.get("zone", "UTC")
    found["minute"] = str(timing.get("minute", 0))
    found["time"] = f"{timing.get('hour', 0):02}:{timing.get('minute', 0):02}"
    found["weekdays"] = list(timing.get("weekdays") or ("sun",))
    found["day"], found["cron"] = str(timing.get("day", 1)), timing.get("cron", "")
    found["jitter"] = _units(timing.get("jitter_seconds", 0), _MINUTE)
    found["overlap"] = timing.get("overlap", "skip")
    found |= _window(timing.get("window") or {})
    found["stop_timeout"] = _units(fields.get("stop_timeout_seconds", 300), _MINUTE)
    found["hook_timeout"] = str(fields.get("hook_timeout_seconds", 60))
    found |= _kept(keep, "", found["zone"])
    found["min_age"] = _units(keep.get("min_age_seconds", _HOUR), _HOUR)
    peer = fields.get("keep_peer") or {}
    found |= _kept(peer or keep, "peer_", found["zone"])
    if peer:
        found["peer_apart"] = "on"
    return found


def _window(window: Mapping[str, Any]) -> Typed:
    if "after_seconds" in window:
        return {"window": "after", "window_minutes": _units(window["after_seconds"], _MINUTE)}
    if window:
        return {
            "window": "between",
            "window_start": window["start"],
            "window_end": window["end"],
        }
    return {"window": ""}


def _kept(keep: Mapping[str, Any], prefix: str, zone: str) -> Typed:
    if "count" in keep:
        return {f"{prefix}keep": "count", f"{prefix}count": str(keep["count"])}
    numbers = {f"{prefix}{period}": str(keep.get(period, 0)) for period in _PERIODS}
    if keep.get("zone", zone) != zone:
        numbers[f"{prefix}keep_zone"] = keep["zone"]
    return {f"{prefix}keep": "periods", **numbers}


def differing(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterable[str]:
    """The names of what stands differently in two forms."""
    for name in sorted({*mine, *theirs} - {"version", "csrfmiddlewaretoken", "preview"}):
        if (mine.get(name) or "") != (theirs.get(name) or ""):
            yield name
