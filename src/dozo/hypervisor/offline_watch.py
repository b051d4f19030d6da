"""Evidence that a stopped server stayed stopped while its volumes were being read."""

import os
import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import libvirt

from dozo.hypervisor.connection import Host, is_gone, message, translated
from dozo.hypervisor.disks import parse_xml, source_path
from dozo.hypervisor.errors import ServerRunning, ServerStarted, StandstillUnproven
from dozo.hypervisor.inventory import state_of
from dozo.model import clock
from dozo.model.message import Message

_CHECK_EVERY_S = 0.25
# libvirt sends events from another thread than answers; one may come this much later.
_SETTLE_S = 0.3


class OfflineWatch:
    """Watches libvirt's lifecycle record from the start of the block on.

    A start by any route leaves an event, also if the server is stopped again before anybody
    looks; so does the start of another server that has one of the disks. A libvirt that went
    away takes the evidence with it.
    """

    def __init__(self, host: Host, server: str) -> None:
        self._host = host
        domain = host.domain(server)
        self.server = domain.name()
        self._uuid = domain.UUIDString()
        self._paths = _paths(domain)
        self._events: list[str] = []
        self._lock = threading.Lock()
        self._watching = ExitStack()
        self._checked_at = clock.monotonic()
        self._failure: ServerStarted | StandstillUnproven | None = None

    def __enter__(self) -> Self:
        """Begin; raises ``ServerRunning`` unless the server is stopped."""
        with ExitStack() as begun:
            with translated(self._host, "watch", self.server):
                begun.enter_context(self._host.lifecycle_events(self._take))
                state = state_of(self._host.domain(self._uuid))
            if state not in {"stopped", "crashed"}:
                raise ServerRunning(server=self.server, state=state)
            self._watching = begun.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watching.close()

    def check(self, *, now: bool = False) -> None:
        """Raise ``ServerStarted`` or ``StandstillUnproven`` if the server may have run.

        Cheap unless ``now`` is set: that one waits until every event so far has come in, and
        belongs before the result is published.
        """
        with self._lock:
            if self._failure is None and (now or self._is_due()):
                if now:
                    clock.sleep(_SETTLE_S)
                self._failure = self._find_failure()
                self._checked_at = clock.monotonic()
            failure = self._failure
        if failure is not None:
            raise type(failure)(**failure.details())

    def _is_due(self) -> bool:
        return bool(self._events) or clock.monotonic() - self._checked_at >= _CHECK_EVERY_S

    def _find_failure(self) -> ServerStarted | StandstillUnproven | None:
        connection = self._host.connection
        if not self._host.is_alive():
            return StandstillUnproven(server=self.server, reason=Message("libvirt went away"))
        try:
            active = connection.lookupByUUIDString(self._uuid).isActive()
        except libvirt.libvirtError as error:
            if not is_gone(error):
                return StandstillUnproven(server=self.server, reason=message(error))
            active = False
        if active or self._uuid in self._events:
            return ServerStarted(server=self.server)
        while self._events:
            other = self._user_of_our_disks(self._events.pop())
            if other is not None:
                return ServerStarted(server=other)
        return None

    def _user_of_our_disks(self, uuid: str) -> str | None:
        """The name of a server that was started, if it has one of the watched disks."""
        try:
            domain = self._host.connection.lookupByUUIDString(uuid)
            return str(domain.name()) if self._paths & _paths(domain) else None
        except libvirt.libvirtError as error:
            # A server that has come and gone: if it wrote to an image, the image's file shows it.
            return None if is_gone(error) else uuid

    def _take(self, uuid: str, event: int) -> None:
        """Called by libvirt's event thread."""
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            self._events.append(uuid)


def _paths(domain: Any) -> set[str]:
    tree = parse_xml(domain.XMLDesc(0))
    found = {source_path(disk) for disk in tree.iterfind("devices/disk")}
    return {os.path.realpath(path) for path in found if path is not None}
