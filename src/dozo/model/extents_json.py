"""The file that names what changed in a volume: ``[[offset, length], …]`` in bytes."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind
from dozo.model.extents import Extent, normalized
from dozo.model.message import Message

# An entry costs about 200 bytes of memory while it is read.
MAX_ENTRIES = 1_000_000

_decoder = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(eq=False)
class ExtentsMalformed(DozoError):
    """A list of changed extents is not what it should be."""

    code = "extents.malformed"
    kind = ErrorKind.USAGE
    text = "the list of changed extents is malformed: {self.reason}"
    hint = "It is JSON: [[offset, length], ...], in bytes, all of it inside the volume."
    reason: str


def parse_extents(text: str, size_bytes: int) -> list[Extent]:
    """The extents that ``text`` lists, sorted and merged.

    They may come in any order, overlap or have no length. Each must lie inside a volume of
    ``size_bytes``. Raises ``ExtentsMalformed``, which names the first bad entry, counted
    from 0.
    """
    found: list[Extent] = []
    for number, entry in enumerate(_entries(text)):
        if number == MAX_ENTRIES:
            raise ExtentsMalformed(
                Message(
                    "it has more than {most} entries; join those that are close together",
                    most=MAX_ENTRIES,
                )
            )
        found.append(_extent(number, entry, size_bytes))
    return normalized(found)


def _entries(text: str) -> Iterator[object]:
    """The elements of a JSON array, decoded one at a time to keep memory small."""
    position = _skip_space(text, 0)
    if text[position : position + 1] != "[":
        raise ExtentsMalformed(f"it {_not_an_array(text)}")
    position = _skip_space(text, position + 1)
    if text[position : position + 1] == "]":
        _expect_end(text, position + 1)
        return
    number = 0
    while True:
        try:
            entry, position = _decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise ExtentsMalformed(
                Message(
                    "entry {number} is not JSON ({problem})", number=number, problem=_short(error)
                )
            ) from None
        yield entry
        position = _skip_space(text, position)
        separator = text[position : position + 1]
        if separator == "]":
            _expect_end(text, position + 1)
            return
        if separator != ",":
            found = repr(separator) if separator else Message("the end of the text")
            raise ExtentsMalformed(
                Message(
                    "after entry {number} comes {found}, not a comma or bracket",
                    number=number,
                    found=found,
                )
            )
        position = _skip_space(text, position + 1)
        number += 1


def _extent(number: int, entry: object, size_bytes: int) -> Extent:
    if not isinstance(entry, list) or len(entry) != 2:
        raise ExtentsMalformed(
            Message(
                "entry {number} is not a pair [offset, length]: {found}",
                number=number,
                found=_short(entry),
            )
        )
    offset, length = entry
    # For Python True is an int; for whoever wrote the file it is a mistake.
    if type(offset) is not int or type(length) is not int:
        raise ExtentsMalformed(
            Message(
                "entry {number} is not of whole numbers: {found}",
                number=number,
                found=_short(entry),
            )
        )
    if offset < 0 or length < 0:
        raise ExtentsMalformed(
            Message(
                "entry {number} has a negative number: {found}", number=number, found=_short(entry)
            )
        )
    if offset + length > size_bytes:
        raise ExtentsMalformed(
            Message(
                "entry {number}, {found}, ends beyond the volume's {size} bytes",
                number=number,
                found=_short(entry),
                size=size_bytes,
            )
        )
    return Extent(offset, length)


def _not_an_array(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Message("is not JSON ({problem})", problem=_short(error))
    return Message("is not an array: {found}", found=_short(value))


def _expect_end(text: str, position: int) -> None:
    if _skip_space(text, position) != len(text):
        raise ExtentsMalformed(Message("something follows the array"))


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _short(value: object) -> str:
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
