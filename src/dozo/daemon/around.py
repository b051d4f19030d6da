"""What lies around the API: who speaks from this host, the access log, health and metrics."""

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from dozo.model import clock

log = logging.getLogger("dozo.access")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
# What is sent need not be changeable; what is received is.
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""


class Endpoint(Protocol):
    """Answers a path by itself: status, content type, body."""

    async def __call__(self, scope: Scope, /) -> "tuple[int, str, bytes]":
        """The answer to a GET."""


def as_json(status: int, body: dict[str, Any]) -> "tuple[int, str, bytes]":
    """An answer of an :class:`Endpoint`."""
    return status, "application/json", json.dumps(body).encode()


class Around:
    """The application of one listener. ``local`` is said by the listener, never by a client."""

    def __init__(self, app: App, endpoints: "dict[str, Endpoint]", *, local: bool) -> None:
        self._app = app
        self._endpoints = endpoints
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and log it."""
        if scope["type"] != "http":
            return
        scope = {**scope, "state": {**scope.get("state", {}), "local": self._local}}
        began = clock.monotonic()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, noting)
        finally:
            self._log(scope, status, clock.monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] not in {"GET", "HEAD"}:
            code, kind, body = as_json(405, {"status": "method not allowed"})
        else:
            code, kind, body = await endpoint(scope)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if code == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        # The path alone: queries may hold what is nobody's business.
        client = scope.get("client")
        level = logging.DEBUG if scope["path"] in self._endpoints else logging.INFO
        path = scope["path"].encode("unicode_escape").decode()[:500]
        log.log(
            level,
            "%s %s %s",
            scope["method"],
            path,
            status or "-",
            extra={
                "facts": {
                    "client": "local" if self._local else (client[0] if client else "unknown"),
                    "ms": round(seconds * 1000, 1),
                }
            },
        )
