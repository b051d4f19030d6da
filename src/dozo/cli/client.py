"""A client of the REST API: over the socket of a site on this host, or by a profile."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote
from uuid import uuid4

import typer

from dozo.cli.errors import (
    AnswerStrange,
    ServiceNotRunning,
    ServiceUnreachable,
    SocketForbidden,
)
from dozo.cli.kinds import kind_of
from dozo.cli.opened import chosen, home_of
from dozo.cli.speech import language
from dozo.model.errors import ErrorKind
from dozo.model.message import Message

if TYPE_CHECKING:
    import httpx

    from dozo.cli.profiles import Profile

SOCKET = "api.sock"
_API = "/api/v1"
_PAGE = 200
# The service may have to wait for libvirt before it can answer.
_TIMEOUT_SECONDS = 180
_CONNECT_SECONDS = 10

_KINDS = {
    400: ErrorKind.USAGE,
    401: ErrorKind.UNAUTHENTICATED,
    403: ErrorKind.FORBIDDEN,
    404: ErrorKind.NOT_FOUND,
    409: ErrorKind.REFUSED,
    412: ErrorKind.REFUSED,
    422: ErrorKind.USAGE,
    429: ErrorKind.THROTTLED,
    503: ErrorKind.UNAVAILABLE,
}
# What proxies, and a service with too many connections, say instead of it.
_AWAY = frozenset({502, 503, 504})
_PROBLEM_FIELDS = frozenset(
    {"type", "title", "status", "detail", "code", "hint", "retry", "kind", "instance"}
)


class ServiceProblem(Exception):
    """An error that the service answered with, or that a job of it ended with."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        kind: ErrorKind,
        hint: str = "",
        retry: str = "never",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.hint = hint
        self.retry = retry
        self.details = dict(details or {})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: the JSON document (None if there is none), and its version."""

    data: Any
    etag: str | None


def at(*parts: str) -> str:
    """A path of the API; names may hold anything."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


class Client:
    """Speaks to one service. Every error is a ``DozoError`` or a :class:`ServiceProblem`."""

    def __init__(self, http: "httpx.Client", address: str) -> None:
        self._http = http
        self._address = address

    @classmethod
    def of_home(cls, home: Path) -> Self:
        """The service of a site on this host, through its socket; nobody has to log in.

        Raises ``HomeMissing``, :class:`SocketForbidden`, :class:`ServiceNotRunning`.
        """
        import httpx

        _knock(home)
        transport = httpx.HTTPTransport(uds=str(home / SOCKET))
        http = httpx.Client(
            transport=transport,
            base_url="http://dozo",
            headers={"Accept-Language": language()},
            timeout=_timeout(),
        )
        return cls(http, str(home / SOCKET))

    @classmethod
    def of_profile(cls, profile: "Profile") -> Self:
        """A service elsewhere, with the profile's token."""
        import httpx

        token = profile.token()
        http = httpx.Client(
            base_url=profile.url,
            headers={
                "Accept-Language": language(),
                **({"Authorization": f"Bearer {token}"} if token else {}),
            },
            verify=_trust(profile),
            timeout=_timeout(),
        )
        return cls(http, profile.url)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """What stands at a path."""
        return self.send("GET", path, query=query).data

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """Ask for something. A job has a key, so that what stands between cannot double it."""
        key = {"Idempotency-Key": uuid4().hex}
        return self.send("POST", path, body=body or {}, query=query, headers=key).data

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Replace what stands at a path."""
        return self.send("PUT", path, body=body).data

    def change(self, method: str, path: str, body: Mapping[str, Any], *, read: Answer) -> Any:
        """Change what was read; refused where somebody else has changed it since."""
        match = {"If-Match": read.etag} if read.etag else {}
        return self.send(method, path, body=body, headers=match).data

    def delete(self, path: str, **query: Any) -> Any:
        """Remove what stands at a path."""
        return self.send("DELETE", path, query=query).data

    def everything(self, path: str, **query: Any) -> list[Any]:
        """A whole list, page after page."""
        return list(self.pages(path, **query))

    def pages(self, path: str, *, most: int | None = None, **query: Any) -> Iterator[Any]:
        """The items of a list; at most so many."""
        cursor: str | None = None
        left = most
        while left is None or left > 0:
            limit = _PAGE if left is None else min(left, _PAGE)
            page = self.get(path, **query, limit=limit, cursor=cursor)
            if isinstance(page, list):
                # A list that is always short comes whole.
                yield from page
                return
            items = page["items"]
            yield from items
            left = None if left is None else left - len(items)
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def text(self, path: str, **query: Any) -> Iterator[str]:
        """The lines of an answer that is no JSON document."""
        with (
            self._heard(),
            self._http.stream("GET", _API + path, params=_plain_query(query)) as answer,
        ):
            if answer.status_code >= 400:
                answer.read()
                raise self._problem(answer)
            yield from answer.iter_lines()

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str], **query: Any
    ) -> "Iterator[httpx.Response]":
        """An answer whose body is read in the block; one that breaks off is an error there."""
        with (
            self._heard(),
            self._http.stream(
                "GET",
                _API + path,
                params=_plain_query(query),
                # What is compressed on the way has no length that could be checked.
                headers={**headers, "Accept-Encoding": "identity"},
            ) as answer,
        ):
            if answer.status_code >= 400:
                answer.read()
                raise self._problem(answer)
            yield answer

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request."""
        with self._heard():
            answer = self._http.request(
                method,
                _API + path,
                json=None if body is None else dict(body),
                params=_plain_query(query or {}),
                headers=dict(headers or {}),
            )
        if answer.status_code >= 400:
            raise self._problem(answer)
        return Answer(data=_document(answer), etag=answer.headers.get("ETag"))

    def _problem(self, answer: "httpx.Response") -> Exception:
        """The error of an answer; what stands before a service that is away is no Dozo."""
        found = _problem(answer)
        if isinstance(found, AnswerStrange) and answer.status_code in _AWAY:
            return ServiceUnreachable(self._address, f"status {answer.status_code}")
        return found

    @contextmanager
    def _heard(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            raise ServiceUnreachable(self._address, _words(error)) from None


def _knock(home: Path) -> None:
    """Tell apart why nobody can be spoken to; a library would only say that it could not."""
    import socket

    from dozo.services import settings

    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(home / SOCKET))
        except PermissionError:
            raise SocketForbidden(str(home / SOCKET)) from None
        except OSError:
            if not (home / settings.FILE_NAME).exists():
                raise settings.HomeMissing(str(home)) from None
            raise ServiceNotRunning(str(home)) from None


@contextmanager
def client_of(context: typer.Context) -> Iterator[Client]:
    """A client of the chosen service."""
    client = open_client(context)
    try:
        yield client
    finally:
        client.close()


def open_client(context: typer.Context) -> Client:
    """A client of the chosen service; to be closed."""
    name = chosen(context).profile
    if name is None:
        return Client.of_home(home_of(context))
    from dozo.cli import profiles

    return Client.of_profile(profiles.load(name))


def _timeout() -> "httpx.Timeout":
    import httpx

    return httpx.Timeout(_TIMEOUT_SECONDS, connect=_CONNECT_SECONDS)


def _trust(profile: "Profile") -> Any:
    """Whose certificates are believed."""
    if profile.ca is None:
        return True
    import ssl

    try:
        return ssl.create_default_context(cafile=str(profile.ca))
    except (OSError, ssl.SSLError) as error:
        raise typer.BadParameter(
            Message("certificates in {file}: {problem}", file=profile.ca, problem=error)
        ) from None


def _plain_query(query: Mapping[str, Any]) -> dict[str, Any]:
    """What was not given is left out."""
    return {name: value for name, value in query.items() if value is not None and value != ""}


def _document(answer: "httpx.Response") -> Any:
    if answer.status_code == 204 or not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        raise AnswerStrange(
            answer.request.method, answer.request.url.path, Message("what is no JSON document")
        ) from None


def _problem(answer: "httpx.Response") -> Exception:
    """The error that an answer with an error status tells."""
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict) or "code" not in found:
        status = Message("status {status}", status=answer.status_code)
        return AnswerStrange(answer.request.method, answer.request.url.path, status)
    code = str(found["code"])
    return ServiceProblem(
        str(found.get("detail") or found.get("title") or code),
        code=code,
        kind=_kind(found, answer.status_code, code),
        hint=str(found.get("hint") or ""),
        retry=str(found.get("retry") or "never"),
        details={key: value for key, value in found.items() if key not in _PROBLEM_FIELDS},
    )


def _kind(found: Mapping[str, Any], status: int, code: str) -> ErrorKind:
    try:
        return ErrorKind(found["kind"])
    except (KeyError, ValueError):
        return _KINDS.get(status) or kind_of(code)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
