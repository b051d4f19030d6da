"""Sessions: what a login gives to a program that cannot keep a cookie.

A session is a token that stands for its user in person: it may do what no other token may (change
the password, make tokens), and it ends at a time, with the log-out, or with a new password.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind
from dozo.services import login, second_factor
from dozo.services.access import Actor, Operation, Scope
from dozo.services.access_errors import (
    LoginFailed,
    SecondFactorRequired,
    SecondFactorWrong,
)
from dozo.services.accounts import IssuedToken, TokenView, seal_token, token_view
from dozo.services.audit import audited
from dozo.services.login import token_hash
from dozo.services.sealing import opened, sealed
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

LONGEST_DAYS = 365


@dataclass(eq=False)
class NoSession(DozoError):
    """Whoever asks has not logged in: there is nothing to log out of."""

    code = "access.no_session"
    kind = ErrorKind.REFUSED
    text = "there is no session to end"
    hint = "A token that no login made is revoked by its prefix."


@dataclass(frozen=True, kw_only=True)
class AccountView:
    """Who asks, as the service sees it. ``scopes`` is None where nothing is narrowed."""

    actor: str
    kind: str
    username: str
    display_name: str
    email: str
    language: str
    time_zone: str
    role: str
    tenant: str | None
    must_change_password: bool
    scopes: tuple[str, ...] | None
    created_at: datetime | None
    last_login: datetime | None


# So long somebody may take between the password and the code.
_PENDING_SECONDS = 300
_PENDING = "login"


def open_session(
    site: Site,
    username: str,
    password: str,
    *,
    code: str = "",
    name: str = "",
    days: int = 7,
    source: str = "",
) -> IssuedToken:
    """Log in, for so many days; ``code`` is the second factor's, where the account has one.

    Raises ``LoginFailed``, ``LoginThrottled``, ``SecondFactorRequired``, ``SecondFactorWrong``.
    """

    def right_code(user: "models.User") -> None:
        factor = second_factor.of(site, user)
        if factor is None:
            return
        if not code:
            raise SecondFactorRequired
        if not second_factor.accepts(site, factor, code):
            raise SecondFactorWrong

    login.login(site, username, password, source=source, right_code=right_code)
    owner = site.catalog.users.select_related("tenant").get(username=username)
    return make_session(site, owner, name=name, days=days, source=source)


def pending(site: Site, username: str) -> str:
    """What stands for a password that was right, until the code comes."""
    return sealed(site, _PENDING, username)


def finish_session(
    site: Site, pending: str, code: str, *, name: str = "", days: int = 7, source: str = ""
) -> IssuedToken:
    """Log in with the code, after ``SecondFactorRequired`` and :func:`pending`.

    Raises ``LoginFailed`` when it took too long, ``LoginThrottled``, ``SecondFactorWrong``.
    """
    username = opened(site, _PENDING, pending, seconds=_PENDING_SECONDS)
    rows = site.catalog.users.select_related("tenant")
    owner = rows.filter(username=username).first() if username else None
    if owner is None or not login.may_enter(owner):
        raise LoginFailed
    try:
        with login.guessing(site, owner.username, source):
            _require_code(site, owner, code)
    except LoginFailed:
        raise SecondFactorWrong from None
    owner.last_login = clock.now()
    owner.save(using=site.catalog.alias, update_fields=["last_login"])
    return make_session(site, owner, name=name, days=days, source=source)


def _require_code(site: Site, owner: "models.User", code: str) -> None:
    factor = second_factor.of(site, owner)
    if factor is None or not second_factor.accepts(site, factor, code):
        raise LoginFailed


def make_session(
    site: Site, owner: "models.User", *, name: str = "", days: int = 7, source: str = ""
) -> IssuedToken:
    """A session for somebody who has shown to be that user."""
    row = site.catalog.tokens.model(
        name=(name or "login")[:200],
        owner=owner,
        scopes=["*"],
        session=True,
        expires_at=clock.now() + timedelta(days=min(days, LONGEST_DAYS)),
    )
    token = seal_token(row)
    detail = {"session": row.prefix, "expires_at": row.expires_at}
    scope = Scope(site, login.actor_of(owner), source=source)
    with audited(scope, Operation.SESSION_LOGIN, detail=detail) as attempt:
        row.save(using=site.catalog.alias, force_insert=True)
        attempt.on(owner)
    return IssuedToken(token=token, view=token_view(row))


def close_session(scope: Scope, token: str) -> TokenView:
    """Log out. Raises :class:`NoSession` where ``token`` is not one that a login made."""
    with audited(scope, Operation.SESSION_LOGOUT) as attempt:
        scope.permit(Operation.SESSION_LOGOUT)
        row = (
            scope.site.catalog.tokens.select_related("owner")
            .filter(secret_hash=token_hash(token), session=True)
            .first()
        )
        if row is None:
            raise NoSession
        attempt.on(row)
        row.revoked_at = row.revoked_at or clock.now()
        row.save(using=scope.site.catalog.alias, update_fields=["revoked_at"])
    return token_view(row)


def account(scope: Scope) -> AccountView:
    """Whoever asks. Raises ``Forbidden`` for a token whose scopes do not name it."""
    scope.permit(Operation.ACCOUNT_SHOW)
    actor: Actor = scope.actor
    row = scope.site.catalog.users.filter(username=actor.username).first()
    return AccountView(
        actor=actor.name,
        kind=actor.kind.value,
        username=row.username if row else actor.name.rpartition(":")[2],
        display_name=row.display_name if row else "",
        email=row.email if row else "",
        language=row.language if row else "",
        time_zone=row.time_zone if row else "",
        role=actor.role.value,
        tenant=actor.tenant,
        must_change_password=actor.must_change_password,
        scopes=None if actor.scopes is None else tuple(str(one) for one in actor.scopes),
        created_at=row.created_at if row else None,
        last_login=row.last_login if row else None,
    )
