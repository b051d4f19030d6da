"""Logging in at an identity provider: OpenID Connect, code flow with PKCE.

The provider says who somebody is; who may come in, as what, stands here: a user has to have an
account of that name. What is kept between the two steps is in a sealed cookie of the visitor's.
"""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.message import Message
from dozo.services import audit, login, sessions
from dozo.services.access import Operation
from dozo.services.accounts import IssuedToken
from dozo.services.audit import AuditObject, Outcome
from dozo.services.sealing import opened, sealed
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

BACK = "/login/oidc/back"

_PURPOSE = "oidc"
_STEP_SECONDS = 600
_TIMEOUT_SECONDS = 10
_LEEWAY_SECONDS = 60
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(eq=False)
class OidcOff(DozoError):
    """No identity provider is in the settings."""

    code = "access.oidc_off"
    kind = ErrorKind.REFUSED
    text = "this site has no identity provider"
    hint = "Log in with the password; an operator sets a provider with oidc.issuer in dozo.toml."


@dataclass(eq=False)
class OidcFailed(DozoError):
    """The identity provider cannot be reached, or what it says does not hold."""

    code = "access.oidc_failed"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "the login at the identity provider failed: {self.reason}"
    hint = "Begin again; if it stays so, log in with the password and tell an operator."
    reason: str


@dataclass(eq=False)
class OidcUserUnknown(DozoError):
    """The provider knows the user, this site does not, or does not let them in."""

    code = "access.oidc_user_unknown"
    kind = ErrorKind.UNAUTHENTICATED
    text = "nobody with the account {self.username!r} may log in here"
    hint = "Ask an operator or your tenant's administrator for an account of that name."
    username: str


@dataclass(frozen=True, kw_only=True)
class Begun:
    """Where the visitor goes, and what their browser keeps until they are back."""

    address: str
    kept: str


def is_on(site: Site) -> bool:
    """Whether there is a provider to log in at."""
    settings = site.settings
    return bool(settings.oidc_issuer and settings.oidc_client_id and settings.public_url)


def begin(site: Site) -> Begun:
    """Lead to the provider. Raises :class:`OidcOff`, :class:`OidcFailed`."""
    found = _discovered(site)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    asked = {
        "response_type": "code",
        "client_id": site.settings.oidc_client_id,
        "redirect_uri": _back(site),
        "scope": "openid profile email",
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge.decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    joint = "&" if "?" in found["authorization_endpoint"] else "?"
    return Begun(
        address=f"{found['authorization_endpoint']}{joint}{urlencode(asked)}",
        kept=sealed(site, _PURPOSE, json.dumps([state, nonce, verifier])),
    )


def finish(
    site: Site, kept: str, *, state: str, code: str, days: int = 1, source: str = ""
) -> IssuedToken:
    """Log in with what the provider sent the visitor back with.

    Raises :class:`OidcOff`, :class:`OidcFailed`, :class:`OidcUserUnknown`.
    """
    text = opened(site, _PURPOSE, kept, seconds=_STEP_SECONDS)
    if text is None:
        raise OidcFailed(Message("it took too long, or began in another browser"))
    wanted, nonce, verifier = json.loads(text)
    if not hmac.compare_digest(wanted.encode(), state.encode()):
        raise OidcFailed(Message("the answer belongs to another login"))
    username = _username(site, code, nonce, verifier)
    rows = site.catalog.users.select_related("tenant")
    owner: models.User | None = rows.filter(username=username).first() if username else None
    if owner is None or not login.may_enter(owner):
        error = OidcUserUnknown(username)
        about = AuditObject.of(owner) if owner else AuditObject(kind="user")
        audit.record(
            site,
            None,
            Operation.SESSION_LOGIN,
            about,
            outcome=Outcome.REFUSED,
            detail={"error": error.code, "issuer": site.settings.oidc_issuer},
            source=source,
        )
        raise error
    owner.last_login = clock.now()
    owner.save(using=site.catalog.alias, update_fields=["last_login"])
    return sessions.make_session(site, owner, name="Admin Console", days=days, source=source)


def _back(site: Site) -> str:
    return site.settings.public_url.rstrip("/") + BACK


def _discovered(site: Site) -> dict[str, str]:
    """What the provider says of itself. Raises :class:`OidcOff`, :class:`OidcFailed`."""
    if not is_on(site):
        raise OidcOff
    issuer = site.settings.oidc_issuer.rstrip("/")
    found = _asked("GET", f"{issuer}/.well-known/openid-configuration")
    if str(found.get("issuer", "")).rstrip("/") != issuer:
        raise OidcFailed(Message("the provider calls itself by another name"))
    wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    ends = {name: str(found.get(name, "")) for name in wanted}
    for end in ends.values():
        _require_safe(end)
    return ends


def _require_safe(address: str) -> None:
    """Secrets go over TLS alone, but for a provider on this host."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise OidcFailed(Message("the provider has an address without TLS"))


def _asked(method: str, address: str, **more: Any) -> dict[str, Any]:
    _require_safe(address)
    try:
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            answer = client.request(method, address, **more)
        found = answer.json()
    except (httpx.HTTPError, ValueError):
        raise OidcFailed(Message("the provider does not answer")) from None
    if answer.status_code != 200 or not isinstance(found, dict):
        raise OidcFailed(Message("the provider refuses"))
    return found


def _username(site: Site, code: str, nonce: str, verifier: str) -> str:
    """Who the provider says it is, once everything that it says holds."""
    settings = site.settings
    ends = _discovered(site)
    secret = ""
    if settings.oidc_client_secret_file is not None:
        try:
            secret = settings.oidc_client_secret_file.read_text().strip()
        except OSError:
            raise OidcFailed(Message("the client's secret cannot be read")) from None
    given = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": _back(site),
        "client_id": settings.oidc_client_id,
        "code_verifier": verifier,
    }
    more = {"auth": (settings.oidc_client_id, secret)} if secret else {}
    tokens = _asked("POST", ends["token_endpoint"], data=given, **more)
    keys = _asked("GET", ends["jwks_uri"])
    claims = _verified(str(tokens.get("id_token", "")), keys, settings.oidc_issuer, nonce)
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    if settings.oidc_client_id not in meant:
        raise OidcFailed(Message("the token is for somebody else"))
    return str(claims.get(settings.oidc_username_claim) or "")


def _verified(token: str, keys: dict[str, Any], issuer: str, nonce: str) -> dict[str, Any]:
    try:
        key_set = KeySet.import_key_set(keys)  # type: ignore[arg-type]  # checked by it
        found = jwt.decode(token, key_set, algorithms=_ALGORITHMS)
        rules = jwt.JWTClaimsRegistry(
            now=int(clock.now().timestamp()),
            leeway=_LEEWAY_SECONDS,
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        rules.validate(found.claims)
    except (JoseError, ValueError, KeyError, TypeError):
        raise OidcFailed(Message("the token does not hold")) from None
    if str(found.claims.get("iss", "")).rstrip("/") != issuer.rstrip("/"):
        raise OidcFailed(Message("the token is of another provider"))
    return dict(found.claims)
