"""Times as people type them."""

import re
from datetime import UTC, date, datetime, time

import typer

from dozo.model.message import Message

_DURATION = re.compile(r"(\d+)\s*(s|m|h|d)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def instant_of(text: str) -> datetime:
    """ISO 8601; a time without a zone is the host's own, a date alone means its end."""
    try:
        if len(text) == len("2026-01-31"):
            found = datetime.combine(date.fromisoformat(text), time(23, 59, 59, 999999))
        else:
            found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            Message(
                "{text!r} is not a time such as 2026-01-31, 2026-01-31T12:00 or …T12:00:00Z",
                text=text,
            )
        ) from None
    return found.astimezone(UTC)


def text_of(text: str) -> str:
    """The same, as the API wants it."""
    return instant_of(text).isoformat().replace("+00:00", "Z")


def seconds_of(text: str) -> int:
    """A length of time such as ``90``, ``90s``, ``15m``, ``2h``, ``7d``, in seconds."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(
            Message("{text!r} is no length of time such as 90s, 15m, 2h or 7d", text=text)
        )
    return int(found[1]) * _SECONDS[found[2] or "s"]


def clock_time(text: str) -> tuple[int, int]:
    """``HH:MM`` as hour and minute."""
    try:
        found = datetime.strptime(text.strip(), "%H:%M")  # noqa: DTZ007  a time of day only
    except ValueError:
        raise typer.BadParameter(
            Message("{text!r} is no time of day such as 02:30", text=text)
        ) from None
    return found.hour, found.minute
