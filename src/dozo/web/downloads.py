"""A snapshot as the answer to a request: an image file whose length is said before its first byte.

Whoever reads less has no whole file. When reading breaks the connection is cut; a reader goes on
with `Range`.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse

from dozo.model.errors import DozoError
from dozo.services import downloads
from dozo.services.access import Scope
from dozo.services.downloads import Download
from dozo.web.errors import TooManyDownloads

log = logging.getLogger(__name__)

MOST_DOWNLOADS = 8
# Whoever takes nothing for so long is gone.
STALLED_SECONDS = 120.0

_RANGE = re.compile(r"bytes=(\d{1,18})-")


class _Open:
    """How many downloads go on in this process. Used by the event loop alone."""

    count = 0


def answer(
    request: HttpRequest, scope: Scope, reference: str, *, format: str
) -> StreamingHttpResponse:
    """The snapshot as a file, or with `Range` the rest of it.

    Raises :class:`TooManyDownloads` and what ``downloads.begin`` raises.
    """
    if _Open.count >= MOST_DOWNLOADS:
        raise TooManyDownloads(MOST_DOWNLOADS)
    wanted = _start(request)
    try:
        found = downloads.begin(scope, reference, format=format, start_bytes=wanted)
    finally:
        # The data come from the vault: hours of them must not keep a connection.
        connections[scope.site.catalog.alias].close()
    version = f'"{found.version}"'
    same = request.headers.get("If-Range", version) == version
    start = wanted if same and wanted < found.size_bytes else 0
    response = StreamingHttpResponse(
        _sent(found, start),
        status=206 if start else 200,
        content_type="application/octet-stream",
    )
    response["Content-Length"] = str(found.size_bytes - start)
    if start:
        response["Content-Range"] = f"bytes {start}-{found.size_bytes - 1}/{found.size_bytes}"
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = version
    response["Content-Disposition"] = _disposition(found.name)
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def _start(request: HttpRequest) -> int:
    """Where to begin; ranges of another form are answered with everything, as HTTP allows."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    return int(match[1]) if match else 0


def _disposition(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def _sent(found: Download, start: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine runs in one
    pieces = found.read_from(start)
    # One thread, so that the end of the reading comes behind a piece that is being made.
    thread = ThreadPoolExecutor(1, thread_name_prefix="dozo-download")
    _Open.count += 1
    try:
        while piece := await loop.run_in_executor(thread, _next, pieces):
            stalled = loop.call_later(STALLED_SECONDS, task.cancel)
            try:
                yield piece
            finally:
                stalled.cancel()
    except DozoError as error:
        # The answer has begun: all that is left is not to finish it.
        log.warning("a download of %s broke: %s", found.name, error)
        raise
    finally:
        _Open.count -= 1
        thread.submit(_close, pieces)
        thread.shutdown(wait=False)


def _next(pieces: Iterator[bytes]) -> bytes:
    return next(pieces, b"")


def _close(pieces: Iterator[bytes]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()
