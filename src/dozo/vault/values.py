"""What goes into the vault's operations and what comes out of them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dozo.model import clock
from dozo.vault import manifest as manifests
from dozo.vault.deletion import Deletion
from dozo.vault.manifest import SealedRoot


@dataclass(frozen=True, kw_only=True)
class SnapshotDraft:
    """What a snapshot shall say of itself. ``facts`` and ``attachments`` are sealed."""

    name: str
    tenant: str = "default"
    created_at: datetime = field(default_factory=clock.now)
    kind: str = manifests.SNAPSHOT
    origin: str = ""
    group: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    attachments: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SnapshotInfo:
    """A snapshot as the vault knows it; ``sealed`` is None where no key opens it.

    ``read_back_at`` is when this vault had read back, without keys, what this copy added to
    it: that is what *stored* means. None where the vault has no such proof.
    """

    snapshot: str
    tenant_number: int
    created_at: datetime
    bytes_volume: int
    kind: str
    origin: str
    group: str | None
    parent: str | None
    chunks: int
    deleted: Deletion | None
    sealed: SealedRoot | None
    read_back_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class BackupResult:
    """What a backup did; ``bytes_new`` is volume data not stored before, before compression."""

    snapshot: str
    bytes_volume: int
    bytes_read: int
    bytes_new: int
    bytes_stored: int
    seconds: float
    full_reason: str | None


@dataclass(frozen=True, kw_only=True)
class RestoreResult:
    """What a restore did."""

    bytes_written: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class VaultStats:
    """How much a vault holds; sizes in bytes."""

    vault_id: str
    chunk_bytes: int
    snapshots: int
    deleted_snapshots: int
    packs: int
    bytes_stored: int
    bytes_protected: int
    frames: int
