"""What is wrong with a request before anybody looks at what it wants."""

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
class Unexpected(DozoError):
    """A defect in Dozo; the details are in its log under the reference."""

    code = "api.unexpected"
    kind = ErrorKind.FAILED
    text = "something unexpected happened ({self.reference})"
    hint = "This is a defect in Dozo: look in its log for the reference, and report it."
    reference: str


@dataclass(eq=False)
class TooManyDownloads(DozoError):
    """As many snapshots are being downloaded as may be at a time."""

    code = "api.too_many_downloads"
    kind = ErrorKind.THROTTLED
    retry = Retry.LATER
    text = "{self.limit} snapshots are being downloaded already"
    hint = "Try again when one of them has ended."
    limit: int
