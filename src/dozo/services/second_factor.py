"""The second factor of a login: codes of an app (TOTP, RFC 6238), and codes for its loss.

Each code counts once. The app's secret is sealed (:mod:`dozo.services.sealing`); of the codes for
its loss only hashes are kept.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyotp

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind
from dozo.services import hashing
from dozo.services.access import Operation, Scope
from dozo.services.access_errors import LoginFailed
from dozo.services.audit import audited
from dozo.services.login import guessing
from dozo.services.sealing import opened, sealed
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

_PURPOSE = "second factor"
_STEP_SECONDS = 30
# A clock that is up to half a minute wrong, either way.
_NEAR = (0, -1, 1)
_SPARE_CODES = 10
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


@dataclass(eq=False)
class FactorThere(DozoError):
    """A second factor is set up already."""

    code = "access.second_factor_there"
    kind = ErrorKind.REFUSED
    text = "a second factor is set up already"
    hint = "Remove it first, to set up another."


@dataclass(eq=False)
class FactorMissing(DozoError):
    """No second factor is set up, or none was begun."""

    code = "access.second_factor_missing"
    kind = ErrorKind.REFUSED
    text = "no second factor is set up"
    hint = "Begin with setting one up."


@dataclass(eq=False)
class CodeWrong(DozoError):
    """The code is not the app's present one, or it was used already."""

    code = "access.code_wrong"
    kind = ErrorKind.USAGE
    text = "the code is not right"
    hint = "Take the code that the app shows now; each one counts once. Check this device's clock."


@dataclass(frozen=True, kw_only=True)
class FactorView:
    """Whether somebody logs in with a second factor; ``spare_codes`` are left for its loss."""

    on: bool
    since: datetime | None
    spare_codes: int


@dataclass(frozen=True, kw_only=True)
class FactorBegun:
    """What an app needs: the secret, and the same as an address that a QR code shows."""

    secret: str
    address: str


@dataclass(frozen=True, kw_only=True)
class FactorOn:
    """The second factor is on; the codes for its loss are shown this once."""

    spare_codes: tuple[str, ...]


def of(site: Site, user: "models.User") -> "models.SecondFactor | None":
    """A user's second factor that counts."""
    return site.catalog.second_factors.filter(user=user, confirmed_at__isnull=False).first()


def show(scope: Scope) -> FactorView:
    """One's own second factor. Raises ``Forbidden``."""
    scope.permit(Operation.ACCOUNT_SHOW)
    row = of(scope.site, _self(scope)) if scope.actor.username else None
    if row is None:
        return FactorView(on=False, since=None, spare_codes=0)
    return FactorView(on=True, since=row.confirmed_at, spare_codes=len(row.spare_hashes))


def begin(scope: Scope) -> FactorBegun:
    """Make a secret for an app; it counts only once :func:`confirm` has seen a code of it.

    Raises ``Forbidden``, :class:`FactorThere`.
    """
    with audited(scope, Operation.ACCOUNT_SECOND_FACTOR, detail={"what": "begin"}) as attempt:
        scope.permit(Operation.ACCOUNT_SECOND_FACTOR)
        user = _self(scope)
        attempt.on(user)
        secret = pyotp.random_base32()
        # One at a time with `confirm`: a secret that counts already is never replaced.
        with scope.site.catalog.transaction():
            rows = scope.site.catalog.second_factors.select_for_update()
            there = rows.filter(user=user).first()
            if there is not None and there.confirmed_at is not None:
                raise FactorThere
            scope.site.catalog.second_factors.update_or_create(
                user=user,
                defaults={
                    "sealed_secret": sealed(scope.site, _PURPOSE, secret),
                    "last_step": 0,
                    "spare_hashes": [],
                    "created_at": clock.now(),
                },
            )
    issuer = f"Dozo {scope.site.settings.name}"
    address = pyotp.TOTP(secret).provisioning_uri(name=user.username, issuer_name=issuer)
    return FactorBegun(secret=secret, address=address)


def begun(scope: Scope) -> FactorBegun | None:
    """What :func:`begin` has made and nobody has confirmed yet."""
    scope.permit(Operation.ACCOUNT_SECOND_FACTOR)
    user = _self(scope)
    row = scope.site.catalog.second_factors.filter(user=user, confirmed_at=None).first()
    secret = opened(scope.site, _PURPOSE, row.sealed_secret) if row is not None else None
    if secret is None:
        return None
    issuer = f"Dozo {scope.site.settings.name}"
    address = pyotp.TOTP(secret).provisioning_uri(name=user.username, issuer_name=issuer)
    return FactorBegun(secret=secret, address=address)


def confirm(scope: Scope, code: str) -> FactorOn:
    """Let the app's codes count from now on.

    Raises ``Forbidden``, :class:`FactorThere`, :class:`FactorMissing`, :class:`CodeWrong`.
    """
    with audited(scope, Operation.ACCOUNT_SECOND_FACTOR, detail={"what": "confirm"}) as attempt:
        scope.permit(Operation.ACCOUNT_SECOND_FACTOR)
        user = _self(scope)
        attempt.on(user)
        with scope.site.catalog.transaction():
            rows = scope.site.catalog.second_factors.select_for_update()
            row = rows.filter(user=user).first()
            if row is None:
                raise FactorMissing
            if row.confirmed_at is not None:
                raise FactorThere
            step = _step_of(scope.site, row, code)
            if step is None:
                raise CodeWrong
            spare = tuple(_spare() for _ in range(_SPARE_CODES))
            row.confirmed_at, row.last_step = clock.now(), step
            row.spare_hashes = [_hash(one) for one in spare]
            row.save(using=scope.site.catalog.alias)
    return FactorOn(spare_codes=spare)


def remove(scope: Scope, password: str) -> None:
    """Log in with the password alone again.

    Raises ``Forbidden``, ``LoginFailed`` for a wrong password, ``LoginThrottled``,
    :class:`FactorMissing`.
    """
    scope.permit(Operation.ACCOUNT_SECOND_FACTOR)
    with (
        guessing(scope.site, scope.actor.username or "", scope.source),
        audited(scope, Operation.ACCOUNT_SECOND_FACTOR, detail={"what": "remove"}) as attempt,
    ):
        user = _self(scope)
        attempt.on(user)
        with hashing.in_turn():
            if not user.check_password(password):
                raise LoginFailed
        if not scope.site.catalog.second_factors.filter(user=user).delete()[0]:
            raise FactorMissing


def reset(scope: Scope, username: str) -> None:
    """Take somebody else's second factor away, who has lost the app and the spare codes.

    Raises ``UserUnknown``, ``Forbidden``, :class:`FactorMissing`.
    """
    with audited(scope, Operation.USER_RESET_SECOND_FACTOR, reference=username) as attempt:
        user = scope.user(username, Operation.USER_RESET_SECOND_FACTOR)
        attempt.on(user)
        if not scope.site.catalog.second_factors.filter(user=user).delete()[0]:
            raise FactorMissing


def accepts(site: Site, factor: "models.SecondFactor", code: str) -> bool:
    """Whether a code is right, and not used before; then it is used up."""
    with site.catalog.transaction():
        row = site.catalog.second_factors.select_for_update().filter(pk=factor.pk).first()
        if row is None:
            return False
        step = _step_of(site, row, code)
        if step is not None:
            row.last_step = step
        else:
            digest = _hash(code.strip().lower().replace("-", ""))
            if digest not in row.spare_hashes:
                return False
            row.spare_hashes = [one for one in row.spare_hashes if one != digest]
        row.save(using=site.catalog.alias, update_fields=["last_step", "spare_hashes"])
    return True


def _step_of(site: Site, row: "models.SecondFactor", code: str) -> int | None:
    """The step of time that a code is for; None for one that is wrong, or was used."""
    secret = opened(site, _PURPOSE, row.sealed_secret)
    if secret is None:
        return None
    digits = "".join(code.split())
    now = int(clock.now().timestamp()) // _STEP_SECONDS
    app = pyotp.TOTP(secret)
    for step in (now + near for near in _NEAR):
        right = hmac.compare_digest(app.at(step * _STEP_SECONDS).encode(), digits.encode())
        if right and step > row.last_step:
            return step
    return None


def _spare() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(10))


def _hash(text: str) -> str:
    # Ten letters at random hide in a plain hash well enough: guessing is throttled.
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _self(scope: Scope) -> "models.User":
    user = scope.site.catalog.users.filter(username=scope.actor.username).first()
    if user is None:
        raise FactorMissing
    return user
