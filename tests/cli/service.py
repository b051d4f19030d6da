"""A real `dozo serve` for a test's home, in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dozo.cli.client import SOCKET
from dozo.model import clock

BEGIN_SECONDS = 90
END_SECONDS = 90


@dataclass(kw_only=True)
class Service:
    """A service that runs, until :meth:`stop`."""

    home: Path
    address: str
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.home.name}.log"

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(END_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path, *options: str) -> Service:
    """Start it, and wait until it answers on its socket."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DOZO_")},
        "DOZO_SERVICE_LISTEN": f"127.0.0.1:{port}",
        "DOZO_SERVICE_STOP_SECONDS": "5",
    }
    command = [sys.executable, "-c", "from dozo.cli import main; main()"]
    log = home.parent / f"{home.name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--home", str(home), "serve", *options],
            env=environment,
            stdout=out,
            stderr=out,
        )
    service = Service(home=home, address=f"http://127.0.0.1:{port}", process=process)
    deadline = clock.monotonic() + BEGIN_SECONDS
    while not _answers(home / SOCKET):
        if process.poll() is not None or clock.monotonic() > deadline:
            service.stop()
            raise AssertionError(f"the service did not begin:\n{log.read_text()}")
        clock.sleep(0.1)
    return service


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
