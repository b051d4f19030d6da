"""The audit trail: /audit."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Literal

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from dozo.api.current import scope_of
from dozo.api.fields import Instant
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import Body, needs
from dozo.services import audit
from dozo.services.access import Operation, Scope
from dozo.services.audit import Outcome, TrailChecked

router = Router()

_CHUNK = 1000
# Spelled out: the description has room for one schema of a name, and doctor has an Outcome too.
Ended = Literal["done", "refused", "failed"]


class AuditEntry(BaseModel):
    """One line of the trail; ``hash`` covers all of it and the hash before."""

    sequence: int
    at: datetime
    actor: str
    tenant: str
    operation: str
    object_kind: str
    object_id: str
    object_name: str
    outcome: Ended
    detail: dict[str, Any]
    source: str
    previous_hash: str
    hash: str


class AuditQuery(PageQuery):
    """Which entries."""

    sort: Literal["sequence", "-sequence"] = "-sequence"
    operation: Text | None = None
    actor: Text | None = None
    outcome: Ended | None = None
    since: Instant | None = Field(None, description="At or after this time.")
    until: Instant | None = Field(None, description="Before this time.")


@router.get("/audit", response=Page[AuditEntry], **needs(Operation.AUDIT_LIST))
def list_audit(request: HttpRequest, query: Query[AuditQuery]) -> object:
    """List what was done and what was refused."""
    rows = audit.entries(
        scope_of(request),
        operation=query.operation,
        actor=query.actor,
        outcome=Outcome(query.outcome) if query.outcome else None,
        since=query.since,
        until=query.until,
    )
    part = cut(rows, query, query.sort)
    return part.page([audit.to_json(row) for row in part.rows])


@router.get("/audit/verify", response=TrailChecked, **needs(Operation.AUDIT_VERIFY))
def verify_audit(request: HttpRequest) -> object:
    """Check that the whole trail is as it was written."""
    return audit.verify(scope_of(request))


class ExportQuery(Body):
    """Which entries."""

    since: Instant | None = Field(None, description="At or after this time.")
    until: Instant | None = Field(None, description="Before this time.")


_LINES = {
    "responses": {
        200: {
            "description": "One JSON object a line, oldest first.",
            "content": {"application/jsonl": {"schema": {"type": "string"}}},
        }
    }
}


@router.get(
    "/audit/export",
    response={200: None},
    openapi_extra={**needs(Operation.AUDIT_EXPORT)["openapi_extra"], **_LINES},
)
def export_audit(request: HttpRequest, query: Query[ExportQuery]) -> StreamingHttpResponse:
    """Export the trail as JSON lines; that it was exported is recorded."""
    scope = scope_of(request)
    last = audit.begin_export(scope, since=query.since, until=query.until)
    lines = _lines(scope, last, query.since, query.until)
    return StreamingHttpResponse(lines, content_type="application/jsonl")


async def _lines(
    scope: Scope, last: int, since: datetime | None, until: datetime | None
) -> AsyncIterator[str]:
    """The trail up to ``last``, a part at a time: a slow reader holds no connection."""

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
