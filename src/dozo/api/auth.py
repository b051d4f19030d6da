"""Who asks: a bearer token, or the socket in the home."""

from typing import ClassVar

from django.http import HttpRequest

from dozo.api.current import LOCAL, token_of
from dozo.services import login
from dozo.services.access import Actor
from dozo.services.access_errors import LoginRequired
from dozo.web.current import current_of, is_local


class Bearer:
    """``Authorization: Bearer dozo_…``; raises ``LoginRequired``, ``TokenInvalid``."""

    openapi_security_schema: ClassVar[dict[str, str]] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A token, from POST /login or POST /tokens.",
    }

    def __call__(self, request: HttpRequest) -> Actor:
        token = token_of(request)
        if token:
            return login.authenticate(current_of(request).site, token)
        if is_local(request) and "Authorization" not in request.headers:
            return LOCAL
        raise LoginRequired
