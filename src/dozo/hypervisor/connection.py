"""The connection to one libvirt daemon, its event loop, and libvirt's errors put into ours."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree as ET

import libvirt

from dozo.hypervisor.errors import LibvirtFailed, LibvirtUnavailable, ServerUnknown
from dozo.model.message import Message

DEFAULT_URI = "qemu:///system"

_GONE = (libvirt.VIR_ERR_NO_DOMAIN,)
_UNAVAILABLE = (
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE,
)

_loop_lock = threading.Lock()
_loop_started = False


def _quiet(_context: object, _error: object) -> None:
    """libvirt prints every error to stderr unless it is given a handler."""


def _run_event_loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _ensure_event_loop() -> None:
    """Start libvirt's event loop once a process; it must exist before a connection does."""
    global _loop_started  # noqa: PLW0603  one event loop a process is libvirt's own rule
    with _loop_lock:
        if _loop_started:
            return
        libvirt.registerErrorHandler(_quiet, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True).start()
        _loop_started = True


# Told a server's UUID and libvirt's number of what happened to it.
LifecycleListener = Callable[[str, int], None]


class Host:
    """One hypervisor host, reached through libvirt. Safe for use from several threads."""

    def __init__(self, connection: Any, uri: str) -> None:
        self._connection = connection
        self.uri = uri
        self._listening = threading.Lock()
        self._listeners: list[LifecycleListener] = []
        self._callback: int | None = None

    @classmethod
    def connect(cls, uri: str = DEFAULT_URI) -> Self:
        """Connect to the libvirt daemon at ``uri``; raises ``LibvirtUnavailable``."""
        _ensure_event_loop()
        try:
            return cls(libvirt.open(uri), uri)
        except libvirt.libvirtError as error:
            raise LibvirtUnavailable(uri=uri, reason=message(error)) from error

    @property
    def connection(self) -> Any:
        """libvirt's own connection object, for this package only."""
        return self._connection

    def close(self) -> None:
        """Drop the connection; running servers and jobs are not touched."""
        try:
            self._connection.close()
        except libvirt.libvirtError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def lifecycle_events(self, listener: LifecycleListener) -> Iterator[None]:
        """Tell ``listener`` of every server's lifecycle events while the block lasts.

        It is called from libvirt's event thread and must neither raise nor call libvirt. Raises
        libvirt's own error if there can be no events.
        """
        with self._listening:
            # libvirt takes one callback of a kind for a connection, so all listeners share it.
            if self._callback is None:
                self._callback = self._connection.domainEventRegisterAny(
                    None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._tell, None
                )
            self._listeners = [*self._listeners, listener]
        try:
            yield
        finally:
            with self._listening:
                rest = list(self._listeners)
                rest.remove(listener)
                self._listeners = rest
                if not rest:
                    self._stop_listening()

    def _stop_listening(self) -> None:
        callback, self._callback = self._callback, None
        with suppress(libvirt.libvirtError):
            self._connection.domainEventDeregisterAny(callback)

    def _tell(self, _connection: Any, domain: Any, event: int, *_rest: object) -> None:
        uuid = domain.UUIDString()
        for listener in self._listeners:
            listener(uuid, event)

    def is_alive(self) -> bool:
        """Whether the daemon still answers on this connection."""
        try:
            return bool(self._connection.isAlive()) and bool(self._connection.getLibVersion())
        except libvirt.libvirtError:
            return False

    def domain(self, server: str) -> Any:
        """libvirt's domain of a name or UUID; raises ``ServerUnknown``."""
        for look_up in (self._connection.lookupByName, self._connection.lookupByUUIDString):
            try:
                return look_up(server)
            except libvirt.libvirtError as error:
                if error.get_error_code() in _UNAVAILABLE:
                    raise LibvirtUnavailable(uri=self.uri, reason=message(error)) from error
        raise ServerUnknown(server=server, known=self.server_names())

    def server_names(self) -> tuple[str, ...]:
        """The names of all servers, sorted."""
        with translated(self, Message("list the servers of"), self.uri):
            return tuple(sorted(domain.name() for domain in self._connection.listAllDomains()))

    def qemu_user(self) -> tuple[int, int] | None:
        """The uid and gid that QEMU runs as here; None if libvirt does not change them."""
        with translated(self, "describe", self.uri):
            capabilities = ET.fromstring(self._connection.getCapabilities())  # noqa: S314  libvirt's own words
        for model in capabilities.iterfind("host/secmodel"):
            if model.findtext("model") == "dac":
                return parse_dac_label(model.findtext("baselabel") or "")
        return None


def parse_dac_label(label: str) -> tuple[int, int] | None:
    """``+64055:+108`` as numbers; None for anything else."""
    user, _, group = label.partition(":")
    try:
        return int(user.lstrip("+")), int(group.lstrip("+"))
    except ValueError:
        return None


def message(error: Any) -> str:
    """libvirt's words for an error, in one line."""
    return " ".join((error.get_error_message() or str(error)).split())


def is_gone(error: Any) -> bool:
    """Whether an error says that the domain no longer exists."""
    return error.get_error_code() in _GONE


@contextmanager
def translated(host: Host, action: str, server: str) -> Iterator[None]:
    """Turn libvirt's errors into ``ServerUnknown``, ``LibvirtUnavailable`` or ``LibvirtFailed``."""
    try:
        yield
    except libvirt.libvirtError as error:
        if is_gone(error):
            raise ServerUnknown(server=server, known=host.server_names()) from error
        if not host.is_alive():
            raise LibvirtUnavailable(uri=host.uri, reason=message(error)) from error
        raise LibvirtFailed(action=action, server=server, reason=message(error)) from error
