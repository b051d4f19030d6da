"""The only place that reads the time; tests replace the clock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for people and records, monotonic time for durations."""

    def now(self) -> datetime:
        """The current instant, timezone-aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


_clock: Clock = SystemClock()


def now() -> datetime:
    """The current instant, timezone-aware, in UTC."""
    return _clock.now()


def monotonic() -> float:
    """Seconds on a clock that never jumps."""
    return _clock.monotonic()


def sleep(seconds: float) -> None:
    """Wait for ``seconds``."""
    _clock.sleep(seconds)


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Replace the clock within a ``with`` block (tests)."""
    global _clock  # noqa: PLW0603  the one replaceable clock of the process
    before = _clock
    _clock = clock
    try:
        yield
    finally:
        _clock = before


def to_text(instant: datetime) -> str:
    """An instant as ``2026-01-31T12:00:00.000000Z``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """The instant that :func:`to_text` wrote; ``ValueError`` for anything else."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
