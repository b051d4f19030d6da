"""Volumes: /volumes. A reference may be SERVER/DEVICE, quoted or not."""

from typing import Annotated, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field, model_validator

from dozo.api.current import scope_of
from dozo.api.fields import Name, Reference
from dozo.api.paging import Page, PageQuery, Text, cut
from dozo.api.routes import Body, ask, job, needs
from dozo.services import by_hand, views
from dozo.services.access import Operation
from dozo.services.attaching import Attachment, VolumeDeleted
from dozo.services.lists import volumes
from dozo.services.views import VolumeView

router = Router()


class VolumeQuery(PageQuery):
    """Which volumes."""

    sort: Literal["name", "-name", "state", "-state"] = "name"
    name: Text | None = Field(None, description="A part of the name.")
    server: Reference | None = None
    tenant: Text | None = None
    state: Literal["attached", "unattached", "creating", "gone"] | None = None
    gone: bool = Field(False, description="Also those that only snapshots know.")


@router.get("/volumes", response=Page[VolumeView], **needs(Operation.VOLUME_LIST))
def list_volumes(request: HttpRequest, query: Query[VolumeQuery]) -> object:
    """List volumes."""
    scope = scope_of(request)
    rows = volumes.find(
        scope,
        name=query.name,
        server=query.server,
        tenant=query.tenant,
        state=query.state,
        gone=query.gone,
    )
    part = cut(rows, query, query.sort)
    return part.page(views.volume_views(scope.site, part.rows))


class NewVolume(Body):
    """A volume to be made of a snapshot."""

    snapshot: Reference
    name: Name
    format: Literal["qcow2", "raw"] = "qcow2"
    accept_plaintext: bool = False


@router.post("/volumes", **job(Operation.VOLUME_CREATE))
def create_volume(request: HttpRequest, body: NewVolume) -> HttpResponse:
    """Make a volume from a snapshot; it is attached to nothing at first."""
    return ask(request, "volume.create", body.dict())


Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class AttachVolume(Body):
    """To which server, and as what; what it had last, unless given."""

    server: Reference
    device: Word | None = None
    bus: Word | None = None
    serial: Word | None = None


@router.post("/volumes/{path:ref}/attach", response=Attachment, **needs(Operation.VOLUME_ATTACH))
def attach_volume(request: HttpRequest, ref: str, body: AttachVolume) -> object:
    """Attach a volume to a server, stopped or running."""
    return by_hand.attach(
        scope_of(request),
        ref,
        body.server,
        device=body.device,
        bus=body.bus,
        serial=body.serial,
    )


class DetachVolume(Body):
    """From which server."""

    server: Reference


@router.post("/volumes/{path:ref}/detach", response=Attachment, **needs(Operation.VOLUME_DETACH))
def detach_volume(request: HttpRequest, ref: str, body: DetachVolume) -> object:
    """Detach a volume; unmount it in the guest before."""
    return by_hand.detach(scope_of(request), ref, body.server)


class RestoreVolume(Body):
    """The snapshot to go back to; or what becomes of a restore that was interrupted."""

    snapshot: Reference | None = None
    resume: bool = Field(False, description="Finish a restore that was interrupted.")
    go_back: bool = Field(False, description="Take back what was there before the restore.")

    @model_validator(mode="after")
    def _one(self) -> "RestoreVolume":
        if [bool(self.snapshot), self.resume, self.go_back].count(True) != 1:
            raise ValueError("give exactly one of snapshot, resume and go_back")
        return self


@router.post("/volumes/{path:ref}/restore", **job(Operation.RESTORE_IN_PLACE))
def restore_volume(request: HttpRequest, ref: str, body: RestoreVolume) -> HttpResponse:
    """Put a stopped server's volume back to a snapshot, in place."""
    params = {"volume": ref, "snapshot": body.snapshot, "go_back": body.go_back or None}
    return ask(request, "volume.restore", params)


@router.get("/volumes/{path:ref}", response=VolumeView, **needs(Operation.VOLUME_SHOW))
def show_volume(request: HttpRequest, ref: str) -> object:
    """Show a volume."""
    scope = scope_of(request)
    return views.volume_view(scope.volume(ref, Operation.VOLUME_SHOW))


class DeleteVolumeQuery(Body):
    """That it is meant."""

    confirm: Text = Field("", description="The volume's name.")


@router.delete("/volumes/{path:ref}", response=VolumeDeleted, **needs(Operation.VOLUME_DELETE))
def delete_volume(request: HttpRequest, ref: str, query: Query[DeleteVolumeQuery]) -> object:
    """Delete a volume that Dozo made and that is attached to nothing; its snapshots stay."""
    return by_hand.delete_volume(scope_of(request), ref, confirm=query.confirm)
