"""HTTP/1.1 of one connection: uvicorn's own, and an end to waiting for a request's headers."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_SECONDS = 15.0


class HttpConnection(H11Protocol):
    """Closes a connection whose next request does not come, once it or the request has begun.

    Otherwise a few hundred connections that say nothing would keep everybody else out. Bodies
    have a time of their own (``dozo.web``), and so has what is idle between two requests.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is there, and a request is to follow."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A part of a request's headers, or of its body."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        # Not anew with every byte.
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEADERS_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _give_up(self) -> None:
        self._waiting = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
