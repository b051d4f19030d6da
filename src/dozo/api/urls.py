"""The addresses of the API."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from dozo.api import problems
from dozo.api.root import api, openapi

urlpatterns = [
    path("api/v1/openapi.json", openapi),
    path("api/v1/", api.urls),
]


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django refuses by itself."""
    return problems.of_missing(request, exception)


handler403 = handler400
handler404 = problems.of_missing


def handler500(request: HttpRequest) -> HttpResponse:
    """A defect outside of any operation."""
    return problems.of_unexpected(request, RuntimeError("outside of any operation"))
