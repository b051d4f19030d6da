"""DBOS's log: warnings and errors only, to wherever the process sends its log."""

import logging
from typing import Final

from dozo.model import clock

_QUIET_S: Final = 60.0


class OncePerMinute(logging.Filter):
    """Lets a place in the code speak once a minute.

    While the database is away, each look into each queue would complain, four times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._spoke: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be seen."""
        place = (record.pathname, record.lineno)
        now_s = clock.monotonic()
        if now_s - self._spoke.get(place, -_QUIET_S) < _QUIET_S:
            return False
        self._spoke[place] = now_s
        return True


_filter = OncePerMinute()


def keep_logging_ours() -> None:
    """Keep DBOS from adding a handler of its own, which it does only when there is none."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_filter)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
