"""What comes after a job: what it made, and the next of the four steps of a restore.

Whoever watches a job is led on from here, also under a policy that permits only single steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dozo.catalog.models_jobs import Job
    from dozo.services.access import Scope
    from dozo.services.job_queue import JobView


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """What a restore's job has made, and what to do with it.

    ``made`` is ``template``, ``server``, ``volume`` or ``put-back``; ``step`` the number of the
    next of the four steps, 0 where the restore is complete. ``origin`` is the UUID of the server
    that the data were taken from, where that is known.
    """

    made: str
    id: str
    name: str
    step: int
    origin: str = ""
    started: bool = False
    safety: str = ""


_MADE = {
    "template.create": ("template", "template", 2),
    "server.create": ("server", "server", 3),
    "server.restore": ("server", "server", 0),
    "volume.create": ("volume", "volume", 4),
    "volume.restore": ("put-back", "volume_id", 0),
}


def of_job(scope: "Scope", job: "JobView | Job") -> NextStep | None:
    """What follows a job that is done; None where nothing does, or it is not done."""
    known = _MADE.get(job.kind)
    result = job.result
    if known is None or job.state != "done" or not isinstance(result, Mapping):
        return None
    made, key, step = known
    name = result.get("volume") if made == "put-back" else result.get("name")
    return NextStep(
        made=made,
        id=str(result.get(key) or ""),
        name=str(name or ""),
        step=step,
        origin=_origin(scope, job, result),
        started=bool(result.get("started")),
        safety=str(result.get("safety_snapshot") or ""),
    )


def _origin(scope: "Scope", job: "JobView | Job", result: Mapping[str, Any]) -> str:
    """The server whose data they were."""
    if job.kind == "server.create":
        return str(getattr(job, "object", "") or getattr(job, "object_id", ""))
    snapshot = str(result.get("source_snapshot") or result.get("snapshot") or "")
    row = scope.snapshots.filter(snapshot_id=snapshot).first() if snapshot else None
    return str(row.server_id) if row is not None and row.server_id else ""
