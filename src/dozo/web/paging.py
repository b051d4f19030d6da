"""Lists in pages: a cursor is the place of the last row that was shown, so that rows which come
or go meanwhile make no other row appear twice or not at all."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import Field as Column
from django.db.models import Model, Q, QuerySet

from dozo.model import clock
from dozo.web.errors import CursorInvalid
from dozo.web.text import is_clean

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, kw_only=True)
class Cut(Generic[Row]):
    """The rows of one page."""

    rows: list[Row]
    next_cursor: str | None
    total: int

    def page(self, items: list[Any]) -> dict[str, Any]:
        """The page, with what is shown of each row."""
        return {"items": items, "next_cursor": self.next_cursor, "total": self.total}


def cut(
    rows: "QuerySet[Row]",
    *,
    limit: int,
    cursor: str | None,
    sort: str,
    columns: Mapping[str, str] | None = None,
    then: str | None = None,
) -> "Cut[Row]":
    """One page of ``rows``, sorted by ``sort`` (such as ``-created_at``) and then by key.

    ``columns`` says which column a name means, where that is another one; ``then`` is one that
    rows equal in the first are sorted by, rising. None of them may be NULL. Raises
    :class:`CursorInvalid`.
    """
    name = sort.removeprefix("-")
    column = (columns or {}).get(name, name)
    falls = sort.startswith("-")
    order = [_Key(column, falls), *([_Key(then, False)] if then else []), _Key("pk", falls)]
    ordered = rows.order_by(*(one.order for one in order))
    if cursor is not None:
        ordered = ordered.filter(_after(rows.model, order, cursor, sort))
    found = list(ordered[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Cut(
        rows=found,
        next_cursor=_cursor(found[-1], order, sort) if more else None,
        total=rows.count(),
    )


@dataclass(frozen=True, slots=True)
class _Key:
    """One of the columns that rows are sorted by, falling or rising."""

    column: str
    falls: bool

    @property
    def order(self) -> str:
        return f"-{self.column}" if self.falls else self.column

    def of(self, row: Any) -> object:
        for part in self.column.split("__"):
            row = getattr(row, part)
        return _to_text(row)

    def beyond(self, value: object) -> Q:
        return Q(**{f"{self.column}__{'lt' if self.falls else 'gt'}": value})


def _cursor(row: Model, order: Sequence[_Key], sort: str) -> str:
    text = json.dumps([sort, *(one.of(row) for one in order)], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _to_text(value: object) -> object:
    if isinstance(value, datetime):
        return clock.to_text(value)
    return str(value) if isinstance(value, UUID) else value


def _after(model: type[Model], order: Sequence[_Key], cursor: str, sort: str) -> Q:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        made_for, *values = json.loads(text)
        if made_for != sort or len(values) != len(order):
            raise CursorInvalid
        read = [
            _read(_column_of(model, key.column), value)
            for key, value in zip(order, values, strict=True)
        ]
    except (ValueError, TypeError, ValidationError, binascii.Error, RecursionError):
        raise CursorInvalid from None
    found, equal = Q(pk__in=[]), Q()
    for key, value in zip(order, read, strict=True):
        found |= equal & key.beyond(value)
        equal &= Q(**{key.column: value})
    return found


def _column_of(model: type[Model], path: str) -> "Column[Any, Any]":
    if path == "pk":
        return model._meta.pk  # noqa: SLF001  Django's documented name
    *relations, last = path.split("__")
    for one in relations:
        related = model._meta.get_field(one).related_model  # noqa: SLF001
        assert isinstance(related, type)  # noqa: S101  only relations are named before `__`
        model = related
    column = model._meta.get_field(last)  # noqa: SLF001
    assert isinstance(column, Column)  # noqa: S101
    return column


def _read(column: "Column[Any, Any]", value: object) -> object:
    if isinstance(value, str) and not is_clean(value):
        raise CursorInvalid
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise CursorInvalid
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise CursorInvalid
    return column.to_python(value)
