"""The audit trail: /audit."""

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from dozo.api.current import scope_of
from dozo.api.fields import Instant
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import Body, needs
from dozo.services import audit
from dozo.services.access import Operation
from dozo.services.audit import Outcome, TrailChecked
from dozo.web import exports

router = Router()

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
    object: Text | None = Field(None, description="An id, or a part of a name.")
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
        about=query.object,
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
    lines = exports.audit_lines(scope, last, query.since, query.until)
    return StreamingHttpResponse(lines, content_type="application/jsonl")
