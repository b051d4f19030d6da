"""The command line in this process: arguments in; exit code, output and errors out."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from dozo.cli.app import run

from . import service
from .service import Service

NO_LIBVIRT = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err.splitlines()[-1])


class Dozo(Protocol):
    """Runs a command line."""

    def __call__(self, *arguments: str | Path, stdin: str = "") -> Ran: ...


@pytest.fixture
def dozo(
    capfd: pytest.CaptureFixture[str],
    django_db_blocker: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Dozo]:
    """Run a command line."""
    for name in ("DOZO_HOME", "DOZO_KEYS", "DOZO_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOZO_LANG", "en")

    def call(*arguments: str | Path, stdin: str = "") -> Ran:
        capfd.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run([str(one) for one in arguments])
        out, err = capfd.readouterr()
        return Ran(code=code, out=out, err=err)

    with django_db_blocker.unblock():
        yield call


def make_site(
    folder: Path,
    name: str,
    django_db_blocker: Any,
    *,
    libvirt: str = NO_LIBVIRT,
    pool: Path | None = None,
) -> Path:
    """A site, nobody serving it; without a hypervisor unless told otherwise."""
    home = folder / name
    with django_db_blocker.unblock():
        code = run(
            [
                *("--home", str(home), "init", "--name", name, "--vault", str(folder / "vault")),
                *("--pool", str(pool or folder / "pool"), "--libvirt", libvirt, "--json"),
            ]
        )
    assert code == 0
    return home


@pytest.fixture
def home(tmp_path: Path, django_db_blocker: Any) -> Path:
    """A site without a hypervisor, nobody serving it."""
    return make_site(tmp_path, "main", django_db_blocker)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Service]:
    """A site without a hypervisor, and its service; one for all tests of a module."""
    home = make_site(tmp_path_factory.mktemp("served"), "main", django_db_blocker)
    running = service.start(home)
    yield running
    running.stop()
