"""In which language the command line speaks, and what it says in it."""

import os

from dozo.model.language import DEFAULT, LANGUAGES, best
from dozo.model.message import Message, said, within
from dozo.model.printable import printable
from dozo.model.words import word_in

_ASKED = ("LC_ALL", "LC_MESSAGES", "LANG")


def language() -> str:
    """The terminal's language, as other programs find it; ``DOZO_LANG`` overrides it."""
    own = os.environ.get("DOZO_LANG", "")
    if own in LANGUAGES:
        return own
    return best(next((os.environ[name] for name in _ASKED if os.environ.get(name)), ""))


def told(text: str) -> str:
    """A text in the terminal's language, without what a terminal would obey."""
    return printable(str(said(text, language())))


def heading(text: str) -> str:
    """The heading of a column or of a fact; ``scripts/messages`` finds those written out."""
    return text if isinstance(text, Message) else within("heading", text)


def shown(kind: str, value: object) -> str:
    """A value of a closed set: the code that commands take, or in other languages its word."""
    if language() == DEFAULT:
        return str(getattr(value, "value", value))
    return word_in(language(), kind, value)


def wide(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
