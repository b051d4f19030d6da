"""How fast the service answers at size: ``scripts/bench service``.

A catalog of the size asked for is filled, on SQLite and on PostgreSQL. Every list and page of the
API is asked many times, then an hour passes: schedules run at their times, by a clock that jumps
from one to the next and goes on as it does in between. The jobs that they start are accounted as
done, and not run: what a capture costs is another measurement.
"""

import argparse
import asyncio
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "scripts")]

from dozo.catalog.store import set_up_django  # noqa: E402  after the path

set_up_django()

from dozo_scale import Scale, fill  # noqa: E402  after Django
from tests.support.postgres import make_cluster  # noqa: E402

from dozo import api  # noqa: E402
from dozo.model import clock  # noqa: E402
from dozo.model.job_states import JobState  # noqa: E402
from dozo.services import accounts, figures, login, overview, scheduler  # noqa: E402
from dozo.services import site as sites  # noqa: E402
from dozo.services.access import Actor, Role, Scope  # noqa: E402
from dozo.services.site import Site  # noqa: E402
from dozo.web import Current, application  # noqa: E402

ROOT = "http://dozo.test/api/v1"
QUARTER = timedelta(minutes=15)
# The scheduler looks once a second.
TICK = timedelta(seconds=1)


class Jumping:
    """A clock that goes on by itself from wherever it was put."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._since = time.monotonic()

    def now(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._since)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def jump(self, at: datetime) -> None:
        self._at, self._since = at, time.monotonic()


@dataclass
class Measured:
    """Milliseconds of one thing, as the wall clock has them and as the process computed."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, act: Callable[[], object], times: int) -> None:
        for _ in range(times):
            wall, cpu = time.perf_counter(), time.process_time()
            act()
            self.wall.append(1000 * (time.perf_counter() - wall))
            self.cpu.append(1000 * (time.process_time() - cpu))

    def row(self, name: str) -> str:
        shown = [percentile(self.wall, 50), percentile(self.wall, 95), percentile(self.cpu, 95)]
        return f"| {name} | {' | '.join(f'{one:.0f}' for one in shown)} |"


def percentile(found: list[float], which: int) -> float:
    ordered = sorted(found)
    return ordered[min(len(ordered) - 1, round(which / 100 * (len(ordered) - 1)))]


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmRSS in /proc/self/status")


class Asker:
    """The API in this process, asked as an operator and as a member of a tenant."""

    def __init__(self, site: Site, tenant: str) -> None:
        self._app = application(
            Current(site=site, cancel=lambda _run: None, alive=dict), [api.FACE]
        )
        self._loop = asyncio.new_event_loop()
        self.tokens = {
            "operator": _token(site, "bench-operator", Role.OPERATOR, None),
            "tenant": _token(site, "bench-member", Role.TENANT_ADMIN, tenant),
        }

    def close(self) -> None:
        self._loop.close()

    def get(self, path: str, who: str) -> Any:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport) as client:
                headers = {"Authorization": f"Bearer {self.tokens[who]}"}
                return await client.get(ROOT + path, headers=headers)

        answer = self._loop.run_until_complete(ask())
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()


def _token(site: Site, name: str, role: Role, tenant: str | None) -> str:
    row = site.catalog.users.create(
        username=name, role=role.value, tenant=site.tenant_row(tenant) if tenant else None
    )
    scope = Scope(site, login.actor_of(row))
    return accounts.issue_token(scope, name="bench", scopes=("*",)).token


def paths(asker: Asker, who: str) -> dict[str, str]:
    """Every list and page, by what they are called in the table."""
    server = asker.get("/servers?limit=1", who)["items"][0]["server"]
    snapshot = asker.get("/snapshots?limit=1", who)["items"][0]["snapshot"]
    point = asker.get("/recovery-points?limit=1", who)["items"][0]["recovery_point"]
    schedule = asker.get("/schedules?limit=1", who)["items"][0]["schedule"]
    job = asker.get("/jobs?limit=1", who)["items"][0]["job"]
    return {
        "overview": "/overview",
        "servers": "/servers",
        "server": f"/servers/{server}",
        "its protection": f"/servers/{server}/protection",
        "volumes": "/volumes",
        "snapshots": "/snapshots",
        "snapshots of a server": f"/snapshots?server={server}",
        "snapshot": f"/snapshots/{snapshot}",
        "recovery points": "/recovery-points",
        "recovery point": f"/recovery-points/{point}",
        "schedules": "/schedules",
        "runs of a schedule": f"/schedules/{schedule}/runs",
        "jobs": "/jobs",
        "job": f"/jobs/{job}",
    }


def hour(site: Site, asker: Asker, jumping: Jumping, begin: datetime) -> list[str]:
    """Four times of the schedules, with a reader in between; lines of the table."""
    late: list[float] = []
    ticks = Measured()
    memory: list[int] = []
    for number in range(1, 5):
        planned = begin + QUARTER * number
        jumping.jump(planned + TICK)
        before = set(site.catalog.jobs.filter(state=JobState.QUEUED).values_list("pk", flat=True))
        ticks.run(lambda: scheduler.tick(site), 1)
        rows = site.catalog.jobs.filter(state=JobState.QUEUED).exclude(pk__in=before)
        made = list(rows.values_list("created_at", flat=True))
        late += [(one - planned).total_seconds() for one in made]
        now = clock.now()
        rows.update(state=JobState.DONE, started_at=now, finished_at=now)
        for minute in range(1, 15):
            jumping.jump(planned + timedelta(minutes=minute))
            scheduler.tick(site)
            asker.get("/overview", "operator")
            asker.get("/snapshots", "tenant")
            figures.servers(site)
        memory.append(resident_bytes())
    if not late:
        raise SystemExit("the schedules started nothing")
    return [
        f"| runs started in the hour | {len(late)} |",
        f"| lateness p50, p99 (s) | {percentile(late, 50):.1f}, {percentile(late, 99):.1f} |",
        f"| a tick with all due, computing (s) | {statistics.median(ticks.cpu) / 1000:.1f} |",
        f"| memory after each quarter (MiB) | {', '.join(str(one >> 20) for one in memory)} |",
    ]


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The address of an empty database; empty for SQLite."""
    if kind == "sqlite":
        yield ""
        return
    cluster = make_cluster()
    try:
        cluster.start()
        try:
            yield cluster.create_database()
        finally:
            cluster.stop("fast")
    finally:
        cluster.remove()


def pair(folder: Path, address: str) -> Site:
    """A site with a peer; only its catalog is of interest."""
    made = []
    for name, url in (("main", address), ("dr", "")):
        sites.init(
            sites.plan_init(
                home=folder / name / "home",
                name=name,
                vault=str(folder / name / "vault"),
                pool=folder / name / "pool",
                libvirt=f"simulated://{folder / name / 'hypervisor'}",
                database=url,
            )
        )
        made.append(Site.open(folder / name / "home"))
    site, peer = made
    key = peer.vault.public_key.to_text()
    sites.add_peer(site, name="dr", vault=peer.settings.vault, public_key=key)
    peer.close()
    return site


def measure(kind: str, scale: Scale, rounds: int) -> list[str]:
    """One database; lines of the page."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dozo-bench-")))
        site = stack.enter_context(pair(folder, stack.enter_context(database(kind))))
        begin = datetime.now(UTC)
        filling = time.perf_counter()
        filled = fill(site, scale, now=begin)
        print(f"{kind}: filled in {time.perf_counter() - filling:.0f} s: {filled.rows}", flush=True)
        jumping = Jumping(begin)
        stack.enter_context(clock.use_clock(jumping))
        asker = Asker(site, filled.tenants[0])
        stack.callback(asker.close)
        lines = [f"### {kind}", "", "| answer | p50 ms | p95 ms | p95 ms computing |"]
        lines.append("|---|---|---|---|")
        for who in ("operator", "tenant"):
            for name, path in paths(asker, who).items():
                asker.get(path, who)
                found = Measured()
                found.run(lambda path=path, who=who: asker.get(path, who), rounds)
                lines.append(found.row(f"{name}, {who}"))
                print(lines[-1], flush=True)
        found = Measured()
        found.run(lambda: overview.glance(Scope(site, Actor.system())), max(3, rounds // 5))
        lines.append(found.row("the console's first page, without drawing it"))
        lines += ["", "| an hour | |", "|---|---|", *hour(site, asker, jumping, filled.newest_at)]
        print("\n".join(lines[-5:]), flush=True)
        return lines


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(prog="scripts/bench service", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="1 is 1,000 servers")
    parser.add_argument("--rounds", type=int, default=40, help="how often each answer is asked for")
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--output", type=Path, help="where the tables go; else they are printed")
    asked = parser.parse_args()
    scale = Scale.of(asked.size)
    size = f"{scale.servers:,} servers, {scale.snapshots:,} snapshots at {scale.sites} sites"
    where = f"{platform.machine()}, Python {platform.python_version()}"
    lines = [f"{size}, {scale.jobs:,} jobs; {where}.", ""]
    for kind in asked.databases:
        lines += [*measure(kind, scale, asked.rounds), ""]
    text = "\n".join(lines)
    print(text)
    if asked.output:
        asked.output.write_text(text)


if __name__ == "__main__":
    main()
