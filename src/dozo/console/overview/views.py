"""The first page: what is protected, what runs, what needs attention."""

from django.http import HttpResponse

from dozo.console.shell.visit import Visit, page
from dozo.services import overview as service
from dozo.services.access import Operation


@page(Operation.SERVER_LIST)
def overview(visit: Visit) -> HttpResponse:
    """Is everything protected?"""
    found = service.overview(visit.scope)
    return visit.render("overview/overview.html", {"overview": found})
