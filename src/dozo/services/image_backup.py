"""Backing up and restoring image files with nothing but a vault: no service, no catalog."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dozo.blobs import open_blobs
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.extents import Extent
from dozo.model.extents_json import ExtentsMalformed, parse_extents
from dozo.model.message import Message
from dozo.model.progress import Progress
from dozo.vault import (
    BackupResult,
    CopyReport,
    Keyring,
    PruneReport,
    PublicKey,
    RestoreResult,
    ScrubReport,
    SnapshotDraft,
    SnapshotInfo,
    Vault,
    VaultStats,
)
from dozo.volumes import open_image, output_file

FORMATS = ("raw", "qcow2")


@dataclass(eq=False)
class NameInvalid(DozoError):
    """A snapshot or tenant cannot have that name."""

    code = "image.name_invalid"
    kind = ErrorKind.USAGE
    text = "{self.given!r} cannot be a name"
    hint = "Use 1 to 200 characters, none of them a control character."
    given: str


@dataclass(eq=False)
class FormatUnknown(DozoError):
    """An output format that Dozo does not write."""

    code = "image.output_format_unknown"
    kind = ErrorKind.USAGE
    text = "cannot write images of format {self.format}"
    hint = "Use raw or qcow2."
    format: str


@dataclass(eq=False)
class ParentRequired(DozoError):
    """A list of changes says nothing without what they are changes to."""

    code = "image.parent_required"
    kind = ErrorKind.USAGE
    text = "a list of changed extents needs a parent"
    hint = "Name the snapshot that the changes were counted from with --parent."


@dataclass(frozen=True, kw_only=True)
class NewVault:
    """A vault that was just made."""

    vault: str
    url: str
    chunk_bytes: int
    public_key: str
    keys_file: str
    public_key_file: str


@dataclass(frozen=True, kw_only=True)
class Granted:
    """A site that can now open a vault."""

    vault: str
    site: str
    tenants: int


def keys_path(given: Path | None) -> Path:
    """The keys file: as given, else ``DOZO_KEYS``, else in the user's configuration folder."""
    if given is not None:
        return given
    named = os.environ.get("DOZO_KEYS")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "dozo" / "keys"


def open_vault(url: str, keys: Path | None) -> Vault:
    """A vault with the keys at hand. Raises ``NotAVault``, ``KeysFileInvalid``."""
    return Vault.open(open_blobs(url), Keyring.load(keys_path(keys)))


def init(url: str, keys: Path | None, *, chunk_bytes: int | None, level: int | None) -> NewVault:
    """Make a vault and keep its key. Raises ``VaultExists``."""
    path = keys_path(keys)
    options: dict[str, Any] = {}
    if chunk_bytes is not None:
        options["chunk_bytes"] = chunk_bytes
    if level is not None:
        options["level"] = level
    vault = Vault.init(open_blobs(url), Keyring.load(path), **options)
    return NewVault(
        vault=vault.vault_id,
        url=vault.blobs.url,
        chunk_bytes=vault.chunk_bytes,
        public_key=vault.public_key.to_text(),
        keys_file=str(path),
        public_key_file=str(Keyring.public_path(path, vault.vault_id)),
    )


def grant(url: str, keys: Path | None, site: str) -> Granted:
    """Let another site open the vault. ``site`` is its public key, or a file that holds it."""
    key = read_public_key(site)
    vault = open_vault(url, keys)
    return Granted(vault=vault.vault_id, site=key.fingerprint, tenants=vault.grant(key))


def read_public_key(given: str) -> PublicKey:
    """A public key from its text or from a file. Raises ``PublicKeyInvalid``."""
    path = Path(given).expanduser()
    try:
        text = path.read_text() if path.is_file() else given
    except (OSError, UnicodeDecodeError):
        text = given
    return PublicKey.from_text(text)


def backup(
    url: str,
    keys: Path | None,
    image: Path,
    *,
    name: str,
    tenant: str,
    format: str | None,
    parent: str | None,
    changed: Path | None,
    progress: Progress,
) -> BackupResult:
    """Store an image file as a snapshot.

    Raises what opening the image and the vault raise, ``ExtentsMalformed``,
    :class:`ParentRequired`, :class:`NameInvalid`.
    """
    for given in (name, tenant):
        _require_name(given)
    if changed is not None and parent is None:
        raise ParentRequired
    vault = open_vault(url, keys)
    with open_image(image, format=format) as source:
        extents = None if changed is None else read_extents(changed, source.size_bytes)
        draft = SnapshotDraft(
            name=name,
            tenant=tenant,
            facts={"image": {"path": str(image), "format": source.info.format}},
        )
        return vault.backup(source, draft, parent=parent, changed=extents, progress=progress)


def restore(
    url: str,
    keys: Path | None,
    snapshot: str,
    output: Path,
    *,
    format: str,
    force: bool,
    progress: Progress,
) -> RestoreResult:
    """Write a snapshot to a new image file; on any error there is no such file."""
    if format not in FORMATS:
        raise FormatUnknown(format=format)
    vault = open_vault(url, keys)
    info = vault.snapshot(snapshot)
    with output_file(output, format=format, size_bytes=info.bytes_volume, force=force) as target:
        return vault.restore(info.snapshot, target, progress=progress)


def snapshots(url: str, keys: Path | None, *, name: str | None) -> list[SnapshotInfo]:
    """What a vault holds, oldest first; of one name where one is given."""
    found = open_vault(url, keys).snapshots()
    if name is None:
        return found
    return [info for info in found if info.sealed is not None and info.sealed.name == name]


def delete(url: str, keys: Path | None, given: Iterable[str]) -> list[str]:
    """Delete snapshots; the ids that were not deleted before."""
    return open_vault(url, keys).delete(given)


def undelete(url: str, keys: Path | None, given: Iterable[str]) -> list[str]:
    """Bring deleted snapshots back; the ids that were."""
    return open_vault(url, keys).undelete(given)


def prune(url: str, *, grace_seconds: int, dry_run: bool) -> PruneReport:
    """Remove what was deleted longer ago than the grace period."""
    return Vault.open(open_blobs(url)).prune(grace_seconds=grace_seconds, dry_run=dry_run)


def scrub(url: str, *, repair_from: str | None, progress: Progress) -> ScrubReport:
    """Read a vault back, and repair it from another one."""
    other = None if repair_from is None else Vault.open(open_blobs(repair_from))
    return Vault.open(open_blobs(url)).scrub(repair_from=other, progress=progress)


def copy(
    source: str, target: str, keys: Path | None, given: list[str], *, progress: Progress
) -> CopyReport:
    """Copy snapshots to another vault, all of them where none is named."""
    return open_vault(source, keys).copy_to(
        open_vault(target, keys), given or None, progress=progress
    )


def stats(url: str) -> VaultStats:
    """Sizes and counts of a vault."""
    return Vault.open(open_blobs(url)).stats()


def read_extents(path: Path, size_bytes: int) -> list[Extent]:
    """The extents in a file. Raises ``ExtentsMalformed``."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ExtentsMalformed(
            reason=Message("{path} cannot be read: {error}", path=path, error=error)
        ) from error
    return parse_extents(text, size_bytes)


def _require_name(given: str) -> None:
    if not 0 < len(given) <= 200 or any(ord(letter) < 32 or ord(letter) == 127 for letter in given):
        raise NameInvalid(given=given)
