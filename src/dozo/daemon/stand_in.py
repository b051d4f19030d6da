"""Stands where the API will: answers that there is nothing yet."""

from collections.abc import Callable
from dataclasses import dataclass

from dozo.daemon.around import App, Receive, Scope, Send
from dozo.services.admission import Limits
from dozo.services.site import Site


@dataclass(frozen=True, kw_only=True)
class Current:
    """What the API works with."""

    site: Site
    limits: Limits
    cancel: Callable[[str], object]
    alive: Callable[[], dict[str, bool]]


def application(_current: Current) -> App:
    """The ASGI application."""

    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return answer
