"""`dozo serve`: the API on its two listeners, and the worker, in one process.

It ends with ``os._exit``: a job that did not give way in time runs in a thread that nothing can
stop, and what it had begun is taken up by the next start, as after a crash.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn

from dozo import api, console
from dozo.daemon import listen, logs, systemd
from dozo.daemon.around import App, Around, Endpoint
from dozo.daemon.health import Health, Readiness
from dozo.daemon.home_lock import HomeLock
from dozo.daemon.http import HttpConnection
from dozo.daemon.logs import LogFormat
from dozo.daemon.metrics import Metrics
from dozo.daemon.worker import Worker
from dozo.model.errors import DozoError
from dozo.services import accounts
from dozo.services.site import Site
from dozo.web import Current, application

log = logging.getLogger(__name__)

# Over what the jobs are given: for requests, threads and the jobs' database to come to an end.
_LAST_SECONDS = 45.0
_REQUEST_SECONDS = 5
# Of each listener; whoever comes then gets a 503.
_MOST_CONNECTIONS = 500
_TLS_LOOK_SECONDS = 60.0


@dataclass(kw_only=True)
class Stop:
    """The wish to end, said by a signal; the second one ends the process at once."""

    asked: threading.Event = field(default_factory=threading.Event)
    tell: Callable[[], object] | None = None

    def listen(self) -> None:
        """Take over the signals. Call it in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self.asked.is_set():
            os._exit(128 + number)
        self.asked.set()
        if self.tell is not None:
            self.tell()


def end(code: int, *, stop_seconds: float) -> None:
    """End the process at once, after ``stop_seconds`` and some more, whatever still hangs."""

    def give_up() -> None:
        log.error("something did not end in time; what it was doing is taken up by the next start")
        logs.flush()
        os._exit(code)

    timer = threading.Timer(stop_seconds + _LAST_SECONDS, give_up)
    timer.daemon = True
    timer.start()


def run(
    home: Path,
    *,
    with_worker: bool = True,
    behind_proxy: bool = False,
    log_format: LogFormat = LogFormat.AUTO,
) -> None:
    """Serve until a signal asks to stop; then the process is over.

    Raises ``ServiceRuns``, ``WorkerRuns``, ``ListenOpen``, ``ListenFailed``, ``TlsUnusable``
    and what a site that cannot be opened raises, before anything has begun.
    """
    stop = Stop()
    with Site.open(home) as site:
        settings = site.settings
        listen.refuse_open(settings, behind_proxy=behind_proxy)
        context = listen.tls_context(settings)
        HomeLock.of_service(settings.home)
        if with_worker and not settings.database:
            HomeLock.of_worker(settings.home)
        local = listen.local_socket(settings.home)
        network = listen.network_socket(settings)
        stop.listen()
        logs.set_up(settings.name, log_format)
        tell_first_operator(site)
        worker = Worker(home) if with_worker else None
        code = 1
        try:
            if worker is not None:
                worker.start()
            service = _Service(
                site=site,
                worker=worker,
                stop=stop,
                behind_proxy=behind_proxy,
                tls=context,
                metrics=Metrics(home, worker.alive if worker is not None else dict),
            )
            code = asyncio.run(service.serve(local, network))
        except DozoError as error:
            log.error("%s. %s", error, error.hint_text())  # noqa: TRY400  no defect: no trace
        except BaseException:
            log.exception("the service broke")
        finally:
            if worker is not None:
                worker.stop(settings.stop_seconds)
            with contextlib.suppress(OSError):
                (settings.home / listen.SOCKET_NAME).unlink(missing_ok=True)
            log.info("the service has stopped")
            logs.flush()
            os._exit(code)


def tell_first_operator(site: Site) -> None:
    """See to it that somebody can log in, also where ``init`` was interrupted."""
    made = accounts.first_operator(site)
    if made is not None:
        log.warning("user %s was made; the password is in %s", made.username, made.password_file)


class _Server(uvicorn.Server):
    """Leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@dataclass(frozen=True, kw_only=True)
class _Service:
    site: Site
    worker: Worker | None
    stop: Stop
    behind_proxy: bool
    tls: ssl.SSLContext | None
    metrics: Metrics

    async def serve(self, local: socket.socket, network: socket.socket) -> int:
        """Answer until asked to stop; the exit code."""
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.stop.tell = lambda: loop.call_soon_threadsafe(asked.set)
        if self.stop.asked.is_set():
            return 0
        app = application(self._current(), [api.FACE, console.FACE])
        servers = [
            self._server(app, local=True, tls=None),
            self._server(app, local=False, tls=self.tls),
        ]
        serving = [
            asyncio.create_task(server.serve(sockets=[one]))
            for server, one in zip(servers, (local, network), strict=True)
        ]
        asking = asyncio.create_task(asked.wait())
        watching = asyncio.create_task(self._watch_certificate())
        systemd.ready()
        log.info("serving on %s and %s", self.site.settings.listen, listen.SOCKET_NAME)
        await asyncio.wait([*serving, asking], return_when=asyncio.FIRST_COMPLETED)
        broken = not asked.is_set()
        log.info("stopping")
        systemd.stopping()
        watching.cancel()
        stop_seconds = self.site.settings.stop_seconds
        end(1, stop_seconds=stop_seconds)
        for server in servers:
            server.should_exit = True
        stopping: list[Awaitable[object]] = [*serving]
        if self.worker is not None:
            # A thread of its own: those of the loop may all hang in a catalog that is away.
            thread = ThreadPoolExecutor(1, thread_name_prefix="stop")
            stopping.append(loop.run_in_executor(thread, self.worker.stop, stop_seconds))
        for result in await asyncio.gather(*stopping, return_exceptions=True):
            if isinstance(result, BaseException):
                log.error("a part of the service broke: %r", result)
                broken = True
        return 1 if broken else 0

    def _current(self) -> Current:
        worker = self.worker
        return Current(
            site=self.site,
            cancel=worker.cancel if worker is not None else lambda _run_id: None,
            alive=worker.alive if worker is not None else dict,
        )

    def _server(self, app: App, *, local: bool, tls: ssl.SSLContext | None) -> _Server:
        home = self.site.settings.home
        endpoints: dict[str, Endpoint] = {
            "/healthz": Health(self._current().alive),
            "/readyz": Readiness(home),
            "/metrics": self.metrics,
        }
        config = uvicorn.Config(
            Around(app, endpoints, local=local),
            http=HttpConnection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            workers=1,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            # A client's own word about its address counts only where a proxy is said to be.
            proxy_headers=self.behind_proxy and not local,
            forwarded_allow_ips=list(self.site.settings.proxies),
            timeout_graceful_shutdown=_REQUEST_SECONDS,
        )
        config.load()
        config.ssl = tls
        return _Server(config)

    async def _watch_certificate(self) -> None:
        """Take a renewed certificate for new connections, without a restart."""
        settings = self.site.settings
        certificate, key = settings.tls_certificate, settings.tls_key
        if self.tls is None or certificate is None or key is None:
            return
        seen = certificate.stat().st_mtime_ns
        while True:
            await asyncio.sleep(_TLS_LOOK_SECONDS)
            try:
                now = certificate.stat().st_mtime_ns
                if now != seen:
                    self.tls.load_cert_chain(certificate, key)
                    log.info("the TLS certificate was read again")
                seen = now
            except (OSError, ssl.SSLError) as error:
                log.warning("the TLS certificate cannot be read again: %s", error)
