"""Sites for tests: a home, a vault and a pool each, and volumes made of bytes."""

import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from dozo.catalog.settings import CATALOG_NAME
from dozo.catalog.store import Catalog
from dozo.model.extents import Extent
from dozo.model.progress import Progress
from dozo.model.states import CaptureMode, Consistency
from dozo.services import site as sites
from dozo.services import snapshots
from dozo.services.facts import (
    CaptureFacts,
    MemberFacts,
    RecoveryPointFacts,
    ServerFacts,
    SnapshotFacts,
    VolumeFacts,
)
from dozo.services.site import Site
from dozo.services.state_files import DEFINITION
from dozo.vault import SnapshotDraft

MIB = 1024 * 1024
NO_LIBVIRT = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

DEFINITION_XML = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>
<memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/x/{name}-vda'/>
<target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/x/{name}-vdb'/>
<target dev='vdb' bus='virtio'/></disk>
</devices></domain>"""


class Bytes:
    """A volume in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read_into(self, offset_bytes: int, buffer: memoryview) -> None:
        buffer[:] = self.data[offset_bytes : offset_bytes + len(buffer)]

    def data_extents(self) -> Iterator[Extent]:
        yield Extent(0, len(self.data))


def random_bytes(seed: int, size: int = 2 * MIB) -> bytes:
    return random.Random(seed).randbytes(size)


class _NewSites:
    """Where the catalogs of new sites are: a fixture says so for the length of a test."""

    database: Callable[[], str] = str


def use_databases(make: Callable[[], str]) -> None:
    """Let each new site have the database whose address ``make`` returns."""
    _NewSites.database = staticmethod(make)


@cache
def _empty_catalog() -> bytes:
    """A catalog with today's schema: making it takes a second, and most tests need one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CATALOG_NAME
        Catalog.open(path).close()
        assert not path.with_name(f"{CATALOG_NAME}-wal").exists()
        return path.read_bytes()


def make_site(
    folder: Path, name: str, *, libvirt: str = NO_LIBVIRT, pool: Path | None = None
) -> Site:
    """A new site with everything under ``folder / name``, apart from a pool elsewhere."""
    database = _NewSites.database()
    if not database:
        home = folder / name / "home"
        home.mkdir(parents=True, mode=0o700)
        (home / CATALOG_NAME).write_bytes(_empty_catalog())
    sites.init(
        sites.plan_init(
            home=folder / name / "home",
            name=name,
            vault=str(folder / name / "vault"),
            pool=pool or folder / name / "pool",
            libvirt=libvirt,
            database=database,
        )
    )
    return Site.open(folder / name / "home")


def lose_catalog(site: Site) -> None:
    """Everything that a closed site's catalog held is gone."""
    if site.settings.database:
        with psycopg.connect(site.settings.database, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
    for part in ("", "-wal", "-shm"):
        (site.settings.home / f"catalog.sqlite3{part}").unlink(missing_ok=True)


def befriend(first: Site, second: Site) -> None:
    """Make two sites peers of each other."""
    for one, other in ((first, second), (second, first)):
        sites.add_peer(
            one,
            name=other.settings.name,
            vault=other.settings.vault,
            public_key=other.vault.public_key.to_text(),
        )


@dataclass(kw_only=True)
class MadeServer:
    """A server that exists only in snapshots."""

    name: str
    uuid: UUID
    volume_ids: dict[str, UUID]

    @classmethod
    def new(cls, name: str, devices: tuple[str, ...] = ("vda", "vdb")) -> "MadeServer":
        return cls(name=name, uuid=uuid4(), volume_ids={one: uuid4() for one in devices})


def store(
    site: Site,
    server: MadeServer,
    device: str,
    data: bytes,
    *,
    name: str | None = None,
    point: str | None = None,
    at: datetime = NOON,
    encrypted: bool = False,
    schedule: str = "",
) -> str:
    """Put a snapshot into a site's vault and catalog as a capture would; its id."""
    members = tuple(
        MemberFacts(volume_id=str(volume_id), device=one)
        for one, volume_id in server.volume_ids.items()
    )
    facts = SnapshotFacts(
        name=name or f"{server.name}-{device}",
        volume=VolumeFacts(
            volume_id=str(server.volume_ids[device]),
            name=f"{server.name}-{device}",
            device=device,
            bus="virtio",
            serial=f"S{device}",
            is_root=device == "vda",
            format="qcow2",
            path=f"/x/{server.name}-{device}",
            encrypted=encrypted,
        ),
        capture=CaptureFacts(
            mode=CaptureMode.LIVE,
            consistency=Consistency.FILESYSTEM,
            scheduled=bool(schedule),
            schedule_id=schedule,
        ),
        server=ServerFacts(uuid=str(server.uuid), name=server.name),
        recovery_point=RecoveryPointFacts(recovery_point_id=point, name="point", members=members)
        if point
        else None,
    )
    made = site.vault.backup(
        Bytes(data),
        SnapshotDraft(
            name=facts.name,
            created_at=at,
            origin=site.settings.site_id,
            group=point,
            facts=facts.to_json(),
            attachments={
                DEFINITION: DEFINITION_XML.format(name=server.name, uuid=server.uuid).encode()
            },
        ),
    )
    snapshots.record_new(site, made.snapshot)
    return made.snapshot


def later(days: float) -> datetime:
    return NOON + timedelta(days=days)


class Hooked:
    """A work that does something at the first byte of the first volume."""

    def __init__(self, hook: Callable[[], None]) -> None:
        self.hook = hook
        self.lock = threading.Lock()
        self.done = False

    def step(self, text: str) -> None:
        pass

    def bytes_of(self, label: str) -> Progress:
        return self

    def fact(self, name: str, value: object) -> None:
        pass

    def check(self) -> None:
        pass

    def total(self, work_bytes: int) -> None:
        with self.lock:
            if not self.done:
                self.done = True
                self.hook()

    def advance(self, done_bytes: int) -> None:
        pass
