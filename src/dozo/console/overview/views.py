"""The first page: what is protected, what runs, what needs attention."""

from typing import Any

from django.http import HttpResponse

from dozo.console.overview import pictures
from dozo.console.shell.visit import Visit, page
from dozo.services import capacity, job_queue, tenants
from dozo.services import overview as service
from dozo.services.access import Operation

_SERVERS_SHOWN = 12
_NOTICES_SHOWN = 12
_JOBS_SHOWN = 8


@page(Operation.SERVER_LIST)
def overview(visit: Visit) -> HttpResponse:
    """Is everything protected? With ``part=jobs`` only what runs."""
    if visit.query("part") == "jobs":
        return visit.render("overview/jobs.html", _jobs(visit))
    found = service.glance(visit.scope)
    states = found.overview.servers
    everything = visit.query("all") == "1"
    notices = found.overview.attention
    context: dict[str, Any] = {
        "overview": found.overview,
        "verdict": found.overview.verdict,
        "total": sum(states.values()),
        "bad": states["failing"] + states["unprotected"],
        "notices": notices if everything else notices[:_NOTICES_SHOWN],
        "more": 0 if everything else max(len(notices) - _NOTICES_SHOWN, 0),
        "ages": pictures.ages(found.servers[:_SERVERS_SHOWN], found.overview.at),
        "more_servers": max(len(found.servers) - _SERVERS_SHOWN, 0),
        "sites": list(found.servers[0].at) if found.servers else [],
        "peers": [peer.name for peer in visit.scope.site.settings.peers],
        **_jobs(visit),
        **_space(visit),
    }
    return visit.render("overview/overview.html", context)


def _jobs(visit: Visit) -> dict[str, Any]:
    rows = visit.scope.jobs.select_related("tenant")
    active = rows.filter(state__in=job_queue.ACTIVE).order_by("created_at")
    waiting = rows.filter(state__in=job_queue.WAITING)
    return {
        "running": job_queue.views(visit.scope, list(active[:_JOBS_SHOWN])),
        "waiting": waiting.count(),
    }


def _space(visit: Visit) -> dict[str, Any]:
    """The vault for those who run the site, the quota for a tenant's people."""
    if visit.may["site_show"]:
        found = capacity.show(visit.scope)
        return {"capacity": found, "growth": pictures.growth(found.figures)}
    if visit.scope.actor.tenant is not None and visit.may["quota_show"]:
        quota = tenants.quota(visit.scope, visit.scope.actor.tenant)
        return {"quota": quota, "count": quota.snapshots + quota.templates}
    return {}


@page(Operation.SNAPSHOT_VERIFY, methods=("POST",))
def verify(visit: Visit) -> HttpResponse:
    """Read a snapshot back."""
    return visit.ask("snapshot.verify", {"snapshots": [visit.said("snapshot")]})


@page(Operation.SITE_SCRUB, methods=("POST",))
def repair(visit: Visit) -> HttpResponse:
    """Read everything back, and mend what is damaged from a peer."""
    return visit.ask("site.scrub", {"repair_from": visit.said("peer") or None})
