"""Many rows into a table of the catalog, as fast as the database takes them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import connections, transaction

from dozo.catalog.store import Catalog

_PART = 20_000


def insert(
    catalog: Catalog, model: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> int:
    """Insert rows of plain values (UUIDs, times and JSON as Python has them); how many."""
    connection = connections[catalog.alias]
    table = apps.get_model("catalog", model)._meta.db_table  # noqa: SLF001  Django's documented name
    names = ", ".join(f'"{one}"' for one in columns)
    forms = _SQLITE if connection.vendor == "sqlite" else _POSTGRES
    count = 0
    with transaction.atomic(using=catalog.alias):
        for part in _parts(_plain(row, forms) for row in rows):
            count += len(part)
            if connection.vendor == "sqlite":
                marks = ", ".join("?" * len(columns))
                connection.cursor().cursor.connection.executemany(
                    f'INSERT INTO "{table}" ({names}) VALUES ({marks})', part
                )
                continue
            with (
                connection.cursor() as cursor,
                cursor.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy,
            ):
                for row in part:
                    copy.write_row(row)
    return count


def analyze(catalog: Catalog) -> None:
    """Let the database look at what it has, as it does by itself in the long run."""
    with connections[catalog.alias].cursor() as cursor:
        cursor.execute("ANALYZE")


def _parts(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    iterator = iter(rows)
    while part := list(islice(iterator, _PART)):
        yield part


def _plain(row: tuple[Any, ...], forms: Mapping[type, Callable[[Any], Any]]) -> tuple[Any, ...]:
    return tuple(forms[type(one)](one) if type(one) in forms else one for one in row)


def _time(value: datetime) -> str:
    # To the letter as Django writes it: SQLite compares texts.
    return str(value.replace(tzinfo=None))


_SQLITE: dict[type, Callable[[Any], Any]] = {
    UUID: lambda value: value.hex,
    datetime: _time,
    dict: json.dumps,
    list: json.dumps,
}
_POSTGRES: dict[type, Callable[[Any], Any]] = {dict: json.dumps, list: json.dumps}
