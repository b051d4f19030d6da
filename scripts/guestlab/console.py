"""The guest's serial console, kept in a file so that a failed boot can be read."""

import os
import select
import threading
import tty
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt


class ConsoleLog:
    """Copies what a running guest prints on its first serial port to a file, until it stops.

    The definition names no log file: a copy of the server would name the same one, and libvirt
    refuses to open it twice.
    """

    def __init__(self, domain: libvirt.virDomain, path: Path) -> None:
        self.path = path
        tree = ET.fromstring(domain.XMLDesc(0))
        source = tree.find("./devices/serial/source")
        device = source.get("path") if source is not None else None
        if device is None:
            raise ValueError(f"{domain.name()} has no serial console")
        self._fd = os.open(device, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        # A terminal echoes by default: the guest's shell would be typed its own prompt, for ever.
        tty.setraw(self._fd)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._copy, daemon=True, name="guest console")
        self._thread.start()

    def _copy(self) -> None:
        with self.path.open("ab") as log:
            while not self._stop.is_set():
                if not select.select([self._fd], [], [], 0.5)[0]:
                    continue
                try:
                    piece = os.read(self._fd, 4096)
                except OSError:  # the guest stopped: its end of the terminal is closed
                    return
                if not piece:
                    return
                log.write(piece)
                log.flush()

    def close(self) -> None:
        """Stop copying; the file stays."""
        self._stop.set()
        self._thread.join(timeout=5)
        os.close(self._fd)

    def tail(self, lines: int = 30) -> str:
        """The last lines that the guest printed."""
        if not self.path.exists():
            return ""
        return "\n".join(self.path.read_text(errors="replace").splitlines()[-lines:])
