"""What can be wrong with a question to the catalog."""

from dataclasses import dataclass, field

from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.message import Message, joined
from dozo.model.words import word


@dataclass(eq=False)
class CatalogError(DozoError):
    """Base of the catalog's errors."""

    code = "catalog.failed"


@dataclass(eq=False)
class CatalogUnusable(CatalogError):
    """The database cannot be opened."""

    code = "catalog.unusable"
    kind = ErrorKind.UNAVAILABLE
    text = "the catalog {self.path} cannot be used: {self.reason}"
    retry = Retry.LATER
    hint = (
        "Look at the reason and at the disk. If the file is lost, bring back a copy of it; without"
        " one, move it away and run `dozo site rebuild-catalog`: servers, snapshots and copies come"
        " back from the vault, but users, tokens, policies, schedules, jobs and the audit trail do"
        " not."
    )
    path: str
    reason: str


@dataclass(eq=False)
class CatalogNewer(CatalogError):
    """A newer Dozo has changed the database; this one would misread it."""

    code = "catalog.newer"
    kind = ErrorKind.REFUSED
    text = "the catalog {self.path} was changed by a newer Dozo (migration {self.migration})"
    hint = (
        "Use that version. To go back, stop the service and put the copy that was made before the"
        " upgrade (catalog.sqlite3.before-NNNN) in its place, or rebuild the catalog."
    )
    path: str
    migration: str


@dataclass(eq=False)
class CatalogServerUnusable(CatalogUnusable):
    """The database server does not answer, or does not let Dozo in."""

    code = "catalog.server_unusable"
    hint = (
        "Look whether PostgreSQL runs, and whether catalog.database in dozo.toml names a database"
        " and a role that may use it (docs/operations.md). What runs goes on when it is back."
    )


@dataclass(eq=False)
class CatalogLost(CatalogError):
    """The database went away in the middle of a job or a request."""

    code = "catalog.lost"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "the catalog went away meanwhile: {self.reason}"
    hint = "Look whether the database runs; the vault has what was stored before."
    reason: str


@dataclass(eq=False)
class CatalogOfOther(CatalogError):
    """The database holds the catalog of another site."""

    code = "catalog.of_other"
    kind = ErrorKind.REFUSED
    text = "the database {self.path} holds the catalog of the site {self.name!r}"
    hint = "Give each site a database of its own (catalog.database in dozo.toml)."
    path: str
    name: str


@dataclass(eq=False)
class Unknown(CatalogError):
    """Nothing answers to the reference."""

    code = "catalog.unknown"
    kind = ErrorKind.NOT_FOUND
    text = "no {self.word} {self.reference!r}{self.near_text}"
    word: str
    reference: str
    near: list[str] = field(default_factory=list)

    @property
    def word_text(self) -> str:
        """What is meant, in words."""
        return word("object", self.word.replace(" ", "-"))

    @property
    def near_text(self) -> str:
        """What there is, in brackets, when that is little enough to show."""
        return Message(" (there is: {names})", names=joined(self.near)) if self.near else ""


@dataclass(eq=False)
class ServerUnknown(Unknown):
    """No server has this name or id."""

    code = "catalog.server_unknown"
    hint = "`dozo server list` shows the servers."


@dataclass(eq=False)
class VolumeUnknown(Unknown):
    """No volume has this name or id."""

    code = "catalog.volume_unknown"
    hint = "`dozo volume list` shows the volumes; SERVER/DEVICE works as well."


@dataclass(eq=False)
class SnapshotUnknown(Unknown):
    """No snapshot has this name or id."""

    code = "catalog.snapshot_unknown"
    hint = "`dozo snapshot list` shows the snapshots, with --deleted the deleted ones too."


@dataclass(eq=False)
class RecoveryPointUnknown(Unknown):
    """No recovery point has this name or id."""

    code = "catalog.recovery_point_unknown"
    hint = "`dozo recovery-point list` shows the recovery points."


@dataclass(eq=False)
class TemplateUnknown(Unknown):
    """No template has this name or id."""

    code = "catalog.template_unknown"
    hint = "`dozo template list` shows the templates."


@dataclass(eq=False)
class Ambiguous(CatalogError):
    """Several things answer to the reference."""

    code = "catalog.ambiguous"
    kind = ErrorKind.USAGE
    text = "{self.word} {self.reference!r} may be any of: {self.candidates_text}"
    hint = "Give more of the id."
    word: str
    reference: str
    candidates: list[str]

    @property
    def word_text(self) -> str:
        """What is meant, in words."""
        return word("object", self.word.replace(" ", "-"))

    @property
    def candidates_text(self) -> str:
        """The candidates in one line."""
        return joined(self.candidates)


@dataclass(eq=False)
class ScheduleUnknown(Unknown):
    """No such schedule."""

    code = "schedule.unknown"


@dataclass(eq=False)
class JobUnknown(Unknown):
    """No such job."""

    code = "job.unknown"
