"""Telling systemd how far the service is, where it was started by it (``Type=notify``)."""

import contextlib
import os
import socket


def ready() -> None:
    """It answers now."""
    _tell(b"READY=1")


def stopping() -> None:
    """It ends now."""
    _tell(b"STOPPING=1")


def _tell(word: bytes) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaking,
    ):
        speaking.connect(address)
        speaking.send(word)
