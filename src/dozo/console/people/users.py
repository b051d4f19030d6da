"""Users and their tokens."""

import secrets
import string
from typing import Any

from django.http import HttpResponse

from dozo.console.shell.visit import Visit, page, status_of
from dozo.model.errors import DozoError
from dozo.services import accounts, second_factor
from dozo.services.access import Operation, Role
from dozo.services.lists import people
from dozo.web.paging import cut

_SORTS = ("username", "-username", "created_at", "-created_at")
_LETTERS = string.ascii_letters + string.digits


@page(Operation.USER_LIST)
def users(visit: Visit) -> HttpResponse:
    """All users that the visitor may see."""
    sort, role = visit.query("sort", "username"), visit.query("role")
    rows = people.users(
        visit.scope,
        username=visit.query("username") or None,
        tenant=visit.query("tenant") or None,
        role=Role(role) if role in set(Role) else None,
    )
    part = cut(
        rows,
        limit=50,
        cursor=visit.query("cursor") or None,
        sort=sort if sort in _SORTS else "username",
    )
    context = {
        "part": part,
        "users": [accounts.user_view(row) for row in part.rows],
        "roles": _roles(visit),
        "chosen": {name: visit.query(name) for name in ("username", "tenant", "role")},
    }
    return visit.render("people/users.html", context)


def _roles(visit: Visit) -> list[str]:
    """The roles that the visitor can give."""
    if visit.scope.actor.tenant is None:
        return [one.value for one in Role]
    return [Role.MEMBER.value, Role.TENANT_ADMIN.value, Role.AUDITOR.value]


def _password() -> str:
    """One to begin with; it has to be changed at the first login."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


@page(Operation.USER_CREATE, methods=("GET", "POST"))
def new(visit: Visit) -> HttpResponse:
    """Make a user, with a password to begin with that is shown once."""
    context: dict[str, Any] = {
        "roles": _roles(visit),
        "owners": [row.name for row in visit.scope.tenants.order_by("name")],
        "said": {"role": Role.MEMBER.value, "tenant": visit.query("tenant")},
    }
    if not visit.is_post:
        return visit.render("people/user_new.html", context)
    said = {
        name: visit.said(name) for name in ("username", "role", "tenant", "display_name", "email")
    }
    password = _password()
    try:
        made = accounts.create_user(
            visit.scope,
            said["username"],
            password=password,
            role=Role(said["role"]) if said["role"] in set(Role) else Role.MEMBER,
            tenant=said["tenant"] or None,
            display_name=said["display_name"],
            email=said["email"],
        )
    except DozoError as error:
        context |= {"problem": error, "said": said}
        return visit.render("people/user_new.html", context, status=status_of(error))
    return visit.render("people/password_shown.html", {"user": made, "password": password})


@page(Operation.USER_SHOW, methods=("GET", "POST"))
def user(visit: Visit, name: str) -> HttpResponse:
    """One user, to look at and to change."""
    shown = accounts.show_user(visit.scope, name)
    context: dict[str, Any] = {
        "user": shown,
        "version": accounts.user_version(shown),
        "roles": sorted({shown.role, *_roles(visit)}),
        "tokens": _tokens(visit, name),
    }
    if not visit.is_post:
        return visit.render("people/user.html", context)
    role = visit.said("role")
    try:
        accounts.update_user(
            visit.scope,
            name,
            role=Role(role) if role in set(Role) else None,
            display_name=visit.said("display_name"),
            email=visit.said("email"),
            version=visit.said("version"),
        )
    except DozoError as error:
        said = {one: visit.said(one) for one in ("role", "display_name", "email")}
        context |= {"problem": error, "said": said}
        return visit.render("people/user.html", context, status=status_of(error))
    return visit.go(f"/users/{name}", note="saved")


def _tokens(visit: Visit, name: str) -> list[accounts.TokenView]:
    if not visit.may["user_token_list"]:
        return []
    return accounts.list_tokens_of(visit.scope, name)


@page(Operation.USER_DISABLE, methods=("POST",))
def disable(visit: Visit, name: str) -> HttpResponse:
    """Keep a user out, or let them in again."""
    shown = accounts.show_user(visit.scope, name)
    accounts.set_active(visit.scope, name, active=not shown.active)
    return visit.go(f"/users/{name}", note="saved")


@page(Operation.USER_SET_PASSWORD, methods=("GET", "POST"))
def password(visit: Visit, name: str) -> HttpResponse:
    """A new password to begin with; tokens and sessions end."""
    shown = accounts.show_user(visit.scope, name)
    if not visit.is_post:
        return visit.render("people/user_password.html", {"user": shown})
    made = _password()
    accounts.set_password(visit.scope, name, made)
    return visit.render("people/password_shown.html", {"user": shown, "password": made})


@page(Operation.USER_TOKEN_REVOKE, methods=("POST",))
def revoke(visit: Visit, name: str, prefix: str) -> HttpResponse:
    """End one of a user's tokens."""
    accounts.revoke_token(visit.scope, prefix, username=name)
    return visit.go(f"/users/{name}", note="done")


@page(Operation.USER_RESET_SECOND_FACTOR, methods=("POST",))
def reset_factor(visit: Visit, name: str) -> HttpResponse:
    """Take away the second factor of somebody who has lost it."""
    second_factor.reset(visit.scope, name)
    return visit.go(f"/users/{name}", note="done")
