"""One site's catalog: opened by path, asked and told through one object.

Several catalogs can be open in one process, and one catalog several times in several threads;
every query names its own database, so that none can reach another site's rows.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import django
from django.apps import apps
from django.db import Error as DatabaseProblem
from django.db import connections, transaction
from django.db.models import Manager, Model, Q, QuerySet

from dozo.catalog import databases, migrating, postgres
from dozo.catalog import settings as catalog_settings
from dozo.catalog.errors import (
    Ambiguous,
    CatalogServerUnusable,
    CatalogUnusable,
    JobUnknown,
    RecoveryPointUnknown,
    ScheduleUnknown,
    ServerUnknown,
    SnapshotUnknown,
    TemplateUnknown,
    Unknown,
    VolumeUnknown,
)

if TYPE_CHECKING:
    from dozo.catalog import models, models_figures, models_jobs, models_notify

Row = TypeVar("Row", bound=Model)

_NEAR_LIMIT = 8
_UUID_FIELDS = {"uuid", "volume_id", "server__uuid"}
_setup_lock = threading.Lock()


def set_up_django() -> None:
    """Load Django with the catalog's settings, once a process."""
    with _setup_lock:
        if not apps.ready:
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dozo.catalog.settings")
            django.setup()


class Catalog:
    """The catalog of one site.

    Each thread that asks it gets a connection of its own, which ends with the thread or with
    :meth:`close` in it. Close it in the thread that opened it.
    """

    def __init__(self, path: Path, alias: str, *, shown: str = "") -> None:
        """``shown`` is what people know the database by, if not its path."""
        self.path = path
        self.alias = alias
        self.shown = shown or str(path)
        self._use: databases.Use | None = None

    @classmethod
    def open(cls, path: Path, *, database: str = "") -> Self:
        """Open or make the catalog at ``path`` and bring its schema up to date.

        With ``database``, a ``postgresql://`` address, it is there, and ``path`` is not used.
        It may be open already, in this thread or others. Raises :class:`CatalogUnusable`,
        ``CatalogNewer``.
        """
        set_up_django()
        if database:
            address = postgres.parse(database)
            catalog = cls(path, address.alias, shown=address.shown)
            settings = postgres.connection_settings(address)
        else:
            catalog = cls(path, str(path.absolute()))
            settings = catalog_settings.sqlite_database(catalog.alias)
        try:
            # What somebody has open is up to date.
            catalog._use = databases.use(catalog.alias, lambda: settings, first=catalog.migrate)
        except (DatabaseProblem, sqlite3.Error, OSError) as error:
            raise catalog.unusable(error) from error
        return catalog

    def unusable(self, error: Exception) -> CatalogUnusable:
        """What to raise where the database itself is the trouble."""
        server = self.shown != str(self.path)
        return (CatalogServerUnusable if server else CatalogUnusable)(
            self.shown, str(error).strip()
        )

    @property
    def on_server(self) -> bool:
        """Whether it is a database of a server, which other hosts reach too."""
        return connections[self.alias].vendor == "postgresql"

    def close(self) -> None:
        """Close this thread's connection, if it is the last to use it; may be repeated.

        Other threads that have the same catalog open are not affected.
        """
        use, self._use = self._use, None
        if use is not None:
            databases.leave(use)

    def migrate(self) -> None:
        """Apply the migrations that the database lacks. Raises :class:`CatalogNewer`."""
        migrating.bring_up_to_date(self.alias, self.path, self.shown)

    def transaction(self, *, durable: bool = False) -> transaction.Atomic:
        """All or nothing: a context manager; ``durable`` refuses to be inside of another one."""
        postgres.mend(self.alias)
        return transaction.atomic(using=self.alias, durable=durable)

    # The tables, each as a query on this catalog's own database.

    @property
    def sites(self) -> "QuerySet[models.Site]":
        """Sites."""
        return self._rows("Site")

    @property
    def tenants(self) -> "QuerySet[models.Tenant]":
        """Tenants."""
        return self._rows("Tenant")

    @property
    def servers(self) -> "QuerySet[models.Server]":
        """Servers."""
        return self._rows("Server")

    @property
    def volumes(self) -> "QuerySet[models.Volume]":
        """Volumes."""
        return self._rows("Volume")

    @property
    def recovery_points(self) -> "QuerySet[models.RecoveryPoint]":
        """Recovery points."""
        return self._rows("RecoveryPoint")

    @property
    def snapshots(self) -> "QuerySet[models.Snapshot]":
        """Snapshots, deleted ones included."""
        return self._rows("Snapshot")

    @property
    def templates(self) -> "QuerySet[models.Template]":
        """Templates, deleted ones included."""
        return self._rows("Template")

    @property
    def copies(self) -> "QuerySet[models.Copy]":
        """Copies."""
        return self._rows("Copy")

    @property
    def users(self) -> "QuerySet[models.User]":
        """Users, disabled ones included."""
        return self._rows("User")

    @property
    def tokens(self) -> "QuerySet[models.Token]":
        """Tokens, expired and revoked ones included."""
        return self._rows("Token")

    @property
    def second_factors(self) -> "QuerySet[models.SecondFactor]":
        """Second factors, those that are not confirmed yet included."""
        return self._rows("SecondFactor")

    @property
    def login_failures(self) -> "QuerySet[models.LoginFailure]":
        """Failed logins."""
        return self._rows("LoginFailure")

    @property
    def audit_entries(self) -> "QuerySet[models.AuditEntry]":
        """The audit trail, oldest first."""
        return self._rows("AuditEntry")

    @property
    def audit_heads(self) -> "QuerySet[models.AuditHead]":
        """The one row that says where the trail ends."""
        return self._rows("AuditHead")

    @property
    def jobs(self) -> "QuerySet[models_jobs.Job]":
        """Jobs, ended ones included."""
        return self._rows("Job")

    @property
    def job_lines(self) -> "QuerySet[models_jobs.JobLine]":
        """The lines of all jobs' logs."""
        return self._rows("JobLine")

    @property
    def schedules(self) -> "QuerySet[models_jobs.Schedule]":
        """Schedules."""
        return self._rows("Schedule")

    @property
    def schedule_runs(self) -> "QuerySet[models_jobs.ScheduleRun]":
        """What became of the planned times of schedules."""
        return self._rows("ScheduleRun")

    @property
    def incidents(self) -> "QuerySet[models_notify.Incident]":
        """What people were told, or are to be told; closed ones included."""
        return self._rows("Incident")

    @property
    def notices(self) -> "QuerySet[models_notify.Notice]":
        """The messages about incidents, sent ones included."""
        return self._rows("Notice")

    @property
    def vault_figures(self) -> "QuerySet[models_figures.VaultFigure]":
        """How much the vault held, day by day."""
        return self._rows("VaultFigure")

    @contextmanager
    def turn(self, name: str, *, durable: bool = False) -> Iterator[None]:
        """A transaction that only one at a time is in, over all processes of the site.

        What is read in it is what the one before has left. ``durable`` as for :meth:`transaction`.
        """
        with self.transaction(durable=durable):
            turns = self._rows("Turn")
            turns.get_or_create(name=name)
            turns.select_for_update().get(name=name)
            yield

    def _rows(self, model: str) -> "QuerySet[Any]":
        postgres.mend(self.alias)
        manager: Manager[Any] = apps.get_model("catalog", model)._default_manager  # noqa: SLF001  Django's documented name
        return manager.using(self.alias)

    # References as people give them: an id, the beginning of one, or a name.

    def server(self, reference: str, *, present: bool = False) -> "models.Server":
        """The server; with ``present``, only one that is on this site's hypervisor."""
        rows = self.servers.filter(present=True) if present else self.servers
        return _one(
            rows,
            reference,
            id_field="uuid",
            describe=lambda row: f"{row.name} ({row.uuid})",
            error=ServerUnknown,
            word="server",
            prefer=lambda row: row.present,
        )

    def volume(self, reference: str) -> "models.Volume":
        """The volume; ``SERVER/DEVICE`` names an attached one too."""
        server_name, slash, device = reference.rpartition("/")
        if slash and server_name:
            found = self.volumes.filter(device=device, server__isnull=False).filter(
                Q(server__name=server_name) | _id_prefix("server__uuid", server_name)
            )
            here = [row for row in found.select_related("server") if row.state == "attached"]
            if len(here) == 1:
                return here[0]
        return _one(
            self.volumes,
            reference,
            id_field="volume_id",
            describe=lambda row: f"{row.name} ({row.volume_id})",
            error=VolumeUnknown,
            word="volume",
            prefer=lambda row: row.state != "gone",
        )

    def snapshot(self, reference: str) -> "models.Snapshot":
        """The snapshot; a deleted one answers only when no other does."""
        return _one(
            self.snapshots,
            reference,
            id_field="snapshot_id",
            describe=_id_and_name,
            error=SnapshotUnknown,
            word="snapshot",
            prefer=lambda row: row.deleted_at is None,
        )

    def template(self, reference: str) -> "models.Template":
        """The template; deleted ones are unknown."""
        return _one(
            self.templates.filter(deleted_at=None),
            reference,
            id_field="snapshot_id",
            describe=_id_and_name,
            error=TemplateUnknown,
            word="template",
        )

    def schedule(self, reference: str) -> "models_jobs.Schedule":
        """The schedule; deleted ones are unknown."""
        return _one(
            self.schedules.filter(deleted_at=None),
            reference,
            id_field="schedule_id",
            describe=lambda row: f"{row.schedule_id[:12]} ({row.name}, tenant {row.tenant.name})",
            error=ScheduleUnknown,
            word="schedule",
        )

    def job(self, reference: str) -> "models_jobs.Job":
        """The job, by its id or the beginning of it."""
        found = list(self.jobs.filter(_id_prefix("job_id", reference))[: _NEAR_LIMIT + 1])
        if len(found) > 1:
            raise Ambiguous("job", reference, [f"{row.job_id} ({row.title})" for row in found])
        if not found:
            raise JobUnknown("job", reference, [])
        return found[0]

    def recovery_point(self, reference: str) -> "models.RecoveryPoint":
        """The recovery point."""
        return _one(
            self.recovery_points,
            reference,
            id_field="recovery_point_id",
            describe=lambda row: f"{row.recovery_point_id[:12]} ({row.name})",
            error=RecoveryPointUnknown,
            word="recovery point",
        )


def _id_and_name(row: Any) -> str:
    return f"{row.snapshot_id[:12]} ({row.name})"


def _id_prefix(field: str, reference: str) -> Q:
    """A condition for ids that begin with ``reference``; none for what is no hexadecimal."""
    digits = reference.replace("-", "").lower()
    if len(digits) < 2 or any(digit not in "0123456789abcdef" for digit in digits):
        return Q(pk__in=[])
    if field in _UUID_FIELDS:
        # As PostgreSQL writes it; where a UUID is kept as 32 digits Django drops the dashes.
        digits = "-".join(part for part in _uuid_parts(digits) if part)
    return Q(**{f"{field}__startswith": digits})


def _uuid_parts(digits: str) -> list[str]:
    return [digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]]


def _one(
    rows: "QuerySet[Row]",
    reference: str,
    *,
    id_field: str,
    describe: Callable[[Row], str],
    error: type[Unknown],
    word: str,
    prefer: Callable[[Row], bool] = lambda _row: True,
) -> Row:
    """The one row that ``reference`` means: an exact name first, then the beginning of an id."""
    for condition in (Q(name=reference), _id_prefix(id_field, reference)):
        found = list(rows.filter(condition)[: _NEAR_LIMIT + 1])
        preferred = [row for row in found if prefer(row)] or found
        if len(preferred) == 1:
            return preferred[0]
        if preferred:
            raise Ambiguous(word, reference, [describe(row) for row in preferred])
    near = _names(row for row in rows[:_NEAR_LIMIT] if prefer(row))
    raise error(word, reference, near)


def _names(rows: Iterable[Model]) -> list[str]:
    return list(dict.fromkeys(str(row) for row in rows))
