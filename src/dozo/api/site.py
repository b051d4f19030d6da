"""The site and its peers: /site, /sites; and what they say of themselves: /overview, /settings."""

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import Field

from dozo.api.current import scope_of
from dozo.api.fields import Name
from dozo.api.paging import Text
from dozo.api.routes import Body, ask, given, job, needs
from dozo.services import by_hand, capacity, doctor, notify, overview
from dozo.services.access import Operation
from dozo.services.capacity import Capacity
from dozo.services.doctor import Finding
from dozo.services.notify import TestResult
from dozo.services.overview import (
    Overview,
    OwnSiteView,
    PeerView,
    RetentionView,
    SiteView,
)

router = Router()


@router.get("/overview", response=Overview, **needs(Operation.SERVER_LIST))
def show_overview(request: HttpRequest) -> object:
    """Show what is protected, what runs and what needs attention."""
    return overview.overview(scope_of(request))


@router.get("/sites", response=list[SiteView], **needs(Operation.SITE_LIST))
def list_sites(request: HttpRequest) -> object:
    """List this site and its peers, with the states of copies there."""
    return overview.sites(scope_of(request))


@router.get("/site", response=OwnSiteView, **needs(Operation.SITE_SHOW))
def show_site(request: HttpRequest) -> object:
    """Show this site."""
    return overview.own_site(scope_of(request))


class CapacityQuery(Body):
    """How far back."""

    days: int = Field(90, ge=1, le=400, description="So many days.")


@router.get("/site/capacity", response=Capacity, **needs(Operation.SITE_SHOW))
def show_capacity(request: HttpRequest, query: Query[CapacityQuery]) -> object:
    """Show how much the vault held, day by day, and how fast it grows."""
    return capacity.show(scope_of(request), days=query.days)


class RetentionQuery(Body):
    """How careful it would be."""

    allow_many: bool = Field(False, description="As if somebody had agreed to many at once.")


@router.get("/site/retention", response=list[RetentionView], **needs(Operation.SITE_RETAIN))
def show_retention(request: HttpRequest, query: Query[RetentionQuery]) -> object:
    """Show which generations retention would remove now."""
    return overview.retention(scope_of(request), allow_many=query.allow_many)


class Sync(Body):
    """What to keep step with."""

    verify: bool = Field(True, description="Read back what nobody has read back yet.")


@router.post("/site/sync", **job(Operation.SITE_SYNC))
def sync_site(request: HttpRequest, body: Sync | None = None) -> HttpResponse:
    """Look at the hypervisor, the vault and the peers now."""
    return ask(request, "site.sync", given(body))


class Retain(Body):
    """How retention runs."""

    allow_many: bool = Field(
        False, description="Somebody has looked: go on where it stopped for safety's sake."
    )


@router.post("/site/retain", **job(Operation.SITE_RETAIN))
def retain_site(request: HttpRequest, body: Retain | None = None) -> HttpResponse:
    """Remove the generations that are over."""
    return ask(request, "site.retain", given(body))


class Prune(Body):
    """What may go."""

    grace_seconds: Annotated[int, Field(ge=0, le=3650 * 86400)] | None = Field(
        None, description="Only what was deleted longer ago; as the settings say, unless given."
    )


@router.post("/site/prune", **job(Operation.SITE_PRUNE))
def prune_site(request: HttpRequest, body: Prune | None = None) -> HttpResponse:
    """Reclaim the space of deleted snapshots."""
    return ask(request, "site.prune", given(body))


class Scrub(Body):
    """From where to mend."""

    repair_from: Text | None = Field(None, description="A peer.")


@router.post("/site/scrub", **job(Operation.SITE_SCRUB))
def scrub_site(request: HttpRequest, body: Scrub | None = None) -> HttpResponse:
    """Read everything in the vault back."""
    return ask(request, "site.scrub", given(body))


class Rebuild(Body):
    """From where."""

    peer: Text = Field("", description="The only peer, unless given.")
    verify: bool = True


@router.post("/site/rebuild", **job(Operation.SITE_REBUILD))
def rebuild_site(request: HttpRequest, body: Rebuild | None = None) -> HttpResponse:
    """Fill this site's vault from a peer's; repeat it until it is complete."""
    return ask(request, "site.rebuild", given(body))


@router.post("/site/rebuild-catalog", **job(Operation.SITE_REBUILD_CATALOG))
def rebuild_catalog(request: HttpRequest) -> HttpResponse:
    """Make the catalog anew from the vault."""
    return ask(request, "site.rebuild-catalog", {})


class NewPeer(Body):
    """A peer's site; the key is its text, never the path of a file."""

    name: Name
    vault: Annotated[Text, Field(min_length=1)]
    public_key: Annotated[str, Field(pattern=r"^dozo-site-[!-~]+$", max_length=1000)]
    replace: bool = False


@router.post("/site/peers", response={201: PeerView}, **needs(Operation.SITE_ADD_PEER))
def add_peer(request: HttpRequest, body: NewPeer) -> object:
    """Let a peer open what this site stores, and remember where its vault is."""
    made = by_hand.add_peer(scope_of(request), **body.dict())
    shown = PeerView(
        name=made.name, site_id=made.site_id, vault=made.vault, public_key=made.public_key
    )
    return Status(201, shown)


@router.post("/site/notify-test", response=list[TestResult], **needs(Operation.NOTIFICATION_TEST))
def test_notifications(request: HttpRequest) -> object:
    """Send a test message to each address of `notify.urls`, and say which took it."""
    return notify.send_test(scope_of(request))


@router.get("/doctor", response=list[Finding], **needs(Operation.DOCTOR_RUN))
def run_doctor(request: HttpRequest) -> object:
    """Check what the host and the site need, each with how to mend it."""
    scope = scope_of(request)
    scope.permit(Operation.DOCTOR_RUN)
    return doctor.examine(scope.site.settings.home)


@router.get("/settings", response=dict[str, Any], **needs(Operation.SETTINGS_SHOW))
def show_settings(request: HttpRequest) -> object:
    """Show the settings of the site, without secrets."""
    return overview.settings(scope_of(request))
