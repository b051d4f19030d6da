"""Users and their tokens: made, changed, disabled; each change is permitted and recorded."""

import hashlib
import json
import os
import re
import secrets
import string
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from dozo.model import clock
from dozo.model.message import Message
from dozo.services import access, hashing
from dozo.services.access import Actor, Operation, Role, Scope, Verdict
from dozo.services.access_errors import (
    Forbidden,
    LastOperator,
    LoginFailed,
    PasswordRefused,
    TokenExpiryInvalid,
    TokenUnknown,
    UserChanged,
    UserExists,
    UserInvalid,
    UserUnknown,
)
from dozo.services.access_scopes import parse_scopes
from dozo.services.audit import Attempt, audited
from dozo.services.login import MOST_PASSWORD_CHARACTERS, guessing, token_hash
from dozo.services.notes import fsync_directory
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

LANGUAGES = ("en", "ja")
FIRST_OPERATOR = "admin"
_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,149}")
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, kw_only=True)
class UserView:
    """A user, without anything secret."""

    username: str
    display_name: str
    email: str
    language: str
    time_zone: str
    role: str
    tenant: str | None
    active: bool
    must_change_password: bool
    created_at: datetime
    last_login: datetime | None


@dataclass(frozen=True, kw_only=True)
class TokenView:
    """A token; its secret is not known any more."""

    prefix: str
    name: str
    owner: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    valid: bool
    session: bool


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """A new token; ``token`` is shown this once."""

    token: str
    view: TokenView


def user_view(row: "models.User") -> UserView:
    """One user."""
    return UserView(
        username=row.username,
        display_name=row.display_name,
        email=row.email,
        language=row.language,
        time_zone=row.time_zone,
        role=row.role,
        tenant=row.tenant.name if row.tenant else None,
        active=row.is_active,
        must_change_password=row.must_change_password,
        created_at=row.created_at,
        last_login=row.last_login,
    )


def user_version(view: UserView) -> str:
    """What changes with every change of a user, and not with a login."""
    told = [
        view.display_name,
        view.email,
        view.language,
        view.time_zone,
        view.role,
        view.active,
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def token_view(row: "models.Token") -> TokenView:
    """One token."""
    over = row.expires_at is not None and row.expires_at <= clock.now()
    return TokenView(
        prefix=row.prefix,
        name=row.name,
        owner=row.owner.username,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        valid=row.revoked_at is None and not over,
        session=row.session,
    )


def list_users(scope: Scope) -> list[UserView]:
    """The users whom the actor may see, by name. Raises ``Forbidden``."""
    scope.permit(Operation.USER_LIST)
    return [user_view(row) for row in scope.users.select_related("tenant")]


def show_user(scope: Scope, username: str) -> UserView:
    """One user. Raises ``UserUnknown``, ``Forbidden``."""
    return user_view(scope.user(username, Operation.USER_SHOW))


def create_user(
    scope: Scope,
    username: str,
    *,
    password: str,
    role: Role = Role.MEMBER,
    tenant: str | None = None,
    display_name: str = "",
    email: str = "",
    language: str = "",
    time_zone: str = "",
    must_change_password: bool = True,
) -> UserView:
    """Make a user; without ``tenant``, in the actor's own.

    Raises ``Forbidden``, ``TenantUnknown``, :class:`UserExists`, :class:`UserInvalid`,
    :class:`PasswordRefused`.
    """
    detail = {"role": role.value, "tenant": tenant}
    tenant = tenant or scope.actor.tenant
    with audited(scope, Operation.USER_CREATE, reference=username, detail=detail) as attempt:
        owner = scope.tenant(tenant) if tenant is not None else None
        access.permit(scope.actor, Operation.USER_CREATE, tenant)
        _may_grant(scope.actor, role)
        _check_role(role, tenant)
        _check_username(scope, username, tenant)
        if scope.site.catalog.users.filter(username__iexact=username).exists():
            raise UserExists(username)
        row = scope.site.catalog.users.model(
            username=username,
            role=role.value,
            tenant=owner,
            must_change_password=must_change_password,
        )
        _fill(row, display_name, email, language, time_zone)
        _set_password(row, password)
        row.save(using=scope.site.catalog.alias)
        attempt.on(row)
    return user_view(row)


def _check_username(scope: Scope, username: str, tenant: str | None) -> None:
    """Names are taken once a site, so those that a tenant gives out bear the tenant's own.

    Else a tenant could find out by trying who has an account elsewhere.
    """
    if not _USERNAME.fullmatch(username):
        raise UserInvalid("username", username, Message("use letters, digits and . _ @ + -"))
    name, at, domain = username.rpartition("@")
    if scope.actor.tenant is not None:
        if not name or domain.casefold() != scope.actor.tenant.casefold():
            raise UserInvalid(
                "username",
                username,
                Message("let it end with @{tenant}", tenant=scope.actor.tenant),
            )
        return
    others = at and domain.casefold() != (tenant or "").casefold()
    if others and scope.site.catalog.tenants.filter(name__iexact=domain).exists():
        raise UserInvalid(
            "username", username, Message("@{domain} is for users of that tenant", domain=domain)
        )


def update_user(
    scope: Scope,
    username: str,
    *,
    role: Role | None = None,
    display_name: str | None = None,
    email: str | None = None,
    language: str | None = None,
    time_zone: str | None = None,
    version: str | None = None,
) -> UserView:
    """Change somebody else's account; None leaves a value. Raises as :func:`create_user`, and
    ``UserChanged`` where ``version`` is not the present one."""
    given = {"role": role.value if role else None, "display_name": display_name, "email": email}
    detail = {name: value for name, value in given.items() if value is not None}
    with audited(scope, Operation.USER_UPDATE, reference=username, detail=detail) as attempt:
        row = _manageable(scope, username, Operation.USER_UPDATE, attempt)
        if version is not None and version != user_version(user_view(row)):
            raise UserChanged(row.username)
        if role is not None and role.value != row.role:
            _may_grant(scope.actor, role)
            _check_role(role, row.tenant.name if row.tenant else None)
            if row.role == Role.OPERATOR:
                _not_the_last(scope.site, row)
            row.role = role.value
        _fill(row, display_name, email, language, time_zone)
        row.save(using=scope.site.catalog.alias)
    return user_view(row)


def update_account(
    scope: Scope,
    *,
    display_name: str | None = None,
    email: str | None = None,
    language: str | None = None,
    time_zone: str | None = None,
) -> UserView:
    """Change one's own account; None leaves a value. Raises :class:`UserInvalid`."""
    with audited(scope, Operation.ACCOUNT_UPDATE) as attempt:
        row = _self(scope, Operation.ACCOUNT_UPDATE)
        attempt.on(row)
        _fill(row, display_name, email, language, time_zone)
        row.save(using=scope.site.catalog.alias)
    return user_view(row)


def set_active(scope: Scope, username: str, *, active: bool) -> UserView:
    """Disable a user, or let a disabled one in again. Raises :class:`LastOperator`.

    A disabled user's tokens do not work, and work again afterwards.
    """
    operation = Operation.USER_ENABLE if active else Operation.USER_DISABLE
    with audited(scope, operation, reference=username) as attempt:
        row = _manageable(scope, username, operation, attempt)
        if not active and row.role == Role.OPERATOR:
            _not_the_last(scope.site, row)
        row.is_active = active
        row.save(using=scope.site.catalog.alias, update_fields=["is_active"])
    return user_view(row)


def set_password(
    scope: Scope, username: str, password: str, *, must_change_password: bool = True
) -> UserView:
    """Give somebody else a new password; their tokens are revoked, their sessions end.

    Raises :class:`PasswordRefused`, ``UserUnknown``, ``Forbidden``.
    """
    with audited(scope, Operation.USER_SET_PASSWORD, reference=username) as attempt:
        row = _manageable(scope, username, Operation.USER_SET_PASSWORD, attempt)
        _set_password(row, password)
        row.must_change_password = must_change_password
        row.save(using=scope.site.catalog.alias)
        attempt.detail["revoked"] = _revoke_all(scope.site, row)
    return user_view(row)


def change_password(scope: Scope, old: str, new: str, *, keep_session: str = "") -> UserView:
    """Change one's own password. Raises ``LoginFailed`` where ``old`` is wrong, and
    ``LoginThrottled`` where it was too often, :class:`PasswordRefused`.

    Sessions end with it, but for the one whose token has the prefix ``keep_session``.
    """
    # Whoever has a session and not the password may not guess it faster than others; and a token
    # that may not even try makes nobody forget how often that was wrong.
    may_try = access.decide(scope.actor, Operation.ACCOUNT_CHANGE_PASSWORD) is Verdict.ALLOWED
    username = scope.actor.username or ""
    with (
        guessing(scope.site, username, scope.source) if may_try else nullcontext(),
        audited(scope, Operation.ACCOUNT_CHANGE_PASSWORD) as attempt,
    ):
        row = _self(scope, Operation.ACCOUNT_CHANGE_PASSWORD)
        attempt.on(row)
        with hashing.in_turn():
            if len(old) > MOST_PASSWORD_CHARACTERS or not row.check_password(old):
                raise LoginFailed
        if old == new:
            raise PasswordRefused([Message("it is the old one")])
        _set_password(row, new)
        row.must_change_password = False
        row.save(using=scope.site.catalog.alias)
        sessions = scope.site.catalog.tokens.filter(owner=row, session=True, revoked_at=None)
        sessions.exclude(prefix=keep_session).update(revoked_at=clock.now())
    return user_view(row)


def issue_token(
    scope: Scope, *, name: str, scopes: Iterable[str], expires_at: datetime | None = None
) -> IssuedToken:
    """Make a token that speaks for the actor, as far as ``scopes`` say.

    Raises ``TokenScopeInvalid``, :class:`TokenExpiryInvalid`, ``Forbidden`` (tokens make none).
    """
    texts = list(scopes)
    detail = {"name": name, "scopes": texts, "expires_at": expires_at}
    with audited(scope, Operation.TOKEN_CREATE, reference=name, detail=detail) as attempt:
        owner = _self(scope, Operation.TOKEN_CREATE)
        parsed = parse_scopes(texts)
        if expires_at is not None and expires_at <= clock.now():
            raise TokenExpiryInvalid(clock.to_text(expires_at))
        if not name or len(name) > 200:
            raise UserInvalid(
                Message("the token's name"), name[:200], Message("give 1 to 200 characters")
            )
        rows = scope.site.catalog.tokens
        row = rows.model(
            name=name, owner=owner, scopes=[str(one) for one in parsed], expires_at=expires_at
        )
        token = seal_token(row)
        row.save(using=scope.site.catalog.alias, force_insert=True)
        attempt.on(row)
    return IssuedToken(token=token, view=token_view(row))


def seal_token(row: "models.Token") -> str:
    """Give a new token its secret; the whole token, of which only the hash is kept."""
    token = f"dozo_{row.prefix}_{_random(43)}"
    row.secret_hash = token_hash(token)
    return token


def list_tokens(scope: Scope) -> list[TokenView]:
    """The actor's own tokens, newest first, revoked ones included."""
    owner = _self(scope, Operation.TOKEN_LIST)
    return [token_view(row) for row in _tokens(scope.site, owner)]


def list_tokens_of(scope: Scope, username: str) -> list[TokenView]:
    """Another user's tokens. Raises ``UserUnknown``, ``Forbidden``."""
    owner = scope.user(username, Operation.USER_TOKEN_LIST)
    return [token_view(row) for row in _tokens(scope.site, owner)]


def revoke_token(scope: Scope, prefix: str, *, username: str | None = None) -> TokenView:
    """Revoke one of the actor's tokens, or with ``username`` one of somebody else's.

    Repeating it changes nothing. Raises ``TokenUnknown``, ``UserUnknown``, ``Forbidden``.
    """
    other = username is not None and username != scope.actor.username
    operation = Operation.USER_TOKEN_REVOKE if other else Operation.TOKEN_REVOKE
    with audited(scope, operation, reference=prefix) as attempt:
        if other and username is not None:
            owner = scope.user(username, operation)
        else:
            owner = _self(scope, operation)
        row = _tokens(scope.site, owner).filter(prefix=prefix).first()
        if row is None:
            raise TokenUnknown(prefix)
        attempt.on(row)
        if row.revoked_at is None:
            row.revoked_at = clock.now()
            row.save(using=scope.site.catalog.alias, update_fields=["revoked_at"])
    return token_view(row)


@dataclass(frozen=True, kw_only=True)
class FirstOperator:
    """The first operator; ``password_file`` holds the password that was made up, if one was."""

    username: str
    password_file: Path | None


def first_operator(
    site: Site, password: str | None = None, *, username: str = FIRST_OPERATOR
) -> FirstOperator | None:
    """Make a site's first operator; None where there is one already.

    Without ``password`` one is made up and written, for the owner alone to read, to
    ``HOME/first-password``, and has to be changed at the first login. Raises
    :class:`PasswordRefused`.
    """
    if site.catalog.users.filter(role=Role.OPERATOR.value).exists():
        return None
    file = None
    chosen = password
    if chosen is None:
        chosen = _random(24)
        file = site.settings.home / "first-password"
        # The file first: a crash in between leaves a password that opens nothing.
        _write_private(file, chosen)
    create_user(
        Scope(site, Actor.system("init")),
        username,
        password=chosen,
        role=Role.OPERATOR,
        must_change_password=file is not None,
    )
    return FirstOperator(username=username, password_file=file)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fsync_directory(path.parent)


def _random(characters: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(characters))


def _tokens(site: Site, owner: "models.User") -> Any:
    return site.catalog.tokens.filter(owner=owner).select_related("owner")


def _revoke_all(site: Site, owner: "models.User") -> int:
    return int(
        site.catalog.tokens.filter(owner=owner, revoked_at=None).update(revoked_at=clock.now())
    )


def _self(scope: Scope, operation: Operation) -> "models.User":
    """The user that the actor is, after permitting the operation."""
    scope.permit(operation)
    username = scope.actor.username
    if username is None:
        raise Forbidden(scope.actor.name, operation.value)
    row = scope.site.catalog.users.select_related("tenant").filter(username=username).first()
    if row is None:
        raise UserUnknown(username)
    return row


def _manageable(
    scope: Scope, username: str, operation: Operation, attempt: Attempt
) -> "models.User":
    row = scope.user(username, operation)
    attempt.on(row)
    _may_grant(scope.actor, Role(row.role))
    return row


def _may_grant(actor: Actor, role: Role) -> None:
    """Nobody makes or changes somebody who may do more than they may themselves."""
    if role is Role.OPERATOR and actor.role is not Role.OPERATOR:
        raise Forbidden(
            actor.name,
            Message("{operation} as {role}", operation=Operation.USER_CREATE, role=role),
        )


_ATTRIBUTES = {
    "username": Message("user name"),
    "display name": Message("display name"),
    "email": Message("email address"),
}


def _check_role(role: Role, tenant: str | None) -> None:
    if role is Role.OPERATOR and tenant is not None:
        raise UserInvalid("tenant", tenant, Message("operators belong to none"))
    if role in {Role.MEMBER, Role.TENANT_ADMIN} and tenant is None:
        raise UserInvalid("tenant", "", Message("a {role} belongs to one", role=role.value))


def _not_the_last(site: Site, row: "models.User") -> None:
    others = (
        site.catalog.users.select_for_update()
        .filter(role=Role.OPERATOR.value, is_active=True)
        .exclude(pk=row.pk)
    )
    if not list(others):
        raise LastOperator(row.username)


def _fill(
    row: "models.User",
    display_name: str | None,
    email: str | None,
    language: str | None,
    time_zone: str | None,
) -> None:
    if display_name is not None:
        if len(display_name) > 200:
            raise UserInvalid(
                Message("display name"), display_name[:40], Message("give at most 200 characters")
            )
        row.display_name = display_name
    if email is not None:
        try:
            if email:
                validate_email(email)
        except ValidationError:
            raise UserInvalid("email", email, Message("it is not an address")) from None
        row.email = email
    if language is not None:
        if language and language not in LANGUAGES:
            raise UserInvalid(
                "language", language, Message("choose of {names}", names=", ".join(LANGUAGES))
            )
        row.language = language
    if time_zone is not None:
        if time_zone and time_zone not in available_timezones():
            raise UserInvalid(
                Message("time zone"), time_zone, Message("give a name such as Asia/Tokyo")
            )
        row.time_zone = time_zone


def _weakness(error: ValidationError) -> str:
    """What Django finds wrong with a password, as a message of ours."""
    params = error.params or {}
    match error.code:
        case "password_too_similar":
            about = _ATTRIBUTES.get(str(params.get("verbose_name")), Message("account"))
            return Message("it is too similar to the {about}", about=about)
        case "password_too_short":
            return Message("it has fewer than {count} characters", count=params.get("min_length"))
        case "password_too_common":
            return Message("it is one that many people use")
        case "password_entirely_numeric":
            return Message("it has only digits")
        case _:
            return str(error.messages[0])


def _set_password(row: "models.User", password: str) -> None:
    if len(password) > MOST_PASSWORD_CHARACTERS:
        raise PasswordRefused(
            [Message("it is longer than {count} characters", count=MOST_PASSWORD_CHARACTERS)]
        )
    try:
        password_validation.validate_password(password, row)
    except ValidationError as error:
        raise PasswordRefused([_weakness(one) for one in error.error_list]) from None
    with hashing.in_turn():
        row.set_password(password)
