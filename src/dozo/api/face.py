"""The API as a face of the application."""

from dozo.api import problems
from dozo.web import Face

FACE = Face(
    prefix="/api/",
    urls="dozo.api.urls",
    content_security_policy="default-src 'none'; frame-ancestors 'none'",
    refuse=problems.refuse,
)
