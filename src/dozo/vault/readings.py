"""When packs were read back whole: the evidence behind the age of the oldest reading.

Source: ``docs/vault-format.md``, section "Checks".
"""

import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from dozo.blobs import BlobMissing, Blobs
from dozo.model import clock
from dozo.vault import layout
from dozo.vault.errors import ObjectDamaged
from dozo.vault.format import ObjectKind, load_document, store_document
from dozo.vault.store import Store


def record_reading(blobs: Blobs, packs: Iterable[bytes], *, replaces_all: bool = False) -> None:
    """Note that packs were read back whole, now."""
    earlier = [info.key for info in blobs.list(layout.READINGS)] if replaces_all else []
    document = {
        "at": clock.to_text(clock.now()),
        "packs": sorted(pack_id.hex() for pack_id in packs),
    }
    key = layout.reading_key(secrets.token_hex(8))
    store_document(blobs, key, ObjectKind.READING, document)
    for old in earlier:
        blobs.delete(old)


def oldest_reading(store: Store) -> datetime | None:
    """When that pack was read back whole whose reading lies longest ago; None if one never was."""
    latest = _latest(store.blobs)
    readings = [latest.get(pack_id) for pack_id in store.index.indexed_packs()]
    known = [reading for reading in readings if reading is not None]
    if not known or len(known) < len(readings):
        return None
    return min(known)


def packs_read(blobs: Blobs) -> set[bytes]:
    """Every pack that has been read back whole at some time."""
    return set(_latest(blobs))


def _latest(blobs: Blobs) -> dict[bytes, datetime]:
    latest: dict[bytes, datetime] = {}
    for info in blobs.list(layout.READINGS):
        with suppress(BlobMissing, ObjectDamaged, KeyError, TypeError, ValueError):
            document = load_document(blobs, info.key, ObjectKind.READING)
            at = clock.from_text(document["at"])
            for name in document["packs"]:
                pack_id = bytes.fromhex(name)
                latest[pack_id] = max(at, latest.get(pack_id, at))
    return latest
