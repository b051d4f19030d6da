"""Starting, stopping and deleting servers, with regard to what Dozo is doing to them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dozo.model import clock
from dozo.model.message import Message
from dozo.services import attaching, found, inventory, notes
from dozo.services.errors import ServerBusy, VolumeForeign, VolumeRestoring
from dozo.services.notes import Note
from dozo.services.site import Site

_GIVE_WAY_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """What became of a server."""

    server: str
    name: str
    state: str
    deleted_volumes: tuple[str, ...] = ()


def start(site: Site, reference: str, *, fail_snapshot: bool = False) -> ServerState:
    """Start a server. Refused while an offline snapshot or a restore needs it stopped.

    With ``fail_snapshot`` an offline snapshot is made to give way first, and fails. Raises
    :class:`ServerBusy`, :class:`VolumeRestoring`.
    """
    server = found.server(site, reference)
    for volume in server.row.volumes.exclude(restoring_snapshot=""):
        raise VolumeRestoring(volume.name, volume.restoring_snapshot[:12])
    note = notes.find(site.settings.notes, server.note_name)
    if note is not None and note.alive and not server.info.active:
        if not (fail_snapshot and note.body.get("kind") == "snapshot"):
            raise ServerBusy(server.row.name, note.work, note.since)
        _make_way(note, server.row.name)
    site.host.start(server.uuid)
    return _state(site, server.uuid)


def _make_way(note: Note, server: str) -> None:
    notes.ask_to_stop(note)
    deadline = clock.monotonic() + _GIVE_WAY_SECONDS
    while clock.monotonic() < deadline:
        again = notes.find(note.path.parent, note.path.stem)
        if again is None or not again.alive:
            return
        clock.sleep(0.1)
    raise ServerBusy(server, note.work, note.since)


def stop(
    site: Site,
    reference: str,
    *,
    timeout_seconds: float = 120,
    force: bool = False,
    look: Callable[[], None] = lambda: None,
) -> ServerState:
    """Ask the guest to shut down and wait; with ``force`` the power is cut after the wait."""
    server = found.server(site, reference)
    if server.info.active:
        site.host.stop(server.uuid, timeout_s=timeout_seconds, force=force, look=look)
    return _state(site, server.uuid)


def delete(site: Site, reference: str, *, volumes_too: bool = False) -> ServerState:
    """Remove a stopped server's definition; its snapshots stay.

    With ``volumes_too`` also the images of its volumes; refused, before anything is removed,
    where Dozo did not make one of them.
    """
    server = found.server(site, reference)
    server.require_stopped()
    with notes.hold(
        site.settings.notes,
        server.note_name,
        what=Message("server {server}", server=server.row.name),
        work=Message("deleting it"),
        kind="delete",
    ):
        rows = list(server.row.volumes.filter(state="attached")) if volumes_too else []
        for row in rows:
            if not row.created_here:
                raise VolumeForeign(row.name, row.path)
        site.host.undefine(server.uuid)
        inventory.sync(site)
        for row in rows:
            row.refresh_from_db()
            if row.state == "unattached" and Path(row.path).exists():
                attaching.remove(site, row)
    return ServerState(
        server=server.uuid,
        name=server.row.name,
        state="deleted",
        deleted_volumes=tuple(row.name for row in rows),
    )


def _state(site: Site, uuid: str) -> ServerState:
    inventory.sync(site)
    info = site.host.server(uuid)
    return ServerState(server=uuid, name=info.name, state=info.state)
