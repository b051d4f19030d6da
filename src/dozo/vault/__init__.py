"""The backup storage engine: chunks, packs, snapshots; knows neither servers nor a database."""

from dozo.vault.copying import CopyReport
from dozo.vault.deletion import Deletion, Hold
from dozo.vault.errors import VaultError
from dozo.vault.keyring import Keyring
from dozo.vault.keys import PublicKey
from dozo.vault.manifest import SealedRoot
from dozo.vault.prune import PruneReport
from dozo.vault.scrub import Finding, ScrubReport
from dozo.vault.values import (
    BackupResult,
    RestoreResult,
    SnapshotDraft,
    SnapshotInfo,
    VaultStats,
)
from dozo.vault.vault import Vault
from dozo.vault.verify import Check, Scope

__all__ = [
    "BackupResult",
    "Check",
    "CopyReport",
    "Deletion",
    "Finding",
    "Hold",
    "Keyring",
    "PruneReport",
    "PublicKey",
    "RestoreResult",
    "Scope",
    "ScrubReport",
    "SealedRoot",
    "SnapshotDraft",
    "SnapshotInfo",
    "Vault",
    "VaultError",
    "VaultStats",
]
