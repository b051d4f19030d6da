"""What a killed process left behind: removed where that is safe, named where somebody decides.

Runs before every operation that changes something, and when a service starts. Everything that it
removes belongs to a note or record whose writer is provably dead.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dozo import volumes
from dozo.hypervisor import CleanReport
from dozo.model.errors import DozoError
from dozo.model.message import Message, joined
from dozo.model.states import Copy, CopyEvent, after
from dozo.services import hooks, notes, pool_use, project, start_again
from dozo.services.notes import Note
from dozo.services.pool import Pool
from dozo.services.site import Site
from dozo.volumes import VolumeError

CAPTURES = "captures"


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What was found, a line each, with the next step where one is needed.

    ``problem`` is why something could not be cleaned up now; its note is there for the next time.
    """

    lines: tuple[str, ...]
    problem: DozoError | None = None


def captures_dir(site: Site) -> Path:
    """Where the hypervisor keeps its notes about live captures."""
    return site.settings.notes / CAPTURES


def clean(site: Site) -> Cleaned:
    """Remove or report leftovers. Quick where there are none; repeating it is harmless."""
    # A server that Dozo stopped is missed by somebody: it comes first.
    lines: list[str] = _start_again(site)
    lines += _clean_captures(site)
    problem = None
    for stale in notes.stale(site.settings.notes):
        if stale.body.get("kind") == start_again.KIND:
            continue
        with notes.take_over(stale) as note:
            if note is not None:
                try:
                    lines += _clean_one(site, note)
                except DozoError as error:
                    # The hypervisor or the vault is away: no reason for a service not to start.
                    problem = error
                    lines.append(
                        Message(
                            "{interrupted} and cannot be cleaned up now: {error}",
                            interrupted=_interrupted(note),
                            error=error,
                        )
                    )
    lines += _clean_images(site)
    return Cleaned(lines=tuple(lines), problem=problem)


def _clean_one(site: Site, note: Note) -> list[str]:
    lines = _clean_note(site, note)
    if not _is_needed(site, note):
        notes.forget(note)
    return lines


def _start_again(site: Site) -> list[str]:
    lines = []
    for stale in notes.stale(site.settings.notes):
        if stale.body.get("kind") != start_again.KIND:
            continue
        with notes.take_over(stale) as note:
            if note is None:
                continue
            try:
                line, done = start_again.fulfil(site, note)
            except DozoError as error:
                line, done = (
                    Message(
                        "{what} cannot be started again now: {error}", what=note.what, error=error
                    ),
                    False,
                )
            lines += [line] if line else []
            if done:
                notes.forget(note)
    return lines


def _clean_captures(site: Site) -> list[str]:
    directory = captures_dir(site)
    if not directory.is_dir() or not any(directory.iterdir()):
        return []
    try:
        reports = site.host.clean_leftovers(directory)
    except DozoError as error:
        return [
            Message(
                "a live capture was interrupted and cannot be cleaned up now: {error}", error=error
            )
        ]
    for bitmap in (one for report in reports for one in report.stale_bitmaps):
        # One that stays does no harm: names are never used twice, and `untrack` finds it.
        with suppress(VolumeError):
            volumes.remove_bitmap(bitmap.path, bitmap.name)
    return [_capture_line(report) for report in reports]


def _capture_line(report: CleanReport) -> str:
    found = joined(report.found) or Message("nothing")
    thaw = (
        ""
        if report.thawed
        else Message("; the guest is still frozen, a watchdog goes on thawing it")
    )
    return Message(
        "server {server}: a live capture was interrupted; removed: {found}{thaw}",
        server=report.server,
        found=found,
        thaw=thaw,
    )


def _clean_note(site: Site, note: Note) -> list[str]:
    kind = note.body.get("kind")
    line: str = _interrupted(note)
    if kind == "snapshot":
        return [line + _forget_partial_point(site, note)]
    if kind == "restore-server":
        return [line + _discard_images(site, note)]
    if kind == "restore-in-place":
        return [line + _take_up_restore(site, note)]
    if kind == hooks.NOTE_KIND:
        line += hooks.settle(site, note)
    elif kind == "copy":
        _fail_copies(site, str(note.body.get("peer", "")))
        line += Message("; copy again, what arrived is not sent again")
    return [] if kind == "part" else [line]


def _interrupted(note: Note) -> str:
    return Message("{what}: {work} was interrupted", what=note.what, work=note.work)


def _is_needed(site: Site, note: Note) -> bool:
    """Whether a note is all that is known of a volume that may be half written.

    Or of a hook: what settles it forgets its note.
    """
    body = note.body
    if body.get("kind") == hooks.NOTE_KIND:
        return True
    if body.get("kind") != "restore-in-place" or not body.get("writing") or body.get("written"):
        return False
    if not Path(str(body.get("path"))).exists():
        return False
    return not site.catalog.volumes.filter(volume_id=str(note.body.get("volume"))).exists()


def _take_up_restore(site: Site, note: Note) -> str:
    """Put the marks of an interrupted in-place restore back where a lost catalog had them."""
    if not note.body.get("writing"):
        return Message(" before anything was written")
    if note.body.get("written"):
        return Message(" when everything was written")
    volume = site.catalog.volumes.filter(volume_id=str(note.body.get("volume"))).first()
    if volume is None:
        return Message(
            "; {path} may be half written: let `dozo rebuild` find it before you use it",
            path=note.body.get("path"),
        )
    if not volume.restoring_snapshot:
        volume.restoring_snapshot = str(note.body.get("snapshot"))
        volume.safety_snapshot = str(note.body.get("safety", ""))
        volume.save()
    finish = Message("finish it with `dozo volume restore {volume} --resume`", volume=volume.name)
    return Message("; {finish}, or take back what was there with --go-back", finish=finish)


def _forget_partial_point(site: Site, note: Note) -> str:
    """Delete those snapshots of an interrupted recovery point that got into the vault."""
    point = note.body.get("recovery_point")
    if not point:
        return _record_single(site, note)
    members = [info for info in site.vault.snapshots() if point and info.group == point]
    if not members:
        return Message("; nothing of it is left")
    facts = [found for info in members if (found := project.read_facts(info)) is not None]
    wanted = {
        one.volume_id
        for each in facts
        if each.recovery_point
        for one in each.recovery_point.members
    }
    if wanted and wanted == {each.volume.volume_id for each in facts}:
        # It was complete in the vault: only the catalog had not heard of it.
        for info in members:
            project.record(site, info)
        project.refresh_copies(site, site.own_row, site.vault, members, only=True)
        return Message(" when it was complete already; it is kept")
    site.vault.delete([info.snapshot for info in members], reason="incomplete")
    return Message(
        "; {count} snapshots of the incomplete recovery point were deleted", count=len(members)
    )


def _record_single(site: Site, note: Note) -> str:
    """The snapshot of one volume, if it got into the vault before the catalog heard of it."""
    name = note.body.get("snapshot")
    known = set(site.catalog.snapshots.values_list("snapshot_id", flat=True))
    for info in site.vault.snapshots():
        if info.snapshot in known or info.group:
            continue
        facts = project.read_facts(info)
        if facts is not None and facts.name == name:
            project.record(site, info)
            project.refresh_copies(site, site.own_row, site.vault, [info], only=True)
            return Message(" when it was complete already; it is kept")
    return Message("; nothing of it is left")


def _discard_images(site: Site, note: Note) -> str:
    """Remove the images of a server that was never defined; those of one that was, stay."""
    pool = Pool(site.settings.pool)
    found = [pool.find(str(one)) for one in note.body.get("images", [])]
    images = [one for one in found if one is not None]
    used = pool_use.users(site)
    servers = {name for one in images if (name := pool_use.user(used, one.path)) is not None}
    names = {info.name for info in site.host.servers()}
    if servers or note.body.get("server") in names:
        called = ", ".join(sorted(servers)) or note.body.get("server")
        return Message(
            " after the server was defined; look at server {server} before you start it",
            server=called,
        )
    for image in images:
        pool.discard(image)
    return Message("; its images were removed")


def _fail_copies(site: Site, peer: str) -> None:
    for row in site.catalog.copies.filter(site__name=peer, state=Copy.COPYING.value):
        row.state = after(Copy.COPYING, CopyEvent.FAIL).value
        row.save()


def _clean_images(site: Site) -> list[str]:
    pool = Pool(site.settings.pool)
    left = pool.leftovers()
    if not left:
        return []
    try:
        used = pool_use.users(site)
    except DozoError as error:
        return [
            Message(
                "volume {volume}: half-made image {path} stays while nobody can say "
                "whether a server has it: {error}",
                volume=image.name,
                path=image.path,
                error=error,
            )
            for image in left
        ]
    lines: list[str] = []
    for image in left:
        server = pool_use.user(used, image.path)
        if server is not None:
            lines.append(
                Message(
                    "volume {volume}: half-made image {path} stays, server {server} has it",
                    volume=image.name,
                    path=image.path,
                    server=server,
                )
            )
        elif pool.discard_leftover(image):
            site.catalog.volumes.filter(volume_id=image.volume_id, state="creating").delete()
            lines.append(
                Message(
                    "volume {volume}: half-made image {path} was removed",
                    volume=image.name,
                    path=image.path,
                )
            )
    return lines
