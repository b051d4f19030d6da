"""Sending one message to one address; the only place that knows Apprise."""

import logging
import warnings
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import ModuleType
from urllib.parse import urlsplit

from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.message import Message
from dozo.model.redaction import redacted

_PROBLEM_CHARACTERS = 300


class Tone(StrEnum):
    """Whether a message is bad or good news, or none."""

    BAD = "bad"
    GOOD = "good"
    TEST = "test"


@dataclass(eq=False)
class MessageNotSent(DozoError):
    """An address did not take a message."""

    code = "notify.not_sent"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "a message to {self.address} was not taken: {self.problem}"
    hint = "Check notify.urls; it is tried again by itself."
    address: str
    problem: str


@dataclass(eq=False)
class AddressInvalid(DozoError):
    """``notify.urls`` has an address that Apprise does not know."""

    code = "notify.address_invalid"
    kind = ErrorKind.USAGE
    text = "Apprise knows no address like {self.address}"
    hint = "Write notify.urls as Apprise's documentation has them, such as json://host/path."
    address: str


def shown(url: str) -> str:
    """An address without what may be secret in it: its kind, and its host where that is one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    # Many services keep their tokens where others have the host.
    return f"{parts.scheme}://{host if '.' in host or host == 'localhost' else '…'}"


@cache
def _loaded() -> ModuleType:
    """Apprise with all the kinds of addresses that it knows; slow, so once and when needed."""
    with warnings.catch_warnings():
        # It tries out what the system has, old things too.
        warnings.simplefilter("ignore")
        import apprise  # noqa: PLC0415

        apprise.Apprise.instantiate("json://localhost")
    return apprise


def send(url: str, *, title: str, text: str, tone: Tone) -> None:
    """Send a message. Raises :class:`AddressInvalid`, :class:`MessageNotSent`."""
    apprise = _loaded()
    kinds = {
        Tone.BAD: apprise.NotifyType.WARNING,
        Tone.GOOD: apprise.NotifyType.SUCCESS,
        Tone.TEST: apprise.NotifyType.INFO,
    }
    target = apprise.Apprise()
    if not target.add(url):
        raise AddressInvalid(shown(url))
    capture = apprise.LogCapture(level=logging.WARNING, fmt="%(message)s")
    with capture as said:
        taken = target.notify(
            body=text, title=title, notify_type=kinds[tone], body_format=apprise.NotifyFormat.TEXT
        )
        problem = " ".join(said.getvalue().split())
    if not taken:
        # Whatever of the address it repeats is not for the log.
        hidden = redacted(problem.replace(url, shown(url)))
        raise MessageNotSent(shown(url), hidden[:_PROBLEM_CHARACTERS] or Message("it said no more"))
