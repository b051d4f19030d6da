"""Servers: /servers."""

from typing import Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field, model_validator

from dozo.api.current import scope_of
from dozo.api.fields import Instant, Name, Network, Reference, Seconds
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import Body, ask, given, job, needs
from dozo.model import clock
from dozo.model.states import Identity, Tracking
from dozo.services import by_hand, protection, tenants, views
from dozo.services.access import Operation
from dozo.services.lists import servers
from dozo.services.power import ServerState
from dozo.services.protection import ServerProtection
from dozo.services.tracking import TrackingSet
from dozo.services.views import ServerView

router = Router()


class ServerQuery(PageQuery):
    """Which servers."""

    sort: Literal["name", "-name", "state", "-state"] = "name"
    name: Text | None = Field(None, description="A part of the name.")
    tenant: Text | None = None
    tag: Text | None = None
    state: Text | None = None
    gone: bool = Field(False, description="Also those that only snapshots know.")


@router.get("/servers", response=Page[ServerView], **needs(Operation.SERVER_LIST))
def list_servers(request: HttpRequest, query: Query[ServerQuery]) -> object:
    """List servers."""
    scope = scope_of(request)
    rows = servers.find(
        scope,
        name=query.name,
        tenant=query.tenant,
        tag=query.tag,
        state=query.state,
        gone=query.gone,
    )
    part = cut(rows, query, query.sort)
    return part.page(views.server_views(scope.site, part.rows))


class NewServer(Body):
    """A server to be made of a template."""

    template: Reference
    name: Name
    network: Network = "same"
    start: bool = False
    accept_plaintext: bool = False


@router.post("/servers", **job(Operation.SERVER_CREATE))
def create_server(request: HttpRequest, body: NewServer) -> HttpResponse:
    """Make a server from a template."""
    return ask(request, "server.create", body.dict())


class RestoreServer(Body):
    """A server to be restored from a recovery point, from snapshots, or as it was at a time."""

    recovery_point: Reference | None = None
    snapshots: list[Reference] | None = Field(None, min_length=1, max_length=100)
    server: Reference | None = None
    at: Instant | None = Field(None, description="With `server`: now, unless given.")
    name: Name | None = None
    identity: Identity | None = None
    network: Network = "same"
    start: bool = False
    accept_plaintext: bool = False

    @model_validator(mode="after")
    def _one(self) -> "RestoreServer":
        if [self.recovery_point, self.snapshots, self.server].count(None) != 2:
            raise ValueError("give exactly one of recovery_point, snapshots and server")
        if self.at is not None and self.server is None:
            raise ValueError("at goes with server alone")
        return self


@router.post("/servers/restore", **job(Operation.RESTORE_SERVER))
def restore_server(request: HttpRequest, body: RestoreServer) -> HttpResponse:
    """Restore a whole server."""
    params = body.dict()
    if body.at is not None:
        params["at"] = clock.to_text(body.at)
    if body.identity is not None:
        params["identity"] = body.identity.value
    return ask(request, "server.restore", params)


class StartServer(Body):
    """How to start a server."""

    fail_snapshot: bool = Field(
        False, description="Start even if an offline snapshot is under way; the snapshot fails."
    )


@router.post("/servers/{ref}/start", **job(Operation.SERVER_START))
def start_server(request: HttpRequest, ref: str, body: StartServer | None = None) -> HttpResponse:
    """Start a server."""
    return ask(request, "server.start", {"server": ref, **given(body)})


class StopServer(Body):
    """How to stop a server."""

    timeout_seconds: Seconds = 120
    force: bool = Field(False, description="Cut the power when the time is over.")


@router.post("/servers/{ref}/stop", **job(Operation.SERVER_STOP))
def stop_server(request: HttpRequest, ref: str, body: StopServer | None = None) -> HttpResponse:
    """Ask a server to shut down, and wait for it."""
    return ask(request, "server.stop", {"server": ref, **given(body)})


@router.post("/servers/{ref}/untrack", **job(Operation.SERVER_UNTRACK))
def untrack_server(request: HttpRequest, ref: str) -> HttpResponse:
    """Remove every trace of change tracking from a server's volumes."""
    return ask(request, "server.untrack", {"server": ref})


class SetTracking(Body):
    """Whether checkpoints may be kept."""

    tracking: Tracking


@router.put("/servers/{ref}/tracking", response=TrackingSet, **needs(Operation.SERVER_TRACK))
def set_tracking(request: HttpRequest, ref: str, body: SetTracking) -> object:
    """Say whether changes of a server's volumes may be tracked."""
    return by_hand.set_tracking(scope_of(request), ref, body.tracking)


class SetTags(Body):
    """All tags that are given by hand."""

    tags: list[Text] = Field(max_length=64)


@router.put("/servers/{ref}/tags", response=ServerView, **needs(Operation.SERVER_TAG))
def set_tags(request: HttpRequest, ref: str, body: SetTags) -> object:
    """Replace the tags that were given by hand; those in the domain's metadata stay."""
    scope = scope_of(request)
    return views.server_view(tenants.replace_tags(scope, ref, body.tags))


class SetTenant(Body):
    """Whose server it is."""

    tenant: Name | None = Field(description="None: as the domain's metadata say.")


@router.put("/servers/{ref}/tenant", response=ServerView, **needs(Operation.SERVER_ASSIGN))
def set_tenant(request: HttpRequest, ref: str, body: SetTenant) -> object:
    """Give a server, and its volumes, to a tenant; snapshots stay with the old one."""
    return views.server_view(tenants.assign(scope_of(request), ref, body.tenant))


@router.get("/servers/{ref}/protection", response=ServerProtection, **needs(Operation.SERVER_SHOW))
def show_server_protection(request: HttpRequest, ref: str) -> object:
    """Show whether a server is protected, and if not, why."""
    scope = scope_of(request)
    return protection.of_server(scope.site, scope.server(ref, Operation.SERVER_SHOW))


@router.get("/servers/{ref}", response=ServerView, **needs(Operation.SERVER_SHOW))
def show_server(request: HttpRequest, ref: str) -> object:
    """Show a server with its volumes."""
    scope = scope_of(request)
    row = scope.server(ref, Operation.SERVER_SHOW)
    return views.server_views(scope.site, [row])[0]


class DeleteServerQuery(Body):
    """What goes, and that it is meant."""

    confirm: Text = Field("", description="The server's name.")
    volumes: bool = Field(False, description="Delete the images of its volumes as well.")


@router.delete("/servers/{ref}", response=ServerState, **needs(Operation.SERVER_DELETE))
def delete_server(request: HttpRequest, ref: str, query: Query[DeleteServerQuery]) -> object:
    """Delete a stopped server; its snapshots stay."""
    return by_hand.delete_server(
        scope_of(request), ref, confirm=query.confirm, volumes_too=query.volumes
    )
