"""One's own account: what is known of it, the password, the open sessions."""

from zoneinfo import available_timezones

from django.http import HttpResponse

from dozo.console.account.errors import RepeatDiffers
from dozo.console.shell.visit import LANGUAGE, SESSION, Visit, page, set_cookie
from dozo.model.errors import DozoError
from dozo.services import accounts, second_factor
from dozo.services.access import Operation
from dozo.services.accounts import TokenView

_YEAR_SECONDS = 365 * 86400
# What the database of zones has beside the places that people live at.
_NO_REGIONS = frozenset({"Etc", "SystemV", "US", "Brazil", "Canada", "Chile", "Mexico"})


@page(Operation.ACCOUNT_SHOW, methods=("GET", "POST"))
def account(visit: Visit) -> HttpResponse:
    """Who somebody is here; with what was sent, changed."""
    problem = None
    given = {
        "display_name": visit.account.display_name,
        "email": visit.account.email,
        "language": visit.account.language,
        "time_zone": visit.account.time_zone,
    }
    if visit.is_post:
        given = {name: visit.said(name) for name in given}
        try:
            accounts.update_account(visit.scope, **given)
        except DozoError as error:
            problem = error
        else:
            return _saved(visit, given["language"])
    context = {
        "problem": problem,
        "given": given,
        "regions": _regions(),
        "sessions": _sessions(visit),
        "own": own_prefix(visit),
        "factor": second_factor.show(visit.scope),
    }
    return visit.render("account/account.html", context, status=422 if problem else 200)


def _saved(visit: Visit, language: str) -> HttpResponse:
    response = visit.go("/account", note="saved")
    # What this browser was told before would go before the account.
    if language:
        set_cookie(visit.request, response, LANGUAGE, language, seconds=_YEAR_SECONDS)
    else:
        response.delete_cookie(LANGUAGE)
    return response


def _regions() -> list[tuple[str, list[tuple[str, str]]]]:
    """Time zones by region, each with the place alone as its label."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(available_timezones()):
        region, slash, place = name.partition("/")
        if slash and region not in _NO_REGIONS:
            found.setdefault(region, []).append((name, place.replace("_", " ")))
    return [("UTC", [("UTC", "UTC")]), *found.items()]


def own_prefix(visit: Visit) -> str:
    """The public part of the token that this visit's cookie holds."""
    return "".join(visit.request.COOKIES.get(SESSION, "").split("_")[1:2])


def _sessions(visit: Visit) -> list[TokenView]:
    if not visit.may["token_list"]:
        return []
    own = own_prefix(visit)
    found = [one for one in accounts.list_tokens(visit.scope) if one.session and one.valid]
    return sorted(found, key=lambda one: one.prefix != own)


@page(Operation.ACCOUNT_CHANGE_PASSWORD, methods=("GET", "POST"))
def password(visit: Visit) -> HttpResponse:
    """Change one's own password; all other sessions end."""
    problem: DozoError | None = None
    if visit.is_post:
        # Spaces around a password belong to it.
        old, new, again = (
            visit.request.POST.get(name, "")[:2000] for name in ("old", "new", "again")
        )
        try:
            if new != again:
                raise RepeatDiffers
            accounts.change_password(visit.scope, old, new, keep_session=own_prefix(visit))
        except DozoError as error:
            problem = error
        else:
            return visit.go("/account", note="password-changed")
    must = visit.account.must_change_password
    context = {"problem": problem, "must": must}
    return visit.render("account/password.html", context, status=422 if problem else 200)


@page(Operation.TOKEN_REVOKE, methods=("POST",))
def end_session(visit: Visit, prefix: str) -> HttpResponse:
    """End one of one's own sessions."""
    accounts.revoke_token(visit.scope, prefix)
    return visit.go("/account", note="done")


@page(Operation.TOKEN_REVOKE, methods=("POST",))
def end_others(visit: Visit) -> HttpResponse:
    """End all sessions but this one."""
    own = own_prefix(visit)
    for one in accounts.list_tokens(visit.scope):
        if one.session and one.valid and one.prefix != own:
            accounts.revoke_token(visit.scope, one.prefix)
    return visit.go("/account", note="done")
