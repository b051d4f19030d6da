"""Users and their tokens: /users."""

from typing import Annotated, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import Field

from dozo.api.current import scope_of
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import IF_MATCH, ROOT, Body, etag, if_match, needs
from dozo.api.session import Password
from dozo.services import accounts, second_factor
from dozo.services.access import Operation, Role
from dozo.services.accounts import TokenView, UserView
from dozo.services.lists import people

router = Router()


class UserQuery(PageQuery):
    """Which users."""

    sort: Literal["username", "-username", "created_at", "-created_at"] = "username"
    username: Text | None = Field(None, description="A part of the user name.")
    tenant: Text | None = None
    role: Role | None = None
    active: bool | None = None


@router.get("/users", response=Page[UserView], **needs(Operation.USER_LIST))
def list_users(request: HttpRequest, query: Query[UserQuery]) -> object:
    """List users."""
    scope = scope_of(request)
    rows = people.users(
        scope,
        username=query.username,
        tenant=query.tenant,
        role=query.role,
        active=query.active,
    )
    part = cut(rows, query, query.sort)
    return part.page([accounts.user_view(row) for row in part.rows])


class NewUser(Body):
    """A user to be made; without `tenant`, in one's own."""

    username: Annotated[Text, Field(min_length=1, max_length=150)]
    password: Password
    role: Role = Role.MEMBER
    tenant: Text | None = None
    display_name: Text = ""
    email: Text = ""
    language: Text = Field("", description="Empty: as the browser has it.")
    time_zone: Text = Field("", description="Empty: as the browser has it.")
    must_change_password: bool = True


@router.post("/users", response={201: UserView}, **needs(Operation.USER_CREATE))
def create_user(request: HttpRequest, response: HttpResponse, body: NewUser) -> object:
    """Make a user."""
    made = accounts.create_user(scope_of(request), **body.dict())
    response["Location"] = f"{ROOT}/users/{made.username}"
    response["ETag"] = etag(accounts.user_version(made))
    return Status(201, made)


@router.get("/users/{name}", response=UserView, **needs(Operation.USER_SHOW))
def show_user(request: HttpRequest, response: HttpResponse, name: str) -> object:
    """Show a user; the ETag changes with every change."""
    shown = accounts.show_user(scope_of(request), name)
    response["ETag"] = etag(accounts.user_version(shown))
    return shown


class UpdateUser(Body):
    """What changes; the rest stays."""

    role: Role | None = None
    display_name: Text | None = None
    email: Text | None = None
    language: Text | None = None
    time_zone: Text | None = None


@router.patch("/users/{name}", response=UserView, **needs(Operation.USER_UPDATE, IF_MATCH))
def update_user(
    request: HttpRequest, response: HttpResponse, name: str, body: UpdateUser
) -> object:
    """Change a user; with If-Match only the one that was read."""
    shown = accounts.update_user(scope_of(request), name, **body.dict(), version=if_match(request))
    response["ETag"] = etag(accounts.user_version(shown))
    return shown


@router.post("/users/{name}/disable", response=UserView, **needs(Operation.USER_DISABLE))
def disable_user(request: HttpRequest, name: str) -> object:
    """Keep a user and their tokens out."""
    return accounts.set_active(scope_of(request), name, active=False)


@router.post("/users/{name}/enable", response=UserView, **needs(Operation.USER_ENABLE))
def enable_user(request: HttpRequest, name: str) -> object:
    """Let a disabled user in again."""
    return accounts.set_active(scope_of(request), name, active=True)


class SetPassword(Body):
    """A new password for somebody else."""

    password: Password
    must_change_password: bool = True


@router.post("/users/{name}/password", response=UserView, **needs(Operation.USER_SET_PASSWORD))
def set_user_password(request: HttpRequest, name: str, body: SetPassword) -> object:
    """Give a user a new password; their tokens are revoked. Needs a login, no token can do it."""
    return accounts.set_password(
        scope_of(request), name, body.password, must_change_password=body.must_change_password
    )


@router.post(
    "/users/{name}/second-factor/reset",
    response=UserView,
    **needs(Operation.USER_RESET_SECOND_FACTOR),
)
def reset_second_factor(request: HttpRequest, name: str) -> object:
    """Take away the second factor of somebody who has lost it. Needs a login."""
    scope = scope_of(request)
    second_factor.reset(scope, name)
    return accounts.show_user(scope, name)


@router.get("/users/{name}/tokens", response=list[TokenView], **needs(Operation.USER_TOKEN_LIST))
def list_user_tokens(request: HttpRequest, name: str) -> object:
    """List a user's tokens, newest first, ended ones included."""
    return accounts.list_tokens_of(scope_of(request), name)


@router.delete(
    "/users/{name}/tokens/{prefix}", response=TokenView, **needs(Operation.USER_TOKEN_REVOKE)
)
def revoke_user_token(request: HttpRequest, name: str, prefix: str) -> object:
    """Revoke a user's token."""
    return accounts.revoke_token(scope_of(request), prefix, username=name)
