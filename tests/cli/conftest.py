"""The command line in this process: arguments in; exit code, output and errors out."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dozo.cli.app import run

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


Dozo = Callable[..., Ran]


@pytest.fixture
def dozo(
    capfd: pytest.CaptureFixture[str], django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Dozo]:
    """Run a command line."""
    monkeypatch.delenv("DOZO_HOME", raising=False)
    monkeypatch.delenv("DOZO_KEYS", raising=False)

    def call(*arguments: str | Path) -> Ran:
        capfd.readouterr()
        code = run([str(one) for one in arguments])
        out, err = capfd.readouterr()
        return Ran(code=code, out=out, err=err)

    with django_db_blocker.unblock():
        yield call


@pytest.fixture
def home(dozo: Dozo, tmp_path: Path) -> Path:
    """A site without a hypervisor."""
    folder = tmp_path / "main"
    done = dozo(
        "--home", folder, "init", "--name", "main", "--vault", tmp_path / "vault",
        "--pool", tmp_path / "pool", "--libvirt", NO_LIBVIRT,
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder
