"""A snapshot as it stands in the vault: clear fields, and the sealed root that repeats them.

Source: ``docs/vault-format.md``, section "Snapshots".
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dozo.blobs import BlobMissing, Blobs
from dozo.model import clock
from dozo.model.message import Message
from dozo.vault.errors import FormatUnsupported, ObjectDamaged
from dozo.vault.format import ObjectKind, from_json, load_document, to_json
from dozo.vault.frames import FrameInvalid, FrameKind, open_sealed, seal
from dozo.vault.keys import TenantKeys
from dozo.vault.layout import SNAPSHOTS, snapshot_key

# Rotten, or written by a newer version.
Unreadable = ObjectDamaged | FormatUnsupported

PUBLISHED = "published"
ABANDONED = "abandoned"

SNAPSHOT = "snapshot"
TEMPLATE = "template"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The clear fields of a snapshot, and its sealed root.

    ``root`` is the id of the tree's top segment, ``depth`` its levels, ``chunks`` the
    number of chunks that are not zero; ``attachments`` are ids of attachment frames.
    ``read_back_at`` is each vault's own: when it had read back, as stored, what its copy
    added. None where nobody has said so.
    """

    snapshot: str
    tenant: int
    kind: str
    created_at: datetime
    bytes_volume: int
    chunk_bytes: int
    root: bytes
    depth: int
    chunks: int
    parent: str | None
    origin: str
    group: str | None
    attachments: tuple[bytes, ...]
    sealed: bytes = b""
    read_back_at: datetime | None = None

    def clear_fields(self) -> dict[str, Any]:
        """What stands in clear, and again inside the sealed root."""
        return {
            "snapshot": self.snapshot,
            "tenant": f"{self.tenant:016x}",
            "kind": self.kind,
            "created_at": clock.to_text(self.created_at),
            "bytes_volume": self.bytes_volume,
            "chunk_bytes": self.chunk_bytes,
            "root": self.root.hex(),
            "depth": self.depth,
            "chunks": self.chunks,
            "parent": self.parent,
            "origin": self.origin,
            "group": self.group,
            "attachments": [object_id.hex() for object_id in self.attachments],
        }

    def to_document(self) -> dict[str, Any]:
        """The manifest as it is stored, apart from who published it, and on what evidence."""
        return {"clear": self.clear_fields(), "sealed": base64.b64encode(self.sealed).decode()}


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedRoot:
    """What only the tenant's keys open."""

    name: str
    tenant: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    attachments: Mapping[str, str] = field(default_factory=dict)


def from_document(document: dict[str, Any], key: str, *, url: str) -> Manifest:
    """The manifest in a stored document. Raises :class:`ObjectDamaged`."""
    try:
        clear = document["clear"]
        read_back = document.get("read_back")
        return Manifest(
            snapshot=clear["snapshot"],
            tenant=int(clear["tenant"], 16),
            kind=clear["kind"],
            created_at=clock.from_text(clear["created_at"]),
            bytes_volume=int(clear["bytes_volume"]),
            chunk_bytes=int(clear["chunk_bytes"]),
            root=bytes.fromhex(clear["root"]),
            depth=int(clear["depth"]),
            chunks=int(clear["chunks"]),
            parent=clear["parent"],
            origin=clear["origin"],
            group=clear["group"],
            attachments=tuple(bytes.fromhex(text) for text in clear["attachments"]),
            sealed=base64.b64decode(document["sealed"], validate=True),
            read_back_at=None if read_back is None else clock.from_text(read_back),
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ObjectDamaged(url=url, key=key, reason=Message("it is not a snapshot")) from error


def sealed_root(manifest: Manifest, root: SealedRoot, tenant: TenantKeys) -> bytes:
    """The sealed root for a manifest: its clear fields again, and what is secret."""
    document = {
        "clear": manifest.clear_fields(),
        "name": root.name,
        "tenant": root.tenant,
        "facts": dict(root.facts),
        "attachments": dict(root.attachments),
    }
    return seal(to_json(document), FrameKind.SNAPSHOT, _frame_id(manifest.snapshot), tenant, 3)


def open_root(manifest: Manifest, tenant: TenantKeys, *, url: str) -> SealedRoot:
    """Open a sealed root and compare it with the clear fields.

    Raises :class:`ObjectDamaged` when it does not open or when a clear field was changed.
    """
    key = f"{SNAPSHOTS}/{manifest.snapshot}"
    try:
        plain = open_sealed(
            manifest.sealed, FrameKind.SNAPSHOT, _frame_id(manifest.snapshot), tenant
        )
        document = from_json(plain, key, url=url)
        if document["clear"] != manifest.clear_fields():
            raise ObjectDamaged(url=url, key=key, reason=Message("its clear fields were changed"))
        return SealedRoot(
            name=document["name"],
            tenant=document["tenant"],
            facts=document["facts"],
            attachments=document["attachments"],
        )
    except (FrameInvalid, KeyError, TypeError, ValueError) as error:
        raise ObjectDamaged(
            url=url, key=key, reason=Message("its sealed part does not open")
        ) from error


@dataclass(frozen=True, slots=True)
class Publication:
    """One object under ``snapshots/``: an attempt's manifest, or None if it was fenced."""

    snapshot: str
    attempt: str
    manifest: Manifest | None


def load_publication(blobs: Blobs, snapshot: str, attempt: str) -> Publication:
    """What an attempt left. Raises :class:`ObjectDamaged`, ``BlobMissing``."""
    key = snapshot_key(snapshot, attempt)
    document = load_document(blobs, key, ObjectKind.SNAPSHOT)
    state = document.get("state")
    if state == ABANDONED:
        return Publication(snapshot, attempt, None)
    manifest = from_document(document, key, url=blobs.url)
    if state != PUBLISHED or manifest.snapshot != snapshot:
        raise ObjectDamaged(url=blobs.url, key=key, reason=Message("it is not a snapshot"))
    return Publication(snapshot, attempt, manifest)


def publication_document(
    manifest: Manifest, attempt: str, read_back_at: datetime | None
) -> dict[str, Any]:
    """The object that makes a snapshot visible."""
    return {
        "state": PUBLISHED,
        "attempt": attempt,
        "read_back": None if read_back_at is None else clock.to_text(read_back_at),
        **manifest.to_document(),
    }


def abandoned_document(attempt: str) -> dict[str, Any]:
    """The object that fences an attempt."""
    return {"state": ABANDONED, "attempt": attempt}


def list_attempts(blobs: Blobs, snapshot: str | None = None) -> Iterator[tuple[str, str]]:
    """Snapshot and attempt of every object under ``snapshots/``."""
    prefix = SNAPSHOTS if snapshot is None else f"{SNAPSHOTS}/{snapshot}"
    for info in blobs.list(prefix):
        parts = info.key.split("/")
        if len(parts) == 3:
            yield parts[1], parts[2]


def load_manifests(
    blobs: Blobs, known: Mapping[tuple[str, str], Publication] | None = None
) -> tuple[dict[tuple[str, str], Publication], list[Unreadable]]:
    """Every publication by (snapshot, attempt), and the objects that cannot be read.

    What is in ``known`` is not read again: the objects never change.
    """
    found: dict[tuple[str, str], Publication] = {}
    damaged: list[Unreadable] = []
    for snapshot, attempt in list_attempts(blobs):
        earlier = (known or {}).get((snapshot, attempt))
        if earlier is not None:
            found[snapshot, attempt] = earlier
            continue
        try:
            found[snapshot, attempt] = load_publication(blobs, snapshot, attempt)
        except BlobMissing:
            continue
        except (ObjectDamaged, FormatUnsupported) as error:
            damaged.append(error)
    return found, damaged


def _frame_id(snapshot: str) -> bytes:
    return bytes.fromhex(snapshot)
