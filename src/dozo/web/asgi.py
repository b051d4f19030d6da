"""The ASGI application: limits, security headers, and Django behind them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from dozo.catalog.store import set_up_django

set_up_django()

from django.core.handlers.asgi import ASGIHandler, ASGIRequest  # noqa: E402  needs the settings
from django.http import HttpRequest, HttpResponse  # noqa: E402

from dozo.model.errors import DozoError  # noqa: E402
from dozo.web import errors  # noqa: E402
from dozo.web.current import STATE, Current  # noqa: E402

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MOST_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 30.0

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not "no-referrer": then browsers hide from whose page a form comes.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_NO_STORE = (b"cache-control", b"no-store")
_HSTS = (b"strict-transport-security", b"max-age=31536000")


@dataclass(frozen=True, kw_only=True)
class Face:
    """What answers under a path: its addresses, what its pages may load, how it refuses.

    ``refuse`` makes the answer of an error that came before any operation.
    """

    prefix: str
    urls: str
    content_security_policy: str
    refuse: Callable[[HttpRequest | None, DozoError], HttpResponse]


class _Handler(ASGIHandler):
    """Django's handler, with a face's own addresses and its own way to refuse."""

    def __init__(self, face: Face) -> None:
        super().__init__()
        self._face = face

    async def read_body(self, receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> BytesIO:
        """The body, which is here already; Django would put it into a temporary file."""
        message = await receive()
        return BytesIO(message.get("body", b""))

    def create_request(
        self, scope: Mapping[str, Any], body_file: Any
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponse]:
        request, _ = super().create_request(scope, body_file)
        if request is None:
            return None, self._face.refuse(None, errors.RouteUnknown())
        request.urlconf = self._face.urls
        return request, None

    async def get_response_async(self, request: Any) -> "HttpResponseBase":
        response = await super().get_response_async(request)
        if response.status_code == 405 and isinstance(response, HttpResponse):
            refusal = errors.MethodNotAllowed(_sorted(response["Allow"]))
            return self._face.refuse(request, refusal)
        return response


def _sorted(methods: str) -> str:
    return ", ".join(sorted(one.strip() for one in methods.split(",")))


def application(current: Current, faces: Sequence[Face]) -> Application:
    """One site as an ASGI application; requests run in threads of their own.

    The first of ``faces`` whose prefix fits answers; the last one's has to be ``/``.
    """
    handlers = [(face, _Handler(face)) for face in faces]

    async def serve(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        face, handler = next(
            (one for one in handlers if scope["path"].startswith(one[0].prefix)), handlers[-1]
        )
        guarded = _guarded(send, face, secure=scope.get("scheme") == "https")
        try:
            body = await asyncio.wait_for(_read(scope, receive), BODY_SECONDS)
        except TimeoutError:
            await _answer(guarded, face.refuse(None, errors.BodyTooSlow(BODY_SECONDS)))
            return
        except errors.BodyTooLarge as error:
            await _answer(guarded, face.refuse(None, error))
            return
        if body is None:
            return
        await handler({**scope, STATE: current}, _replayed(body, receive), guarded)

    return serve


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _read(scope: MutableMapping[str, Any], receive: Receive) -> bytes | None:
    """The whole body; None where the client went away. Raises :class:`BodyTooLarge`."""
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > MOST_BODY_BYTES):
            raise errors.BodyTooLarge(MOST_BODY_BYTES)
    body = BytesIO()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body.write(message.get("body", b""))
        if body.tell() > MOST_BODY_BYTES:
            raise errors.BodyTooLarge(MOST_BODY_BYTES)
        if not message.get("more_body", False):
            return body.getvalue()


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _guarded(send: Send, face: Face, *, secure: bool) -> Send:
    """``send`` that adds the headers which every answer has."""
    policy = (b"content-security-policy", face.content_security_policy.encode())
    wanted = [*_HEADERS, policy, _NO_STORE, *([_HSTS] if secure else [])]

    async def add(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in wanted if name not in present]
            message = {**message, "headers": headers}
        await send(message)

    return add


async def _answer(send: Send, response: HttpResponse) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
