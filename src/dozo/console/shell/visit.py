"""A visit to a page: who asks, in which language and time zone, and how a page is answered."""

import functools
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo, available_timezones

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone, translation

from dozo.catalog.databases import PASSING
from dozo.catalog.errors import CatalogLost
from dozo.console.shell import looks, pages
from dozo.console.shell.csrf import View, guarded
from dozo.console.shell.errors import FormStale
from dozo.model import clock, language
from dozo.model.errors import DozoError, ErrorKind
from dozo.services import job_queue, login, operations, sessions
from dozo.services.access import Operation, Scope, Verdict, decide, permit
from dozo.services.access_errors import LoginRequired, TokenInvalid
from dozo.services.access_rules import BEFORE_PASSWORD_CHANGE
from dozo.services.sessions import AccountView
from dozo.web.current import Current, current_of, source_of
from dozo.web.errors import Unexpected
from dozo.web.text import is_clean

log = logging.getLogger(__name__)

SESSION = "dozo_session"
LANGUAGE = "dozo_language"
THEME = "dozo_theme"
ZONE = "dozo_zone"
THEMES = ("auto", "light", "dark")

_STATUSES = {
    ErrorKind.FAILED: 500,
    ErrorKind.USAGE: 422,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.REFUSED: 409,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.THROTTLED: 429,
    ErrorKind.DAMAGED: 500,
    ErrorKind.UNAVAILABLE: 503,
}
_OPERATIONS = {one.value.replace(".", "_").replace("-", "_"): one for one in Operation}


def status_of(error: DozoError) -> int:
    """The HTTP status of the page that tells of an error."""
    return _STATUSES[error.kind]


class May:
    """What the actor's role permits, for templates: ``{% if may.schedule_create %}``.

    It decides what is offered; what is done is checked where it is done.
    """

    def __init__(self, scope: Scope) -> None:
        self._actor = scope.actor

    def __getitem__(self, name: str) -> bool:
        found = decide(self._actor, _OPERATIONS[name], self._actor.tenant)
        return found is Verdict.ALLOWED


@dataclass(kw_only=True)
class Visit:
    """One request for a page by somebody who has logged in.

    ``account`` is who it is; ``back`` the address of this page, with its query.
    """

    request: HttpRequest
    scope: Scope
    account: AccountView
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def current(self) -> Current:
        """What is served."""
        return current_of(self.request)

    @property
    def may(self) -> May:
        """What is offered."""
        return May(self.scope)

    @property
    def is_post(self) -> bool:
        """Whether something is to be done."""
        return self.request.method == "POST"

    @property
    def is_fragment(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return is_fragment(self.request)

    def query(self, name: str, default: str = "") -> str:
        """A value of the address, without what no text holds."""
        found = self.request.GET.get(name, default).strip()
        return found[:255] if is_clean(found) else default

    def said(self, name: str, default: str = "") -> str:
        """A value of the form that was sent, without spaces around it."""
        found = str(self.request.POST.get(name, default)).strip()
        return found if is_clean(found) else default

    def said_all(self, name: str) -> list[str]:
        """All values of a field that may be there several times."""
        return [one for one in self.request.POST.getlist(name) if one and is_clean(one)]

    def ticked(self, name: str) -> bool:
        """Whether a box is ticked in the form that was sent."""
        return name in self.request.POST

    def render(
        self, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
    ) -> HttpResponse:
        """A page, or with a ``template`` that is a part of one, that part."""
        return HttpResponse(self.text(template, context), status=status)

    def text(self, template: str, context: Mapping[str, Any] | None = None) -> str:
        """The same as text."""
        common = {**_common(self.request), "visit": self, "may": self.may, "account": self.account}
        return pages.rendered(template, {**common, **(context or {})}, self.request)

    def go(self, address: str, *, note: str = "", **about: str) -> HttpResponse:
        """Lead on to another page, which shows the note of that name (``shell/notes.html``)."""
        if note:
            joint = "&" if "?" in address else "?"
            address += joint + urlencode({"note": note, **about})
        if self.is_fragment:
            return HttpResponse(headers={"HX-Redirect": address})
        return HttpResponseRedirect(address)

    def ask(self, kind: str, params: Mapping[str, Any], *, go_to: str = "") -> HttpResponse:
        """Queue a job and lead on to its page, or to ``go_to``; the same form asks only once.

        Raises what the kind's ``prepare`` raises.
        """
        job = self.submit(kind, params)
        if go_to:
            return self.go(go_to, note="asked", job=job)
        return self.go(f"/jobs/{job}")

    def submit(self, kind: str, params: Mapping[str, Any], *, part: str = "") -> str:
        """Queue a job, and its id; ``part`` tells several of one form from each other.

        Raises what the kind's ``prepare`` raises.
        """
        once = self.said("once")
        return job_queue.submit(
            self.scope,
            operations.kind(kind),
            {name: value for name, value in params.items() if value is not None},
            idempotency_key=once + part if once else None,
        ).job_id

    def plan(self, kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """What a job would do; nothing is queued. Raises what asking for it would raise."""
        said = {name: value for name, value in params.items() if value is not None}
        return job_queue.plan(self.scope, operations.kind(kind), said)

    def refused(self, error: DozoError) -> HttpResponse:
        """The page that says why something was not done, and what to do next."""
        return self.render("shell/refused.html", _about(error), status=status_of(error))


def page(
    operation: Operation | None = None, *, methods: tuple[str, ...] = ("GET",)
) -> Callable[[View], View]:
    """Make a view of a function that takes a :class:`Visit` and what the address names.

    Whoever has not logged in is led to the login. ``operation`` is checked first, without an
    object; what it is done to is checked by the service. A ``DozoError`` becomes a page that says
    what happened and what to do.
    """

    def wrap(view: View) -> View:
        @functools.wraps(view)
        @guarded
        def inside(request: HttpRequest, **named: Any) -> HttpResponse:
            if request.method not in (*methods, "HEAD"):
                return HttpResponse(status=405, headers={"Allow": ", ".join(methods)})
            try:
                visit = _visit(request)
            except (LoginRequired, TokenInvalid):
                return to_login(request)
            with _settled(request, visit.account):
                return _answered(visit, operation, view, named)

        return _caught(inside)

    return wrap


def _answered(
    visit: Visit, operation: Operation | None, view: View, named: dict[str, Any]
) -> HttpResponse:
    if visit.account.must_change_password and operation not in BEFORE_PASSWORD_CHANGE:
        return visit.go("/account/password")
    try:
        if operation is not None:
            permit(visit.scope.actor, operation, visit.scope.actor.tenant)
        return view(visit, **named)
    except DozoError as error:
        return visit.refused(error)


def open_page(*, methods: tuple[str, ...] = ("GET",)) -> Callable[[View], View]:
    """The same for a page that needs no login; the function takes the request."""

    def wrap(view: View) -> View:
        @functools.wraps(view)
        @guarded
        def inside(request: HttpRequest, **named: Any) -> HttpResponse:
            if request.method not in (*methods, "HEAD"):
                return HttpResponse(status=405, headers={"Allow": ", ".join(methods)})
            with _settled(request, None):
                return view(request, **named)

        return _caught(inside)

    return wrap


def _caught(inside: View) -> View:
    """Whatever comes out of a view becomes a page."""

    def caught(request: HttpRequest, **named: Any) -> HttpResponse:
        try:
            return inside(request, **named)
        except DozoError as error:
            return refuse(request, error)
        except PASSING as error:
            log.warning("no page at %s: %s", request.path, error)
            return refuse(request, CatalogLost("it does not answer"))
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits for a page
            return unexpected(request, error)

    return caught


def _visit(request: HttpRequest) -> Visit:
    """Whoever the cookie stands for. Raises ``LoginRequired``, ``TokenInvalid``."""
    token = request.COOKIES.get(SESSION, "")
    if not token:
        raise LoginRequired
    site = current_of(request).site
    actor = login.authenticate(site, token)
    if actor.scopes is not None:
        # A token that was made for a program opens no pages.
        raise TokenInvalid
    scope = Scope(site, actor, source=source_of(request))
    return Visit(request=request, scope=scope, account=sessions.account(scope))


@contextmanager
def _settled(request: HttpRequest, account: AccountView | None) -> Iterator[None]:
    with (
        translation.override(language_of(request, account)),
        timezone.override(zone_of(request, account)),
    ):
        yield


def language_of(request: HttpRequest, account: AccountView | None = None) -> str:
    """What was chosen here, else what the account says, else what the browser asks for."""
    chosen = request.COOKIES.get(LANGUAGE, "")
    if chosen in language.LANGUAGES:
        return chosen
    if account is not None and account.language:
        return account.language
    return language.best(request.headers.get("Accept-Language", ""))


def zone_of(request: HttpRequest, account: AccountView | None = None) -> tzinfo:
    """The time zone of the account, else the browser's own, else UTC."""
    name = account.time_zone if account is not None else ""
    name = name or request.COOKIES.get(ZONE, "")
    return ZoneInfo(name) if name in available_timezones() else ZoneInfo("UTC")


def theme_of(request: HttpRequest) -> str:
    """Light, dark, or as the browser has it."""
    chosen = request.COOKIES.get(THEME, "")
    return chosen if chosen in THEMES else THEMES[0]


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of a page."""
    return request.headers.get("HX-Request") == "true"


def to_login(request: HttpRequest) -> HttpResponse:
    """Lead to the login, and from there back to this page."""
    address = "/login"
    if request.method == "GET" and request.get_full_path() != "/":
        address += "?next=" + quote(request.get_full_path(), safe="")
    if is_fragment(request):
        return HttpResponse(headers={"HX-Redirect": "/login"})
    return HttpResponseRedirect(address)


def set_cookie(
    request: HttpRequest, response: HttpResponse, name: str, value: str, *, seconds: int | None
) -> None:
    """A cookie that scripts do not see and other sites do not send; ``seconds`` None: until
    the browser closes."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        httponly=True,
        secure=request.is_secure(),
        samesite="Lax",
    )


def render_open(
    request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200
) -> HttpResponse:
    """A page for somebody who has not logged in."""
    text = pages.rendered(template, {**_common(request), **context}, request)
    return HttpResponse(text, status=status)


def _common(request: HttpRequest) -> dict[str, Any]:
    return {
        "site_name": current_of(request).site.settings.name,
        "theme": theme_of(request),
        "themes": looks.THEMES,
        "languages": looks.LANGUAGES,
        "path": request.path,
        "here": request.get_full_path(),
        "note": request.GET.get("note", ""),
        "note_job": request.GET.get("job", ""),
        "now": clock.now(),
    }


def _about(error: DozoError) -> dict[str, Any]:
    wanted = translation.get_language() or "en"
    return {
        "error": error,
        "code": error.code,
        "kind": error.kind.value,
        "message": error.message(wanted),
        "hint": error.hint_text(wanted),
    }


def refuse(request: HttpRequest | None, error: DozoError) -> HttpResponse:
    """A page about an error from before any view, or from one that needs no login."""
    status = 403 if isinstance(error, FormStale) else status_of(error)
    if request is None:
        return HttpResponse(f"{error}. {error.hint_text()}", status=status, content_type=_TEXT)
    with _settled(request, None):
        return render_open(request, "shell/refused.html", _about(error), status=status)


_TEXT = "text/plain; charset=utf-8"


def unexpected(request: HttpRequest, error: BaseException) -> HttpResponse:
    """A defect: the visitor gets a reference, the log gets the rest."""
    reference = secrets.token_hex(6)
    log.error(
        "unexpected error %s in %s %s", reference, request.method, request.path, exc_info=error
    )
    return refuse(request, Unexpected(reference))
