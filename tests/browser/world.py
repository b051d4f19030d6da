"""Two sites with simulated servers, each behind a service of its own, and people."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect
from tests.daemon.support import Service, started
from tests.services.support import befriend, make_site
from tests.support.simulated import Simulation, simulate

from dozo.hypervisor.metadata import ServerMetadata
from dozo.hypervisor.simulated import NewDisk, NewServer
from dozo.model import clock
from dozo.services import accounts, inventory, tenants
from dozo.services.access import Actor, Role, Scope
from dozo.services.site import Site

MIB = 1024 * 1024
PASSWORD = "correct horse battery staple"
PEOPLE = (
    ("olga", Role.OPERATOR, None),
    ("alice", Role.TENANT_ADMIN, "acme"),
    ("adam", Role.MEMBER, "acme"),
    ("ulla", Role.TENANT_ADMIN, "umbrella"),
    ("kenji", Role.TENANT_ADMIN, "kumiai"),
)
SERVERS = (("web", "acme"), ("shop", "acme"), ("hive", "umbrella"), ("kura", "kumiai"))


@dataclass(kw_only=True)
class Sites:
    """The services by site, and what lies under them."""

    services: dict[str, Service]
    homes: dict[str, Path]
    simulations: dict[str, Simulation]

    def url(self, site: str) -> str:
        """Where a site's console is."""
        return self.services[site].url

    def enter(self, page: Page, who: str) -> None:
        """Log in as people do."""
        page.goto("/login")
        page.locator("input[name=username]").fill(who)
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("form[action='/login'] button.primary").click()
        expect(page.locator("nav.side")).to_be_attached()

    def api(self, site: str, method: str, path: str, body: Any = None) -> Any:
        """Ask a site's API as its operator, over the socket in its home."""
        transport = httpx.HTTPTransport(uds=str(self.homes[site] / "api.sock"))
        with httpx.Client(transport=transport, base_url="http://dozo", timeout=30) as client:
            answer = client.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code < 300, (path, answer.status_code, answer.text)
        return answer.json()

    def wait_job(self, site: str, job: str, seconds: float = 60) -> Any:
        """The job, once it is done."""
        deadline = clock.monotonic() + seconds
        while True:
            found = self.api(site, "GET", f"/jobs/{job}")
            if found["state"] in {"done", "failed", "cancelled", "interrupted"}:
                assert found["state"] == "done", found
                return found
            assert clock.monotonic() < deadline, found
            clock.sleep(0.1)

    def snapshot(self, server: str, name: str) -> Any:
        """A recovery point at main, done."""
        body = {"server": server, "name": name}
        return self.wait_job("main", self.api("main", "POST", "/recovery-points", body)["job"])


@contextmanager
def open_sites(folder: Path) -> Iterator[Sites]:
    """Main with servers, DR with none; tenants, people; both services running."""
    simulations = {name: simulate(folder / f"{name}-hypervisor") for name in ("main", "dr")}
    disks = (
        NewDisk(device="vda", size_bytes=16 * MIB),
        NewDisk(device="vdb", size_bytes=8 * MIB, format="raw"),
    )
    host = simulations["main"].host
    for name, tenant in SERVERS:
        metadata = ServerMetadata(tenant=tenant)
        host.add_server(NewServer(name=name, disks=disks, metadata=metadata))
        host.start(name)
    made = [make_site(folder, name, libvirt=simulations[name].uri) for name in simulations]
    befriend(*made)
    for site in made:
        settle(site)
    inventory.sync(made[0])
    homes = {site.settings.name: site.settings.home for site in made}
    for site in made:
        site.close()
    with ExitStack() as stack:
        services = {
            # They look at each other often, so that nobody waits for minutes.
            name: stack.enter_context(started(home, upkeep_sync_minutes="0.05"))
            for name, home in homes.items()
        }
        yield Sites(services=services, homes=homes, simulations=simulations)
    for one in simulations.values():
        one.host.close()


def settle(site: Site) -> None:
    """Tenants and people, the same at each site."""
    scope = Scope(site, Actor.system())
    for name in ("acme", "umbrella"):
        tenants.create(scope, name)
    tenants.create(scope, "kumiai", policy="kcps-v1")
    for name, role, tenant in PEOPLE:
        accounts.create_user(
            scope,
            name,
            password=PASSWORD,
            role=role,
            tenant=tenant,
            must_change_password=False,
        )
