"""Who asks the API: a token, or the socket in the home."""

from typing import cast

from django.http import HttpRequest

from dozo.api.errors import NoDryRun
from dozo.services.access import Actor, Role, Scope
from dozo.services.access import ActorKind as Kind
from dozo.web.current import current_of, source_of

LOCAL = Actor(kind=Kind.USER, name="local", role=Role.OPERATOR)
"""Whoever can open the socket in the home: root and the service's own user."""


def scope_of(request: HttpRequest, *, for_job: bool = False) -> Scope:
    """The site as whoever asks sees it.

    Raises :class:`NoDryRun` where only a job (``for_job``) could show what it would do: whoever
    asks for that must not find it done.
    """
    if "dry_run" in request.GET and request.method != "GET" and not for_job:
        raise NoDryRun
    actor = cast("Actor", request.auth)  # type: ignore[attr-defined]  # ninja puts it there
    return Scope(current_of(request).site, actor, source=source_of(request))


def token_of(request: HttpRequest) -> str:
    """The token that came with the request; empty without one."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
