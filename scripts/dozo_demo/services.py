"""The services of the demo's sites: each a process of its own, known by its id."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from dozo_demo.places import SERVICES, DemoSite, make_folder
from dozo_demo.terminal import DOZO, StepFailed, say, show_command

BEGIN_SECONDS = 90
END_SECONDS = 120


def start(site: DemoSite) -> None:
    """Start a site's service in the background, and wait until it answers. Raises StepFailed."""
    if not SERVICES.exists():
        make_folder(SERVICES)
    command = ["--home", str(site.home), "serve"]
    show_command(["dozo", *command], background=True)
    log = _log(site)
    address = f"127.0.0.1:{_free_port()}"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(DOZO), *command],
            env={**os.environ, "DOZO_SERVICE_LISTEN": address},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    _pid_file(site).write_text(str(process.pid))
    _address_file(site).write_text(address)
    deadline = time.monotonic() + BEGIN_SECONDS
    while not _answers(site.home / "api.sock"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StepFailed(f"the service of {site.name} did not begin: see {log}")
        time.sleep(0.2)
    say(f"the service of {site.name} runs; its log is {log}")


def stop(site: DemoSite, *, kill: bool = False) -> bool:
    """End a site's service, if it runs; with ``kill`` as a power cut would. Whether it did run."""
    pid = running(site)
    if pid is not None:
        os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        while running(site) is not None:
            if time.monotonic() > deadline:
                raise StepFailed(f"the service of {site.name} (process {pid}) does not end")
            time.sleep(0.1)
    _pid_file(site).unlink(missing_ok=True)
    return pid is not None


def running(site: DemoSite) -> int | None:
    """The process id of a site's service, if that is what the process is."""
    try:
        pid = int(_pid_file(site).read_text())
        process = Path(f"/proc/{pid}")
        if process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z":
            # Its parent, this demo, has not looked yet.
            os.waitpid(pid, os.WNOHANG)
            return None
        arguments = process.joinpath("cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    ours = str(site.home).encode() in arguments and b"serve" in arguments
    return pid if ours else None


def address(site: DemoSite) -> str:
    """Host and port of a site's service, as it was started last."""
    return _address_file(site).read_text()


def _address_file(site: DemoSite) -> Path:
    return SERVICES / f"{site.name}.address"


def _pid_file(site: DemoSite) -> Path:
    return SERVICES / f"{site.name}.pid"


def _log(site: DemoSite) -> Path:
    return SERVICES / f"{site.name}.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
