"""Change tracking of a server: the setting, and removing every trace of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from dozo import hypervisor, volumes
from dozo.model.message import Message
from dozo.model.states import Tracking
from dozo.services import found, inventory, notes
from dozo.services.site import Site


@dataclass(frozen=True, kw_only=True)
class TrackingSet:
    """A server's setting after it was changed."""

    server: str
    name: str
    tracking: Tracking


@dataclass(frozen=True, kw_only=True)
class Untracked:
    """What was removed from a server and its images."""

    server: str
    name: str
    checkpoints: tuple[str, ...]
    bitmaps: tuple[str, ...]


def set_tracking(site: Site, reference: str, tracking: Tracking) -> TrackingSet:
    """Say whether checkpoints may be kept; *auto* forbids them where internal snapshots exist.

    What is there stays until :func:`untrack`, or the next snapshot of the running server that
    may not keep it.
    """
    server = found.server(site, reference)
    site.host.set_tracking(server.uuid, tracking)
    inventory.sync(site)
    return TrackingSet(server=server.uuid, name=server.row.name, tracking=tracking)


def untrack(site: Site, reference: str) -> Untracked:
    """Remove Dozo's checkpoints and bitmaps, from a running or a stopped server.

    The next snapshot of each volume is read in full. Other tools' checkpoints stay.
    """
    server = found.server(site, reference)
    with notes.hold(
        site.settings.notes,
        server.note_name,
        what=Message("server {server}", server=server.row.name),
        work=Message("removing change tracking"),
        kind="untrack",
    ):
        report = site.host.untrack(server.uuid)
        removed = [*report.bitmaps, *_remove_from_images(report.images)]
    return Untracked(
        server=server.uuid,
        name=server.row.name,
        checkpoints=report.checkpoints,
        bitmaps=tuple(removed),
    )


def _remove_from_images(images: Iterable[str]) -> list[str]:
    """Remove Dozo's bitmaps from a stopped server's images; their names."""
    removed = []
    for path in images:
        for bitmap in volumes.inspect(path, format="qcow2").bitmaps:
            if hypervisor.is_ours(bitmap.name):
                volumes.remove_bitmap(path, bitmap.name)
                removed.append(bitmap.name)
    return removed
