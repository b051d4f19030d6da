"""The second factor: setting it up with an app, and ending it."""

import segno
from django.http import HttpResponse

from dozo.console.shell.visit import Visit, page, status_of
from dozo.model.errors import DozoError
from dozo.services import second_factor
from dozo.services.access import Operation
from dozo.services.second_factor import FactorBegun


@page(Operation.ACCOUNT_SECOND_FACTOR, methods=("GET", "POST"))
def set_up(visit: Visit) -> HttpResponse:
    """Begin, show the secret, take the first code; then the spare codes, this once."""
    if not visit.is_post:
        made = second_factor.begun(visit.scope)
        return _shown(visit, made) if made else visit.render("account/factor_begin.html")
    if not visit.said("code"):
        return _shown(visit, second_factor.begin(visit.scope))
    try:
        done = second_factor.confirm(visit.scope, visit.said("code"))
    except DozoError as error:
        begun = second_factor.begun(visit.scope)
        if begun is None:
            raise
        return _shown(visit, begun, error)
    return visit.render("account/factor_on.html", {"spare_codes": done.spare_codes})


def _shown(visit: Visit, begun: FactorBegun, problem: DozoError | None = None) -> HttpResponse:
    picture = segno.make(begun.address, error="m").svg_data_uri(scale=5, border=2, light="#fff")
    context = {"begun": begun, "picture": picture, "problem": problem}
    status = status_of(problem) if problem else 200
    return visit.render("account/factor_set_up.html", context, status=status)


@page(Operation.ACCOUNT_SECOND_FACTOR, methods=("GET", "POST"))
def remove(visit: Visit) -> HttpResponse:
    """Log in with the password alone again."""
    if not visit.is_post:
        return visit.render("account/factor_remove.html")
    try:
        second_factor.remove(visit.scope, visit.request.POST.get("password", ""))
    except DozoError as error:
        context = {"problem": error}
        return visit.render("account/factor_remove.html", context, status=status_of(error))
    return visit.go("/account", note="done")
