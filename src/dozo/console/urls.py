"""The addresses of the console, part by part."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from dozo.console.shell import visit
from dozo.console.shell.errors import PageUnknown
from dozo.console.shell.static import static

_PARTS = (
    "shell",
    "overview",
    "servers",
    "snapshots",
    "restore",
    "schedules",
    "activity",
    "site",
    "people",
    "account",
    "guide",
)

urlpatterns = [
    path("static/<str:version>/<path:name>", static, name="static"),
    *[path("", include(f"dozo.console.{part}.urls")) for part in _PARTS],
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    """An address that leads nowhere."""
    return visit.refuse(request, PageUnknown())


handler400 = handler404
handler403 = handler404


def handler500(request: HttpRequest) -> HttpResponse:
    """A defect outside of any page."""
    return visit.unexpected(request, RuntimeError("outside of any page"))
