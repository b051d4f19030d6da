"""Waiting for a catalog that is away for a while, where giving up would lose something."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dozo.catalog.databases import PASSING
from dozo.catalog.errors import CatalogUnusable
from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind, Retry

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(eq=False)
class ServiceStopping(DozoError):
    """The service stops; the job goes on, or ends, when it starts again."""

    code = "job.service_stopping"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "the service is stopping"
    hint = "The job goes on when the service has started again."


def patiently(act: Callable[[], Result], *, stopping: Callable[[], bool]) -> Result:
    """What ``act`` returns, however long the catalog is away.

    ``act`` is done again when it is unknown whether it took effect, so doing it twice must be
    the same as once. Raises :class:`ServiceStopping` when the catalog is away and nobody can wait.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return act()
        except (CatalogUnusable, *PASSING) as error:
            said = logging.WARNING if pause == _FIRST_PAUSE_SECONDS else logging.DEBUG
            log.log(said, "waiting for the catalog: %s", error)
            if stopping():
                raise ServiceStopping from error
        clock.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
