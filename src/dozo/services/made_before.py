"""What an earlier run of the same job has made already: found again, so that nothing is made twice.

A run whose process died, or that lost the catalog at its end, may have got further than its row
says. What it made carries the job's id: a snapshot or template in its facts, an image in its record
in the pool.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dozo.hypervisor import ServerInfo
from dozo.model.states import CaptureMode, Consistency
from dozo.services import hints, pool_use, project
from dozo.services.facts import LeftOut
from dozo.services.pool import READY, Pool, PoolImage
from dozo.services.protect import Protected
from dozo.services.site import Site
from dozo.services.storing import Taken

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.services.job_kinds import Params


def job_of(params: "Params") -> str:
    """The id of the job that a run is for; empty outside of one."""
    return str(params.get("job") or "")


def _earlier(params: "Params") -> str:
    """The job, if it may have been run before."""
    return job_of(params) if params.get("again") else ""


def capture(site: Site, params: "Params") -> Protected | None:
    """The snapshot, or the whole recovery point, that the job has taken; None if it has not."""
    job = _earlier(params)
    if not job:
        return None
    project.record_unknown(site)
    rows = list(site.catalog.snapshots.filter(facts__job=job, deleted_at=None))
    return _protected(rows) if rows and _is_whole(rows) else None


def _is_whole(rows: "list[models.Snapshot]") -> bool:
    point = rows[0].recovery_point
    if point is None:
        return True
    wanted = {str(one["volume_id"]) for one in point.members}
    return wanted == {str(row.facts["volume"]["volume_id"]) for row in rows}


def _protected(rows: "list[models.Snapshot]") -> Protected:
    first, point = rows[0], rows[0].recovery_point
    told = first.facts["capture"]
    return Protected(
        name=point.name if point else first.name,
        recovery_point=point.recovery_point_id if point else None,
        server=first.server.name if first.server else None,
        created_at=first.created_at,
        mode=CaptureMode(first.mode),
        consistency=Consistency(first.consistency),
        freeze_ms=told.get("freeze_ms"),
        agent_ms=told.get("agent_ms"),
        snapshots=tuple(_taken(row) for row in sorted(rows, key=lambda row: row.name)),
        left_out=tuple(LeftOut(**one) for one in (point.left_out if point else ())),
        notes=dict(first.facts.get("notes") or {}),
    )


def _taken(row: "models.Snapshot") -> Taken:
    volume = row.facts["volume"]
    return Taken(
        snapshot=row.snapshot_id,
        name=row.name,
        volume=str(volume["name"]),
        volume_id=str(volume["volume_id"]),
        device=str(volume["device"]),
        consistency=Consistency(row.consistency),
        parent=row.parent_id or None,
        bytes_volume=row.bytes_volume,
        bytes_read=row.bytes_read,
        bytes_new=None,
        bytes_stored=row.bytes_stored,
        seconds=None,
        full_reason=row.full_reason or None,
        full_reason_words=hints.in_words(row.full_reason) if row.full_reason else None,
    )


def template(site: Site, params: "Params") -> "models.Template | None":
    """The template that the job has made."""
    job = _earlier(params)
    if not job:
        return None
    project.record_unknown(site)
    return site.catalog.templates.filter(facts__job=job, deleted_at=None).first()


def images(site: Site, params: "Params") -> list[PoolImage]:
    """The whole images that the job has made.

    Raises ``LibvirtUnavailable`` where half of one is left that nobody can judge now.
    """
    job = _earlier(params)
    found = [one for one in Pool(site.settings.pool).images() if job and one.job == job]
    if any(one.state != READY for one in found):
        # Clean-up has left it, because it could not ask whether a server has it.
        pool_use.users(site)
    return [one for one in found if one.state == READY and Path(one.path).exists()]


def server(site: Site, made: list[PoolImage]) -> ServerInfo | None:
    """The server that has all these images; None where none has any.

    Raises ``LibvirtUnavailable``.
    """
    wanted = {one.path for one in made}
    for info in site.host.servers() if wanted else ():
        if wanted <= {disk.path for disk in info.disks}:
            return info
    return None
