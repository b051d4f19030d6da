"""The site, its vault and its peers."""

from django.http import HttpResponse

from dozo.console.shell.errors import FieldInvalid
from dozo.console.shell.visit import Visit, page, status_of
from dozo.model.errors import DozoError
from dozo.services import by_hand, overview
from dozo.services.access import Operation
from dozo.services.site_state import site_state

_UPKEEP = {"sync": "site.sync", "scrub": "site.scrub", "prune": "site.prune"}
_DAY_SECONDS = 86400


@page(Operation.SITE_LIST)
def sites(visit: Visit) -> HttpResponse:
    """This site and its peers; for those who run it, its vault and what it can be asked."""
    runs_it = visit.may["site_show"]
    context = {
        "sites": overview.sites(visit.scope),
        "own": overview.own_site(visit.scope) if runs_it else None,
    }
    return visit.render("site/sites.html", context)


@page(Operation.SITE_SHOW)
def vault(visit: Visit) -> HttpResponse:
    """How the vault stands; a part of the page, or a page of its own."""
    name = "site/vault_part.html" if visit.is_fragment else "site/vault.html"
    return visit.render(name, {"state": site_state(visit.scope)})


@page(Operation.SITE_SHOW, methods=("POST",))
def upkeep(visit: Visit) -> HttpResponse:
    """Ask for one of the site's own jobs now."""
    asked = visit.said("what")
    if asked not in _UPKEEP:
        raise FieldInvalid("what", asked)
    params: dict[str, object] = {}
    if asked == "scrub":
        params["repair_from"] = visit.said("repair_from") or None
    if asked == "prune" and visit.said("days"):
        params["grace_seconds"] = _days(visit.said("days")) * _DAY_SECONDS
    return visit.ask(_UPKEEP[asked], params)


def _days(text: str) -> int:
    if not text.isdecimal() or len(text) > 4:
        raise FieldInvalid("days", text)
    return int(text)


@page(Operation.SITE_PRUNE)
def prune(visit: Visit) -> HttpResponse:
    """What pruning would mean; the button on it asks for it."""
    return visit.render("site/prune.html", {"days": _days(visit.query("days", "7"))})


@page(Operation.SITE_RETAIN, methods=("GET", "POST"))
def retention(visit: Visit) -> HttpResponse:
    """Which generations would go now; and letting them go."""
    many = visit.query("many") == "yes"
    if visit.is_post:
        return visit.ask("site.retain", {"allow_many": visit.ticked("allow_many")})
    found = overview.retention(visit.scope, allow_many=many)
    return visit.render("site/retention.html", {"plans": found, "many": many})


@page(Operation.SITE_ADD_PEER, methods=("GET", "POST"))
def add_peer(visit: Visit) -> HttpResponse:
    """Let a peer open what this site stores, and remember where its vault is."""
    context: dict[str, object] = {"own": overview.own_site(visit.scope)}
    if not visit.is_post:
        return visit.render("site/add_peer.html", context)
    said = {name: visit.said(name) for name in ("name", "vault", "public_key")}
    try:
        by_hand.add_peer(visit.scope, **said, replace=visit.ticked("replace"))
    except DozoError as error:
        context |= {"problem": error, "said": said}
        return visit.render("site/add_peer.html", context, status=status_of(error))
    return visit.go("/sites", note="saved")
