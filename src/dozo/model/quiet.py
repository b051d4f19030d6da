"""Hours of the day in which people are left alone. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime, time
from typing import Self

from dozo.model.timing import time_zone

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, kw_only=True)
class QuietHours:
    """From ``start`` to ``end`` by the clocks of ``zone``, over midnight where end comes first."""

    start: time
    end: time
    zone: str = "UTC"

    @classmethod
    def parse(cls, text: str, zone: str) -> Self:
        """Of ``22:00-07:00``. Raises ``ValueError``, ``TimeZoneUnknown``."""
        match = _HOURS.fullmatch(text)
        if match is None or match.group(1, 2) == match.group(3, 4):
            raise ValueError(text)
        time_zone(zone)
        hour, minute, end_hour, end_minute = (int(one) for one in match.groups())
        return cls(start=time(hour, minute), end=time(end_hour, end_minute), zone=zone)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}"

    def include(self, instant: datetime) -> bool:
        """Whether the instant falls into them; the end itself does not."""
        now = instant.astimezone(time_zone(self.zone)).time()
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end
