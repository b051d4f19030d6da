"""Deleting, bringing back and holding snapshots.

The N-th deletion of a snapshot is a tombstone; how it ended is one object that is created
conditionally, so that of "purged" and "undeleted" exactly one comes true.
Source: ``docs/vault-format.md``, section "Deletion and holds".
"""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from dozo.blobs import BlobMissing, Blobs
from dozo.model import clock
from dozo.model.message import Message
from dozo.vault.errors import HoldNotLonger, ObjectDamaged, SnapshotHeld, UndeleteTooLate
from dozo.vault.format import ObjectKind, create_document, load_document, store_document
from dozo.vault.layout import (
    HOLDS,
    RESOLUTIONS,
    TOMBSTONES,
    hold_key,
    resolution_key,
    tombstone_key,
)

PURGED = "purged"
UNDELETED = "undeleted"

# A site's own numbers: other sites keep by theirs.
RETENTION = "retention"

EVERYWHERE = "everywhere"
HERE = "here"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    """The deletion that is in force for a snapshot.

    ``name`` is the same at every site to which the deletion travels.
    """

    snapshot: str
    number: int
    name: str
    deleted_at: datetime
    reason: str
    scope: str
    purged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Until when a snapshot may not be deleted, and why."""

    snapshot: str
    until: datetime
    note: str


def deletions(blobs: Blobs) -> dict[str, Deletion]:
    """The deletion in force for each snapshot that is deleted. Raises :class:`ObjectDamaged`."""
    latest: dict[str, int] = {}
    for snapshot, number in _tombstones(blobs, TOMBSTONES):
        latest[snapshot] = max(latest.get(snapshot, 0), number)
    resolved = {info.key for info in blobs.list(RESOLUTIONS)}
    found = {
        snapshot: _deletion(blobs, snapshot, number, resolved=resolved)
        for snapshot, number in latest.items()
    }
    return {snapshot: deletion for snapshot, deletion in found.items() if deletion is not None}


def deletion_of(blobs: Blobs, snapshot: str) -> Deletion | None:
    """The deletion in force for one snapshot."""
    number = _last_number(blobs, snapshot)
    if number == 0:
        return None
    resolved = {info.key for info in blobs.list(f"{RESOLUTIONS}/{snapshot}")}
    return _deletion(blobs, snapshot, number, resolved=resolved)


def require_not_held(blobs: Blobs, snapshot: str) -> None:
    """Raises :class:`SnapshotHeld`."""
    hold = longest_hold(blobs, snapshot)
    if hold is not None and hold.until > clock.now():
        raise SnapshotHeld(snapshot=snapshot, until=clock.to_text(hold.until))


def delete(
    blobs: Blobs, snapshot: str, *, reason: str, scope: str = EVERYWHERE, name: str | None = None
) -> bool:
    """Delete a snapshot; False if it is deleted already. Raises :class:`SnapshotHeld`."""
    require_not_held(blobs, snapshot)
    if deletion_of(blobs, snapshot) is not None:
        return False
    document = {
        "snapshot": snapshot,
        "deletion": name or secrets.token_hex(8),
        "deleted_at": clock.to_text(clock.now()),
        "reason": reason,
        "scope": scope,
    }
    key = tombstone_key(snapshot, _last_number(blobs, snapshot) + 1)
    if create_document(blobs, key, ObjectKind.TOMBSTONE, document):
        return True
    # Where the first try was only told to have failed, the tombstone that is there is ours.
    return bool(
        load_document(blobs, key, ObjectKind.TOMBSTONE).get("deletion") == document["deletion"]
    )


def restore_tombstone(blobs: Blobs, snapshot: str, number: int) -> None:
    """Write a tombstone again whose content was lost: deleted here, as of now."""
    document = {
        "snapshot": snapshot,
        "deletion": secrets.token_hex(8),
        "deleted_at": clock.to_text(clock.now()),
        "reason": "unknown",
        "scope": HERE,
    }
    store_document(blobs, tombstone_key(snapshot, number), ObjectKind.TOMBSTONE, document)


def undelete(blobs: Blobs, snapshot: str) -> bool:
    """Take back the deletion in force; False if there is none.

    Raises :class:`UndeleteTooLate` once the snapshot has been purged.
    """
    deletion = deletion_of(blobs, snapshot)
    if deletion is None:
        return False
    if not _resolve(blobs, deletion, UNDELETED):
        raise UndeleteTooLate(url=blobs.url, snapshot=snapshot)
    return True


def purge(blobs: Blobs, deletion: Deletion) -> bool:
    """Make a deletion final; False if it was taken back first."""
    return deletion.purged or _resolve(blobs, deletion, PURGED)


def copy_deletion(source: Blobs, target: Blobs, snapshot: str) -> bool:
    """Bring a deletion that is meant for everywhere to another vault; whether it was new.

    One that has been there before, and was perhaps taken back there, is not brought again.
    """
    deletion = deletion_of(source, snapshot)
    if deletion is None or deletion.scope != EVERYWHERE or deletion.reason == RETENTION:
        return False
    if deletion.name in _endings(target, snapshot):
        return False
    hold = longest_hold(target, snapshot)
    if hold is not None and hold.until > clock.now():
        return False
    return delete(target, snapshot, reason=deletion.reason, name=deletion.name)


def copy_undeletion(source: Blobs, target: Blobs, snapshot: str) -> bool:
    """Take back at the target the deletion that the source has taken back; whether it was done."""
    deletion = deletion_of(target, snapshot)
    if deletion is None or deletion.purged:
        return False
    if _endings(source, snapshot).get(deletion.name) != UNDELETED:
        return False
    return _resolve(target, deletion, UNDELETED)


def restore_resolution(blobs: Blobs, snapshot: str, number: int, *, is_there: bool) -> None:
    """Write an ending again whose content was lost, in the way that removes nothing.

    How a deletion ended is decided in each vault by itself, so no other vault can tell.
    """
    document = {"snapshot": snapshot, "ending": UNDELETED if is_there else PURGED}
    store_document(blobs, resolution_key(snapshot, number), ObjectKind.RESOLUTION, document)


def hold(blobs: Blobs, snapshot: str, until: datetime, note: str) -> Hold:
    """Forbid the deletion of a snapshot until a date.

    Raises :class:`HoldNotLonger`, and :class:`UndeleteTooLate` when it is already purged.
    """
    known = longest_hold(blobs, snapshot)
    if known is not None and known.until >= until:
        raise HoldNotLonger(snapshot=snapshot, until=clock.to_text(known.until))
    name = secrets.token_hex(8)
    document = {
        "snapshot": snapshot,
        "until": clock.to_text(until.astimezone(UTC)),
        "note": note,
    }
    store_document(blobs, hold_key(snapshot, name), ObjectKind.HOLD, document)
    # A deletion that came meanwhile gives way, unless a purge has made it final: then the
    # purge may have begun to remove what it no longer had to keep.
    deletion = deletion_of(blobs, snapshot)
    if deletion is not None and not _resolve(blobs, deletion, UNDELETED):
        blobs.delete(hold_key(snapshot, name))
        raise UndeleteTooLate(url=blobs.url, snapshot=snapshot)
    return Hold(snapshot=snapshot, until=until, note=note)


def longest_hold(blobs: Blobs, snapshot: str) -> Hold | None:
    """The hold on a snapshot that ends last, whether or not it has ended."""
    found = list_holds(blobs, snapshot)
    return max(found, key=lambda each: each.until, default=None)


def list_holds(blobs: Blobs, snapshot: str | None = None) -> list[Hold]:
    """All holds, of one snapshot or of all. Raises :class:`ObjectDamaged`."""
    prefix = HOLDS if snapshot is None else f"{HOLDS}/{snapshot}"
    return [_load_hold(blobs, info.key) for info in blobs.list(prefix)]


def copy_holds(source: Blobs, target: Blobs, snapshot: str) -> None:
    """Bring a snapshot's holds to another vault; theirs stay."""
    for info in source.list(f"{HOLDS}/{snapshot}"):
        document = load_document(source, info.key, ObjectKind.HOLD)
        create_document(target, info.key, ObjectKind.HOLD, document)


def _deletion(blobs: Blobs, snapshot: str, number: int, *, resolved: set[str]) -> Deletion | None:
    key = tombstone_key(snapshot, number)
    purged = False
    if resolution_key(snapshot, number) in resolved:
        ending = load_document(blobs, resolution_key(snapshot, number), ObjectKind.RESOLUTION)
        if ending.get("ending") == UNDELETED:
            return None
        purged = True
    document = load_document(blobs, key, ObjectKind.TOMBSTONE)
    try:
        return Deletion(
            snapshot=snapshot,
            number=number,
            name=document["deletion"],
            deleted_at=clock.from_text(document["deleted_at"]),
            reason=document["reason"],
            scope=document["scope"],
            purged=purged,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectDamaged(
            url=blobs.url, key=key, reason=Message("it is not a tombstone")
        ) from error


def _endings(blobs: Blobs, snapshot: str) -> dict[str, str | None]:
    """How each deletion of a snapshot ended, by its name; None for one that has not."""
    found: dict[str, str | None] = {}
    for name, number in _tombstones(blobs, f"{TOMBSTONES}/{snapshot}"):
        document = load_document(blobs, tombstone_key(name, number), ObjectKind.TOMBSTONE)
        ending = None
        with suppress(BlobMissing):
            key = resolution_key(name, number)
            ending = load_document(blobs, key, ObjectKind.RESOLUTION).get("ending")
        found[str(document.get("deletion"))] = ending
    return found


def _resolve(blobs: Blobs, deletion: Deletion, ending: str) -> bool:
    key = resolution_key(deletion.snapshot, deletion.number)
    document = {"snapshot": deletion.snapshot, "ending": ending}
    if create_document(blobs, key, ObjectKind.RESOLUTION, document):
        return True
    return bool(load_document(blobs, key, ObjectKind.RESOLUTION).get("ending") == ending)


def _last_number(blobs: Blobs, snapshot: str) -> int:
    return max((n for _name, n in _tombstones(blobs, f"{TOMBSTONES}/{snapshot}")), default=0)


def _tombstones(blobs: Blobs, prefix: str) -> Iterator[tuple[str, int]]:
    for info in blobs.list(prefix):
        # Other names are left to the scrub, which reports them.
        _folder, *names = info.key.split("/")
        if len(names) == 2 and names[1].isdecimal():
            yield names[0], int(names[1])


def _load_hold(blobs: Blobs, key: str) -> Hold:
    document = load_document(blobs, key, ObjectKind.HOLD)
    try:
        return Hold(
            snapshot=document["snapshot"],
            until=clock.from_text(document["until"]),
            note=document["note"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectDamaged(url=blobs.url, key=key, reason=Message("it is not a hold")) from error
