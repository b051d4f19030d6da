"""One's own API tokens: made for a purpose, shown once, revoked."""

from datetime import date, datetime, time, timedelta
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dozo.console.shell.errors import FieldInvalid
from dozo.console.shell.visit import Visit, page
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.services import accounts
from dozo.services.access import Operation
from dozo.services.access_errors import TokenUnknown
from dozo.services.accounts import TokenView
from dozo.services.lists import servers, volumes

_MOST_OFFERED = 500
_LIFETIMES = (
    ("30", _("30 days")),
    ("90", _("90 days")),
    ("365", _("1 year")),
    ("date", _("Until a day")),
    ("never", _("Does not expire")),
)
_FIELDS = ("name", "purpose", "volume", "server", "scopes", "lifetime", "until")


@page(Operation.TOKEN_LIST, methods=("GET", "POST"))
def tokens(visit: Visit) -> HttpResponse:
    """The tokens, and the form for a new one."""
    problem, made = None, None
    given = dict.fromkeys(_FIELDS, "") | {"purpose": "volume", "lifetime": "90"}
    if visit.query("volume"):
        given["volume"] = visit.query("volume")
    if visit.is_post:
        given = {name: visit.said(name) for name in _FIELDS}
        try:
            made = accounts.issue_token(
                visit.scope,
                name=given["name"],
                scopes=_scopes(given),
                expires_at=_expiry(given),
            )
        except DozoError as error:
            problem = error
    context: dict[str, Any] = {
        "problem": problem,
        "made": made,
        "given": given,
        "lifetimes": _LIFETIMES,
        "tokens": _listed(visit),
        "address": visit.request.build_absolute_uri("/api/v1"),
        **_offered(visit),
    }
    return visit.render("account/tokens.html", context, status=422 if problem else 200)


def _offered(visit: Visit) -> dict[str, Any]:
    disks = volumes.find(visit.scope).select_related("server").order_by("server__name", "name")
    machines = servers.find(visit.scope).order_by("name")
    return {
        "volumes": [
            (str(row.volume_id), f"{row.server.name} / {row.name}" if row.server else row.name)
            for row in disks[:_MOST_OFFERED]
        ],
        "servers": [(str(row.uuid), row.name) for row in machines[:_MOST_OFFERED]],
    }


def _listed(visit: Visit) -> list[TokenView]:
    """Programs' tokens, those that work first."""
    found = [one for one in accounts.list_tokens(visit.scope) if not one.session]
    return sorted(found, key=lambda one: not one.valid)


def _scopes(given: dict[str, str]) -> list[str]:
    match given["purpose"]:
        case "volume":
            return [f"snapshot.create:volume={given['volume']}"]
        case "server":
            return [f"recovery-point.create:server={given['server']}"]
        case "look":
            return ["*.list", "*.show"]
        case "metrics":
            return ["metrics.show"]
        case "everything":
            return ["*"]
    return given["scopes"].split()


def _expiry(given: dict[str, str]) -> datetime | None:
    if given["lifetime"] == "never":
        return None
    if given["lifetime"] == "date":
        return _end_of(given["until"])
    if given["lifetime"] not in {"30", "90", "365"}:
        raise FieldInvalid("lifetime", given["lifetime"])
    return clock.now() + timedelta(days=int(given["lifetime"]))


def _end_of(text: str) -> datetime:
    """The end of a day in the visitor's zone. Raises :class:`FieldInvalid`."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise FieldInvalid("until", text) from None
    if not 1971 <= day.year <= 9990:
        raise FieldInvalid("until", text)
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=timezone.get_current_timezone())


@page(Operation.TOKEN_REVOKE, methods=("GET", "POST"))
def revoke(visit: Visit, prefix: str) -> HttpResponse:
    """Ask, then end a token."""
    if visit.is_post:
        accounts.revoke_token(visit.scope, prefix)
        return visit.go("/account/tokens", note="done")
    found = next((one for one in _listed(visit) if one.prefix == prefix), None)
    if found is None:
        raise TokenUnknown(prefix)
    return visit.render("account/revoke.html", {"token": found})
