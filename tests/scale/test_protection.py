"""Protection of many at once: the same verdicts as one by one, with a fixed number of queries."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from dozo_scale import Scale, fill
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dozo.model import clock
from dozo.services import figures, overview, protection
from dozo.services.access import Actor, ActorKind, Role, Scope
from dozo.services.site import Site

from . import one_by_one

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 3, 4, 12, 7, tzinfo=UTC)
SERVERS = [UUID(int=number) for number in range(3)]
VOLUMES = [UUID(int=16 + number) for number in range(5)]


class Stopped:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with clock.use_clock(Stopped()):
        yield


# To make a failing catalog small would take minutes.
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)
# Minutes before now, some of them still to come; none twice, as nobody promises an order then.
MINUTES = st.integers(-40, 200)
SNAPSHOT = st.fixed_dictionaries(
    {
        "volume": st.sampled_from([0, 0, 1, 4]),
        "minutes": MINUTES,
        "schedule": st.sampled_from(["", "s0", "s0", "s1", "s2"]),
        "deleted": st.sampled_from([False, False, True]),
        "here": st.sampled_from(["verified", "verified", "stored", "missing"]),
        "peer": st.sampled_from(["verified", "verified", "damaged", None]),
    }
)
RUN = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(["s0", "s0", "s1", "s2", "s3"]),
        "target": st.sampled_from(
            ["", f"server:{SERVERS[0]}", f"server:{SERVERS[1]}", f"volume:{VOLUMES[0]}"]
        ),
        "minutes": MINUTES,
        "outcome": st.sampled_from(["started", "started", "skipped"]),
        "jobs": st.lists(
            st.sampled_from(["queued", "running", "done", "failed", "cancelled"]), max_size=2
        ),
    }
)
SCHEDULE = st.fixed_dictionaries(
    {
        "target": st.sampled_from(["tag:gold", "server:0", "server:1", "volume:0", "volume:4"]),
        "tenant": st.sampled_from([0, 1]),
        "enabled": st.sampled_from([True, True, True, False]),
        "deleted": st.sampled_from([False, False, False, True]),
        "next": st.sampled_from([None, -30, -5, 8, 8]),
    }
)
WORLD = st.fixed_dictionaries(
    {
        "tags": st.lists(st.booleans(), min_size=3, max_size=3),
        "tenants": st.lists(st.sampled_from([0, 1]), min_size=3, max_size=3),
        "attached": st.lists(st.booleans(), min_size=5, max_size=5),
        "schedules": st.lists(SCHEDULE, min_size=4, max_size=4),
        "snapshots": st.lists(
            SNAPSHOT, min_size=6, max_size=14, unique_by=lambda one: one["minutes"]
        ),
        "runs": st.lists(RUN, min_size=2, max_size=10, unique_by=lambda one: one["minutes"]),
    }
)


def at(minutes: int) -> datetime:
    return NOW - timedelta(minutes=minutes)


def make(site: Site, peer: Site, world: dict[str, Any]) -> None:
    """Write the rows."""
    catalog = site.catalog
    # Of two tenants, one whose policy wants copies at the peer and one whose does not.
    tenants = [site.tenant_row("both"), site.tenant_row("here-only")]
    tenants[1].policy_overrides = {"required_copies": "own"}
    tenants[1].save()
    for number, uuid in enumerate(SERVERS):
        catalog.servers.create(
            uuid=uuid,
            name=f"server-{number}",
            tenant=tenants[world["tenants"][number]],
            present=True,
            tags=["gold"] if world["tags"][number] else [],
        )
    for number, volume_id in enumerate(VOLUMES):
        owner = number // 2
        catalog.volumes.create(
            volume_id=volume_id,
            name=f"volume-{number}",
            device=f"vd{'ab'[number % 2]}",
            tenant=tenants[world["tenants"][owner]],
            server_id=SERVERS[owner],
            state="attached" if world["attached"][number] else "gone",
        )
    for number, one in enumerate(world["schedules"]):
        kind, _, name = one["target"].partition(":")
        ids = {"server": SERVERS, "volume": VOLUMES}.get(kind)
        catalog.schedules.create(
            schedule_id=f"s{number}",
            name=f"schedule-{number}",
            tenant=tenants[one["tenant"]],
            target_kind=kind,
            target=str(ids[int(name)]) if ids else name,
            enabled=one["enabled"],
            deleted_at=NOW if one["deleted"] else None,
            created_at=at(90),
            decided_until=NOW,
            next_at=None if one["next"] is None else NOW + timedelta(minutes=one["next"]),
        )
    for number, one in enumerate(world["runs"]):
        run = catalog.schedule_runs.create(
            schedule_id=one["schedule"],
            target=one["target"],
            planned_at=at(one["minutes"]),
            outcome=one["outcome"],
            reason=f"reason-{number}",
            decided_at=NOW,
        )
        for place, state in enumerate(one["jobs"]):
            catalog.jobs.create(
                kind="snapshot.create",
                title="job",
                actor="schedule:x",
                run=run,
                state=state,
                created_at=at(one["minutes"]) + timedelta(seconds=place),
                error_text=f"error-{number}" if state == "failed" else "",
            )
    for number, one in enumerate(world["snapshots"]):
        volume = catalog.volumes.get(volume_id=VOLUMES[one["volume"]])
        catalog.snapshots.create(
            snapshot_id=f"snapshot-{number}",
            name="snapshot",
            tenant=volume.tenant,
            origin_site=site.own_row,
            created_at=at(one["minutes"]),
            bytes_volume=1,
            volume=volume,
            schedule_id=one["schedule"],
            deleted_at=NOW if one["deleted"] else None,
        )
        for where, state in ((site, one["here"]), (peer, one["peer"])):
            if state is not None:
                catalog.copies.create(
                    snapshot_id=f"snapshot-{number}", site_id=where.settings.site_id, state=state
                )


def empty(site: Site) -> None:
    for rows in (
        site.catalog.copies,
        site.catalog.snapshots,
        site.catalog.recovery_points,
        site.catalog.jobs,
        site.catalog.schedule_runs,
        site.catalog.schedules,
        site.catalog.volumes,
        site.catalog.servers,
    ):
        rows.all().delete()


def plain(one: protection.ServerProtection) -> tuple[Any, ...]:
    volumes = [
        (each.name, each.state.value, each.scheduled, each.protected_at, str(each.reason))
        for each in one.volumes
    ]
    return (one.state.value, one.stalest_at, str(one.reason), volumes)


@settings(
    max_examples=60, phases=QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(world=WORLD)
def test_many_at_once_are_judged_as_one_by_one(
    pair: tuple[Site, Site], world: dict[str, Any]
) -> None:
    site, peer = pair
    empty(site)
    make(site, peer, world)
    rows = list(site.catalog.servers.select_related("tenant"))
    expected = [one_by_one.of_server(site, row) for row in rows]
    assert [plain(one) for one in protection.of_servers(site, rows)] == expected
    assert [plain(protection.of_server(site, row)) for row in rows] == expected
    volume = site.catalog.volumes.select_related("tenant", "server").get(volume_id=VOLUMES[0])
    one = protection.of_volume(site, volume)
    if volume.state == "attached":
        assert plain(protection.of_servers(site, rows)[0])[3][0][1] == one.state.value


@contextmanager
def counted(site: Site) -> Iterator[CaptureQueriesContext]:
    with CaptureQueriesContext(connections[site.catalog.alias]) as found:
        yield found


def test_the_number_of_queries_does_not_grow(pair: tuple[Site, Site]) -> None:
    site, _ = pair
    operator = Scope(site, Actor.system())
    tenant = Scope(
        site,
        Actor(
            kind=ActorKind.USER, name="user:a", role=Role.MEMBER, tenant="tenant-01", username="a"
        ),
    )
    asked = {
        "overview": lambda: overview.overview(operator),
        "overview of a tenant": lambda: overview.overview(tenant),
        "protection": lambda: figures.servers(site),
    }
    counts: dict[str, list[int]] = {name: [] for name in asked}
    for part in (0.004, 0.04):
        empty(site)
        fill(site, Scale.of(part), now=NOW)
        for name, ask in asked.items():
            with counted(site) as found:
                ask()
            counts[name].append(len(found))
    assert counts["protection"][0] == counts["protection"][1] <= 12
    assert counts["overview"][0] >= counts["overview"][1] - 2
    assert max(counts["overview"] + counts["overview of a tenant"]) <= 28
