"""What can be wrong with a vault, its keys, its snapshots and its objects."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind, Retry


@dataclass(eq=False)
class VaultError(DozoError):
    """Base of the errors of this layer."""

    code = "vault.failed"


@dataclass(eq=False)
class NotAVault(VaultError):
    """There is no vault header."""

    code = "vault.not_a_vault"
    kind = ErrorKind.NOT_FOUND
    text = "{self.url} is not a vault"
    hint = "Check the address, or make a vault there with: dozo vault init {self.url}"

    url: str


@dataclass(eq=False)
class VaultExists(VaultError):
    """Initialising where something already is."""

    code = "vault.exists"
    kind = ErrorKind.REFUSED
    text = "{self.url} already holds {self.what}"
    hint = "Choose an empty place; nothing there was changed."

    url: str
    what: str


@dataclass(eq=False)
class FormatUnsupported(VaultError):
    """Written by a newer version than this one understands."""

    code = "vault.format_unsupported"
    kind = ErrorKind.REFUSED
    text = (
        "{self.key} in {self.url} has format version {self.version}"
        " (features {self.features:#x}), which this version of Dozo does not read"
    )
    hint = "Use a newer Dozo for this vault; nothing was changed."

    url: str
    key: str
    version: int
    features: int


@dataclass(eq=False)
class ObjectDamaged(VaultError):
    """An object of the vault is not what was written."""

    code = "vault.object_damaged"
    kind = ErrorKind.DAMAGED
    text = "object {self.key} in {self.url} is damaged: {self.reason}"
    hint = "Repair from the other site: dozo vault scrub {self.url} --repair-from OTHER_VAULT"

    url: str
    key: str
    reason: str


@dataclass(eq=False)
class ChunkDamaged(VaultError):
    """Stored bytes no longer match the hash kept beside them, or do not open."""

    code = "vault.chunk_damaged"
    kind = ErrorKind.DAMAGED
    text = "chunk {self.chunk} in pack {self.pack} of {self.url} is damaged"
    hint = "Repair from the other site: dozo vault scrub {self.url} --repair-from OTHER_VAULT"

    url: str
    chunk: str
    pack: str


@dataclass(eq=False)
class ChunkMissing(VaultError):
    """A snapshot names a chunk that no pack holds."""

    code = "vault.chunk_missing"
    kind = ErrorKind.DAMAGED
    text = "chunk {self.chunk} is in no pack of {self.url}"
    hint = "Repair from the other site: dozo vault scrub {self.url} --repair-from OTHER_VAULT"

    url: str
    chunk: str


@dataclass(eq=False)
class ReadBackFailed(VaultError):
    """What was just stored did not come back as it was written."""

    code = "vault.read_back_failed"
    kind = ErrorKind.DAMAGED
    text = "pack {self.pack} was just stored in {self.url} and does not read back: {self.problem}"
    hint = "Nothing of it was kept; look after that disk and its host, then run the same again."

    url: str
    pack: str
    problem: str


@dataclass(eq=False)
class SnapshotUnknown(VaultError):
    """No snapshot has that id."""

    code = "vault.snapshot_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "no snapshot {self.snapshot} in {self.url}"
    hint = "See what there is with: dozo vault list {self.url}"

    url: str
    snapshot: str


@dataclass(eq=False)
class SnapshotAmbiguous(VaultError):
    """Several snapshots fit what was given."""

    code = "vault.snapshot_ambiguous"
    kind = ErrorKind.USAGE
    text = "{self.snapshot} fits {self.count} snapshots in {self.url}"
    hint = "Give more of the snapshot's id."

    url: str
    snapshot: str
    count: int


@dataclass(eq=False)
class SnapshotDeleted(VaultError):
    """The snapshot was deleted."""

    code = "vault.snapshot_deleted"
    kind = ErrorKind.NOT_FOUND
    text = "snapshot {self.snapshot} in {self.url} was deleted on {self.when}"
    hint = "Until it is pruned it can be brought back with: dozo vault undelete"

    url: str
    snapshot: str
    when: str


@dataclass(eq=False)
class SnapshotHeld(VaultError):
    """A hold forbids the deletion."""

    code = "vault.snapshot_held"
    kind = ErrorKind.REFUSED
    text = "snapshot {self.snapshot} is held until {self.until}"
    hint = "It can be deleted after that date; a hold is never shortened."

    snapshot: str
    until: str


@dataclass(eq=False)
class HoldNotLonger(VaultError):
    """A hold would end before one that is already there."""

    code = "vault.hold_not_longer"
    kind = ErrorKind.REFUSED
    text = "snapshot {self.snapshot} is already held until {self.until}"
    hint = "A hold can only be extended: give a later date."

    snapshot: str
    until: str


@dataclass(eq=False)
class UndeleteTooLate(VaultError):
    """The snapshot is already being removed."""

    code = "vault.undelete_too_late"
    kind = ErrorKind.REFUSED
    text = "snapshot {self.snapshot} can no longer be brought back in {self.url}"
    hint = "It was pruned here; the other site may still have it."

    url: str
    snapshot: str


@dataclass(eq=False)
class KeysMissing(VaultError):
    """No key at hand opens what has to be opened."""

    code = "vault.keys_missing"
    kind = ErrorKind.REFUSED
    text = "no key in {self.keys} opens {self.what}"
    hint = "Give the file with this vault's key: --keys FILE, or DOZO_KEYS."

    keys: str
    what: str


@dataclass(eq=False)
class KeysFileInvalid(VaultError):
    """The keys file cannot be used."""

    code = "vault.keys_file_invalid"
    kind = ErrorKind.USAGE
    text = "keys file {self.path}: {self.reason}"
    hint = "Restore the file from your copy of it; without its keys the vault cannot be read."

    path: str
    reason: str


@dataclass(eq=False)
class KeysFileUnwritable(VaultError):
    """A key cannot be kept."""

    code = "vault.keys_file_unwritable"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "cannot write keys file {self.path}: {self.reason}"
    hint = "Make room or give another file with --keys; the keys that were there are still there."

    path: str
    reason: str


@dataclass(eq=False)
class PublicKeyInvalid(VaultError):
    """What was given as a site's public key is none."""

    code = "vault.public_key_invalid"
    kind = ErrorKind.USAGE
    text = "not a site's public key: {self.given}"
    hint = "Give the text that starts with 'dozo-site-1:', or the .pub file beside the keys file."

    given: str


@dataclass(eq=False)
class TenantUnknown(VaultError):
    """No tenant of the vault has that name."""

    code = "vault.tenant_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "no tenant {self.tenant} in {self.url}"
    hint = "Check the name; tenants are made by their first backup."

    url: str
    tenant: str


@dataclass(eq=False)
class GrantMissing(VaultError):
    """The target site could not open what would be copied to it."""

    code = "vault.grant_missing"
    kind = ErrorKind.REFUSED
    text = "the site of {self.target} has no key for tenant {self.tenant:016x} of {self.source}"
    hint = (
        "Grant it with: dozo vault grant {self.source} --site PUBLIC_KEY, or give the keys"
        " of both vaults with --keys."
    )

    source: str
    target: str
    tenant: int


@dataclass(eq=False)
class ChunkSizesDiffer(VaultError):
    """Two vaults cut volumes differently."""

    code = "vault.chunk_sizes_differ"
    kind = ErrorKind.REFUSED
    text = (
        "{self.source} uses chunks of {self.source_bytes} bytes,"
        " {self.target} of {self.target_bytes}"
    )
    hint = "Copy only between vaults with the same chunk size."

    source: str
    target: str
    source_bytes: int
    target_bytes: int


@dataclass(eq=False)
class WriterFenced(VaultError):
    """Another process declared this writer dead."""

    code = "vault.writer_fenced"
    retry = Retry.LATER
    text = "the writer of snapshot {self.snapshot} was declared dead before it had finished"
    hint = "Run the same again; what was already stored is found there."

    snapshot: str


@dataclass(eq=False)
class SourceChanged(VaultError):
    """A volume gave other bytes when it was read again."""

    code = "vault.source_changed"
    retry = Retry.LATER
    text = "the volume changed while it was read, at byte {self.offset_bytes}"
    hint = "Nothing was kept; take the snapshot again, from a source that stands still."

    offset_bytes: int


@dataclass(eq=False)
class TargetTooSmall(VaultError):
    """A snapshot does not fit."""

    code = "vault.target_too_small"
    kind = ErrorKind.REFUSED
    text = "the target has {self.target_bytes} bytes, the snapshot {self.snapshot_bytes}"
    hint = "Give a target of the snapshot's size."

    target_bytes: int
    snapshot_bytes: int


@dataclass(eq=False)
class VolumeSizeInvalid(VaultError):
    """A volume's size is not a whole number of sectors."""

    code = "vault.volume_size_invalid"
    kind = ErrorKind.USAGE
    text = "a volume of {self.size_bytes} bytes cannot be stored"
    hint = "A volume has at least one and only whole sectors of 512 bytes; check the image."

    size_bytes: int


@dataclass(eq=False)
class ParentUnsuitable(VaultError):
    """The snapshot named as parent cannot be built on."""

    code = "vault.parent_unsuitable"
    kind = ErrorKind.USAGE
    text = "snapshot {self.parent} cannot be the parent: {self.reason}"
    hint = "Leave the parent out: the volume is then read in full, and only new chunks are stored."

    parent: str
    reason: str


@dataclass(eq=False)
class VaultDamaged(VaultError):
    """An operation that removes data met damage and stopped."""

    code = "vault.damaged"
    kind = ErrorKind.DAMAGED
    text = "{self.url} has damaged or missing objects ({self.what}); nothing was removed"
    hint = "Find and repair it first: dozo vault scrub {self.url} --repair-from OTHER_VAULT"

    url: str
    what: str


@dataclass(eq=False)
class KeysUntrusted(VaultError):
    """A tenant's secrets come from a site that the keys file does not know."""

    code = "vault.keys_untrusted"
    kind = ErrorKind.REFUSED
    text = "the keys of tenant {self.tenant} in {self.url} were made by a site that is not known"
    hint = (
        "Nothing new is sealed with them. If they come from your other site, pin its public"
        " key: dozo vault grant {self.url} --site PUBLIC_KEY."
    )

    url: str
    tenant: str
