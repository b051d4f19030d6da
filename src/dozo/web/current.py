"""What is served, and what a request says about where it comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django.http import HttpRequest

from dozo.services.site import Site

STATE = "dozo.current"


@dataclass(frozen=True, kw_only=True)
class Current:
    """The site that is served. It stays open for as long as the application runs.

    ``cancel`` tells the worker that a run of a job is not wanted any more; ``alive`` says which of
    the worker's loops go on.
    """

    site: Site
    cancel: Callable[[str], object]
    alive: Callable[[], dict[str, bool]]


def current_of(request: HttpRequest) -> Current:
    """What this request is served from, with the settings as they are now."""
    current = cast("Current", asgi_scope(request)[STATE])
    current.site.keep_up()
    return current


def asgi_scope(request: HttpRequest) -> dict[str, Any]:
    """The server's own description of the request."""
    return cast("dict[str, Any]", request.scope)  # type: ignore[attr-defined]  # an ASGI request


def is_local(request: HttpRequest) -> bool:
    """Whether it came over the socket in the home. Only the server can say that."""
    return bool((asgi_scope(request).get("state") or {}).get("local"))


def source_of(request: HttpRequest) -> str:
    """The address it came from."""
    if is_local(request):
        return "local"
    client = asgi_scope(request).get("client")
    return str(client[0]) if client else ""
