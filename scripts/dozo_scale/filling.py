"""What a site of a given size has had in the last days: servers, snapshots, copies, runs, jobs."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Self
from uuid import UUID

from django.apps import apps
from django.db.models import AutoField

from dozo.model import clock
from dozo.model.states import CaptureMode, Consistency
from dozo.services import audit
from dozo.services.access import Actor, Operation
from dozo.services.facts import (
    CaptureFacts,
    MemberFacts,
    RecoveryPointFacts,
    ServerFacts,
    SnapshotFacts,
    VolumeFacts,
)
from dozo.services.site import Site
from dozo_scale.bulk import analyze, insert

EVERY = timedelta(minutes=15)
TAG = "quarter-hourly"
PEER_ID = "b" * 32
_GIB = 1024**3
_KEEP = {"hourly": 48, "daily": 7}
_TIMING = {"kind": "cron", "cron": "*/15 * * * *", "zone": "UTC"}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything. Each server has two volumes and a snapshot of both every 15 minutes.

    ``jobs`` are ended ones; each run of a schedule has its row all the same.
    """

    servers: int = 1000
    snapshots: int = 200_000
    tenants: int = 10
    jobs: int = 20_000
    audit: int = 2_000
    sites: int = 2

    @classmethod
    def of(cls, part: float) -> Self:
        """That part of the full size, at least of everything a little."""
        full = cls()
        return cls(
            servers=max(4, round(full.servers * part)),
            snapshots=max(40, round(full.snapshots * part)),
            tenants=max(2, min(full.tenants, round(full.servers * part) // 2)),
            jobs=max(20, round(full.jobs * part)),
            audit=max(10, round(full.audit * part)),
        )

    @property
    def points(self) -> int:
        """Recovery points a server."""
        return max(1, self.snapshots // (2 * self.servers))


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What was made; counts by table."""

    rows: dict[str, int]
    tenants: tuple[str, ...]
    newest_at: datetime


@dataclass(frozen=True, kw_only=True)
class _Server:
    number: int
    uuid: UUID
    name: str
    tenant: int
    volumes: tuple[UUID, UUID]
    schedule: str


def fill(site: Site, scale: Scale | None = None, *, now: datetime | None = None) -> Filled:
    """Fill a site's catalog. The newest snapshots are a few minutes old at ``now``.

    Most servers are protected, some are behind, some failing, and some have no schedule.
    """
    scale = scale or Scale()
    now = (now or clock.now()).astimezone(UTC)
    return _Filling(site, scale, now).run()


class _Filling:
    """One filling; every id follows from its number, so that two fillings are alike."""

    def __init__(self, site: Site, scale: Scale, now: datetime) -> None:
        self.site = site
        self.scale = scale
        self.now = now
        minute = now.minute - now.minute % 15
        self.newest = now.replace(minute=minute, second=0, microsecond=0)
        self.tenants: list[Any] = []
        self.servers: list[_Server] = []
        self.own = site.own_row.site_id
        known = [one.site_id for one in site.settings.peers]
        self.peers = known or ([PEER_ID] if scale.sites > 1 else [])
        self.random = random.Random(1)
        self.common: dict[tuple[int, int], dict[str, Any]] = {}

    def run(self) -> Filled:
        rows = {
            "tenants": self.make_tenants(),
            "servers": self.make_servers(),
            "volumes": self.insert("Volume", self.volumes()),
            "schedules": self.insert("Schedule", self.schedules()),
            "recovery_points": self.insert("RecoveryPoint", self.points()),
            "snapshots": self.insert("Snapshot", self.snapshots()),
            "copies": self.insert("Copy", self.copies()),
            "schedule_runs": self.insert("ScheduleRun", self.runs()),
        }
        rows["jobs"] = self.insert("Job", self.jobs())
        rows["audit_entries"] = self.make_audit()
        analyze(self.site.catalog)
        return Filled(
            rows=rows,
            tenants=tuple(one.name for one in self.tenants),
            newest_at=self.newest,
        )

    def insert(self, model: str, rows: Iterator[dict[str, Any]]) -> int:
        first = next(rows, None)
        if first is None:
            return 0
        rest = defaults(model, first)

        def tuples() -> Iterator[tuple[Any, ...]]:
            for row in chain([first], rows):
                yield (*row.values(), *rest.values())

        return insert(self.site.catalog, model, [*first, *rest], tuples())

    def make_tenants(self) -> int:
        for number in range(self.scale.tenants):
            self.tenants.append(self.site.tenant_row(f"tenant-{number + 1:02}"))
        if PEER_ID in self.peers:
            self.site.catalog.sites.get_or_create(site_id=PEER_ID, defaults={"name": "peer"})
        return len(self.tenants)

    def make_servers(self) -> int:
        for number in range(self.scale.servers):
            tenant = number % len(self.tenants)
            self.servers.append(
                _Server(
                    number=number,
                    uuid=_uuid("server", number),
                    name=f"server-{number + 1:04}",
                    tenant=tenant,
                    volumes=(_uuid("root", number), _uuid("data", number)),
                    schedule=self.schedule_of(number, tenant),
                )
            )
        return self.insert("Server", self.server_rows())

    def schedule_of(self, number: int, tenant: int) -> str:
        """By tag for most tenants; every fifth tenant has a schedule a server. Few have none."""
        if number % 50 == 49:
            return ""
        if tenant % 5 == 4:
            return _id("schedule-of-server", number)
        return _id("schedule-by-tag", tenant)

    def server_rows(self) -> Iterator[dict[str, Any]]:
        for one in self.servers:
            yield {
                "uuid": one.uuid,
                "name": one.name,
                "tenant_id": self.tenants[one.tenant].pk,
                "present": True,
                "state": "running",
                "tracking": "auto",
                "assigned_by": "hand",
                "tags": [TAG] if one.schedule else [],
                "tags_by_hand": [],
                "cpus": 2,
                "memory_bytes": 4 * _GIB,
            }

    def volumes(self) -> Iterator[dict[str, Any]]:
        for one in self.servers:
            for place, volume_id in enumerate(one.volumes):
                yield {
                    "volume_id": volume_id,
                    "name": f"{one.name}-{_DEVICES[place]}",
                    "tenant_id": self.tenants[one.tenant].pk,
                    "server_id": one.uuid,
                    "state": "attached",
                    "device": _DEVICES[place],
                    "bus": "virtio",
                    "serial": "",
                    "is_root": place == 0,
                    "path": f"/var/lib/libvirt/images/{one.name}-{_DEVICES[place]}.qcow2",
                    "format": "qcow2",
                    "bytes_volume": 40 * _GIB,
                    "created_here": False,
                    "origin_snapshot": "",
                    "restoring_snapshot": "",
                    "safety_snapshot": "",
                    "excluded_reason": "",
                }

    def schedules(self) -> Iterator[dict[str, Any]]:
        made: set[str] = set()
        for one in self.servers:
            if not one.schedule or one.schedule in made:
                continue
            made.add(one.schedule)
            by_tag = one.schedule == _id("schedule-by-tag", one.tenant)
            yield {
                "schedule_id": one.schedule,
                "name": "quarter-hourly" if by_tag else f"of-{one.name}",
                "tenant_id": self.tenants[one.tenant].pk,
                "enabled": True,
                "target_kind": "tag" if by_tag else "server",
                "target": TAG if by_tag else str(one.uuid),
                "mode": "live",
                "freeze": True,
                "stated_unmounted": False,
                "stop_timeout_seconds": 300,
                "force_stop": False,
                "hook_before": "",
                "hook_after": "",
                "hook_timeout_seconds": 60,
                "timing": _TIMING,
                "keep": _KEEP,
                "keep_peer": {},
                "created_at": self.newest - EVERY * (self.scale.points + 4),
                "version": 1,
                "decided_until": self.newest,
                "next_at": self.newest + EVERY,
                "deleted_at": None,
            }

    def times(self) -> Iterator[tuple[int, datetime]]:
        """The planned times, the oldest first."""
        for back in range(self.scale.points - 1, -1, -1):
            yield back, self.newest - EVERY * back

    def taken(self) -> Iterator[tuple[_Server, int, datetime, datetime]]:
        """Server, how many times ago, planned and instant of every recovery point."""
        for back, planned in self.times():
            for one in self.servers:
                # Every fortieth server's last run failed.
                if back == 0 and one.number % 40 == 7:
                    continue
                yield one, back, planned, planned + timedelta(seconds=5 + one.number % 90)

    def points(self) -> Iterator[dict[str, Any]]:
        for one, _, planned, at in self.taken():
            yield {
                "recovery_point_id": _id("point", one.number, planned),
                "name": f"{one.name} {planned:%Y-%m-%d %H:%M}",
                "server_id": one.uuid,
                "created_at": at,
                "members": [
                    {"volume_id": str(volume), "device": _DEVICES[place]}
                    for place, volume in enumerate(one.volumes)
                ],
                "left_out": [],
            }

    def snapshots(self) -> Iterator[dict[str, Any]]:
        for one, _, planned, at in self.taken():
            point = _id("point", one.number, planned)
            for place, volume in enumerate(one.volumes):
                name = f"{one.name}-{_DEVICES[place]} {planned:%Y-%m-%d %H:%M}"
                yield {
                    "snapshot_id": _id("snapshot", one.number, place, planned),
                    "name": name,
                    "tenant_id": self.tenants[one.tenant].pk,
                    "origin_site_id": self.own,
                    "created_at": at,
                    "bytes_volume": 40 * _GIB,
                    "readable": True,
                    "facts": self.facts(one, place, name, point),
                    "deleted_at": None,
                    "deleted_reason": "",
                    "volume_id": volume,
                    "server_id": one.uuid,
                    "recovery_point_id": point,
                    "is_root": place == 0,
                    "mode": CaptureMode.LIVE.value,
                    "consistency": Consistency.FILESYSTEM.value,
                    "full_reason": "",
                    "parent_id": _id("snapshot", one.number, place, planned - EVERY),
                    "scheduled": bool(one.schedule),
                    "schedule_id": one.schedule,
                    "bytes_read": self.random.randrange(1, 512) * 1024 * 1024,
                    "bytes_stored": self.random.randrange(1, 128) * 1024 * 1024,
                }

    def facts(self, one: _Server, place: int, name: str, point: str) -> dict[str, Any]:
        """What a volume's snapshots have in common is made once: there are very many of them."""
        common = self.common.get((one.number, place))
        if common is None:
            common = self.common[one.number, place] = _facts(one, place)
        return {
            **common,
            "name": name,
            "capture": {**common["capture"], "freeze_ms": self.random.randrange(5, 400)},
            "recovery_point": {
                **common["recovery_point"],
                "recovery_point_id": point,
                "name": name,
            },
        }

    def copies(self) -> Iterator[dict[str, Any]]:
        for one, back, planned, at in self.taken():
            for place in range(2):
                snapshot = _id("snapshot", one.number, place, planned)
                for site_id in (self.own, *self.peers):
                    yield self.copy(one, back, snapshot, site_id, at)

    def copy(
        self, one: _Server, back: int, snapshot: str, site_id: str, at: datetime
    ) -> dict[str, Any]:
        # The newest ones of every tenth server are on their way to the peer.
        away = site_id != self.own and back < 3 and one.number % 10 == 3
        state = "missing" if away else "verified"
        if back == 5 and one.number % 200 == 150 and site_id != self.own:
            state = "damaged"
        seen = None if away else at + timedelta(seconds=40)
        return {
            "snapshot_id": snapshot,
            "site_id": site_id,
            "state": state,
            "received_at": seen,
            "verified_at": None if state != "verified" else seen,
            "oldest_reading_at": None if state != "verified" else seen,
        }

    def runs(self) -> Iterator[dict[str, Any]]:
        for back, planned in self.times():
            for one in self.servers:
                if one.schedule:
                    yield {
                        "id": self.run_id(back, one),
                        "schedule_id": one.schedule,
                        "planned_at": planned,
                        "target": f"server:{one.uuid}",
                        "outcome": "started",
                        "reason": "",
                        "decided_at": planned + timedelta(seconds=1),
                    }

    def run_id(self, back: int, one: _Server) -> int:
        # Far above what the database's own numbers come to.
        return 1_000_000_000 + back * len(self.servers) + one.number

    def jobs(self) -> Iterator[dict[str, Any]]:
        """The newest jobs of the schedules."""
        left = self.scale.jobs
        for back in range(self.scale.points):
            planned = self.newest - EVERY * back
            for one in self.servers:
                if left == 0:
                    return
                if one.schedule:
                    left -= 1
                    yield self.job(one, back, planned)

    def job(self, one: _Server, back: int, planned: datetime) -> dict[str, Any]:
        failed = back == 0 and one.number % 40 == 7
        begun = planned + timedelta(seconds=3 + one.number % 60)
        return {
            "job_id": _id("job", one.number, planned),
            "kind": "recovery-point.create",
            "title": f"snapshot server {one.name}",
            "tenant_id": self.tenants[one.tenant].pk,
            "actor": "schedule:quarter-hourly",
            "idempotency_key": None,
            "request_digest": "",
            "params": {"server": str(one.uuid), "mode": "live"},
            "locks": [f"server:{one.uuid}"],
            "lane": "work",
            "object_kind": "server",
            "object_id": str(one.uuid),
            "object_name": one.name,
            "run_id": self.run_id(back, one),
            "state": "failed" if failed else "done",
            "created_at": planned + timedelta(seconds=1),
            "not_before": None,
            "not_after": None,
            "started_at": begun,
            "finished_at": begun + timedelta(seconds=20),
            "attempt": 0,
            "dispatched_at": begun,
            "executions": 1,
            "stuck_since": None,
            "beat_at": None,
            "cancel_asked_at": None,
            "step": "",
            "facts": {},
            "bytes_total": 80 * _GIB,
            "bytes_done": 80 * _GIB,
            "result": None if failed else {"recovery_point": _id("point", one.number, planned)},
            "error_code": "hypervisor.capture_failed" if failed else "",
            "error_text": "the capture could not begin" if failed else "",
            "error_hint": "",
        }

    def make_audit(self) -> int:
        """By the trail's own writer: each entry carries the hash of the one before."""
        actor = Actor.system("scale")
        with self.site.catalog.transaction():
            for _ in range(self.scale.audit):
                audit.record(self.site, actor, Operation.JOB_LIST)
        return self.scale.audit


def _facts(one: _Server, place: int) -> dict[str, Any]:
    return SnapshotFacts(
        name="",
        volume=VolumeFacts(
            volume_id=str(one.volumes[place]),
            name=f"{one.name}-{_DEVICES[place]}",
            device=_DEVICES[place],
            bus="virtio",
            is_root=place == 0,
            path=f"/var/lib/libvirt/images/{one.name}-{_DEVICES[place]}.qcow2",
            format="qcow2",
        ),
        capture=CaptureFacts(
            mode=CaptureMode.LIVE,
            consistency=Consistency.FILESYSTEM,
            scheduled=bool(one.schedule),
            schedule_id=one.schedule,
            keep={"here": _KEEP, "peer": _KEEP},
            agent_ms=20,
        ),
        server=ServerFacts(uuid=str(one.uuid), name=one.name),
        recovery_point=RecoveryPointFacts(
            recovery_point_id="",
            name="",
            members=tuple(
                MemberFacts(volume_id=str(each), device=_DEVICES[where])
                for where, each in enumerate(one.volumes)
            ),
        ),
    ).to_json()


def defaults(model: str, given: dict[str, Any]) -> dict[str, Any]:
    """The columns that a row leaves out, and what stands in them."""
    fields = apps.get_model("catalog", model)._meta.concrete_fields  # noqa: SLF001  Django's documented name
    return {
        one.attname: one.get_default()
        for one in fields
        if one.attname not in given and not isinstance(one, AutoField)
    }


_DEVICES = ("vda", "vdb")


def _digest(*parts: object) -> str:
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def _uuid(*parts: object) -> UUID:
    return UUID(_digest(*parts))


def _id(*parts: object) -> str:
    return _digest(*parts)
