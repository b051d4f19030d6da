"""Watches that this process still holds its executor's name."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

from dozo.jobs.errors import JobsError
from dozo.jobs.executor_lock import ExecutorLock, Holding

WATCH_S: Final = 3.0

_log = logging.getLogger("dozo.jobs")


def end_process() -> None:
    """End at once, as a crash would: every job can bear that, but not to be run twice at a time."""
    os._exit(75)


class NameWatch:
    """A thread that looks every few seconds, and calls ``lost`` once the name is another's.

    A database server that restarts ends the session that holds the name. It is taken back as soon
    as the server answers; ``undisturbed`` then says whether what runs here is still ours, as
    another process may have adopted it in between. ``look_after`` is called while the name is held.
    """

    def __init__(
        self,
        lock: ExecutorLock,
        *,
        undisturbed: Callable[[], bool],
        look_after: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._undisturbed = undisturbed
        self._look_after = look_after
        self._lost = lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="jobs executor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; may take as long as a connection attempt."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        check_runs = False
        while not self._stop.wait(WATCH_S):
            holding = self._lock.look()
            check_runs = check_runs or holding in {Holding.RETAKEN, Holding.UNKNOWN}
            if holding is Holding.LOST or (
                holding is not Holding.UNKNOWN and check_runs and not self._undisturbed()
            ):
                _log.critical("another process runs the jobs of this one")
                self._lost()
                return
            if holding is Holding.UNKNOWN:
                continue
            check_runs = False
            try:
                self._look_after()
            except JobsError as error:
                _log.warning("looking after the jobs failed: %s", error)
