"""Sentences that the program makes for people: an English template, and the facts to fill in."""

import string
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, cast, final

from dozo.model.language import DEFAULT, translate


class Fields:
    """Facts in a row, which a template reaches as ``{self.name}``."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = {name: _plain(value) for name, value in values.items()}

    def __getattr__(self, name: str) -> "Fact":
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Fields, (self._values,)

    def to_json(self) -> dict[str, Any]:
        """As a JSON value that :func:`from_json` takes back."""
        return {_FIELDS: {name: _stored(value) for name, value in self._values.items()}}


Fact = str | int | float | bool | Fields | None
SEPARATORS = (", ", "; ")

_FORM, _FIELDS = "template", "fields"
# The context of several texts in a row: the template is what stands between them.
_LIST = "list"


@final
class Message(str):
    """A sentence that can be said in every language; as a ``str`` it is the English one.

    So it stands wherever a plain text did, and whoever shows it asks for ``text(language)``.
    Templates are ``str.format`` templates over ``facts``: plain values, messages, or what ``str``
    makes of anything else.
    ``scripts/messages`` finds them where they are written out: ``Message("…", …)``.
    """

    __slots__ = ("context", "facts", "template")

    template: str
    facts: dict[str, Fact]
    context: str
    # The slots are filled by `_made`: a `str` takes nothing in `__init__`.

    def __new__(cls, template: str, /, **facts: object) -> "Message":
        """The sentence; raises ``KeyError`` when the template names what is not given."""
        return _made(template, facts, "")

    def __str__(self) -> str:
        # Itself: `str(error)` and `str(message)` can still be said in every language.
        return self

    def __add__(self, other: str) -> "Message":
        return _made("", {"0": self, "1": other}, _LIST)

    def __radd__(self, other: str) -> "Message":
        return _made("", {"0": other, "1": self}, _LIST)

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.template, self.facts, self.context)

    def text(self, language: str = DEFAULT) -> str:
        """The sentence in a language."""
        if self.context == _LIST:
            separator = translate(self.template, language, context=_LIST)
            return _listed(separator, said(self.facts, language))
        return fill(self.template, language, context=self.context, **self.facts)

    def to_json(self) -> dict[str, Any]:
        """As a JSON value that :func:`from_json` takes back."""
        made: dict[str, Any] = {_FORM: self.template}
        if self.context:
            made["context"] = self.context
        if self.facts:
            made["facts"] = {name: _stored(fact) for name, fact in self.facts.items()}
        return made


def _made(template: str, facts: Mapping[str, object], context: str) -> Message:
    plain = {name: _plain(fact) for name, fact in facts.items()}
    text = _listed(template, plain) if context == _LIST else template.format(**plain)
    made = str.__new__(Message, text)
    made.template, made.facts, made.context = template, plain, context
    return made


def from_template(template: str, facts: Mapping[str, object]) -> Message:
    """A message whose template ``scripts/messages`` knows from elsewhere, as those of errors."""
    return _made(template, facts, "")


def _plain(fact: object) -> Fact:
    """A fact that JSON can hold; a message stays one, an enumeration is told by its value."""
    if isinstance(fact, Enum):
        fact = fact.value
    return fact if isinstance(fact, str | int | float | bool | Fields | None) else str(fact)


def _stored(fact: Fact) -> Any:
    return fact.to_json() if isinstance(fact, Message | Fields) else fact


def known(text: str) -> str:
    """A text that came from elsewhere, as a message if it may be one without facts."""
    if isinstance(text, Message):
        return text
    return from_template(text.replace("{", "{{").replace("}", "}}"), {})


def stored(text: str) -> Any:
    """A text as a JSON value that :func:`from_json` takes back, a message or not."""
    return text.to_json() if isinstance(text, Message) else text


def from_json(value: Any, fallback: str = "") -> str:
    """A message as it was stored; ``fallback`` when there is none, or none that this reads."""
    made = _read(value)
    return made if isinstance(made, str) else fallback


def _read(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if isinstance(fields := value.get(_FIELDS), dict):
        return Fields({str(name): _read(fact) for name, fact in fields.items()})
    template, facts = value.get(_FORM), value.get("facts", {})
    if not isinstance(template, str) or not isinstance(facts, dict):
        return None
    try:
        return _made(
            template,
            {str(name): _read(fact) for name, fact in facts.items()},
            str(value.get("context", "")),
        )
    except (KeyError, ValueError, IndexError, AttributeError):
        return None


def joined(parts: Iterable[str], separator: str = SEPARATORS[0]) -> Message:
    """Several texts as one, each of which is said in the language of the whole.

    The ``separator`` is one of ``SEPARATORS``.
    """
    facts = {str(number): part for number, part in enumerate(parts)}
    return _made(separator, dict(facts), _LIST)


def _listed(separator: str, parts: Mapping[str, Fact]) -> str:
    return separator.join(str(part) for part in parts.values())


def within(context: str, text: str) -> Message:
    """A word that is one in English and several in another language, told by its context."""
    return _made(text, {}, context)


def counted(count: int, one: str, many: str, /, **facts: object) -> Message:
    """``one`` or ``many``, whichever fits ``{count}``; both are templates of :class:`Message`."""
    return Message(one if count == 1 else many, count=count, **facts)


def said(value: Any, language: str) -> Any:
    """A value in a language, if it is a message; lists and dicts of messages too."""
    if isinstance(value, Message):
        return value.text(language)
    if isinstance(value, dict):
        return {name: said(one, language) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [said(one, language) for one in value]
    return value


def fill(template: str, language: str, *, context: str = "", **facts: Any) -> str:
    """A template in a language, its fields filled in; facts that are messages in it too."""
    if language == DEFAULT:
        return template.format(**facts)
    translated = translate(template, language, context=context)
    try:
        return _Filler(language).vformat(translated, (), facts)
    except (LookupError, AttributeError, ValueError):
        # A translation of another version's template says less than none.
        return template.format(**facts)


class _Filler(string.Formatter):
    def __init__(self, language: str) -> None:
        self._language = language

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        # By name only: a template of this program numbers nothing.
        return super().get_value(str(key), args, kwargs)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion == "r" and isinstance(value, str):
            # Escaped as `repr` does it: names may hold what a terminal obeys.
            return translate("'{text}'", self._language).format(text=repr(value)[1:-1])
        return super().convert_field(value, conversion)

    def format_field(self, value: Any, format_spec: str) -> str:
        return cast("str", super().format_field(said(value, self._language), format_spec))
