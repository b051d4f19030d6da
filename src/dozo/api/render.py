"""Values as JSON, and JSON as values: bounded, and without what databases trip over."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn, cast
from uuid import UUID

from django.http import HttpRequest
from ninja.parser import Parser
from ninja.renderers import BaseRenderer
from pydantic import BaseModel

from dozo.api.errors import BodyInvalid, MediaTypeUnknown
from dozo.model import clock
from dozo.model.language import DEFAULT, best
from dozo.model.message import Message
from dozo.web.text import is_clean

DEEPEST = 32


_FORMS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (datetime, clock.to_text),
    (Enum, lambda value: value.value),
    ((UUID, Path, date, BaseException), str),
    (BaseModel, lambda value: value.model_dump()),
    ((set, frozenset), sorted),
)


def _plain(value: object) -> Any:
    for kinds, form in _FORMS:
        if isinstance(value, kinds):
            return form(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_json(value: object, language: str = DEFAULT) -> str:
    """A value as JSON text. Times are UTC with microseconds, as everywhere in Dozo.

    What the service says to people is said in ``language``.
    """
    told = value if language == DEFAULT else _told(value, language)
    return json.dumps(told, default=_plain, ensure_ascii=False, allow_nan=False)


def _told(value: Any, language: str) -> Any:
    if isinstance(value, Message):
        return value.text(language)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _told(getattr(value, one.name), language) for one in fields(value)}
    if isinstance(value, Mapping):
        return {name: _told(one, language) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_told(one, language) for one in value]
    return value


def language_of(request: HttpRequest | None) -> str:
    """The language in which a request is answered."""
    return DEFAULT if request is None else best(request.headers.get("Accept-Language", ""))


class JsonRenderer(BaseRenderer):
    """Answers as JSON."""

    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> Any:  # noqa: ARG002
        return to_json(data, language_of(request))


class JsonParser(Parser):
    """Requests from JSON; raises :class:`BodyInvalid`, :class:`MediaTypeUnknown`."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        media_type = request.content_type or ""
        if media_type != "application/json":
            raise MediaTypeUnknown(media_type)
        try:
            found = json.loads(request.body, parse_constant=_no_constant)
        except RecursionError:
            raise BodyInvalid(Message("it is nested too deeply")) from None
        except ValueError:
            raise BodyInvalid(Message("it is not JSON")) from None
        _check(found)
        return cast("dict[str, Any]", found)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check(value: object) -> None:
    """Refuse what no field can mean: deep nesting, NUL, half a surrogate pair, huge numbers."""
    layer = [value]
    for _ in range(DEEPEST):
        following: list[object] = []
        for one in layer:
            if isinstance(one, dict):
                following += one.keys()
                following += one.values()
            elif isinstance(one, list):
                following += one
            else:
                _check_leaf(one)
        if not following:
            return
        layer = following
    raise BodyInvalid(Message("it is nested more than {most} deep", most=DEEPEST))


def _check_leaf(value: object) -> None:
    if isinstance(value, str) and not is_clean(value):
        raise BodyInvalid(Message("a text has characters that are none"))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BodyInvalid(Message("a number is out of range"))
