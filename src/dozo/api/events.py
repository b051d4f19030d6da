"""A job's progress as server-sent events.

The catalog is asked about once a second, in a thread; the event loop only waits. The stream ends
with the job, with the right to see it, or when the listener goes away.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseProblem
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse

from dozo.api.auth import Bearer
from dozo.api.errors import TooManyListeners
from dozo.api.render import language_of, to_json
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.services import job_queue
from dozo.services.access import Operation, Scope
from dozo.web.current import Current, current_of, source_of

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
MOST_LISTENERS = 200
_MOST_LINES = 500


class _Listeners:
    """How many streams are open in this process; each costs a query a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0

    def enter(self) -> None:
        with self._lock:
            self._open += 1

    def leave(self) -> None:
        with self._lock:
            self._open -= 1

    @property
    def count(self) -> int:
        with self._lock:
            return self._open


listeners = _Listeners()


@dataclass
class _Look:
    """What has been told already."""

    line: int = 0
    progress: str = ""


@dataclass
class _Stream:
    request: HttpRequest
    current: Current
    job_id: str
    told: _Look = field(default_factory=_Look)

    def look(self) -> tuple[list[str], bool]:
        """The events since the last look, and whether the job has ended. Runs in a thread."""
        site, language = self.current.site, language_of(self.request)
        try:
            # Asked anew each time: a token may be revoked, a server may change hands.
            actor = Bearer()(self.request)
            scope = Scope(site, actor, source=source_of(self.request))
            row = scope.job(self.job_id, Operation.JOB_SHOW)
            lines = site.catalog.job_lines.filter(job=row, id__gt=self.told.line)
            found = list(lines.order_by("id")[:_MOST_LINES])
            view = job_queue.views(scope, [row])[0]
        finally:
            connections[site.catalog.alias].close()
        events = [
            _event("line", {"line": one.pk, "at": one.at, "text": one.said}, language, one.pk)
            for one in found
        ]
        if found:
            self.told.line = found[-1].pk
        ended = view.state in job_queue.ENDED and len(found) < _MOST_LINES
        shown = to_json(view, language)
        if ended:
            events.append(_event("end", view, language))
        elif shown != self.told.progress:
            events.append(_event("progress", view, language))
            self.told.progress = shown
        return events, ended


def _event(name: str, data: Any, language: str, number: int | None = None) -> str:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {to_json(data, language)}\n\n"


async def _events(stream: _Stream) -> AsyncIterator[str]:
    look = sync_to_async(stream.look, thread_sensitive=False)
    heard = clock.monotonic()
    listeners.enter()
    try:
        yield "retry: 2000\n\n"
        while True:
            try:
                events, ended = await look()
            except DatabaseProblem:
                # It may come back; the listener has lost nothing meanwhile.
                events, ended = [], False
            except DozoError:
                return
            for event in events:
                yield event
            if ended:
                return
            if events:
                heard = clock.monotonic()
            elif clock.monotonic() - heard >= HEARTBEAT_SECONDS:
                heard = clock.monotonic()
                yield ": still here\n\n"
            await asyncio.sleep(POLL_SECONDS)
    finally:
        listeners.leave()


def response(request: HttpRequest, job_id: str) -> StreamingHttpResponse:
    """The stream of one job; it was permitted already. Raises :class:`TooManyListeners`."""
    stream = _Stream(request=request, current=current_of(request), job_id=job_id)
    last = request.headers.get("Last-Event-ID", "")
    if last.isascii() and last.isdigit() and len(last) < 19:
        stream.told.line = int(last)
    if listeners.count >= MOST_LISTENERS:
        raise TooManyListeners(MOST_LISTENERS)
    made = StreamingHttpResponse(_events(stream), content_type="text/event-stream")
    made["Cache-Control"] = "no-store"
    made["X-Accel-Buffering"] = "no"
    return made
