"""Errors that carry data: a stable code, fields, whether a retry can help, and a hint."""

from dataclasses import dataclass, fields
from enum import Enum
from string import Formatter
from typing import Any, ClassVar

from dozo.model.language import DEFAULT, LANGUAGES, translate
from dozo.model.message import Fields, Message, fill, from_template


class ErrorKind(Enum):
    """What an error means to a caller; each kind has one exit code and one HTTP status."""

    FAILED = "failed"
    USAGE = "usage"
    NOT_FOUND = "not-found"
    REFUSED = "refused"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    DAMAGED = "damaged"
    UNAVAILABLE = "unavailable"


class Retry(Enum):
    """Whether doing the same again can help."""

    NEVER = "never"
    LATER = "later"


@dataclass(eq=False)
class DozoError(Exception):
    """Base of all errors that Dozo raises on purpose.

    A subclass is a dataclass whose fields are the facts; ``text`` and ``hint`` are
    ``str.format`` templates over ``self``, in English; translated by ``dozo.model.language``.
    ``code`` is stable and documented.
    """

    code: ClassVar[str] = "dozo.failed"
    kind: ClassVar[ErrorKind] = ErrorKind.FAILED
    retry: ClassVar[Retry] = Retry.NEVER
    text: ClassVar[str] = "the operation failed"
    hint: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.as_message()

    def as_message(self) -> Message:
        """What happened, as a value that can be stored and said in every language."""
        return self._told(self.text)

    def hint_as_message(self) -> Message:
        """The hint likewise; an empty one when there is none."""
        return self._told(self.hint)

    def _told(self, template: str) -> Message:
        names = {
            name.removeprefix("self.")
            for language in LANGUAGES
            for _, name, _, _ in Formatter().parse(translate(template, language))
            if name
        }
        values = Fields({name: getattr(self, name, None) for name in names})
        return from_template(template, {"self": values} if names else {})

    def message(self, language: str = DEFAULT) -> str:
        """What happened, with the fields filled in."""
        return fill(self.text, language, self=self)

    def hint_text(self, language: str = DEFAULT) -> str:
        """The hint with the fields filled in; empty when there is none."""
        return fill(self.hint, language, self=self)

    def details(self) -> dict[str, Any]:
        """The fields as plain values, for JSON output."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def all_errors() -> list[type[DozoError]]:
    """Every error class that has been imported, sorted by code."""
    found: list[type[DozoError]] = []
    queue = [DozoError]
    while queue:
        cls = queue.pop()
        found.append(cls)
        queue.extend(cls.__subclasses__())
    return sorted(set(found), key=lambda cls: (cls.code, cls.__name__))
