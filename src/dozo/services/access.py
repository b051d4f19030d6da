"""Who may do what to what: the one rule, and lookups that show nobody what is not theirs."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.db.models import Exists, F, Model, OuterRef, Q, QuerySet

from dozo.catalog.store import Catalog
from dozo.services.access_errors import (
    Forbidden,
    LoginRequired,
    ObjectHidden,
    PasswordChangeRequired,
    TenantUnknown,
    UserUnknown,
)
from dozo.services.access_rules import (
    BEFORE_PASSWORD_CHANGE,
    NOT_BY_TOKEN,
    RULES,
    Operation,
    Reach,
    Role,
    Rule,
)
from dozo.services.access_scopes import TokenScope
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

__all__ = [
    "Actor",
    "ActorKind",
    "Forbidden",
    "LoginRequired",
    "ObjectHidden",
    "Operation",
    "PasswordChangeRequired",
    "Role",
    "Scope",
    "Verdict",
    "about",
    "decide",
    "permit",
    "tenant_of",
]

Row = TypeVar("Row", bound=Model)


class ActorKind(StrEnum):
    """What kind of thing acts."""

    USER = "user"
    TOKEN = "token"  # noqa: S105
    SYSTEM = "system"
    SCHEDULE = "schedule"


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts. ``name`` is unique over all kinds, such as ``user:alice``.

    ``tenant`` is the name of the only tenant whose objects exist for the actor; None means that
    all do. ``scopes`` narrow what the role permits; None narrows nothing. ``username`` is the
    user behind a user or a token.
    """

    kind: ActorKind
    name: str
    role: Role
    tenant: str | None = None
    scopes: tuple[TokenScope, ...] | None = None
    username: str | None = None
    must_change_password: bool = False

    @classmethod
    def system(cls, part: str = "dozo") -> Self:
        """Dozo itself, such as its scheduler; it may do everything."""
        return cls(kind=ActorKind.SYSTEM, name=f"system:{part}", role=Role.OPERATOR)

    @classmethod
    def schedule(cls, name: str, tenant: str) -> Self:
        """A tenant's schedule of that name: what a member of the tenant may do."""
        return cls(
            kind=ActorKind.SCHEDULE,
            name=f"schedule:{tenant}/{name}",
            role=Role.MEMBER,
            tenant=tenant,
        )


class Verdict(Enum):
    """The answer to whether somebody may do something."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"
    # To this actor the object does not exist.
    HIDDEN = "hidden"
    LOGIN_REQUIRED = "login required"
    PASSWORD_CHANGE_REQUIRED = "password change required"  # noqa: S105


def decide(
    actor: Actor | None,
    operation: Operation,
    tenant: str | None = None,
    *,
    about: Collection[str] = (),
    made_by: str = "",
) -> Verdict:
    """The one rule: whether ``actor`` may do ``operation`` to an object of ``tenant``.

    ``actor`` None is somebody who did not log in. ``tenant`` None is an object of no tenant, or
    for a list all that the actor may see. ``about`` names the servers and volumes that the object
    is or belongs to (:func:`about`); ``made_by`` the actor that made a job.
    """
    rule = RULES[operation]
    if rule.reach is Reach.OPEN:
        return Verdict.ALLOWED
    if actor is None:
        return Verdict.LOGIN_REQUIRED
    if actor.must_change_password and operation not in BEFORE_PASSWORD_CHANGE:
        return Verdict.PASSWORD_CHANGE_REQUIRED
    if not _exists_for(actor, rule, tenant):
        return Verdict.HIDDEN
    # The site as a whole is everybody's, so it is not for those of one tenant.
    of_site = actor.tenant is None or rule.reach is not Reach.SITE
    allowed = of_site and actor.role in rule.roles and _in_scopes(actor, operation, about, made_by)
    return Verdict.ALLOWED if allowed else Verdict.FORBIDDEN


def permit(
    actor: Actor | None,
    operation: Operation,
    tenant: str | None = None,
    *,
    about: Collection[str] = (),
    made_by: str = "",
) -> None:
    """Return if :func:`decide` allows it.

    Raises :class:`Forbidden`, :class:`ObjectHidden`, :class:`LoginRequired`,
    :class:`PasswordChangeRequired`.
    """
    verdict = decide(actor, operation, tenant, about=about, made_by=made_by)
    if verdict is Verdict.ALLOWED:
        return
    if actor is None:
        raise LoginRequired
    if verdict is Verdict.PASSWORD_CHANGE_REQUIRED:
        raise PasswordChangeRequired
    if verdict is Verdict.HIDDEN:
        raise ObjectHidden
    raise Forbidden(actor.name, operation.value)


def _exists_for(actor: Actor, rule: Rule, tenant: str | None) -> bool:
    if actor.tenant is None or rule.reach in {Reach.SELF, Reach.SITE}:
        return True
    if rule.reach is Reach.LIST and tenant is None:
        return True
    return tenant == actor.tenant


def _in_scopes(actor: Actor, operation: Operation, about: Collection[str], made_by: str) -> bool:
    if actor.kind is not ActorKind.TOKEN and actor.scopes is None:
        return True
    if operation in NOT_BY_TOKEN:
        return False
    if operation is Operation.JOB_SHOW and made_by == actor.name:
        # Whoever may ask for something may see what becomes of it.
        return True
    return any(scope.covers(operation, about) for scope in actor.scopes or ())


def tenant_of(row: Any) -> str | None:
    """The name of the tenant that a catalog row belongs to; None for none."""
    kind = row._meta.model_name  # noqa: SLF001  Django's documented name
    if kind == "tenant":
        return str(row.name)
    tenant = row.tenant
    return None if tenant is None else str(tenant.name)


def about(row: Any) -> frozenset[str]:
    """The servers and volumes that a catalog row is or belongs to, as scopes name them."""
    kind = row._meta.model_name  # noqa: SLF001  Django's documented name
    if kind == "server":
        return frozenset({f"server={row.uuid}"})
    named = set()
    # A snapshot's column and a volume's key have the same name.
    if getattr(row, "volume_id", None):
        named.add(f"volume={row.volume_id}")
    if getattr(row, "server_id", None):
        named.add(f"server={row.server_id}")
    if kind == "schedule" and row.target_kind in {"server", "volume"}:
        named.add(f"{row.target_kind}={row.target}")
    if kind == "job" and row.object_kind in {"server", "volume"}:
        named.add(f"{row.object_kind}={row.object_id}")
    return frozenset(named)


class Scope:
    """A site as one actor sees it: whatever is not theirs is not there.

    Name resolution happens after that, so that another tenant's object answers, to the letter,
    as one that does not exist. ``source`` is the address that the actor speaks from.
    """

    def __init__(self, site: Site, actor: Actor, *, source: str = "") -> None:
        self.site = site
        self.actor = actor
        self.source = source
        self.catalog = VisibleCatalog(site.catalog, actor)

    def permit(self, operation: Operation, row: Any = None) -> None:
        """:func:`permit` for a catalog row, or for a list or the site without one."""
        if row is None:
            permit(self.actor, operation)
            return
        permit(
            self.actor,
            operation,
            tenant_of(row),
            about=about(row),
            made_by=getattr(row, "actor", ""),
        )

    @property
    def servers(self) -> "QuerySet[models.Server]":
        """Servers."""
        return self.catalog.servers

    @property
    def volumes(self) -> "QuerySet[models.Volume]":
        """Volumes."""
        return self.catalog.volumes

    @property
    def snapshots(self) -> "QuerySet[models.Snapshot]":
        """Snapshots, deleted ones included."""
        return self.catalog.snapshots

    @property
    def recovery_points(self) -> "QuerySet[models.RecoveryPoint]":
        """Recovery points that have a snapshot of the tenant."""
        return self.catalog.recovery_points

    @property
    def templates(self) -> "QuerySet[models.Template]":
        """Templates, deleted ones included."""
        return self.catalog.templates

    @property
    def tenants(self) -> "QuerySet[models.Tenant]":
        """Tenants."""
        return self.catalog.tenants

    @property
    def users(self) -> "QuerySet[models.User]":
        """Users."""
        return self.catalog.users

    @property
    def tokens(self) -> "QuerySet[models.Token]":
        """Tokens of those users."""
        return self.catalog.tokens

    @property
    def schedules(self) -> "QuerySet[models.Schedule]":
        """Schedules that were not deleted."""
        return self.catalog.schedules.filter(deleted_at=None)

    @property
    def jobs(self) -> "QuerySet[models.Job]":
        """Jobs, ended ones included."""
        return self.catalog.jobs

    @property
    def audit_entries(self) -> "QuerySet[models.AuditEntry]":
        """The audit trail."""
        return self.catalog.audit_entries

    def server(
        self, reference: str, operation: Operation | None = None, *, present: bool = False
    ) -> "models.Server":
        """The server; :class:`Forbidden` where ``operation`` is not permitted on it."""
        return self._checked(self.catalog.server(reference, present=present), operation)

    def volume(self, reference: str, operation: Operation | None = None) -> "models.Volume":
        """The volume, as :meth:`server`."""
        return self._checked(self.catalog.volume(reference), operation)

    def snapshot(self, reference: str, operation: Operation | None = None) -> "models.Snapshot":
        """The snapshot, as :meth:`server`."""
        return self._checked(self.catalog.snapshot(reference), operation)

    def template(self, reference: str, operation: Operation | None = None) -> "models.Template":
        """The template, as :meth:`server`."""
        return self._checked(self.catalog.template(reference), operation)

    def recovery_point(
        self, reference: str, operation: Operation | None = None
    ) -> "models.RecoveryPoint":
        """The recovery point, as :meth:`server`."""
        row = self.catalog.recovery_point(reference)
        if operation is not None:
            # Whose it is say its snapshots: the server may have changed hands since.
            owner = row.snapshots.select_related("tenant").first()
            tenant = owner.tenant if owner is not None else row.server.tenant
            permit(self.actor, operation, tenant.name, about=about(row))
        return row

    def schedule(self, reference: str, operation: Operation | None = None) -> "models.Schedule":
        """The schedule, as :meth:`server`."""
        return self._checked(self.catalog.schedule(reference), operation)

    def job(self, reference: str, operation: Operation | None = None) -> "models.Job":
        """The job, as :meth:`server`."""
        return self._checked(self.catalog.job(reference), operation)

    def tenant(self, name: str, operation: Operation | None = None) -> "models.Tenant":
        """The tenant of exactly that name; ``TenantUnknown``."""
        row = self.tenants.filter(name=name).first()
        if row is None:
            raise TenantUnknown(name)
        return self._checked(row, operation)

    def user(self, username: str, operation: Operation | None = None) -> "models.User":
        """The user of exactly that name; ``UserUnknown``."""
        row = self.users.select_related("tenant").filter(username=username).first()
        if row is None:
            raise UserUnknown(username)
        return self._checked(row, operation)

    def _checked(self, row: Row, operation: Operation | None) -> Row:
        if operation is not None:
            self.permit(operation, row)
        return row


class VisibleCatalog(Catalog):
    """A catalog reduced to what one actor may see. For reading; it shares the connection."""

    def __init__(self, catalog: Catalog, actor: Actor) -> None:
        super().__init__(catalog.path, catalog.alias, shown=catalog.shown)
        self._actor = actor.name
        self._tenant = actor.tenant
        self._selected = _selected(actor)

    @property
    def servers(self) -> "QuerySet[models.Server]":
        """Servers of the tenant."""
        rows = super().servers
        if self._tenant is not None:
            rows = rows.filter(tenant__name=self._tenant)
        return rows if self._selected is None else rows.filter(uuid__in=self._selected["server"])

    @property
    def volumes(self) -> "QuerySet[models.Volume]":
        """Volumes of the tenant."""
        rows = super().volumes
        if self._tenant is not None:
            rows = rows.filter(tenant__name=self._tenant)
        return rows if self._selected is None else rows.filter(self._within())

    @property
    def snapshots(self) -> "QuerySet[models.Snapshot]":
        """Snapshots of the tenant, whoever has the server now."""
        rows = super().snapshots
        if self._tenant is not None:
            rows = rows.filter(tenant__name=self._tenant)
        return rows if self._selected is None else rows.filter(self._within())

    @property
    def recovery_points(self) -> "QuerySet[models.RecoveryPoint]":
        """Recovery points of which the tenant has snapshots."""
        rows = super().recovery_points
        if self._tenant is not None:
            # Written so that the database begins at the point's few snapshots, and not at all
            # that the tenant has.
            owners = super().tenants.filter(name=self._tenant).values("pk")
            mine = (
                super()
                .snapshots.annotate(owner=F("tenant_id") + 0)
                .filter(recovery_point=OuterRef("pk"), owner__in=owners)
            )
            rows = rows.filter(Exists(mine))
        if self._selected is not None:
            rows = rows.filter(server_id__in=self._selected["server"])
        return rows

    @property
    def templates(self) -> "QuerySet[models.Template]":
        """Templates of the tenant; none for a token that is only for some servers."""
        rows = super().templates
        if self._tenant is not None:
            rows = rows.filter(tenant__name=self._tenant)
        return rows if self._selected is None else rows.none()

    @property
    def tenants(self) -> "QuerySet[models.Tenant]":
        """The tenant alone."""
        rows = super().tenants
        return rows if self._tenant is None else rows.filter(name=self._tenant)

    @property
    def users(self) -> "QuerySet[models.User]":
        """Users of the tenant."""
        rows = super().users
        return rows if self._tenant is None else rows.filter(tenant__name=self._tenant)

    @property
    def tokens(self) -> "QuerySet[models.Token]":
        """Tokens of the tenant's users."""
        rows = super().tokens
        return rows if self._tenant is None else rows.filter(owner__tenant__name=self._tenant)

    @property
    def schedules(self) -> "QuerySet[models.Schedule]":
        """Schedules of the tenant; none for a token that is only for some servers."""
        rows = super().schedules
        if self._tenant is not None:
            rows = rows.filter(tenant__name=self._tenant)
        return rows if self._selected is None else rows.none()

    @property
    def jobs(self) -> "QuerySet[models.Job]":
        """Jobs of the tenant; for a token that is only for some servers, those that it made."""
        rows = super().jobs
        if self._tenant is not None:
            rows = rows.filter(tenant__name=self._tenant)
        return rows if self._selected is None else rows.filter(actor=self._actor)

    @property
    def audit_entries(self) -> "QuerySet[models.AuditEntry]":
        """What the tenant did and what was done to what it has."""
        rows = super().audit_entries
        return rows if self._tenant is None else rows.filter(tenant=self._tenant)

    def _within(self) -> Q:
        """A condition for rows with a volume and a server: those that the token is for."""
        selected = self._selected or {}
        return Q(volume_id__in=selected["volume"]) | Q(server_id__in=selected["server"])


_SELECTOR = re.compile(r"(server|volume)=(.+)")


def _selected(actor: Actor) -> dict[str, list[str]] | None:
    """The servers and volumes that a token is for; None if it is for all of its owner's."""
    if actor.scopes is None or any(scope.opens_all for scope in actor.scopes):
        return None
    selected: dict[str, list[str]] = {"server": [], "volume": []}
    for scope in actor.scopes:
        match = _SELECTOR.fullmatch(scope.selector)
        if match:
            selected[match[1]].append(match[2])
    return selected
