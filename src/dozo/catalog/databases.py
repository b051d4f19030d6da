"""Which databases this process has open, and how often; Django's own list follows it.

Django keeps its databases in one mapping for the whole process and looks through it from any
thread (when a web request ends, for one). So the mapping is never changed, only replaced.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, OperationalError, connections

# What says that the database is away, or busy for too long: the same may go well later.
PASSING = (OperationalError, InterfaceError)

_lock = threading.RLock()
_uses: Counter[str] = Counter()
_uses_by_thread: Counter[tuple[str, int]] = Counter()


@dataclass(frozen=True, kw_only=True)
class Use:
    """One of the times that a database is open. ``thread`` is who opened it."""

    alias: str
    thread: int


def use(alias: str, settings: Callable[[], dict[str, Any]], *, first: Callable[[], None]) -> Use:
    """Open a database once more, to be given back by :func:`leave`.

    ``first`` runs before anybody else can have it open; if it raises, it is not open.
    """
    made = Use(alias=alias, thread=threading.get_ident())
    with _lock:
        if alias not in connections.databases:
            _replace({**connections.databases, alias: settings()})
        _uses[alias] += 1
        _uses_by_thread[alias, made.thread] += 1
        try:
            if _uses[alias] == 1:
                first()
        except BaseException:
            leave(made)
            raise
    return made


def leave(given: Use) -> None:
    """Give a use back. The calling thread's connection ends with the last use in that thread."""
    alias, here = given.alias, threading.get_ident()
    with _lock:
        _count_down(_uses_by_thread, (alias, given.thread))
        _count_down(_uses, alias)
        if not _uses_by_thread[alias, here] and alias in connections.databases:
            connections[alias].close()
            del connections[alias]
        if not _uses[alias]:
            _replace({key: one for key, one in connections.databases.items() if key != alias})


def _count_down(counter: Counter[Any], key: object) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


def _replace(databases: dict[str, dict[str, Any]]) -> None:
    # Fills in Django's defaults for what is new. `settings` is a cached property of it.
    connections.settings = connections.configure_settings(databases)
