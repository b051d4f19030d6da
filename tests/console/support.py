"""A visitor of the console: keeps cookies, follows forms, reads pages."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any

import httpx
from django.db.backends.utils import CursorWrapper
from tests.api.support import World

from dozo import api, console
from dozo.services import sessions
from dozo.web import Current, application

HOST = "http://dozo.test"
PASSWORD = "correct horse battery"


@dataclass
class Visitor:
    """Somebody's browser, without scripts."""

    world: World
    language: str = "en"
    cookies: dict[str, str] = field(default_factory=dict)
    app: Any = None

    def __post_init__(self) -> None:
        if self.app is None:
            runner = self.world.runner
            current = Current(
                site=self.world.site, cancel=runner.cancel, alive=lambda: {"dispatch": True}
            )
            self.app = application(current, [api.FACE, console.FACE])

    def enter(self, who: str) -> None:
        """Take a session of that user, without the time that a password takes to hash."""
        self.cookies["dozo_session"] = sessions_token(self.world, who)

    def call(self, method: str, address: str, **more: Any) -> httpx.Response:
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {
            "Accept-Language": self.language,
            "Cookie": kept,
            **more.pop("headers", {}),
        }

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.request(method, HOST + address, headers=headers, **more)

        answer = asyncio.run(ask())
        for line in answer.headers.get_list("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    def get(self, address: str, **more: Any) -> httpx.Response:
        return self.call("GET", address, **more)

    def page(self, address: str) -> str:
        """The text of a page that must be there."""
        answer = self.get(address)
        assert answer.status_code == 200, (address, answer.status_code, answer.text[:2000])
        return answer.text

    def post(self, address: str, fields: dict[str, Any], *, form: str = "/login") -> httpx.Response:
        """Send a form; ``form`` is the page that it stands on, where its guard comes from."""
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(form).text)
        assert token is not None, f"{form} has no form"
        return self.call("POST", address, data={**fields, "csrfmiddlewaretoken": token[1]})

    def follow(self, answer: httpx.Response) -> str:
        """The page that an answer leads on to."""
        assert answer.status_code == 302, (answer.status_code, answer.text[:2000])
        return self.page(answer.headers["Location"])


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """The SQL of every query in this process: pages are made in another thread than the test's,
    whose connections Django's own counters do not see."""
    seen: list[str] = []
    plain = CursorWrapper._execute_with_wrappers

    def counting(self: Any, sql: str, params: Any, many: Any, executor: Any) -> Any:
        seen.append(sql)
        return plain(self, sql, params, many, executor)

    CursorWrapper._execute_with_wrappers = counting
    try:
        yield seen
    finally:
        CursorWrapper._execute_with_wrappers = plain
    assert seen, "nothing was asked of a database"


def sessions_token(world: World, who: str) -> str:
    """A session's token, made as a login makes it."""
    site = world.site
    row = site.catalog.users.select_related("tenant").get(username=who)
    return sessions.make_session(site, row, name="test", days=1).token


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.silent += tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(data)


def text_of(page: str) -> str:
    """What a page says, without its marks, with single spaces."""
    parser = _Text()
    parser.feed(page)
    return re.sub(r"\s+", " ", " ".join(parser.parts)).strip()
