"""`dozo init`: asks for what is missing, and makes somebody who can log in."""

import json
import os
import pty
import stat
import subprocess
from pathlib import Path

from dozo.model import clock
from dozo.services import login
from dozo.services.site import Site

from .conftest import NO_LIBVIRT
from .support import command


def test_it_makes_the_first_operator_and_speaks_of_escrow(tmp_path: Path) -> None:
    home = tmp_path / "home"
    arguments = ["--name", "main", "--vault", str(tmp_path / "vault")]
    arguments += ["--pool", str(tmp_path / "pool"), "--libvirt", NO_LIBVIRT]
    done = subprocess.run(
        command(home, "init", *arguments), capture_output=True, text=True, check=True
    )
    said = done.stdout + done.stderr
    assert "in escrow" in said
    assert f"dozo --home {home} serve" in said
    file = home / "first-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "dozo.toml").stat().st_mode) == 0o600
    assert str(file) in said
    (public,) = home.glob("keys.*.pub")
    assert str(public) in said
    password = file.read_text().strip()
    assert password not in said
    with Site.open(home) as site:
        actor = login.login(site, "admin", password)
        assert (actor.role.value, actor.must_change_password) == ("operator", True)


def test_where_nobody_can_be_asked_what_is_missing_is_wrong_usage(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path / "home", "init", "--vault", str(tmp_path / "vault"), "--json"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--name" in json.loads(done.stderr)["message"]
    assert not (tmp_path / "home").exists()


def test_on_a_terminal_it_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    terminal, there = pty.openpty()
    process = subprocess.Popen(
        command(home, "init", "--name", "main", "--libvirt", NO_LIBVIRT),
        stdin=there,
        stdout=there,
        stderr=there,
    )
    os.close(there)
    # The vault's folder, and what is proposed for the pool.
    os.write(terminal, f"{tmp_path / 'elsewhere'}\n\n".encode())
    shown = b""
    deadline = clock.monotonic() + 60
    while clock.monotonic() < deadline:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    os.close(terminal)
    assert process.wait(60) == 0, shown
    assert b"backup storage" in shown
    assert b"Name of the site" not in shown
    with Site.open(home) as site:
        assert site.settings.vault == str(tmp_path / "elsewhere")
        assert site.settings.pool == home / "pool"
