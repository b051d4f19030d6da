"""The audit trail: who did what to what, and what was refused."""

import json
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse

from dozo.console.shell.instants import instant
from dozo.console.shell.visit import Visit, page
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.model.words import word
from dozo.services import audit
from dozo.services.access import Operation
from dozo.services.audit import Outcome
from dozo.web import exports
from dozo.web.paging import cut

_PAGE = 100
_SORT = "-sequence"
_FIELDS = ("actor", "operation", "object", "outcome", "since", "until")


@page(Operation.AUDIT_LIST)
def trail(visit: Visit) -> HttpResponse:
    """The entries, newest first."""
    given = {name: visit.query(name) for name in _FIELDS}
    problem: DozoError | None = None
    try:
        outcome = given["outcome"]
        rows = audit.entries(
            visit.scope,
            actor=given["actor"] or None,
            operation=given["operation"] or None,
            about=given["object"] or None,
            outcome=Outcome(outcome) if outcome in list(Outcome) else None,
            since=instant(given["since"], "since"),
            until=instant(given["until"], "until", end_of_day=True),
        )
        part = cut(rows, limit=_PAGE, cursor=visit.query("cursor") or None, sort=_SORT)
    except DozoError as error:
        problem = error
        none = audit.entries(visit.scope).none()
        part = cut(none, limit=_PAGE, cursor=None, sort=_SORT)
    context = {
        "problem": problem,
        "part": part,
        "given": given,
        "filtered": any(given.values()),
        "operations": _operations(),
        "outcomes": [(one.value, word("outcome", one)) for one in Outcome],
    }
    return visit.render("activity/audit.html", context, status=422 if problem else 200)


def _operations() -> list[tuple[Any, list[tuple[str, Any]]]]:
    """Operations by what they are about."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for one in Operation:
        found.setdefault(one.group, []).append((one.value, word("operation", one)))
    return [(word("object", group), pairs) for group, pairs in found.items()]


@page(Operation.AUDIT_LIST)
def entry(visit: Visit, sequence: int) -> HttpResponse:
    """One entry with all that was written down."""
    row = audit.entry(visit.scope, sequence)
    detail = json.dumps(row.detail, ensure_ascii=False, indent=2, sort_keys=True)
    context = {"entry": row, "detail": detail if row.detail else ""}
    return visit.render("activity/entry.html", context)


@page(Operation.AUDIT_EXPORT, methods=("POST",))
def export(visit: Visit) -> Any:
    """The trail as JSON lines; that it was exported is recorded."""
    since = instant(visit.said("since"), "since")
    until = instant(visit.said("until"), "until", end_of_day=True)
    last = audit.begin_export(visit.scope, since=since, until=until)
    lines = exports.audit_lines(visit.scope, last, since, until)
    response = StreamingHttpResponse(lines, content_type="application/jsonl")
    name = f"audit-{visit.scope.site.settings.name}-{clock.now():%Y%m%dT%H%M%SZ}.jsonl"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@page(Operation.AUDIT_VERIFY, methods=("POST",))
def verify(visit: Visit) -> HttpResponse:
    """Check that the whole trail is as it was written."""
    problem, checked = None, None
    try:
        checked = audit.verify(visit.scope)
    except DozoError as error:
        problem = error
    return visit.render("activity/verified.html", {"problem": problem, "checked": checked})
