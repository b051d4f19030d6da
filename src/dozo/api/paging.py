"""Lists of the API in pages."""

from collections.abc import Mapping
from typing import Annotated, Generic, TypeVar

from django.db.models import Model, QuerySet
from ninja import Schema
from pydantic import AfterValidator, BaseModel, Field

from dozo.web import paging
from dozo.web.paging import Cut
from dozo.web.text import is_clean

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Model)


class Page(BaseModel, Generic[Item]):
    """A part of a list. ``total`` counts the whole list as filtered, ``next_cursor`` leads on."""

    items: list[Item]
    next_cursor: str | None
    total: int


def _clean(text: str) -> str:
    if not is_clean(text):
        raise ValueError("it has characters that are none")
    return text


Text = Annotated[str, Field(max_length=255), AfterValidator(_clean)]


class PageQuery(Schema):
    """What every list takes."""

    limit: int = Field(50, ge=1, le=500, description="How many at most.")
    cursor: Annotated[str, Field(max_length=1000)] | None = Field(
        None, description="`next_cursor` of the page before."
    )


def cut(
    rows: "QuerySet[Row]",
    query: PageQuery,
    sort: str,
    columns: Mapping[str, str] | None = None,
    then: str | None = None,
) -> "Cut[Row]":
    """The page of ``rows`` that was asked for: :func:`dozo.web.paging.cut`."""
    return paging.cut(
        rows, limit=query.limit, cursor=query.cursor, sort=sort, columns=columns, then=then
    )
