"""`/metrics`: the figures of the site for Prometheus, read when somebody asks for them.

What costs little is read anew after 10 seconds, each server's protection after a minute, the
vault's own figures after five. A part that cannot be read is left out, and says so in
``dozo_scrape_failed``.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric

from dozo.daemon.around import Scope, as_json
from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind
from dozo.services import figures, login
from dozo.services.access import LoginRequired, Operation, permit
from dozo.services.figures import Counting
from dozo.services.protection import Protection
from dozo.services.site import Site

log = logging.getLogger(__name__)

Value = TypeVar("Value")

_SOON_SECONDS = 10.0
_SERVERS_SECONDS = 60.0
_VAULT_SECONDS = 300.0
_FREEZE_BOUNDS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class _Cached(Generic[Value]):
    """A value that is read anew when it is too old."""

    def __init__(self, seconds: float, read: Callable[[Site], Value]) -> None:
        self._seconds = seconds
        self._read = read
        self._value: Value | None = None
        self._read_at = float("-inf")

    def get(self, site: Site) -> Value:
        """The value; raises what reading raises."""
        if self._value is None or clock.monotonic() - self._read_at >= self._seconds:
            self._value = self._read(site)
            self._read_at = clock.monotonic()
        return self._value


class Figures:
    """A collector for ``prometheus_client``: one scrape at a time, in any thread."""

    def __init__(self, home: Path, alive: Callable[[], dict[str, bool]]) -> None:
        self._home = home
        self._alive = alive
        self._guard = threading.Lock()
        self._counting = Counting()
        self._parts: dict[str, _Cached[list[Metric]]] = {
            "servers": _Cached(_SERVERS_SECONDS, _servers),
            "copies": _Cached(_SOON_SECONDS, _copies),
            "jobs": _Cached(_SOON_SECONDS, _jobs),
            "ended": _Cached(_SOON_SECONDS, self._ended),
            "upkeep": _Cached(_SOON_SECONDS, _upkeep),
            "vault": _Cached(_VAULT_SECONDS, _vault),
        }

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        with self._guard:
            found, failed = self._read()
        yield from found
        loops = GaugeMetricFamily("dozo_loop_alive", "1 while a loop goes on.", labels=["loop"])
        for name, goes_on in self._alive().items():
            loops.add_metric([name], int(goes_on))
        yield loops
        failures = GaugeMetricFamily(
            "dozo_scrape_failed", "1 where a part of these figures cannot be read.", labels=["part"]
        )
        for part in self._parts:
            failures.add_metric([part], int(part in failed))
        yield failures

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not read a database."""
        return []

    def _read(self) -> tuple[list[Metric], set[str]]:
        found: list[Metric] = []
        failed: set[str] = set()
        try:
            with Site.open(self._home) as site:
                found.append(_build(site))
                for name, part in self._parts.items():
                    try:
                        found += part.get(site)
                    except Exception as error:  # noqa: BLE001  the other parts are still wanted
                        log.warning("metrics: %s cannot be read: %s", name, error)
                        failed.add(name)
        except Exception as error:  # noqa: BLE001  what is left still says so
            log.warning("metrics: %s", error)
            failed = set(self._parts)
        return found, failed

    def _ended(self, site: Site) -> list[Metric]:
        return _ended(self._counting.look(site))


class Metrics:
    """The endpoint. From this host's socket freely, over the network with a token that may."""

    def __init__(self, home: Path, alive: Callable[[], dict[str, bool]]) -> None:
        self._home = home
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Figures(home, alive))
        ProcessCollector(registry=self._registry)
        # One is read at a time anyway; the loop's own threads are for everybody.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="metrics")

    async def __call__(self, scope: Scope) -> tuple[int, str, bytes]:
        """200 with the figures; 401 or 403 with why not."""
        loop = asyncio.get_running_loop()
        if not scope["state"]["local"]:
            refusal = await loop.run_in_executor(self._threads, self._refusal, _token(scope))
            if refusal is not None:
                return refusal
        body = await loop.run_in_executor(self._threads, generate_latest, self._registry)
        return 200, CONTENT_TYPE_PLAIN_0_0_4, body

    def _refusal(self, token: str) -> tuple[int, str, bytes] | None:
        try:
            if not token:
                raise LoginRequired
            with Site.open(self._home) as site:
                permit(login.authenticate(site, token), Operation.METRICS_SHOW)
        except DozoError as error:
            known = error.kind is not ErrorKind.UNAUTHENTICATED
            body = {"status": str(error), "code": error.code, "hint": error.hint_text()}
            return as_json(403 if known else 401, body)
        return None


def _token(scope: Scope) -> str:
    for name, value in scope["headers"]:
        kind, _, token = value.partition(b" ")
        if name == b"authorization" and kind.lower() == b"bearer":
            return str(token.strip().decode("latin-1"))
    return ""


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    text: str,
    labels: Iterable[str],
    values: Iterable[tuple[Iterable[str], float]],
) -> Metric:
    family = kind(name, text, labels=list(labels))
    for labelled, value in values:
        family.add_metric([str(one) for one in labelled], value)
    return family


def _age(at: datetime) -> float:
    return max((clock.now() - at).total_seconds(), 0.0)


def _build(site: Site) -> Metric:
    return InfoMetricFamily(
        "dozo_build", "What runs.", value={"version": version("dozo"), "site": site.settings.name}
    )


def _servers(site: Site) -> list[Metric]:
    found = figures.servers(site)
    labels = ("server", "uuid", "tenant")
    freezes = figures.last_freezes(site)
    counts = dict.fromkeys((state.value for state in Protection), 0)
    for one in found:
        counts[one.state.value] += 1
    names = {one.server: (one.name, one.server, one.tenant) for one in found}
    return [
        # The instant, not the age: an age would stand still while it is kept.
        _by(
            GaugeMetricFamily,
            "dozo_server_protected_timestamp_seconds",
            "Instant of the newest protected snapshot of the stalest scheduled volume.",
            labels,
            [(names[one.server], one.stalest_at.timestamp()) for one in found if one.stalest_at],
        ),
        _by(
            GaugeMetricFamily,
            "dozo_server_protection",
            "1 for the state that the server is in.",
            (*labels, "state"),
            [
                ((*names[one.server], state.value), int(one.state is state))
                for one in found
                for state in Protection
            ],
        ),
        _by(
            GaugeMetricFamily,
            "dozo_servers",
            "Servers on the hypervisor, by state of protection.",
            ("state",),
            [((state,), count) for state, count in counts.items()],
        ),
        _by(
            GaugeMetricFamily,
            "dozo_server_freeze_seconds",
            "How long the newest live snapshot kept the server frozen.",
            labels,
            [(names[uuid], ms / 1000) for uuid, ms in freezes.items() if uuid in names],
        ),
    ]


def _copies(site: Site) -> list[Metric]:
    behind = [figures.behind(site, peer) for peer in site.settings.peers]
    return [
        _by(
            GaugeMetricFamily,
            "dozo_peer_unverified_snapshots",
            "Snapshots and templates that the peer has not verified yet.",
            ("peer",),
            [((one.peer,), one.count) for one in behind],
        ),
        _by(
            GaugeMetricFamily,
            "dozo_peer_lag_seconds",
            "Age of the oldest snapshot that the peer has not verified yet; 0 if there is none.",
            ("peer",),
            [((one.peer,), _age(one.oldest_at) if one.oldest_at else 0) for one in behind],
        ),
        _by(
            GaugeMetricFamily,
            "dozo_damaged_copies",
            "Copies known to be damaged, by site.",
            ("site",),
            [((name,), count) for name, count in figures.damaged(site).items()],
        ),
    ]


def _jobs(site: Site) -> list[Metric]:
    queue = figures.queue(site)
    oldest = _age(queue.oldest_queued_at) if queue.oldest_queued_at else 0
    return [
        _by(
            GaugeMetricFamily,
            "dozo_jobs",
            "Jobs that have not ended.",
            ("kind", "state"),
            queue.open.items(),
        ),
        _gauge("dozo_queue_depth", "Jobs that wait for their turn.", queue.queued),
        _gauge("dozo_queue_oldest_seconds", "Age of the oldest of them; 0 if none.", oldest),
        _gauge("dozo_stuck_jobs", "Running jobs without any progress for too long.", queue.stuck),
        _by(
            GaugeMetricFamily,
            "dozo_running_bytes_per_second",
            "What the running jobs go through, averaged since each began.",
            ("kind",),
            [((kind,), rate) for kind, rate in queue.running_bytes.items()],
        ),
        _gauge(
            "dozo_scheduler_late_seconds",
            "How long the most overdue schedule has been waiting for the scheduler.",
            figures.late_by(site),
        ),
    ]


def _ended(ended: figures.Ended) -> list[Metric]:
    return [
        _by(
            CounterMetricFamily,
            "dozo_jobs_ended",
            "Jobs that ended since the service began, by how.",
            ("kind", "state"),
            ended.jobs.items(),
        ),
        _by(
            CounterMetricFamily,
            "dozo_job_bytes",
            "Bytes that ended jobs went through.",
            ("kind",),
            [((kind,), count) for kind, count in ended.job_bytes.items()],
        ),
        _by(
            CounterMetricFamily,
            "dozo_job_seconds",
            "How long ended jobs took.",
            ("kind",),
            [((kind,), seconds) for kind, seconds in ended.job_seconds.items()],
        ),
        CounterMetricFamily(
            "dozo_snapshot_read_bytes", "Bytes read for snapshots.", value=ended.bytes_read
        ),
        CounterMetricFamily(
            "dozo_snapshot_stored_bytes", "Bytes stored for snapshots.", value=ended.bytes_stored
        ),
        _by(
            CounterMetricFamily,
            "dozo_snapshot_full_reads",
            "Snapshots whose volume was read in full, by reason.",
            ("reason",),
            [((reason,), count) for reason, count in ended.full_reads.items()],
        ),
        _freezes(ended.freezes_ms),
    ]


def _freezes(freezes_ms: Any) -> Metric:
    seconds = [(ms / 1000, count) for ms, count in freezes_ms.items()]
    buckets = [
        (str(bound), sum(count for one, count in seconds if one <= bound))
        for bound in _FREEZE_BOUNDS_SECONDS
    ]
    buckets.append(("+Inf", sum(count for _, count in seconds)))
    family = HistogramMetricFamily(
        "dozo_freeze_seconds", "How long live snapshots kept their guests frozen."
    )
    family.add_metric([], buckets, sum(one * count for one, count in seconds))
    return family


def _upkeep(site: Site) -> list[Metric]:
    return [
        _by(
            GaugeMetricFamily,
            "dozo_upkeep_success_timestamp_seconds",
            "When this kind of upkeep last got through; absent if it never did.",
            ("kind",),
            [((kind,), at.timestamp()) for kind, at in figures.last_successes(site).items()],
        )
    ]


def _vault(site: Site) -> list[Metric]:
    vault = figures.vault(site)
    found = [
        _gauge("dozo_vault_stored_bytes", "Bytes of the vault's packs.", vault.bytes_stored),
        _gauge("dozo_vault_protected_bytes", "Sizes of the kept volumes.", vault.bytes_protected),
        _by(
            GaugeMetricFamily,
            "dozo_vault_snapshots",
            "Snapshots in the vault: kept, and deleted but not pruned yet.",
            ("state",),
            [(("kept",), vault.snapshots), (("deleted",), vault.deleted_snapshots)],
        ),
        _gauge("dozo_vault_packs", "Files that hold the vault's data.", vault.packs),
    ]
    if vault.bytes_free is not None:
        found.append(
            _gauge("dozo_vault_free_bytes", "What is free where the vault is.", vault.bytes_free)
        )
    return found
