"""What is wrong with a request before any service sees it."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind, Retry


@dataclass(eq=False)
class BodyInvalid(DozoError):
    """The body is not JSON that can be read."""

    code = "api.body_invalid"
    kind = ErrorKind.USAGE
    text = "the body cannot be read: {self.problem}"
    hint = "Send one JSON object, as UTF-8."
    problem: str


@dataclass(eq=False)
class RequestInvalid(DozoError):
    """Parameters or fields that do not fit what the operation takes."""

    code = "api.request_invalid"
    kind = ErrorKind.USAGE
    text = "the request does not fit: {self.summary}"
    hint = "/api/v1/openapi.json and docs/api.md describe what each operation takes."
    summary: str
    errors: list[dict[str, object]]


@dataclass(eq=False)
class MediaTypeUnknown(DozoError):
    """The body is not said to be JSON."""

    code = "api.media_type_unknown"
    kind = ErrorKind.USAGE
    text = "the body has to be application/json, not {self.media_type!r}"
    hint = "Send `Content-Type: application/json`."
    media_type: str


@dataclass(eq=False)
class TooManyListeners(DozoError):
    """Too many streams of events are open."""

    code = "api.too_many_listeners"
    kind = ErrorKind.THROTTLED
    retry = Retry.LATER
    text = "{self.limit} streams of events are open already"
    hint = "Close one, or ask for the job now and then instead."
    limit: int


@dataclass(eq=False)
class NoDryRun(DozoError):
    """``dry_run`` was asked of something that is done at once."""

    code = "api.no_dry_run"
    kind = ErrorKind.USAGE
    text = "this is done at once and has no dry_run; nothing was done"
    hint = "Leave dry_run out to do it. docs/api.md says which operations become jobs and have it."
