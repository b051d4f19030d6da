"""A small world behind the API: two tenants with a server each, and who may see them."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.services.access_support import add_server, add_user
from tests.services.jobs import Held
from tests.services.support import MadeServer, later, random_bytes, store

from dozo import api
from dozo.services import accounts, job_queue, login
from dozo.services.access import Role, Scope
from dozo.services.admission import Limits
from dozo.services.site import Site
from dozo.web import Current, application

ROOT = "http://dozo.test/api/v1"


@dataclass
class World:
    """The site, its API, and a token for everybody."""

    site: Site
    runner: Held
    app: Any
    tokens: dict[str, str] = field(default_factory=dict)
    snapshots: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, who: str | None = "operator", **more: Any) -> Any:
        """One request; ``who`` None sends no token."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens.get(who, who)}"

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.request(method, ROOT + path, headers=headers, **more)

        return asyncio.run(ask())

    def get(self, path: str, who: str | None = "operator", **more: Any) -> Any:
        return self.call("GET", path, who, **more)

    def post(self, path: str, body: Any = None, who: str | None = "operator", **more: Any) -> Any:
        return self.call("POST", path, who, json=body if body is not None else {}, **more)

    def local(self, method: str, path: str, **more: Any) -> Any:
        """A request over the socket in the home."""

        async def over_socket(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "state": {"local": True}}, receive, send)

        other = World(site=self.site, runner=self.runner, app=over_socket)
        return other.call(method, path, None, **more)

    def run_jobs(self) -> None:
        job_queue.dispatch(self.site, self.runner, Limits(work=10, tenant=10, upkeep=10), "q")
        self.runner.run_all()


def token_for(site: Site, username: str, *scopes: str) -> str:
    row = site.catalog.users.select_related("tenant").get(username=username)
    scope = Scope(site, login.actor_of(row))
    return accounts.issue_token(scope, name="test", scopes=scopes or ("*",)).token


def make_world(site: Site) -> World:
    """Tenants ``acme`` and ``umbrella`` with a server each, ``web`` and ``hive``, thrice stored."""
    runner = Held(site.settings.home)
    current = Current(site=site, cancel=runner.cancel, alive=lambda: {"dispatch": True})
    world = World(site=site, runner=runner, app=application(current, [api.FACE]))
    people = (
        ("operator", Role.OPERATOR, None),
        ("auditor", Role.AUDITOR, None),
        ("alice", Role.TENANT_ADMIN, "acme"),
        ("adam", Role.MEMBER, "acme"),
        ("ulla", Role.MEMBER, "umbrella"),
    )
    for name, role, tenant in people:
        add_user(site, name, role, tenant)
        world.tokens[name] = token_for(site, name)
    for number, (name, tenant) in enumerate((("web", "acme"), ("hive", "umbrella"))):
        uuid = add_server(site, name, tenant)
        owner = site.tenant_row(tenant)
        volume = site.catalog.volumes.get(server_id=uuid)
        made = MadeServer(name=name, uuid=uuid, volume_ids={"vda": volume.volume_id})
        for index in range(3):
            world.snapshots[f"{name}{index}"] = store(
                site,
                made,
                "vda",
                random_bytes(number, 64 * 1024),
                name=f"{name}-{index}",
                point=f"{number:032x}" if index == 0 else None,
                at=later(index),
            )
        # What `store` puts into the vault is the default tenant's; the catalog's rows are not.
        site.catalog.snapshots.filter(server_id=uuid).update(tenant=owner)
    return world
