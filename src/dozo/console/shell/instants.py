"""Times in forms: what a date field of a browser holds, in the zone of the visitor."""

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from dozo.console.shell.errors import FieldInvalid

_YEARS = range(1971, 9999)


def instant(text: str, field: str, *, end_of_day: bool = False) -> datetime | None:
    """The instant that a ``date`` or ``datetime-local`` field means; None where it is empty.

    A date means its beginning, or with ``end_of_day`` the beginning of the next day. A text with
    a zone, as links have it, means what it says. Raises :class:`FieldInvalid`.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise FieldInvalid(field, text) from None
    if found.year not in _YEARS:
        raise FieldInvalid(field, text)
    if end_of_day and len(text) == len("2026-01-31"):
        found += timedelta(days=1)
    if found.tzinfo is None:
        found = timezone.make_aware(found)
    return found.astimezone(UTC)


def as_field(value: datetime | None) -> str:
    """An instant as a ``datetime-local`` field takes it, to the second."""
    if value is None:
        return ""
    return timezone.localtime(value).replace(tzinfo=None).isoformat(timespec="seconds")
