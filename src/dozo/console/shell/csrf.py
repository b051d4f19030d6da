"""Django's guard against forged requests, with cookies as safe as the connection."""

from collections.abc import Callable
from typing import cast

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.decorators import decorator_from_middleware

from dozo.console.shell.errors import FormStale

View = Callable[..., HttpResponse]


class _Guard(CsrfViewMiddleware):
    """Raises :class:`FormStale` for a request that did not come from a page of the console."""

    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:  # noqa: ARG002
        raise FormStale(reason)

    def _set_csrf_cookie(self, request: HttpRequest, response: HttpResponse) -> None:
        super()._set_csrf_cookie(request, response)  # type: ignore[misc]
        name = "dozo_csrf"
        if name in response.cookies and request.is_secure():
            response.cookies[name]["secure"] = True


guarded = cast("Callable[[View], View]", decorator_from_middleware(_Guard))
"""Wraps a view."""
