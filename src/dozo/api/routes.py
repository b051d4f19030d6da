"""What operations of the API have in common: how they are described, and asking for jobs."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Schema
from pydantic import BaseModel, ConfigDict

from dozo.api.current import scope_of
from dozo.api.errors import RequestInvalid
from dozo.api.render import language_of, to_json
from dozo.model.message import Message
from dozo.services import job_queue, operations
from dozo.services.access import Operation
from dozo.web.current import current_of
from dozo.web.text import is_clean

ROOT = "/api/v1"

DRY_RUN = {
    "in": "query",
    "name": "dry_run",
    "required": False,
    "schema": {"type": "boolean", "default": False},
    "description": "Show what would happen; nothing is queued.",
}
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key from the same actor answers with the first job.",
}
IF_MATCH = {
    "in": "header",
    "name": "If-Match",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
    "description": "The ETag that was read: 412 if it has changed since.",
}


class Body(Schema):
    """A request's body. What it does not know it refuses."""

    model_config = ConfigDict(extra="forbid")


def given(body: Body | None) -> dict[str, Any]:
    """What a body says; nothing where there is none."""
    return {} if body is None else body.dict(exclude_unset=True)


class QueuedJob(BaseModel):
    """A job that was asked for; ``new`` is false where the idempotency key named one already."""

    job: str
    new: bool


class Done(BaseModel):
    """The ids of what something was done to."""

    done: list[str]


def needs(operation: Operation, *parameters: Mapping[str, Any]) -> dict[str, Any]:
    """How an operation of the API is described: which right it needs."""
    extra: dict[str, Any] = {"x-dozo-operation": operation.value}
    if parameters:
        extra["parameters"] = [dict(one) for one in parameters]
    return {"openapi_extra": extra}


def job(operation: Operation) -> dict[str, Any]:
    """The same, for what takes long and becomes a job."""
    described = needs(operation, DRY_RUN, IDEMPOTENCY_KEY)
    return {**described, "response": {202: QueuedJob, 200: dict[str, Any]}}


def ask(request: HttpRequest, kind: str, params: Mapping[str, Any]) -> HttpResponse:
    """Queue a job, or with ``?dry_run=true`` show its plan."""
    scope = scope_of(request, for_job=True)
    said = {name: value for name, value in params.items() if value is not None}
    if _dry_run(request):
        plan = job_queue.plan(scope, operations.kind(kind), said)
        return HttpResponse(to_json(plan, language_of(request)), content_type="application/json")
    queued = job_queue.submit(
        scope, operations.kind(kind), said, idempotency_key=_idempotency_key(request)
    )
    body = to_json({"job": queued.job_id, "new": queued.new})
    response = HttpResponse(body, status=202, content_type="application/json")
    response["Location"] = f"{ROOT}/jobs/{queued.job_id}"
    return response


def _dry_run(request: HttpRequest) -> bool:
    wanted = request.GET.get("dry_run", "false").lower()
    if wanted not in {"true", "false", "1", "0"}:
        raise RequestInvalid(Message("dry_run is true or false"), [])
    return wanted in {"true", "1"}


def _idempotency_key(request: HttpRequest) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and (not 1 <= len(key) <= 255 or not is_clean(key)):
        raise RequestInvalid(Message("Idempotency-Key has 1 to 255 characters"), [])
    return key


class Canceller:
    """What the queue needs of a runner here: to be told that a run is not wanted any more."""

    def __init__(self, request: HttpRequest) -> None:
        self._cancel = current_of(request).cancel

    def cancel(self, run_id: str, /) -> object:
        """Pass it on."""
        return self._cancel(run_id)


def etag(version: object) -> str:
    """A version as an ETag."""
    return f'"{version}"'


def if_match(request: HttpRequest) -> str | None:
    """The version that the request is about; None where it does not say."""
    tag = request.headers.get("If-Match", "").strip()
    if tag in {"", "*"}:
        return None
    return tag.removeprefix("W/").strip('"')
