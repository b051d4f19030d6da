"""Texts in the language of whoever reads them: English, which stands in the code, and Japanese.

The translations stand in ``dozo/locale/LANGUAGE/LC_MESSAGES/messages.po``, keyed by the English
template, and are compiled by ``scripts/setup``; where they are not, everything is English.
"""

import gettext
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "ja")
DEFAULT = LANGUAGES[0]

_DOMAIN = "messages"
_FOLDER = Path(__file__).parents[1] / "locale"
# What gettext puts between a context and its text.
_OF = "\x04"


def translate(text: str, language: str, *, context: str = "") -> str:
    """A template in a language; as it is where nobody translated it.

    ``context`` tells apart texts that are one word in English and several in another language.
    """
    if not text or language == DEFAULT:
        return text
    key = f"{context}{_OF}{text}" if context else text
    found = _catalog(language).gettext(key)
    return text if found == key else found


@cache
def _catalog(language: str) -> gettext.NullTranslations:
    return gettext.translation(_DOMAIN, _FOLDER, languages=[language], fallback=True)


def best(wanted: str) -> str:
    """The language that fits best what a browser or a terminal asks for; English if none does.

    Takes the value of Accept-Language (``ja,en-US;q=0.8``), of LANG (``ja_JP.UTF-8``) or of
    LANGUAGE (``ja:en``). Never raises: what cannot be understood asks for nothing.
    """
    asked: list[tuple[float, int, str]] = []
    for place, part in enumerate(wanted[:1000].replace(":", ",").split(",")):
        tag, _, options = part.partition(";")
        language = tag.strip().replace("_", "-").partition("-")[0].partition(".")[0].lower()
        if language in LANGUAGES:
            asked.append((-_quality(options), place, language))
    asked.sort()
    return asked[0][2] if asked and asked[0][0] < 0 else DEFAULT


def _quality(options: str) -> float:
    name, _, value = options.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0
