"""Errors that carry data: a stable code, fields, whether a retry can help, and a hint."""

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, ClassVar

from dozo.model.language import DEFAULT
from dozo.model.message import fill


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
        return self.message()

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
