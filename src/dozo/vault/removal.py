"""Records of packs about to be deleted, and of frames found damaged.

Source: ``docs/vault-format.md``, section "Writers and removal".
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dozo.blobs import BlobMissing, Blobs
from dozo.model import clock
from dozo.model.message import Message
from dozo.vault.errors import ObjectDamaged
from dozo.vault.format import ObjectKind, load_document, store_document
from dozo.vault.layout import DAMAGED, DELETING, damaged_key, deleting_key


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """Packs that one removal is about to delete."""

    name: str
    packs: frozenset[bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """Frames of a pack that must not be relied on: by offset, or the whole pack."""

    pack_id: bytes
    offsets: frozenset[int]
    whole: bool


def announce_removal(blobs: Blobs, packs: Iterable[bytes], name: str | None = None) -> Removal:
    """Name packs that will be deleted; durable on return. A name given again replaces."""
    removal = Removal(name=name or secrets.token_hex(8), packs=frozenset(packs))
    document = {
        "packs": sorted(pack_id.hex() for pack_id in removal.packs),
        "announced_at": clock.to_text(clock.now()),
    }
    store_document(blobs, deleting_key(removal.name), ObjectKind.DELETING, document)
    return removal


def end_removal(blobs: Blobs, removal: Removal) -> None:
    """Take the record away, after its packs are gone or were spared."""
    blobs.delete(deleting_key(removal.name))


def list_removals(blobs: Blobs) -> list[Removal]:
    """Every removal at work or left by a crash. Raises :class:`ObjectDamaged`."""
    found = []
    for info in blobs.list(DELETING):
        document = _load(blobs, info.key, ObjectKind.DELETING)
        if document is None:
            continue
        try:
            packs = frozenset(bytes.fromhex(text) for text in document["packs"])
        except (KeyError, TypeError, ValueError) as error:
            raise ObjectDamaged(
                url=blobs.url, key=info.key, reason=Message("it is no list")
            ) from error
        found.append(Removal(name=info.key.rsplit("/", 1)[-1], packs=packs))
    return found


def mark_damaged(blobs: Blobs, damage: Damage) -> None:
    """Record that frames of a pack must not be relied on any more."""
    document = {
        "pack": damage.pack_id.hex(),
        "offsets": sorted(damage.offsets),
        "whole": damage.whole,
        "found_at": clock.to_text(clock.now()),
    }
    store_document(blobs, damaged_key(damage.pack_id), ObjectKind.DAMAGED, document)


def clear_damage(blobs: Blobs, pack_id: bytes) -> None:
    """Forget the damage of a pack that is gone, or that was read back whole."""
    blobs.delete(damaged_key(pack_id))


def list_damage(blobs: Blobs) -> list[Damage]:
    """Every recorded damage. Raises :class:`ObjectDamaged`."""
    found = []
    for info in blobs.list(DAMAGED):
        document = _load(blobs, info.key, ObjectKind.DAMAGED)
        if document is None:
            continue
        try:
            found.append(
                Damage(
                    pack_id=bytes.fromhex(document["pack"]),
                    offsets=frozenset(int(offset) for offset in document["offsets"]),
                    whole=bool(document["whole"]),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ObjectDamaged(
                url=blobs.url, key=info.key, reason=Message("it is no list")
            ) from error
    return found


@dataclass(frozen=True, slots=True)
class Unreliable:
    """What a writer must not rely on: packs, and single frames by pack and offset."""

    packs: frozenset[bytes]
    frames: frozenset[tuple[bytes, int]]

    def __bool__(self) -> bool:
        return bool(self.packs or self.frames)


def unreliable(blobs: Blobs) -> Unreliable:
    """Everything that the removal and damage records name."""
    packs: set[bytes] = set()
    frames: set[tuple[bytes, int]] = set()
    for removal in list_removals(blobs):
        packs |= removal.packs
    for damage in list_damage(blobs):
        if damage.whole:
            packs.add(damage.pack_id)
        frames |= {(damage.pack_id, offset) for offset in damage.offsets}
    return Unreliable(frozenset(packs), frozenset(frames))


def _load(blobs: Blobs, key: str, kind: ObjectKind) -> dict[str, Any] | None:
    try:
        return load_document(blobs, key, kind)
    except BlobMissing:
        return None
