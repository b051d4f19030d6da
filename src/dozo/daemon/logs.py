"""The service's log: one line an event, for people or as JSON, without secrets."""

import contextvars
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from dozo.model import clock
from dozo.model.printable import printable
from dozo.model.redaction import redacted

_MOST_CHARACTERS = 20_000

_context: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar(
    "dozo_log", default=None
)


class LogFormat(StrEnum):
    """How lines are written."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


@contextmanager
def about(**facts: str) -> Iterator[None]:
    """Put facts such as the job's id into each line that this thread logs in the block."""
    token = _context.set({**(_context.get() or {}), **facts})
    try:
        yield
    finally:
        _context.reset(token)


def set_up(site: str, form: LogFormat = LogFormat.AUTO, stream: TextIO | None = None) -> None:
    """Send every log of this process to ``stream`` (standard error), as the service writes them.

    Replaces what was set up before.
    """
    stream = stream or sys.stderr
    as_json = form is LogFormat.JSON or (form is LogFormat.AUTO and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(site) if as_json else TextLines(site))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # Each says in many lines what we say in one.
    for chatty in ("apprise", "httpx", "httpcore", "asyncio", "uvicorn.error", "django.request"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def flush() -> None:
    """Write out what is buffered; for a process that ends without cleaning up."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def _facts(record: logging.LogRecord, site: str) -> dict[str, Any]:
    """What a line says, before it is made one."""
    facts: dict[str, Any] = {
        "at": clock.to_text(datetime.fromtimestamp(record.created, UTC)),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _cut(redacted(record.getMessage())),
        "site": site,
        **(_context.get() or {}),
    }
    extra = getattr(record, "facts", None)
    if isinstance(extra, dict):
        facts |= {key: redacted(one) if isinstance(one, str) else one for key, one in extra.items()}
    if record.exc_info and record.exc_info[0] is not None:
        facts["trace"] = _cut(redacted("".join(traceback.format_exception(*record.exc_info))))
    return facts


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, logger, message, site, and facts such as the job's id."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self._site = site

    def format(self, record: logging.LogRecord) -> str:
        """A line."""
        return json.dumps(_facts(record, self._site), default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    """For people."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self._site = site

    def format(self, record: logging.LogRecord) -> str:
        """A line, and the trace below it."""
        facts = _facts(record, self._site)
        at, level, message = (facts.pop(key) for key in ("at", "level", "message"))
        trace = facts.pop("trace", "")
        del facts["logger"], facts["site"]
        # One event, one line, whatever somebody put into it.
        line = f"{at[:19]}Z {level:7} {message.replace(chr(10), ' | ')}"
        line += "".join(f" {key}={_one_line(value)}" for key, value in facts.items())
        return printable(f"{line}\n{trace}".rstrip("\n"))


def _one_line(value: object) -> str:
    return str(value).replace("\n", " | ")
