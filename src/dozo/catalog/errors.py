"""What can be wrong with a question to the catalog."""

from dataclasses import dataclass, field

from dozo.model.errors import DozoError, ErrorKind


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
    hint = "Move the file away and run `dozo site rebuild-catalog`: nothing is lost with it."
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
class Unknown(CatalogError):
    """Nothing answers to the reference."""

    code = "catalog.unknown"
    kind = ErrorKind.NOT_FOUND
    text = "no {self.word} {self.reference!r}{self.near_text}"
    word: str
    reference: str
    near: list[str] = field(default_factory=list)

    @property
    def near_text(self) -> str:
        """What there is, in brackets, when that is little enough to show."""
        return f" (there is: {', '.join(self.near)})" if self.near else ""


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
    def candidates_text(self) -> str:
        """The candidates in one line."""
        return ", ".join(self.candidates)


@dataclass(eq=False)
class ScheduleUnknown(Unknown):
    """No such schedule."""

    code = "schedule.unknown"


@dataclass(eq=False)
class JobUnknown(Unknown):
    """No such job."""

    code = "job.unknown"
