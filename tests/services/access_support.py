"""Two tenants with a server each, and people of every role."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

from dozo.services import accounts, login
from dozo.services.access import Actor, Role, Scope
from dozo.services.site import Site

PASSWORD = "correct horse battery"
SYSTEM = Actor.system("test")


class TestClock:
    """A clock that the test moves."""

    __test__ = False

    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def system(site: Site) -> Scope:
    return Scope(site, SYSTEM)


def add_user(site: Site, username: str, role: Role, tenant: str | None = None) -> Scope:
    """A user, logged in as far as the services are concerned."""
    if tenant is not None:
        site.tenant_row(tenant)
    accounts.create_user(
        system(site),
        username,
        password=PASSWORD,
        role=role,
        tenant=tenant,
        must_change_password=False,
    )
    row = site.catalog.users.select_related("tenant").get(username=username)
    return Scope(site, login.actor_of(row), source="192.0.2.1")


def add_server(site: Site, name: str, tenant: str) -> UUID:
    """A server with one volume, called NAME-vda."""
    uuid = uuid4()
    owner = site.tenant_row(tenant)
    server = site.catalog.servers.create(uuid=uuid, name=name, tenant=owner, present=True)
    site.catalog.volumes.create(
        name=f"{name}-vda", tenant=owner, server=server, device="vda", state="attached"
    )
    return uuid


def token_scope(scope: Scope, *scopes: str) -> Scope:
    """The site as a token of the actor sees it."""
    issued = accounts.issue_token(scope, name="cron", scopes=scopes)
    return Scope(scope.site, login.authenticate(scope.site, issued.token))
