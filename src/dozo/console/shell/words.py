"""How good or bad each state is, and its picture; the words themselves are everybody's."""

from dataclasses import dataclass

from django.utils import translation

from dozo.model.words import word_in


@dataclass(frozen=True, kw_only=True)
class Word:
    """How a value is shown. ``tone`` is good, warn, bad, busy or idle; ``icon`` is in icons.svg."""

    label: str
    tone: str
    icon: str


_LOOKS: dict[str, dict[str, tuple[str, str]]] = {
    "protection": {
        "protected": ("good", "shield-check"),
        "behind": ("warn", "clock"),
        "failing": ("bad", "alert"),
        "unprotected": ("bad", "shield-off"),
    },
    "copy": {
        "missing": ("idle", "minus"),
        "copying": ("busy", "arrow-right"),
        "stored": ("warn", "box"),
        "verified": ("good", "check"),
        "damaged": ("bad", "alert"),
    },
    "consistency": {
        "application-consistent": ("good", ""),
        "filesystem-consistent": ("good", ""),
        "crash-consistent": ("warn", ""),
        "clean": ("good", ""),
        "stated, not checked": ("warn", ""),
    },
    "job": {
        "queued": ("idle", "clock"),
        "waiting": ("warn", "clock"),
        "running": ("busy", "play"),
        "cancelling": ("busy", "x"),
        "done": ("good", "check"),
        "failed": ("bad", "alert"),
        "cancelled": ("idle", "x"),
        "interrupted": ("bad", "alert"),
    },
    "went": {
        "planned": ("idle", "calendar"),
        "skipped": ("warn", "minus"),
        "queued": ("idle", "clock"),
        "waiting": ("warn", "clock"),
        "running": ("busy", "play"),
        "cancelling": ("busy", "x"),
        "done": ("good", "check"),
        "failed": ("bad", "alert"),
        "cancelled": ("idle", "x"),
        "interrupted": ("bad", "alert"),
    },
    "run": {"started": ("good", "check"), "skipped": ("warn", "minus")},
    "server": {
        "running": ("good", "play"),
        "paused": ("warn", "pause"),
        "stopping": ("busy", "stop"),
        "stopped": ("idle", "stop"),
        "crashed": ("bad", "alert"),
        "suspended": ("idle", "pause"),
        "absent": ("idle", "x"),
        "gone": ("bad", "x"),
    },
    "volume": {
        "attached": ("good", "link"),
        "unattached": ("idle", "minus"),
        "creating": ("busy", "plus"),
        "gone": ("bad", "x"),
    },
    "outcome": {
        "done": ("good", "check"),
        "refused": ("warn", "x"),
        "failed": ("bad", "alert"),
    },
    "check": {"ok": ("good", "check"), "warning": ("warn", "alert"), "missing": ("bad", "x")},
    "origin": {"scheduled": ("idle", "calendar"), "manual": ("idle", "hand")},
}


def word(kind: str, value: object) -> Word:
    """The word for a value, as ``dozo.model.words`` has it, and how it looks."""
    code = str(getattr(value, "value", value))
    tone, icon = _LOOKS.get(kind, {}).get(code, ("idle", ""))
    language = translation.get_language() or "en"
    label = word_in(language, kind, value)
    if language == "en":
        label = label[:1].upper() + label[1:]
    return Word(label=label, tone=tone, icon=icon)
