"""The console as a face of the application."""

from dozo.console.shell.visit import refuse
from dozo.web import Face

# Everything comes from here, nothing from inside a page; pictures may stand in the page itself.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

FACE = Face(
    prefix="/",
    urls="dozo.console.urls",
    content_security_policy=_POLICY,
    refuse=refuse,
)
