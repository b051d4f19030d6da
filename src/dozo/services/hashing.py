"""Hashing passwords, a few at a time: each takes 100 MiB of memory, which is what it is for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 2

_turns = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def in_turn() -> Iterator[None]:
    """Hash one password in the block; whoever comes then waits."""
    with _turns:
        yield
