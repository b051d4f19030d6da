"""The ASGI application: limits, security headers, and Django behind them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from dozo.catalog.store import set_up_django

set_up_django()

from django.core.handlers.asgi import ASGIHandler, ASGIRequest  # noqa: E402  needs the settings
from django.http import HttpResponse  # noqa: E402

from dozo.api import errors, problems  # noqa: E402
from dozo.api.current import STATE, Current  # noqa: E402

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MOST_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 30.0
URLS = "dozo.api.urls"

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_NO_STORE = (b"cache-control", b"no-store")
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class _Handler(ASGIHandler):
    """Django's handler, with the API's own addresses and its own way to refuse."""

    def create_request(
        self, scope: Mapping[str, Any], body_file: Any
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponse]:
        request, _ = super().create_request(scope, body_file)
        if request is None:
            return None, problems.response_of(errors.RouteUnknown())
        request.urlconf = URLS
        return request, None

    async def get_response_async(self, request: Any) -> "HttpResponseBase":
        response = await super().get_response_async(request)
        if response.status_code == 405 and isinstance(response, HttpResponse):
            return problems.response_of(errors.MethodNotAllowed(_sorted(response["Allow"])))
        return response


def _sorted(methods: str) -> str:
    return ", ".join(sorted(one.strip() for one in methods.split(",")))


def application(current: Current) -> Application:
    """The API of one site as an ASGI application; requests run in threads of their own."""
    handler = _Handler()

    async def serve(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        guarded = _guarded(send, secure=scope.get("scheme") == "https")
        try:
            body = await asyncio.wait_for(_read(scope, receive), BODY_SECONDS)
        except TimeoutError:
            await _answer(guarded, problems.response_of(errors.BodyTooSlow(BODY_SECONDS)))
            return
        except errors.BodyTooLarge as error:
            await _answer(guarded, problems.response_of(error))
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


def _guarded(send: Send, *, secure: bool) -> Send:
    """``send`` that adds the headers which every answer has."""

    async def add(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            wanted = [*_HEADERS, _NO_STORE, *([_HSTS] if secure else [])]
            headers += [(name, value) for name, value in wanted if name not in present]
            message = {**message, "headers": headers}
        await send(message)

    return add


async def _answer(send: Send, response: HttpResponse) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
