"""Following a job: Ctrl-C, a terminal, a service that comes back. Nothing runs here: no worker."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dozo.model import clock
from dozo.services import project
from dozo.services.site import Site
from dozo.vault import SnapshotDraft

from . import service
from .conftest import Dozo, make_site
from .service import Service
from .volumes import RandomVolume

DOZO = [sys.executable, "-c", "from dozo.cli import main; main()"]
SECONDS = 30


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Service]:
    """A service that queues jobs and runs none, and a snapshot called *image*."""
    home = make_site(tmp_path_factory.mktemp("idle"), "main", django_db_blocker)
    with django_db_blocker.unblock(), Site.open(home) as site:
        site.vault.backup(RandomVolume(), SnapshotDraft(name="image"))
        project.rebuild(site)
    running = service.start(home, "--no-worker")
    yield running
    running.stop()


@pytest.fixture
def job(dozo: Dozo, idle: Service) -> str:
    """A job that waits for ever."""
    made = dozo("--home", idle.home, "snapshot", "verify", "image", "--no-wait", "--json")
    assert made.code == 0, made.err
    return str(made.json["job"])


def state_of(dozo: Dozo, idle: Service, job: str) -> str:
    return str(dozo("--home", idle.home, "job", "show", job, "--json").json["state"])


def test_ctrl_c_where_nobody_can_be_asked_leaves_the_job(
    dozo: Dozo, idle: Service, job: str
) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        following = subprocess.Popen(
            [*DOZO, "--home", str(idle.home), "job", "follow", job],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # On a busy machine the command takes a while to get there.
        clock.sleep(6)
        following.send_signal(number)
        out, err = following.communicate(timeout=SECONDS)
        assert (following.returncode, out) == (code, "")
        assert f"job {job} goes on" in err
    assert state_of(dozo, idle, job) == "queued"


@pytest.mark.parametrize(
    ("answer", "code", "state"), [(b"y\r", 4, "cancelled"), (b"n\r", 130, "queued")]
)
def test_ctrl_c_on_a_terminal_asks(
    dozo: Dozo, idle: Service, job: str, answer: bytes, code: int, state: str
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(DOZO[0], [*DOZO, "--home", str(idle.home), "job", "follow", job])
    shown = _read_until(terminal, b"in the queue")
    os.write(terminal, b"\x03")
    shown = _read_until(terminal, b"Cancel the job?")
    os.write(terminal, answer)
    shown = _read_until(terminal, None)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code, shown
    assert state_of(dozo, idle, job) == state


def test_a_service_that_is_started_again_is_waited_for(
    dozo: Dozo, tmp_path: Path, django_db_blocker: Any
) -> None:
    home = make_site(tmp_path, "main", django_db_blocker)
    with Site.open(home) as site:
        site.vault.backup(RandomVolume(), SnapshotDraft(name="image"))
        project.rebuild(site)
    running = service.start(home, "--no-worker")
    following = subprocess.Popen(
        [*DOZO, "--home", str(home), "snapshot", "verify", "image", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = clock.monotonic() + SECONDS
        while not dozo("--home", home, "job", "list", "--json").json:
            assert clock.monotonic() < deadline
        clock.sleep(1)
        running.process.kill()
        running.process.wait()
        running = service.start(home)
        out, err = following.communicate(timeout=SECONDS)
    finally:
        following.kill()
        running.stop()
    assert following.returncode == 0, err
    assert '"verified"' in out


def _read_until(terminal: int, wanted: bytes | None) -> bytes:
    """What the terminal shows, up to what is waited for; to its end for None."""
    shown = b""
    while wanted is None or wanted not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            part = b""
        if not part:
            assert wanted is None, shown
            return shown
        shown += part
    return shown
