"""The addresses that the service answers on: one for the network, one for this host's people."""

import errno
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from dozo.daemon.errors import ListenFailed, ListenOpen, TlsUnusable
from dozo.model.message import Message
from dozo.services.settings import Settings, SettingsInvalid

SOCKET_NAME = "api.sock"
_BACKLOG = 128


def network_address(settings: Settings) -> tuple[str, int]:
    """Host and port of ``service.listen``. Raises ``SettingsInvalid``."""
    host, colon, port = settings.listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        path = str(settings.home / "dozo.toml")
        raise SettingsInvalid(
            path, Message("service.listen must be HOST:PORT, such as 127.0.0.1:8790")
        )
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104


def refuse_open(settings: Settings, *, behind_proxy: bool) -> None:
    """Raises :class:`ListenOpen` where passwords would cross a network in clear."""
    host, _port = network_address(settings)
    if not behind_proxy and settings.tls_certificate is None and not _is_loopback(host):
        raise ListenOpen(settings.listen)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS as the settings have it; None for plain HTTP. Raises :class:`TlsUnusable`."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is None or key is None:
        raise TlsUnusable(str(certificate), str(key), Message("it needs both"))
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise TlsUnusable(str(certificate), str(key), str(error)) from error
    return context


def network_socket(settings: Settings) -> socket.socket:
    """Listen on ``service.listen``. Raises :class:`ListenFailed`."""
    host, port = network_address(settings)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _name, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ListenFailed(settings.listen, error.strerror or str(error)) from error
    return listener


def local_socket(home: Path) -> socket.socket:
    """Listen on ``HOME/api.sock``, which only the service's own user and root can open.

    Call it with the home's lock held: a socket that is there then belongs to a dead process.
    Raises :class:`ListenFailed`.
    """
    path = home / SOCKET_NAME
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Never there with wider rights, not even for an instant: the umask is the whole process's,
    # so it is changed before any thread runs.
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(_short(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenFailed(str(path), error.strerror or str(error)) from error
    finally:
        os.umask(before)
    return listener


def _short(path: Path) -> str:
    """The path as ``bind`` takes it; a home may lie deeper than the 107 bytes that it allows."""
    text = str(path)
    if len(os.fsencode(text)) > 107:
        raise OSError(
            errno.ENAMETOOLONG, Message("the home's path is too long for a socket (107 bytes)")
        )
    return text
