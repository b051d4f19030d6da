"""Every page of the console over a site in which something has happened."""

from typing import Any

from .world import Sites


def furnish(sites: Sites) -> None:
    """Let there be one of everything at main: snapshots, a schedule, a template, jobs, a token."""
    point = sites.snapshot("web", "monday")["result"]
    sites.snapshot("web", "tuesday")
    found = sites.api("main", "GET", f"/recovery-points/{point['recovery_point']}")
    root = next(one for one in found["snapshots"] if one["root"])
    data = next(one for one in found["snapshots"] if not one["root"])
    body = {"snapshot": root["snapshot"], "name": "web-os"}
    sites.wait_job("main", sites.api("main", "POST", "/templates", body)["job"])
    body = {"snapshot": data["snapshot"], "name": "web-data-again"}
    sites.wait_job("main", sites.api("main", "POST", "/volumes", body)["job"])
    hold = {"until": "2030-01-01T00:00:00Z", "note": "audit of 2029"}
    sites.api("main", "POST", f"/snapshots/{data['snapshot']}/holds", hold)
    schedule = {
        "name": "every-night",
        "server": server_of(sites, "web")["server"],
        "timing": {"kind": "daily", "hour": 1, "minute": 30, "zone": "Asia/Tokyo"},
        "keep": {"daily": 7, "weekly": 4},
    }
    made = sites.api("main", "POST", "/schedules", schedule)["schedule"]
    for run in sites.api("main", "POST", f"/schedules/{made}/run", {}):
        for job in run["jobs"]:
            sites.wait_job("main", job)


def server_of(sites: Sites, name: str) -> Any:
    found = sites.api("main", "GET", "/servers")["items"]
    return next(one for one in found if one["name"] == name)


def first(sites: Sites, path: str) -> Any:
    return sites.api("main", "GET", path)["items"][0]


def of_a_tenant(sites: Sites) -> list[str]:
    """What a tenant's administrator opens."""
    web = server_of(sites, "web")
    server, volume = web["server"], web["volumes"][0]["volume"]
    data = web["volumes"][1]["volume"]
    point = first(sites, "/recovery-points?name=monday")["recovery_point"]
    snapshot = first(sites, f"/snapshots?server={server}")["snapshot"]
    template = first(sites, "/templates")["template"]
    schedule = first(sites, "/schedules")["schedule"]
    job = first(sites, "/jobs?kind=recovery-point.create")["job"]
    loose = first(sites, "/volumes?state=unattached")["volume"]
    return [
        "/",
        "/servers",
        f"/servers/{server}",
        f"/servers/{server}/stop",
        f"/servers/{server}/delete",
        f"/snapshot-now?server={server}",
        "/volumes",
        f"/volumes/{volume}",
        f"/volumes/{loose}",
        f"/volumes/{loose}/attach",
        f"/volumes/{loose}/delete",
        f"/volumes/{data}/detach",
        "/recovery-points",
        f"/recovery-points/{point}",
        "/snapshots",
        f"/snapshots/{snapshot}",
        "/templates",
        f"/templates/{template}",
        "/schedules",
        "/schedules/new",
        "/schedules/calendar",
        f"/schedules/{schedule}",
        f"/schedules/{schedule}/edit",
        f"/schedules/{schedule}/delete",
        "/restore",
        f"/restore?server={server}",
        f"/restore/template?server={server}",
        f"/restore/new-server?server={server}",
        f"/restore/volumes?server={server}",
        f"/restore/attach?server={server}",
        f"/restore/server?server={server}",
        f"/restore/in-place?volume={data}",
        "/jobs",
        f"/jobs/{job}",
        "/audit",
        "/users",
        "/users/new",
        "/users/adam",
        "/account",
        "/account/password",
        "/account/second-factor",
        "/account/tokens",
        "/help",
    ]


OF_AN_OPERATOR = [
    "/",
    "/servers",
    "/sites",
    "/sites/vault",
    "/sites/prune",
    "/sites/retention",
    "/sites/peers/new",
    "/sites/rebuild",
    "/sites/rebuild-catalog",
    "/settings",
    "/doctor?run=yes",
    "/tenants",
    "/tenants/new",
    "/tenants/acme",
    "/tenants/acme/disable",
    "/tenants/acme/policy",
    "/users",
    "/users/alice/password",
    "/audit",
    "/jobs",
]
