"""The words for states, and how good or bad each is."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


@dataclass(frozen=True, kw_only=True)
class Word:
    """How a value is shown. ``tone`` is good, warn, bad, busy or idle; ``icon`` is in icons.svg."""

    label: Any
    tone: str = "idle"
    icon: str = ""


def _word(label: Any, tone: str = "idle", icon: str = "") -> Word:
    return Word(label=label, tone=tone, icon=icon)


WORDS: dict[str, dict[str, Word]] = {
    "protection": {
        "protected": _word(_("Protected"), "good", "shield-check"),
        "behind": _word(_("Behind"), "warn", "clock"),
        "failing": _word(_("Failing"), "bad", "alert"),
        "unprotected": _word(_("Unprotected"), "bad", "shield-off"),
    },
    "copy": {
        "missing": _word(_("Missing"), "idle", "minus"),
        "copying": _word(_("Copying"), "busy", "arrow-right"),
        "stored": _word(_("Stored, not verified"), "warn", "box"),
        "verified": _word(_("Verified"), "good", "check"),
        "damaged": _word(_("Damaged"), "bad", "alert"),
    },
    "consistency": {
        "application-consistent": _word(_("Application-consistent"), "good"),
        "filesystem-consistent": _word(_("Filesystem-consistent"), "good"),
        "crash-consistent": _word(_("Crash-consistent"), "warn"),
        "clean": _word(pgettext_lazy("consistency", "Clean"), "good"),
        "stated, not checked": _word(_("Stated, not checked"), "warn"),
    },
    "mode": {
        "live": _word(_("Live")),
        "offline": _word(_("Offline")),
        "unmounted": _word(_("Unmounted")),
        "file": _word(_("From a file")),
        "stop-snapshot-start": _word(_("Stop, snapshot, start")),
    },
    "job": {
        "queued": _word(pgettext_lazy("job", "Queued"), "idle", "clock"),
        "waiting": _word(pgettext_lazy("job", "Waiting to try again"), "warn", "clock"),
        "running": _word(pgettext_lazy("job", "Running"), "busy", "play"),
        "cancelling": _word(pgettext_lazy("job", "Being cancelled"), "busy", "x"),
        "done": _word(pgettext_lazy("job", "Done"), "good", "check"),
        "failed": _word(pgettext_lazy("job", "Failed"), "bad", "alert"),
        "cancelled": _word(pgettext_lazy("job", "Cancelled"), "idle", "x"),
        "interrupted": _word(pgettext_lazy("job", "Interrupted"), "bad", "alert"),
    },
    "server": {
        "running": _word(pgettext_lazy("server", "Running"), "good", "play"),
        "stopped": _word(pgettext_lazy("server", "Stopped"), "idle", "stop"),
        "paused": _word(pgettext_lazy("server", "Paused"), "warn", "pause"),
        "gone": _word(pgettext_lazy("server", "Gone"), "bad", "x"),
    },
    "volume": {
        "attached": _word(_("Attached"), "good", "link"),
        "unattached": _word(_("Not attached"), "idle", "minus"),
        "gone": _word(pgettext_lazy("volume", "Gone"), "bad", "x"),
    },
    "role": {
        "member": _word(_("Member")),
        "tenant-admin": _word(_("Tenant administrator")),
        "operator": _word(_("Operator")),
        "auditor": _word(_("Auditor")),
    },
    "outcome": {
        "done": _word(pgettext_lazy("outcome", "Done"), "good", "check"),
        "refused": _word(pgettext_lazy("outcome", "Refused"), "warn", "x"),
        "failed": _word(pgettext_lazy("outcome", "Failed"), "bad", "alert"),
    },
    "origin": {
        "scheduled": _word(_("Scheduled"), "idle", "calendar"),
        "manual": _word(_("Manual"), "idle", "hand"),
    },
}


def word(kind: str, value: object) -> Word:
    """The word for a value; the value itself where nobody thought of one."""
    text = str(value)
    return WORDS.get(kind, {}).get(text) or Word(label=text)
