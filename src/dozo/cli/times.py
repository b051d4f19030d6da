"""Times as people type them."""

from datetime import UTC, date, datetime, time

import typer


def instant_of(text: str) -> datetime:
    """ISO 8601; a time without a zone is the host's own, a date alone means its end."""
    try:
        if len(text) == len("2026-01-31"):
            found = datetime.combine(date.fromisoformat(text), time(23, 59, 59, 999999))
        else:
            found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time such as 2026-01-31, 2026-01-31T12:00 or …T12:00:00Z"
        ) from None
    return found.astimezone(UTC)
