"""A service elsewhere: logging in with a profile, tokens, and who may read what."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .conftest import Dozo
from .service import Service, free_port

NEW = "a much better passphrase"


@pytest.fixture
def first_password(served: Service) -> str:
    (path,) = served.home.glob("*password*")
    return path.read_text().split()[-1]


def test_from_the_first_login_to_the_logout(
    dozo: Dozo, served: Service, first_password: str, tmp_path: Path
) -> None:
    login = ("--profile", "there", "login", "admin", "--password-stdin", "--json")
    wrong = dozo(*login, "--url", served.address, stdin="wrong\n")
    assert (wrong.code, wrong.error["error"]) == (4, "access.login_failed")
    done = dozo(*login, "--url", served.address, stdin=f"{first_password}\n")
    assert done.code == 0, done.err
    token = tmp_path / "config" / "dozo" / "tokens" / "there"
    assert token.stat().st_mode & 0o777 == 0o600
    refused = dozo("--profile", "there", "snapshot", "list", "--json")
    assert (refused.code, refused.error["error"]) == (4, "access.password_change_required")
    changed = dozo(
        "--profile", "there", "password", "--password-stdin", stdin=f"{first_password}\n{NEW}\n"
    )
    assert changed.code == 0, changed.err
    assert dozo(*login, stdin=f"{NEW}\n").code == 0
    assert dozo("--profile", "there", "whoami", "--json").json["username"] == "admin"
    assert dozo("--profile", "there", "snapshot", "list", "--json").code == 0
    renamed = dozo("--profile", "there", "account", "--display-name", "Boss", "--json")
    assert (renamed.code, renamed.json["display_name"]) == (0, "Boss")
    assert dozo("--profile", "there", "account").code == 2
    made = dozo("--profile", "there", "token", "create", "ci", "--scope", "*.list", "--json")
    prefix = made.json["view"]["prefix"]
    assert prefix in dozo("--profile", "there", "token", "list").out
    assert dozo("--profile", "there", "token", "revoke", prefix).code == 0
    assert dozo("--profile", "there", "logout").code == 0
    assert not token.exists()
    out = dozo("--profile", "there", "snapshot", "list", "--json")
    assert (out.code, out.error["error"]) == (4, "access.login_required")


@pytest.mark.parametrize("url", ["http://backup.example.org", "backup.example.org", "ftp://x"])
def test_no_password_crosses_a_network_in_clear(dozo: Dozo, url: str) -> None:
    login = ("--profile", "there", "login", "admin", "--password-stdin", "--url", url)
    done = dozo(*login, stdin="secret\n")
    assert done.code == 2
    assert "https://" in done.err


def test_a_profile_that_is_none(dozo: Dozo) -> None:
    done = dozo("--profile", "nowhere", "snapshot", "list", "--json")
    assert (done.code, done.error["error"]) == (3, "cli.profile_unknown")


def test_no_token_crosses_a_network_in_clear(dozo: Dozo, tmp_path: Path) -> None:
    file = tmp_path / "config" / "dozo" / "profiles.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[far]\nurl = "http://backup.example.org"\n')
    done = dozo("--profile", "far", "snapshot", "list", "--json")
    assert (done.code, done.error["error"]) == (2, "cli.profiles_invalid")


def test_what_stands_before_a_service_that_is_away_is_no_dozo(dozo: Dozo, tmp_path: Path) -> None:
    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(502)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        file = tmp_path / "config" / "dozo" / "profiles.toml"
        file.parent.mkdir(parents=True)
        file.write_text(f'[far]\nurl = "http://127.0.0.1:{proxy.server_port}"\n')
        done = dozo("--profile", "far", "snapshot", "list", "--json")
        proxy.shutdown()
    assert (done.code, done.error["error"]) == (6, "cli.service_unreachable")


def test_a_service_elsewhere_that_does_not_answer(dozo: Dozo, tmp_path: Path) -> None:
    file = tmp_path / "config" / "dozo" / "profiles.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[gone]\nurl = "http://127.0.0.1:{free_port()}"\n')
    done = dozo("--profile", "gone", "snapshot", "list", "--json")
    assert (done.code, done.error["error"]) == (6, "cli.service_unreachable")


@pytest.mark.parametrize("text", ["[x", "x = 1", "[x]\nca = '/y'\n"])
def test_profiles_that_cannot_be_read(dozo: Dozo, tmp_path: Path, text: str) -> None:
    file = tmp_path / "config" / "dozo" / "profiles.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    done = dozo("--profile", "x", "snapshot", "list", "--json")
    assert (done.code, done.error["error"]) == (2, "cli.profiles_invalid")


def test_what_is_typed_counts_more_than_the_environment(
    dozo: Dozo, served: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOZO_PROFILE", "nowhere")
    assert dozo("snapshot", "list").code == 3
    assert dozo("--home", served.home, "snapshot", "list").code == 0
    both = dozo("--home", served.home, "--profile", "x", "snapshot", "list")
    assert both.code == 2
