"""What is wrong with a request before any service sees it."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind, Retry


@dataclass(eq=False)
class CursorInvalid(DozoError):
    """A cursor that this list did not give."""

    code = "api.cursor_invalid"
    kind = ErrorKind.USAGE
    text = "the cursor does not belong to this list"
    hint = "Ask for the first page again, with the same `sort` for every page."


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
class BodyTooLarge(DozoError):
    """The body is larger than any request needs."""

    code = "api.body_too_large"
    kind = ErrorKind.USAGE
    text = "the body has more than {self.limit_bytes} bytes"
    hint = "Split the request."
    limit_bytes: int


@dataclass(eq=False)
class BodyTooSlow(DozoError):
    """The body did not arrive in time."""

    code = "api.body_too_slow"
    kind = ErrorKind.USAGE
    retry = Retry.LATER
    text = "the body did not arrive within {self.seconds:.0f} s"
    hint = "Check the connection, and send it again."
    seconds: float


@dataclass(eq=False)
class RouteUnknown(DozoError):
    """No operation has this address."""

    code = "api.route_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "there is nothing at this address"
    hint = "docs/api.md lists every operation; quote references, `/` as %2F."


@dataclass(eq=False)
class MethodNotAllowed(DozoError):
    """The address is there, the method is not."""

    code = "api.method_not_allowed"
    kind = ErrorKind.USAGE
    text = "this address takes {self.allowed}"
    hint = "docs/api.md lists every operation."
    allowed: str


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
class Unexpected(DozoError):
    """A defect in Dozo; the details are in its log under the reference."""

    code = "api.unexpected"
    kind = ErrorKind.FAILED
    text = "something unexpected happened ({self.reference})"
    hint = "This is a defect in Dozo: look in its log for the reference, and report it."
    reference: str
