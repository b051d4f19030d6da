"""Values as JSON, and JSON as values: bounded, and without what databases trip over."""

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
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


def to_json(value: object) -> str:
    """A value as JSON text. Times are UTC with microseconds, as everywhere in Dozo."""
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)


class JsonRenderer(BaseRenderer):
    """Answers as JSON."""

    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> Any:  # noqa: ARG002
        return to_json(data)


class JsonParser(Parser):
    """Requests from JSON; raises :class:`BodyInvalid`, :class:`MediaTypeUnknown`."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        media_type = request.content_type or ""
        if media_type != "application/json":
            raise MediaTypeUnknown(media_type)
        try:
            found = json.loads(request.body, parse_constant=_no_constant)
        except RecursionError:
            raise BodyInvalid("it is nested too deeply") from None
        except ValueError:
            raise BodyInvalid("it is not JSON") from None
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
    raise BodyInvalid(f"it is nested more than {DEEPEST} deep")


def _check_leaf(value: object) -> None:
    if isinstance(value, str) and not is_clean(value):
        raise BodyInvalid("a text has characters that are none")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BodyInvalid("a number is out of range")
