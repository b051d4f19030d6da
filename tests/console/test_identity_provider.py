"""Logging in at an identity provider: one that really signs, and several that lie."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.api.support import World

from dozo.model import clock

from .support import Visitor

Come = Callable[..., Visitor]


class Provider:
    """A small OpenID provider; ``says`` changes what stands in its tokens."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", auto_kid=True)
        self.signing = self.key
        self.says: dict[str, Any] = {}
        self.nonce = ""
        self.asked: list[dict[str, list[str]]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith("/openid-configuration"):
                    self._answer(
                        {
                            "issuer": provider.issuer,
                            "authorization_endpoint": f"{provider.issuer}/enter",
                            "token_endpoint": f"{provider.issuer}/token",
                            "jwks_uri": f"{provider.issuer}/keys",
                        }
                    )
                else:
                    self._answer({"keys": [provider.key.as_dict(private=False)]})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider.asked.append(parse_qs(body))
                self._answer({"id_token": provider.token()})

            def _answer(self, found: dict[str, Any]) -> None:
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"

    def token(self) -> str:
        now = int(clock.now().timestamp())
        claims = {
            "iss": self.issuer,
            "aud": "dozo",
            "exp": now + 300,
            "iat": now,
            "nonce": self.nonce,
            "preferred_username": "alice",
            **self.says,
        }
        header = {"alg": "ES256", "kid": self.key.kid}
        return jwt.encode(header, claims, self.signing)


@pytest.fixture
def provider(world: World) -> Iterator[Provider]:
    made = Provider()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    path = world.site.settings.home / "dozo.toml"
    settings = f'issuer = "{made.issuer}"\nclient_id = "dozo"\nlabel = "Example"\n'
    text = path.read_text().replace("[oidc]\n", f"[oidc]\n{settings}")
    there = '# public_url = "https://backup.example.org"'
    assert there in text
    path.write_text(text.replace(there, 'public_url = "http://dozo.test"'))
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def begin(browser: Visitor, provider: Provider, onward: str = "/") -> str:
    """Follow the button; the state that has to come back."""
    assert "/login/oidc" in browser.page("/login")
    answer = browser.get(f"/login/oidc?next={onward}")
    assert answer.status_code == 302, answer.text
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert asked["redirect_uri"] == ["http://dozo.test/login/oidc/back"]
    assert asked["code_challenge_method"] == ["S256"]
    provider.nonce = asked["nonce"][0]
    return asked["state"][0]


def test_a_user_who_has_an_account_here_comes_in(visitor: Come, provider: Provider) -> None:
    browser = visitor(None)
    state = begin(browser, provider, "/servers")
    answer = browser.get(f"/login/oidc/back?code=abc&state={state}")
    assert answer.headers["Location"] == "/servers"
    assert "alice" in browser.page("/account")
    assert provider.asked[0]["code"] == ["abc"]
    assert provider.asked[0]["code_verifier"]


@pytest.mark.parametrize(
    "lie",
    [
        {"aud": "another"},
        {"iss": "https://elsewhere.test"},
        {"nonce": "another"},
        {"exp": 1_000_000_000},
        {"preferred_username": "nobody"},
        {"preferred_username": ""},
    ],
)
def test_what_does_not_hold_lets_nobody_in(
    visitor: Come, provider: Provider, lie: dict[str, Any]
) -> None:
    browser = visitor(None)
    state = begin(browser, provider)
    provider.says = lie
    answer = browser.get(f"/login/oidc/back?code=abc&state={state}")
    assert answer.status_code in {401, 503}
    assert "dozo_session" not in browser.cookies


def test_a_token_signed_by_somebody_else_lets_nobody_in(visitor: Come, provider: Provider) -> None:
    browser = visitor(None)
    state = begin(browser, provider)
    provider.signing = ECKey.generate_key("P-256")
    assert browser.get(f"/login/oidc/back?code=abc&state={state}").status_code == 503
    assert "dozo_session" not in browser.cookies


def test_an_answer_for_another_browser_or_login_counts_nothing(
    visitor: Come, provider: Provider
) -> None:
    state = begin(visitor(None), provider)
    other = visitor(None)
    assert other.get(f"/login/oidc/back?code=abc&state={state}").status_code == 503
    begin(other, provider)
    assert other.get(f"/login/oidc/back?code=abc&state={state}").status_code == 503
    assert provider.asked == []


def test_a_disabled_user_stays_out(visitor: Come, provider: Provider, world: World) -> None:
    world.site.catalog.users.filter(username="alice").update(is_active=False)
    browser = visitor(None)
    state = begin(browser, provider)
    assert browser.get(f"/login/oidc/back?code=abc&state={state}").status_code == 401
    entry = world.site.catalog.audit_entries.order_by("-sequence").first()
    assert entry is not None
    assert entry.outcome == "refused"


def test_without_a_provider_there_is_no_button(visitor: Come) -> None:
    browser = visitor(None)
    assert "/login/oidc" not in browser.page("/login")
    assert browser.get("/login/oidc").status_code == 409
