"""Servers that Dozo stops for a snapshot: started again, whatever happens meanwhile.

The duty is a note, durable before the server is asked to stop. While its writer lives it is
locked; a process that died leaves it behind, and whoever cleans up next, first of all a service
that starts, starts the server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from dozo.hypervisor import ServerUnknown
from dozo.model import clock
from dozo.model.message import Message
from dozo.services import notes
from dozo.services.found import FoundServer
from dozo.services.notes import Busy, HeldNote, Note
from dozo.services.site import Site
from dozo.services.work import Work

KIND = "start-again"
# A guest that did not stop in time may still do so: for this long it is started again.
_LATE_STOP = timedelta(minutes=15)


@contextmanager
def stopped(
    site: Site, server: FoundServer, *, timeout_seconds: float, force: bool, work: Work
) -> Iterator[None]:
    """Stop a server for the block, and start it again however the block ends.

    One that is stopped already stays so. A guest that does not stop in time fails here and keeps
    running; power is cut only with ``force``. Raises the hypervisor's ``StopTimedOut``.
    """
    if not server.info.active:
        yield
        return
    with notes.hold(
        site.settings.notes,
        _note_name(server.uuid),
        what=Message("server {server}", server=server.row.name),
        work=Message("stopping it for a snapshot and starting it again"),
        kind=KIND,
        server=server.uuid,
        until=None,
    ) as note:
        work.step(Message("stop server {server}", server=server.row.name))
        try:
            site.host.stop(server.uuid, timeout_s=timeout_seconds, force=force, look=work.check)
        except BaseException:
            note.update(until=clock.to_text(clock.now() + _LATE_STOP))
            note.keep()
            raise
        try:
            yield
        finally:
            _start(site, server.uuid, note)


def _start(site: Site, uuid: str, note: HeldNote) -> None:
    try:
        site.host.start(uuid)
    except BaseException:
        note.keep()
        raise


def forget(site: Site, server_uuid: str) -> None:
    """Somebody stops this server on purpose: a duty that outlived its job is void.

    Raises ``Busy`` while a snapshot has stopped it and is going to start it again.
    """
    note = notes.find(site.settings.notes, _note_name(server_uuid))
    if note is not None and note.alive:
        raise Busy(note.what, note.work, note.pid, note.since)
    if note is not None:
        with notes.take_over(note) as taken:
            if taken is not None:
                notes.forget(taken)


def fulfil(site: Site, note: Note) -> tuple[str, bool]:
    """Start the server of a duty whose process died; a line about it, and whether it is done."""
    uuid = str(note.body.get("server"))
    try:
        info = site.host.server(uuid)
    except ServerUnknown:
        return Message("{what}: it was to be started again, but it is gone", what=note.what), True
    until = note.body.get("until")
    if not info.active:
        site.host.start(uuid)
        return Message("{what}: started again, after Dozo had stopped it", what=note.what), True
    over = not until or clock.now() > clock.from_text(str(until))
    return "", over


def _note_name(uuid: str) -> str:
    return f"duty-{uuid}"
