"""The service as a process of its own, on a home without a hypervisor."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from dozo.model import clock

COMMAND = str(Path(sys.executable).with_name("dozo"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(kw_only=True)
class Service:
    """One `dozo serve` or `dozo worker`; `log` is its standard error."""

    home: Path
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    scheme: str = "http"
    lines_seen: int = field(default=0)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Over the network."""
        with httpx.Client(verify=False, timeout=30) as client:
            return client.get(self.url + path, **more)

    def local(self, path: str, **more: Any) -> httpx.Response:
        """Over the socket in the home."""
        transport = httpx.HTTPTransport(uds=str(self.home / "api.sock"))
        with httpx.Client(transport=transport, base_url="http://dozo", timeout=30) as client:
            return client.get(path, **more)

    def wait_ready(self) -> None:
        deadline = clock.monotonic() + 60
        while not self._listens():
            assert self.process.poll() is None, self.log.read_text()
            assert clock.monotonic() < deadline, self.log.read_text()
            clock.sleep(0.1)
        assert self.local("/healthz").status_code == 200

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as trying:
            return trying.connect_ex(str(self.home / "api.sock")) == 0

    def wait_logged(self, text: str, seconds: float = 30) -> None:
        deadline = clock.monotonic() + seconds
        while text not in self.log.read_text():
            assert clock.monotonic() < deadline, f"{text!r} is not in\n{self.log.read_text()}"
            clock.sleep(0.05)

    def events(self) -> list[dict[str, Any]]:
        """The log, a JSON object a line."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def command(home: Path, *arguments: str) -> list[str]:
    return [COMMAND, "--home", str(home), *arguments]


@contextmanager
def started(home: Path, *arguments: str, ready: bool = True, **settings: str) -> Iterator[Service]:
    """`dozo serve` (or what is named) until the block ends; settings as `service_listen=…`."""
    port = free_port()
    environment = os.environ | {"DOZO_SERVICE_LISTEN": f"127.0.0.1:{port}"}
    environment |= {f"DOZO_{key}".upper(): value for key, value in settings.items()}
    log = home.parent / f"log-{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(home, *(arguments or ("serve",))),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    scheme = "https" if "service_tls_key" in settings else "http"
    service = Service(home=home, process=process, port=port, log=log, scheme=scheme)
    try:
        if ready:
            service.wait_ready()
        yield service
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
