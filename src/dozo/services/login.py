"""Coming in: with a user name and a password, or with a token.

Failed logins are counted by user name and by source address, and what follows too fast is turned
away with the time to wait. The wait for one user name stays short, so that nobody can lock
somebody else out; the one for an address grows.
"""

import hashlib
import ipaddress
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dozo.model import clock
from dozo.services import audit, hashing
from dozo.services.access import Actor, ActorKind, Operation, Role
from dozo.services.access_errors import LoginFailed, LoginThrottled, TokenInvalid
from dozo.services.access_scopes import read_scopes
from dozo.services.audit import AuditObject, Outcome
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

# Longer than any that people choose; what is longer only costs time to hash.
MOST_PASSWORD_CHARACTERS = 1024


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """So many failures are free; each one more doubles the wait, from one second."""

    free: int
    longest_seconds: int
    # After a quiet time all is forgotten.
    forget_after: timedelta = timedelta(hours=1)

    def wait(self, failures: int) -> timedelta:
        """How long to wait after that many failures."""
        over = failures - self.free
        if over < 0:
            return timedelta(0)
        return timedelta(seconds=min(2 ** min(over, 30), self.longest_seconds))


BY_USER = Backoff(free=5, longest_seconds=60)
BY_SOURCE = Backoff(free=20, longest_seconds=900)


def actor_of(user: "models.User") -> Actor:
    """The actor that a logged-in user is."""
    return Actor(
        kind=ActorKind.USER,
        name=f"user:{user.username}",
        role=Role(user.role),
        tenant=user.tenant.name if user.tenant else None,
        username=user.username,
        must_change_password=user.must_change_password,
    )


def may_enter(user: "models.User") -> bool:
    """Whether the user and the user's tenant are not disabled."""
    return user.is_active and not (user.tenant and user.tenant.disabled)


def login(
    site: Site,
    username: str,
    password: str,
    *,
    source: str = "",
    right_code: "Callable[[models.User], None] | None" = None,
) -> Actor:
    """Check a password, and with ``right_code`` what else the user has to show.

    Raises :class:`LoginFailed`, :class:`LoginThrottled`, and what ``right_code`` raises.

    Takes as long for a user who does not exist as for a wrong password. The caller makes the
    session.
    """
    counters = _Counters(site, username, source)
    wait = counters.count()
    if wait is not None:
        error = LoginThrottled(wait.seconds)
        if wait.first:
            # One entry each time that the gate closes: a flood must not fill the audit trail.
            _record(site, AuditObject(kind="user"), error, source)
        raise error
    user = site.catalog.users.select_related("tenant").filter(username=username).first()
    if user is None or not _right(user, password):
        if user is None:
            _spend_the_same_time(site, password)
        return _fail(site, user, source)
    if not may_enter(user):
        return _fail(site, user, source)
    if right_code is not None:
        # What it raises counts as a failure: codes are guessed no faster than passwords.
        right_code(user)
    counters.forgive()
    user.last_login = clock.now()
    user.save(using=site.catalog.alias, update_fields=["last_login"])
    actor = actor_of(user)
    audit.record(site, actor, Operation.SESSION_LOGIN, AuditObject.of(user), source=source)
    return actor


@contextmanager
def guessing(site: Site, username: str, source: str) -> Iterator[None]:
    """A block in which a password is shown: one that is wrong (``LoginFailed``) counts as a login.

    Raises :class:`LoginThrottled`.
    """
    counters = _Counters(site, username, source)
    wait = counters.count()
    if wait is not None:
        raise LoginThrottled(wait.seconds)
    try:
        yield
    except LoginFailed:
        raise
    except BaseException:
        counters.forgive()
        raise
    counters.forgive()


def _right(user: "models.User", password: str) -> bool:
    # Also an overlong one is hashed: the time must not say whether the user exists.
    with hashing.in_turn():
        right = user.check_password(password[:MOST_PASSWORD_CHARACTERS])
    return right and len(password) <= MOST_PASSWORD_CHARACTERS


def _spend_the_same_time(site: Site, password: str) -> None:
    with hashing.in_turn():
        site.catalog.users.model().set_password(password[:MOST_PASSWORD_CHARACTERS])


def _fail(site: Site, user: "models.User | None", source: str) -> Actor:
    # What was typed as a name that nobody has may be a password: it is not written down.
    about = AuditObject.of(user) if user else AuditObject(kind="user")
    error = LoginFailed()
    _record(site, about, error, source)
    raise error


def _record(
    site: Site, about: AuditObject, error: LoginFailed | LoginThrottled, source: str
) -> None:
    audit.record(
        site,
        None,
        Operation.SESSION_LOGIN,
        about,
        outcome=Outcome.REFUSED,
        detail={"error": error.code},
        source=source,
    )


@dataclass(frozen=True, kw_only=True)
class _Wait:
    """A login that comes too early; ``first`` if none has since the last that counted."""

    seconds: int
    first: bool


class _Counters:
    """The failures of one user name and one source address."""

    def __init__(self, site: Site, username: str, source: str) -> None:
        self.catalog = site.catalog
        self.user_key = _digest("user", username)
        self.keys = [(self.user_key, BY_USER)]
        if source:
            self.keys.append((_digest("source", _network(source)), BY_SOURCE))

    def count(self) -> _Wait | None:
        """Count a failure before the password is looked at, so that many at once count too.

        While one of the two has to wait it counts nothing and says how long.
        """
        now = clock.now()
        with self.catalog.transaction():
            self._forget_old(now)
            rows = [self._row(key, now) for key, _ in self.keys]
            blocked = max((row.blocked_until - now).total_seconds() for row in rows)
            first = all(row.turned_away == 0 for row in rows)
            for row, (_, backoff) in zip(rows, self.keys, strict=True):
                if blocked > 0:
                    row.turned_away += 1
                else:
                    row.failures += 1
                    row.last_at = now
                    row.blocked_until = now + backoff.wait(row.failures)
                    row.turned_away = 0
                row.save(using=self.catalog.alias)
        return _Wait(seconds=max(1, math.ceil(blocked)), first=first) if blocked > 0 else None

    def forgive(self) -> None:
        """The password was right: the user name starts anew, the address loses this one.

        An address is not forgiven more, or whoever has one account could guess others' for ever.
        """
        with self.catalog.transaction():
            for key, _ in self.keys:
                row = self.catalog.login_failures.select_for_update().filter(key=key).first()
                if row is None:
                    continue
                if key == self.user_key or row.failures <= 1:
                    row.delete(using=self.catalog.alias)
                else:
                    row.failures -= 1
                    row.save(using=self.catalog.alias)

    def _row(self, key: str, now: datetime) -> "models.LoginFailure":
        rows = self.catalog.login_failures
        while True:
            row = rows.select_for_update().filter(key=key).first()
            if row is not None:
                return row
            # Whoever is forgiven meanwhile takes it away again.
            rows.get_or_create(key=key, defaults={"last_at": now, "blocked_until": now})

    def _forget_old(self, now: datetime) -> None:
        oldest = now - max(BY_USER.forget_after, BY_SOURCE.forget_after)
        rows = self.catalog.login_failures
        # Only those that nobody counts on right now, or two logins could wait for each other.
        old = rows.select_for_update(skip_locked=True).filter(
            last_at__lt=oldest, blocked_until__lt=now
        )
        rows.filter(key__in=[row.key for row in old]).delete()


def _digest(kind: str, text: str) -> str:
    return f"{kind}:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


def _network(source: str) -> str:
    """An address; of IPv6 the network, of which whoever has one address has them all."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network(f"{address}/64", strict=False))


_TOUCH_EVERY = timedelta(minutes=1)


def token_hash(token: str) -> str:
    """What is kept of a token. It is random enough that a plain hash hides it."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def authenticate(site: Site, token: str) -> Actor:
    """Whom a token speaks for: one look-up by its hash. Raises :class:`TokenInvalid`."""
    now = clock.now()
    row = (
        site.catalog.tokens.select_related("owner", "owner__tenant")
        .filter(secret_hash=token_hash(token))
        .first()
    )
    if row is None or row.revoked_at is not None or not may_enter(row.owner):
        raise TokenInvalid
    if row.expires_at is not None and row.expires_at <= now:
        raise TokenInvalid
    if row.last_used_at is None or now - row.last_used_at >= _TOUCH_EVERY:
        site.catalog.tokens.filter(prefix=row.prefix).update(last_used_at=now)
    owner = actor_of(row.owner)
    if row.session:
        return owner
    return Actor(
        kind=ActorKind.TOKEN,
        name=f"token:{row.owner.username}/{row.prefix}",
        role=owner.role,
        tenant=owner.tenant,
        scopes=read_scopes(row.scopes),
        username=row.owner.username,
        must_change_password=owner.must_change_password,
    )
