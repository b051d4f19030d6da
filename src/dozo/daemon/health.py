"""`/healthz`: does the process live. `/readyz`: can it do its work now."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dozo.daemon.around import Scope, as_json
from dozo.model import clock
from dozo.services.site import Site

log = logging.getLogger(__name__)

_CHECK_SECONDS = 5.0
_CACHED_SECONDS = 2.0

OK = "ok"
UNAVAILABLE = "unavailable"
NO_ANSWER = "no answer"


class Health:
    """Whether each loop of the process goes on."""

    def __init__(self, alive: Callable[[], dict[str, bool]]) -> None:
        self._alive = alive

    async def __call__(self, _scope: Scope) -> tuple[int, str, bytes]:
        """200 if all do, else 503."""
        loops = self._alive()
        good = all(loops.values())
        return as_json(
            200 if good else 503, {"status": "alive" if good else "ailing", "loops": loops}
        )


class Readiness:
    """Whether what the service needs answers; libvirt's silence is told and is no reason to fail.

    Each check is made by one thread at a time and given up after some seconds, so that a store that
    hangs costs one thread, not one a question.
    """

    def __init__(self, home: Path) -> None:
        # Not the loop's own threads: what hangs there must not keep this from saying so.
        self._threads = ThreadPoolExecutor(9, thread_name_prefix="ready")
        self._checks = {
            "catalog": _Check("catalog", home, _look_at_catalog),
            "vault": _Check("vault", home, _look_at_vault),
            "libvirt": _Check("libvirt", home, _look_at_libvirt),
        }

    async def __call__(self, _scope: Scope) -> tuple[int, str, bytes]:
        """200 if catalog and vault answer, else 503."""
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(
            *(loop.run_in_executor(self._threads, one.result) for one in self._checks.values())
        )
        checks = dict(zip(self._checks, found, strict=True))
        ready = checks["catalog"] == OK and checks["vault"] == OK
        return as_json(
            200 if ready else 503, {"status": "ready" if ready else "not ready", "checks": checks}
        )


def _look_at_catalog(site: Site) -> None:
    site.catalog.sites.count()


def _look_at_vault(site: Site) -> None:
    site.vault.holds()


def _look_at_libvirt(site: Site) -> None:
    _connected = site.host


class _Check:
    """One check, in a thread of its own, its result kept for a moment."""

    def __init__(self, name: str, home: Path, look: Callable[[Site], None]) -> None:
        self._name = name
        self._home = home
        self._look = look
        self._lock = threading.Lock()
        self._over: threading.Event | None = None
        self._found = NO_ANSWER
        self._found_at = float("-inf")

    def result(self) -> str:
        """``ok``, ``unavailable``, or ``no answer`` within some seconds."""
        with self._lock:
            if self._over is None:
                if clock.monotonic() - self._found_at < _CACHED_SECONDS:
                    return self._found
                self._over = threading.Event()
                threading.Thread(
                    target=self._run, args=(self._over,), name=f"ready-{self._name}", daemon=True
                ).start()
            over = self._over
        return self._found if over.wait(_CHECK_SECONDS) else NO_ANSWER

    def _run(self, over: threading.Event) -> None:
        try:
            with Site.open(self._home) as site:
                self._look(site)
            found = OK
        except Exception as error:  # noqa: BLE001  whatever it is, it is not ready
            # Probes come every few seconds: what stays as it is is said once.
            level = logging.DEBUG if self._found == UNAVAILABLE else logging.WARNING
            log.log(level, "%s is not ready: %s", self._name, error)
            found = UNAVAILABLE
        with self._lock:
            self._found, self._found_at, self._over = found, clock.monotonic(), None
        over.set()
