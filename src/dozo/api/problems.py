"""The one place where errors become HTTP answers: RFC 9457 problems."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja.errors import HttpError, ValidationError
from pydantic import BaseModel, ConfigDict

from dozo.api.errors import BodyInvalid, RequestInvalid
from dozo.api.render import language_of, to_json
from dozo.catalog.databases import PASSING
from dozo.catalog.errors import CatalogLost
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.message import Message, known
from dozo.model.words import word_in
from dozo.web import errors

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUSES: dict[ErrorKind, int] = {
    ErrorKind.FAILED: 500,
    ErrorKind.USAGE: 400,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.REFUSED: 409,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.THROTTLED: 429,
    ErrorKind.DAMAGED: 500,
    ErrorKind.UNAVAILABLE: 503,
}
# Errors for which HTTP has a word of its own.
_STATUS_OF_CODE = {
    "schedule.changed": 412,
    "user.changed": 412,
    "policy.changed": 412,
    "api.request_invalid": 422,
    "api.media_type_unknown": 415,
    "api.body_too_large": 413,
    "api.body_too_slow": 408,
    "api.method_not_allowed": 405,
}
ALL_STATUSES = sorted({*STATUSES.values(), *_STATUS_OF_CODE.values()})


class Problem(BaseModel):
    """What went wrong. ``kind`` and ``code`` do not change; further members are the facts."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    kind: str
    hint: str
    retry: str


def status_of(error: DozoError) -> int:
    """The HTTP status of an error."""
    return _STATUS_OF_CODE.get(error.code, STATUSES[error.kind])


def response_of(error: DozoError, request: HttpRequest | None) -> HttpResponse:
    """An error as an HTTP answer, in the language of the request."""
    language = language_of(request)
    status = status_of(error)
    body: dict[str, Any] = {
        **error.details(),
        "type": f"urn:dozo:error:{error.code}",
        "title": word_in(language, "http", status),
        "status": status,
        "detail": error.message(language),
        "code": error.code,
        "kind": error.kind.value,
        "hint": error.hint_text(language),
        "retry": error.retry.value,
    }
    response = HttpResponse(to_json(body, language), status=status, content_type=MEDIA_TYPE)
    response["Content-Language"] = language
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="dozo"'
    if status == 429:
        response["Retry-After"] = str(body.get("seconds", 1))
    if isinstance(error, errors.MethodNotAllowed):
        response["Allow"] = error.allowed
    return response


def refuse(request: HttpRequest | None, error: DozoError) -> HttpResponse:
    """An error from before any operation."""
    return response_of(error, request)


def of_error(request: HttpRequest, error: DozoError) -> HttpResponse:
    """An error that Dozo raised on purpose."""
    return response_of(error, request)


def of_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """A request that does not fit the schema; what was sent is not repeated."""
    found = [
        {
            "where": _where(one["loc"]),
            "problem": _problem(one),
            "type": str(one["type"]),
        }
        for one in error.errors[:50]
    ]
    first = found[0] if found else {"where": "request", "problem": Message("it is not valid")}
    summary = Message("{where}: {problem}", **{key: first[key] for key in ("where", "problem")})
    return response_of(RequestInvalid(summary, [dict(one) for one in found]), request)


# What pydantic says of most mistakes, so that it can be translated.
_SAID = {
    Message("Field required"),
    Message("Extra inputs are not permitted"),
    Message("Input should be a valid string"),
    Message("Input should be a valid integer"),
    Message("Input should be a valid number"),
    Message("Input should be a valid boolean"),
    Message("Input should be a valid list"),
    Message("Input should be a valid dictionary"),
    Message("Input should be a valid boolean, unable to interpret input"),
    Message("Input should be a valid integer, unable to parse string as an integer"),
    Message("Input should be a valid number, unable to parse string as a number"),
}


def _problem(error: Mapping[str, Any]) -> str:
    text, facts = str(error["msg"]), error.get("ctx") or {}
    match error["type"]:
        case "string_too_short":
            return Message("it has fewer than {count} characters", count=facts["min_length"])
        case "string_too_long":
            return Message("it is longer than {count} characters", count=facts["max_length"])
        case "greater_than_equal":
            return Message("Input should be greater than or equal to {least}", least=facts["ge"])
        case "less_than_equal":
            return Message("Input should be less than or equal to {most}", most=facts["le"])
        case "literal_error" | "enum":
            return Message("Input should be {expected}", expected=facts["expected"])
    return known(text)


def _where(place: Sequence[object]) -> str:
    # ninja names a body after its parameter: that is no part of what was sent.
    parts = [str(one) for one in place]
    return ".".join(parts[:1] + parts[2:] if parts[:1] == ["body"] else parts)


def of_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """What ninja refuses by itself: a body that it cannot parse, mostly."""
    if isinstance(error.__cause__, DozoError):
        return response_of(error.__cause__, request)
    if error.status_code == 400:
        return response_of(BodyInvalid(Message("it is not JSON")), request)
    return of_unexpected(request, error)


def of_missing(request: HttpRequest, exception: Exception | Http404) -> HttpResponse:  # noqa: ARG001
    """An address that leads nowhere."""
    return response_of(errors.RouteUnknown(), request)


def of_unexpected(request: HttpRequest, error: BaseException) -> HttpResponse:
    """A defect: the asker gets a reference, the log gets the rest.

    The database is no defect: it is away, and may be back at the next try.
    """
    if isinstance(error, PASSING):
        log.warning("no answer to %s %s: %s", request.method, request.path, error)
        return response_of(CatalogLost(Message("it does not answer")), request)
    reference = secrets.token_hex(6)
    log.error(
        "unexpected error %s in %s %s", reference, request.method, request.path, exc_info=error
    )
    return response_of(errors.Unexpected(reference), request)
