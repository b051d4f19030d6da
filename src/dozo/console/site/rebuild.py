"""The operator's tasks after a loss: the vault from a peer, the catalog from the vault."""

from typing import Any

from django.http import HttpResponse

from dozo.console.shell.errors import NotTyped
from dozo.console.shell.visit import Visit, page, status_of
from dozo.model.errors import DozoError
from dozo.services import overview
from dozo.services.access import Operation


@page(Operation.SITE_REBUILD, methods=("GET", "POST"))
def rebuild(visit: Visit) -> HttpResponse:
    """Choose the peer, see the plan, type the site's name, begin."""
    own = overview.own_site(visit.scope)
    peers = [one.name for one in own.peers]
    peer = visit.said("peer") if visit.is_post else visit.query("peer")
    context: dict[str, Any] = {"own": own, "peers": peers, "peer": peer}
    if not peer and len(peers) == 1:
        context["peer"] = peer = peers[0]
    if not peer:
        return visit.render("site/rebuild.html", context)
    try:
        if visit.is_post:
            _typed(visit, own.site)
            return visit.ask("site.rebuild", {"peer": peer})
        context["plan"] = visit.plan("site.rebuild", {"peer": peer})
    except DozoError as error:
        context["problem"] = error
        return visit.render("site/rebuild.html", context, status=status_of(error))
    return visit.render("site/rebuild.html", context)


@page(Operation.SITE_REBUILD_CATALOG, methods=("GET", "POST"))
def rebuild_catalog(visit: Visit) -> HttpResponse:
    """Type the site's name, begin."""
    own = overview.own_site(visit.scope)
    context: dict[str, Any] = {"own": own}
    if not visit.is_post:
        return visit.render("site/rebuild_catalog.html", context)
    try:
        _typed(visit, own.site)
        return visit.ask("site.rebuild-catalog", {})
    except DozoError as error:
        context["problem"] = error
        return visit.render("site/rebuild_catalog.html", context, status=status_of(error))


def _typed(visit: Visit, name: str) -> None:
    if visit.said("confirm") != name:
        raise NotTyped(name)
