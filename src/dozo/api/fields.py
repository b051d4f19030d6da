"""Types of fields that several operations share."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from dozo.api.paging import Text

_FIRST = datetime(1970, 1, 2, tzinfo=UTC)
_LAST = datetime(9998, 12, 31, tzinfo=UTC)


def _in_range(instant: datetime) -> datetime:
    if not _FIRST <= instant <= _LAST:
        raise ValueError("it is out of range")
    return instant.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_in_range)]
"""A time with its zone, such as ``2026-01-31T12:00:00Z``."""

Reference = Annotated[Text, Field(min_length=1)]
"""A name, an id, or the beginning of an id."""

References = Annotated[list[Reference], Field(min_length=1, max_length=1000)]

Name = Annotated[Text, Field(min_length=1, max_length=200)]

Network = Literal["same", "isolated", "none"]

Mode = Literal["live", "offline", "unmounted", "stop-snapshot-start"]

Seconds = Annotated[int, Field(ge=0, le=86400)]
