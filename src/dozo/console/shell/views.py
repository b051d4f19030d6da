"""Coming in, going out, and the choice of language and looks."""

from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme

from dozo.console.shell.visit import (
    LANGUAGE,
    SESSION,
    THEME,
    THEMES,
    ZONE,
    Visit,
    open_page,
    page,
    render_open,
    set_cookie,
    status_of,
)
from dozo.model import language
from dozo.model.errors import DozoError
from dozo.services import oidc, sessions
from dozo.services.access import Operation
from dozo.services.access_errors import LoginFailed, SecondFactorRequired
from dozo.web.current import current_of, source_of
from dozo.web.text import is_clean

ELSEWHERE = "dozo_elsewhere"
_ELSEWHERE_SECONDS = 600
_YEAR_SECONDS = 365 * 86400
_DAY_SECONDS = 86400
_SESSION_DAYS = 1
_REMEMBERED_DAYS = 14


@open_page(methods=("GET", "POST"))
def log_in(request: HttpRequest) -> HttpResponse:
    """The form, and logging in."""
    onward = _within(request.POST.get("next") or request.GET.get("next", ""))
    if request.method != "POST":
        context: dict[str, Any] = {"next": onward, "oidc": _elsewhere(request)}
        return render_open(request, "shell/login.html", context)
    username = request.POST.get("username", "")
    password = request.POST.get("password", "")
    days = _REMEMBERED_DAYS if "remember" in request.POST else _SESSION_DAYS
    try:
        made = sessions.open_session(
            current_of(request).site,
            username if is_clean(username) else "",
            password,
            name="Admin Console",
            days=days,
            source=source_of(request),
        )
    except SecondFactorRequired:
        pending = sessions.pending(current_of(request).site, username)
        context = {"next": onward, "pending": pending, "days": days}
        return render_open(request, "shell/login_code.html", context)
    except DozoError as error:
        context = {"next": onward, "username": username, "problem": error}
        context["oidc"] = _elsewhere(request)
        return render_open(request, "shell/login.html", context, status=401)
    return _entered(request, made.token, onward, days)


@open_page(methods=("POST",))
def log_in_code(request: HttpRequest) -> HttpResponse:
    """The second step: the code of an authenticator app."""
    onward, pending = _within(request.POST.get("next", "")), request.POST.get("pending", "")
    days = _REMEMBERED_DAYS if request.POST.get("days") == str(_REMEMBERED_DAYS) else _SESSION_DAYS
    try:
        made = sessions.finish_session(
            current_of(request).site,
            pending,
            request.POST.get("code", ""),
            name="Admin Console",
            days=days,
            source=source_of(request),
        )
    except LoginFailed:
        return HttpResponseRedirect("/login?note=too-late")
    except DozoError as error:
        context = {"next": onward, "pending": pending, "days": days, "problem": error}
        return render_open(request, "shell/login_code.html", context, status=401)
    return _entered(request, made.token, onward, days)


@open_page()
def log_in_elsewhere(request: HttpRequest) -> HttpResponse:
    """Lead to the identity provider."""
    begun = oidc.begin(current_of(request).site)
    response = HttpResponseRedirect(begun.address)
    kept = f"{begun.kept} {_within(request.GET.get('next', ''))}"
    set_cookie(request, response, ELSEWHERE, kept, seconds=_ELSEWHERE_SECONDS)
    return response


@open_page()
def back_from_elsewhere(request: HttpRequest) -> HttpResponse:
    """Take up what the identity provider says."""
    kept, _, onward = request.COOKIES.get(ELSEWHERE, "").partition(" ")
    try:
        made = oidc.finish(
            current_of(request).site,
            kept,
            state=request.GET.get("state", ""),
            code=request.GET.get("code", ""),
            source=source_of(request),
        )
    except DozoError as error:
        context = {"next": _within(onward), "problem": error, "oidc": _elsewhere(request)}
        return render_open(request, "shell/login.html", context, status=status_of(error))
    response = _entered(request, made.token, _within(onward), _SESSION_DAYS)
    response.delete_cookie(ELSEWHERE)
    return response


def _elsewhere(request: HttpRequest) -> str | None:
    """What the button of the identity provider says; None without one."""
    site = current_of(request).site
    if not oidc.is_on(site):
        return None
    return site.settings.oidc_label or urlsplit(site.settings.oidc_issuer).hostname


def _entered(request: HttpRequest, token: str, onward: str, days: int) -> HttpResponse:
    response = HttpResponseRedirect(onward)
    seconds = days * _DAY_SECONDS if days == _REMEMBERED_DAYS else None
    set_cookie(request, response, SESSION, token, seconds=seconds)
    zone = request.POST.get("zone", "")
    if zone and len(zone) < 64 and is_clean(zone):
        set_cookie(request, response, ZONE, zone, seconds=_YEAR_SECONDS)
    return response


@page(Operation.SESSION_LOGOUT, methods=("POST",))
def log_out(visit: Visit) -> HttpResponse:
    """End the session."""
    sessions.close_session(visit.scope, visit.request.COOKIES[SESSION])
    response = visit.go("/login?note=logged-out")
    response.delete_cookie(SESSION)
    return response


@open_page(methods=("POST",))
def preferences(request: HttpRequest) -> HttpResponse:
    """Remember the chosen language or looks in this browser."""
    response = HttpResponseRedirect(_within(request.POST.get("next", "")))
    wanted, theme = request.POST.get("language"), request.POST.get("theme")
    if wanted in language.LANGUAGES:
        set_cookie(request, response, LANGUAGE, wanted, seconds=_YEAR_SECONDS)
    if theme in THEMES:
        set_cookie(request, response, THEME, theme, seconds=_YEAR_SECONDS)
    return response


def _within(address: str) -> str:
    """An address of this console; anything else leads to the first page."""
    fits = url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return address if fits and address.startswith("/") and is_clean(address) else "/"
