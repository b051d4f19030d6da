"""From opened volumes into the vault: several at a time, all or nothing, then the catalog."""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from dozo.model import clock
from dozo.model.progress import Progress
from dozo.model.states import Consistency
from dozo.services import hints, reread, snapshots
from dozo.services.capture_plan import CapturePlan, Opened, OpenedVolume
from dozo.services.errors import GaveWay
from dozo.services.facts import (
    CaptureFacts,
    MemberFacts,
    RecoveryPointFacts,
    ServerFacts,
    SnapshotFacts,
    VolumeFacts,
)
from dozo.services.notes import HeldNote
from dozo.services.site import Site
from dozo.services.work import Work

if TYPE_CHECKING:
    from dozo.vault import BackupResult, SnapshotDraft, Vault

_CHECK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One snapshot that was stored. ``full_reason`` is a code; None for an incremental one.

    What it cost is None where an earlier run of the job has stored it.
    """

    snapshot: str
    name: str
    volume: str
    volume_id: str
    device: str
    consistency: Consistency
    parent: str | None
    bytes_volume: int
    bytes_read: int | None
    bytes_new: int | None
    bytes_stored: int | None
    seconds: float | None
    full_reason: str | None
    full_reason_words: str | None


class _Stopped(Exception):
    """Another volume of the same recovery point failed."""


class _Watched:
    """A progress that looks, now and then, whether going on makes sense."""

    def __init__(self, inner: Progress, look: Callable[[], None]) -> None:
        self._inner = inner
        self._look = look
        self._next = 0.0

    def total(self, work_bytes: int) -> None:
        self._inner.total(work_bytes)

    def advance(self, done_bytes: int) -> None:
        now = clock.monotonic()
        if now >= self._next:
            self._next = now + _CHECK_SECONDS
            self._look()
        self._inner.advance(done_bytes)


def store_all(
    site: Site, plan: CapturePlan, opened: Opened, note: HeldNote, work: Work
) -> list[Taken]:
    """Store every volume; when one fails, those already published are deleted again.

    The catalog is written by the calling thread alone, once everything is in the vault.
    """
    stop = threading.Event()

    def look() -> None:
        if stop.is_set():
            raise _Stopped
        if note.asked_to_stop:
            raise GaveWay(plan.name, plan.server_name or plan.volumes[0].name)
        opened.check()

    storing = _Storing(site, site.vault, plan, opened, look, work)
    with ThreadPoolExecutor(site.settings.parallel_volumes, thread_name_prefix="dozo") as pool:
        running = [pool.submit(storing.store, one) for one in opened.volumes]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
            _raise_first(running)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if storing.published:
                site.vault.delete(storing.published, reason="incomplete")
            raise
    results = [future.result() for future in running]
    for taken in results:
        snapshots.record_new(
            site,
            taken.snapshot,
            bytes_read=taken.bytes_read,
            bytes_stored=taken.bytes_stored,
        )
    return results


def _raise_first(running: list["Future[Taken]"]) -> None:
    """Raise the failure that started it all, not one that it caused."""
    errors = [future.exception() for future in running if future.done()]
    for error in sorted((one for one in errors if one), key=lambda one: isinstance(one, _Stopped)):
        raise error


@dataclass
class _Storing:
    """What the volumes of one capture have in common; used from several threads."""

    site: Site
    vault: "Vault"
    plan: CapturePlan
    opened: Opened
    look: Callable[[], None]
    work: Work
    published: list[str] = field(default_factory=list)

    def store(self, volume: OpenedVolume) -> Taken:
        """Read one volume into the vault."""
        parent = volume.plan.parent if volume.changed is not None else None
        # What the hint leaves out comes from the snapshot that it counts from, which is not
        # always the newest one.
        base = parent.base if parent else None
        again = reread.window(
            size_bytes=volume.source.size_bytes,
            start_bytes=parent.reread_next_bytes if parent else 0,
            elapsed=self.opened.instant - parent.created_at if parent else timedelta(),
            days=self.site.settings.reread_days,
            unit_bytes=self.vault.header.chunk_bytes,
        )

        def draft(reason: str | None) -> "SnapshotDraft":
            code = hints.code_of(reason, volume.full_reason)
            return _draft(
                self.site, self.plan, self.opened, volume, code=code, next_bytes=again.next_bytes
            )

        def finish(reason: str | None) -> "SnapshotDraft":
            # The last moment at which the snapshot can be refused: it is not visible yet.
            self.look()
            self.opened.check_now()
            return draft(reason)

        result: BackupResult = self.vault.backup(
            volume.source,
            draft(None),
            parent=base,
            changed=volume.changed if parent else None,
            recheck=again.extents if parent else (),
            progress=_Watched(self.work.bytes_of(volume.plan.snapshot_name), self.look),
            finish_draft=finish,
        )
        self.published.append(result.snapshot)
        code = hints.code_of(result.full_reason, volume.full_reason)
        return Taken(
            snapshot=result.snapshot,
            name=volume.plan.snapshot_name,
            volume=volume.plan.name,
            volume_id=volume.plan.volume_id,
            device=volume.plan.device,
            consistency=self.opened.consistency,
            parent=base if result.full_reason is None else None,
            bytes_volume=result.bytes_volume,
            bytes_read=result.bytes_read,
            bytes_new=result.bytes_new,
            bytes_stored=result.bytes_stored,
            seconds=result.seconds,
            full_reason=code or None,
            full_reason_words=hints.in_words(code) if code else None,
        )


def _draft(
    site: Site,
    plan: CapturePlan,
    opened: Opened,
    volume: OpenedVolume,
    *,
    code: str,
    next_bytes: int,
) -> "SnapshotDraft":
    from dozo.vault import SnapshotDraft  # noqa: PLC0415  loads the ciphers

    one = volume.plan
    point = None
    if plan.recovery_point is not None:
        point = RecoveryPointFacts(
            recovery_point_id=plan.recovery_point,
            name=plan.name,
            members=tuple(
                MemberFacts(volume_id=each.volume_id, device=each.device) for each in plan.volumes
            ),
            left_out=plan.left_out,
        )
    facts = SnapshotFacts(
        name=one.snapshot_name,
        volume=VolumeFacts(
            volume_id=one.volume_id,
            name=one.name,
            device=one.device,
            bus=one.bus,
            serial=one.serial,
            is_root=one.is_root,
            format=one.format,
            path=one.path,
            encrypted=one.encrypted,
        ),
        capture=CaptureFacts(
            mode=plan.mode,
            consistency=opened.consistency,
            scheduled=plan.scheduled,
            schedule_id=plan.schedule_id,
            keep=plan.keep,
            freeze_ms=opened.freeze_ms,
            agent_ms=opened.agent_ms,
            full_reason=code,
            reread_next_bytes=next_bytes,
            change_token=volume.token.to_json() if volume.token else None,
        ),
        server=ServerFacts(uuid=plan.server_uuid, name=plan.server_name or "")
        if plan.server_uuid
        else None,
        recovery_point=point,
        job=plan.job,
        notes=tuple(sorted(opened.notes.items())),
    )
    return SnapshotDraft(
        tenant=one.tenant,
        name=one.snapshot_name,
        created_at=opened.instant,
        origin=site.settings.site_id,
        group=plan.recovery_point,
        facts=facts.to_json(),
        attachments=dict(opened.attachments),
    )
