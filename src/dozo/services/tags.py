"""Tags of servers: what they may look like, and which count."""

import re
from collections.abc import Iterable

from dozo.model.message import Message
from dozo.services.access_errors import TagInvalid

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,62}")
MOST_TAGS = 64


def checked(tags: Iterable[str]) -> list[str]:
    """Tags in order, each once. Raises :class:`TagInvalid`, also for more than 64."""
    found = sorted(set(tags))
    for tag in found:
        if not _TAG.fullmatch(tag):
            raise TagInvalid(tag[:80])
    if len(found) > MOST_TAGS:
        raise TagInvalid(
            Message("the {number}st tag, {tag}", number=MOST_TAGS + 1, tag=found[MOST_TAGS])
        )
    return found


def merged(by_hand: Iterable[str], in_metadata: Iterable[str]) -> list[str]:
    """Those given by hand and those of the domain's metadata that are tags at all."""
    usable = [tag for tag in in_metadata if _TAG.fullmatch(tag)][:MOST_TAGS]
    return sorted({*by_hand, *usable})
