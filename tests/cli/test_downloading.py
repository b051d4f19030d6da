"""`dozo snapshot restore` from a service elsewhere: whole, or not there at all."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from dozo.cli import downloading
from dozo.services.site import Site
from dozo.vault import SnapshotDraft

from .conftest import Dozo
from .service import Service
from .volumes import RandomVolume

MIB = 1024 * 1024


class CuttingProxy:
    """A way to the service that breaks after so many bytes of each connection's answers."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self._to = (host, int(port))
        self.cuts: list[int] = []
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(self._to)
            self._open += [near, far]
            threading.Thread(target=self._pass, args=(near, far, None), daemon=True).start()
            cut = self.cuts.pop(0) if self.cuts else None
            threading.Thread(target=self._pass, args=(far, near, cut), daemon=True).start()

    def _pass(self, come: socket.socket, go: socket.socket, cut: int | None) -> None:
        with suppress(OSError):
            while data := come.recv(65536):
                if cut is not None and len(data) >= cut:
                    go.sendall(data[:cut])
                    break
                cut = None if cut is None else cut - len(data)
                go.sendall(data)
        for one in (come, go):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        # The thread that waits for connections keeps a closed socket open.
        self._server.shutdown(socket.SHUT_RDWR)
        for one in (self._server, *self._open):
            one.close()


@pytest.fixture
def proxy(served: Service, dozo: Dozo) -> Iterator[CuttingProxy]:
    made = CuttingProxy(served.address)
    yield made
    made.close()


@pytest.fixture
def profile(
    dozo: Dozo,
    served: Service,
    proxy: CuttingProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A profile of a user who may download, which goes through the proxy."""
    monkeypatch.setattr(downloading, "_PAUSE_SECONDS", 0.01)
    name = f"u{uuid4().hex[:8]}"
    password = "correct horse battery"
    created = dozo(
        *("--home", served.home, "user", "create", name, "--tenant", "default"),
        *("--password-stdin", "--json"),
        stdin=f"{password}\n",
    )
    assert created.code == 0, created.err
    login = ("--profile", "there", "login", name, "--password-stdin", "--url", proxy.address)
    assert dozo(*login, stdin=f"{password}\n").code == 0
    changed = f"{password}\nanother horse battery\n"
    assert dozo("--profile", "there", "password", "--password-stdin", stdin=changed).code == 0
    return "there"


def stored(served: Service, dozo: Dozo, size: int = 4 * MIB) -> tuple[str, bytes]:
    """A snapshot with some zeros in it."""
    name = f"s{uuid4().hex[:8]}"
    data = Random(name).randbytes(size // 2) + bytes(size // 4) + Random(1).randbytes(size // 4)
    with Site.open(served.home) as site:
        draft = SnapshotDraft(name=name, tenant="default", origin=site.settings.site_id)
        site.vault.backup(RandomVolume(data), draft)
    assert dozo("--home", served.home, "site", "sync").code == 0
    return name, data


def test_a_download_is_taken_up_again_where_it_broke(
    dozo: Dozo, served: Service, proxy: CuttingProxy, profile: str, tmp_path: Path
) -> None:
    name, data = stored(served, dozo)
    out = tmp_path / "out.raw"
    # The first connection asks what the snapshot is, and goes on with the download.
    proxy.cuts = [MIB, 300_000, 70_000]
    done = dozo("--profile", profile, "snapshot", "restore", name, out, "--json")
    assert done.code == 0, done.err
    assert proxy.cuts == []
    assert out.read_bytes() == data
    assert done.json["bytes_written"] == len(data)
    assert out.stat().st_mode & 0o777 == 0o600
    assert out.stat().st_blocks * 512 < len(data)
    again = dozo("--profile", profile, "snapshot", "restore", name, out, "--json")
    assert (again.code, again.error["error"]) == (4, "cli.file_there")
    forced = ("--profile", profile, "snapshot", "restore", name, out, "--force")
    assert dozo(*forced, "--format", "qcow2").code == 0
    assert out.read_bytes()[:4] == b"QFI\xfb"
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_one_that_never_ends_leaves_nothing(
    dozo: Dozo, served: Service, proxy: CuttingProxy, profile: str, tmp_path: Path
) -> None:
    name, _ = stored(served, dozo)
    folder = tmp_path / "there"
    folder.mkdir()
    proxy.cuts = [MIB, *[100] * 20]
    done = dozo("--profile", profile, "snapshot", "restore", name, folder / "x", "--json")
    assert (done.code, done.error["error"]) == (6, "cli.download_broken")
    assert list(folder.iterdir()) == []


def test_damage_leaves_no_file(
    dozo: Dozo, served: Service, proxy: CuttingProxy, profile: str, tmp_path: Path
) -> None:
    before = set((served.home.parent / "vault" / "packs").rglob("*"))
    name, _ = stored(served, dozo)
    folder = tmp_path / "there"
    folder.mkdir()
    for pack in set((served.home.parent / "vault" / "packs").rglob("*")) - before:
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
            pack.chmod(0o600)
            pack.write_bytes(data)
    done = dozo("--profile", profile, "snapshot", "restore", name, folder / "x", "--json")
    assert (done.code, done.error["error"]) == (6, "cli.download_broken"), done.err
    assert list(folder.iterdir()) == []
