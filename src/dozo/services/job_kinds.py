"""What a kind of job is: how a request for it is checked, how it runs, what a crash means to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dozo.model.errors import DozoError, ErrorKind
from dozo.services.admission import Lane
from dozo.services.site import Site
from dozo.services.work import Work

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.services.access import Operation, Scope

Params = Mapping[str, Any]


def _always(_params: Params) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request that was checked and may be queued; ``params`` name everything by id."""

    title: str
    params: dict[str, Any]
    tenant: "models.Tenant | None" = None
    locks: tuple[str, ...] = ()
    object_kind: str = ""
    object_id: str = ""
    object_name: str = ""
    # When it fails if it has not begun by then.
    not_after: datetime | None = None
    # What will happen, for whoever wants to see it first.
    plan: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """One kind of job.

    ``prepare`` checks rights and policy, and raises; it changes nothing. ``foresee`` then looks at
    the hypervisor and the vault, raises what the run would refuse at once, and tells what will
    happen; a schedule goes without it, since its run finds out anyway. ``run`` gets, in a worker
    and with a site of its own, what it returned as ``params``, and two more: ``job``, its id, and
    ``again``, whether it may have been run before and have made something (``made_before``). It
    returns a result that JSON can hold. ``repeatable`` says whether doing it again later is what
    its asker still wants: then a job whose process died runs again once leftovers are cleaned up,
    and one that failed for a reason that can pass is tried ``tries`` times; otherwise it ends
    there. The codes in ``final`` end it at once all the same.
    A job that makes no progress for ``quiet_seconds`` is called stuck and asked to end.
    """

    name: str
    operation: "Operation"
    prepare: Callable[["Scope", Params], Prepared]
    run: Callable[[Site, Params, Work], Any]
    foresee: Callable[[Site, Params], dict[str, Any]] | None = None
    repeatable: Callable[[Params], bool] = _always
    lane: Lane = Lane.WORK
    tries: int = 3
    final: frozenset[str] = frozenset()
    quiet_seconds: float = 1800


@dataclass(eq=False)
class JobKindUnknown(DozoError):
    """No such kind of job."""

    code = "job.kind_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "there is no kind of job called {self.name!r}"
    hint = "A newer Dozo may have queued it: upgrade, or cancel the job."
    name: str


def lock_of_server(uuid: object) -> str:
    """The lock that keeps a server's jobs apart."""
    return f"server:{uuid}"


def lock_of_volume(volume: "models.Volume") -> str:
    """The lock for work on a volume: its server's, while it is attached to one."""
    if volume.state == "attached" and volume.server_id is not None:
        return lock_of_server(volume.server_id)
    return f"volume:{volume.volume_id}"
