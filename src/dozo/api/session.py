"""Logging in, one's own account and tokens: /login, /logout, /account, /tokens."""

from typing import Annotated

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import Field

from dozo.api.current import scope_of, token_of
from dozo.api.fields import Instant
from dozo.api.paging import Page, Text
from dozo.api.routes import Body, needs
from dozo.services import accounts, second_factor, sessions
from dozo.services.access import Operation
from dozo.services.accounts import IssuedToken, TokenView, UserView
from dozo.services.second_factor import FactorBegun, FactorOn, FactorView
from dozo.services.sessions import AccountView
from dozo.web.current import current_of, source_of

router = Router()

Password = Annotated[str, Field(max_length=1024)]


class Login(Body):
    """Who logs in, and for how long."""

    username: Text
    password: Password
    code: Annotated[str, Field(max_length=40)] = Field(
        "", description="The second factor's, where the account has one."
    )
    token_name: Text = Field("", description="What the list of tokens shows.")
    days: int = Field(7, ge=1, le=sessions.LONGEST_DAYS)


@router.post("/login", auth=None, response=IssuedToken, **needs(Operation.SESSION_LOGIN))
def login(request: HttpRequest, body: Login) -> object:
    """Log in; the token stands for the user in person."""
    return sessions.open_session(
        current_of(request).site,
        body.username,
        body.password,
        code=body.code,
        name=body.token_name,
        days=body.days,
        source=source_of(request),
    )


@router.post("/logout", response=TokenView, **needs(Operation.SESSION_LOGOUT))
def logout(request: HttpRequest) -> object:
    """Log out: the token that this request came with ends."""
    return sessions.close_session(scope_of(request), token_of(request))


@router.get("/account", response=AccountView, **needs(Operation.ACCOUNT_SHOW))
def show_account(request: HttpRequest) -> object:
    """Show who asks, and what they are."""
    return sessions.account(scope_of(request))


class UpdateAccount(Body):
    """What changes; the rest stays."""

    display_name: Text | None = None
    email: Text | None = None
    language: Text | None = None
    time_zone: Text | None = None


@router.patch("/account", response=UserView, **needs(Operation.ACCOUNT_UPDATE))
def update_account(request: HttpRequest, body: UpdateAccount) -> object:
    """Change one's own account; needs a login, no token can do it."""
    return accounts.update_account(scope_of(request), **body.dict())


class ChangePassword(Body):
    """The old password and the new one."""

    old: Password
    new: Password


@router.post("/account/password", response=UserView, **needs(Operation.ACCOUNT_CHANGE_PASSWORD))
def change_password(request: HttpRequest, body: ChangePassword) -> object:
    """Change one's own password; other sessions end. Needs a login, no token can do it."""
    prefix = token_of(request).split("_")[1:2]
    return accounts.change_password(
        scope_of(request), body.old, body.new, keep_session="".join(prefix)
    )


@router.get("/account/second-factor", response=FactorView, **needs(Operation.ACCOUNT_SHOW))
def show_second_factor(request: HttpRequest) -> object:
    """Show whether one logs in with a second factor."""
    return second_factor.show(scope_of(request))


@router.post(
    "/account/second-factor",
    response={201: FactorBegun},
    **needs(Operation.ACCOUNT_SECOND_FACTOR),
)
def begin_second_factor(request: HttpRequest) -> object:
    """Begin to set up a second factor: the secret for an app. Needs a login."""
    return Status(201, second_factor.begin(scope_of(request)))


class FactorCode(Body):
    """A code that the app shows."""

    code: Annotated[str, Field(min_length=1, max_length=40)]


@router.post(
    "/account/second-factor/confirm",
    response=FactorOn,
    **needs(Operation.ACCOUNT_SECOND_FACTOR),
)
def confirm_second_factor(request: HttpRequest, body: FactorCode) -> object:
    """Let the second factor count; the spare codes are shown this once."""
    return second_factor.confirm(scope_of(request), body.code)


class RemoveFactor(Body):
    """One's own password."""

    password: Password


@router.post(
    "/account/second-factor/remove",
    response=FactorView,
    **needs(Operation.ACCOUNT_SECOND_FACTOR),
)
def remove_second_factor(request: HttpRequest, body: RemoveFactor) -> object:
    """Log in with the password alone again."""
    scope = scope_of(request)
    second_factor.remove(scope, body.password)
    return second_factor.show(scope)


@router.get("/tokens", response=Page[TokenView], **needs(Operation.TOKEN_LIST))
def list_tokens(request: HttpRequest) -> object:
    """List one's own tokens, newest first, ended ones included."""
    found = accounts.list_tokens(scope_of(request))
    return {"items": found, "next_cursor": None, "total": len(found)}


class NewToken(Body):
    """A token to be made."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    scopes: list[Text] = Field(min_length=1, max_length=100)
    expires_at: Instant | None = None


@router.post("/tokens", response={201: IssuedToken}, **needs(Operation.TOKEN_CREATE))
def create_token(request: HttpRequest, body: NewToken) -> object:
    """Make a token; it is shown this once. Needs a login, no token can do it."""
    made = accounts.issue_token(
        scope_of(request), name=body.name, scopes=body.scopes, expires_at=body.expires_at
    )
    return Status(201, made)


@router.delete("/tokens/{prefix}", response=TokenView, **needs(Operation.TOKEN_REVOKE))
def revoke_token(request: HttpRequest, prefix: str) -> object:
    """Revoke one of one's own tokens."""
    return accounts.revoke_token(scope_of(request), prefix)
