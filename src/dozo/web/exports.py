"""What is sent piece by piece, so that a slow reader holds neither memory nor a connection."""

from collections.abc import AsyncIterator
from datetime import datetime

from asgiref.sync import sync_to_async
from django.db import connections

from dozo.services import audit
from dozo.services.access import Scope

_CHUNK = 1000


async def audit_lines(
    scope: Scope, last: int, since: datetime | None, until: datetime | None
) -> AsyncIterator[str]:
    """The audit trail as JSON lines up to entry ``last``, after ``audit.begin_export``."""

    def part(after: int) -> list[tuple[int, str]]:
        try:
            return audit.export_part(
                scope, after=after, last=last, limit=_CHUNK, since=since, until=until
            )
        finally:
            connections[scope.site.catalog.alias].close()

    after = 0
    while found := await sync_to_async(part, thread_sensitive=False)(after):
        after = found[-1][0]
        yield "".join(line for _, line in found)
