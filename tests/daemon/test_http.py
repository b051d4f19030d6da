"""A connection whose request does not come is closed, and others are not."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from dozo.daemon import http
from dozo.model import clock


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers once it has the body."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http, "HEADERS_SECONDS", 0.5)
    config = uvicorn.Config(
        app, port=0, http=http.HttpConnection, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = clock.monotonic() + 20
    while not server.started:
        assert clock.monotonic() < deadline
        clock.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


async def heard(port: int, *pieces: bytes, pause: float = 0.2) -> bytes:
    """What comes back until the connection ends, for pieces sent with pauses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"GET / HT",),
        # A byte now and then is no request either.
        (b"GET / HTTP/1.1\r\n", *[b"X"] * 8),
    ],
)
def test_who_sends_no_request_is_not_waited_for(port: int, pieces: tuple[bytes, ...]) -> None:
    began = clock.monotonic()
    assert asyncio.run(heard(port, *pieces)) == b""
    assert clock.monotonic() - began < 8


def test_a_body_and_a_second_request_may_come_later(port: int) -> None:
    get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
    said = asyncio.run(heard(port, post, b"ab", b"cd", get, b"GET /", pause=0.3))
    assert said.count(b"200 OK") == 2
