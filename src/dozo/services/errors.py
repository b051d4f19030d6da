"""What the use cases refuse, and why."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind, Retry


@dataclass(eq=False)
class VolumeRefused(DozoError):
    """A volume cannot be snapshotted."""

    code = "snapshot.volume_refused"
    kind = ErrorKind.REFUSED
    text = "volume {self.volume} cannot be snapshotted: {self.reason}"
    hint = "Name the other volumes with --volume to leave this one out."
    volume: str
    reason: str


@dataclass(eq=False)
class ModeImpossible(DozoError):
    """The mode does not fit the state of the server or the volume."""

    code = "snapshot.mode_impossible"
    kind = ErrorKind.REFUSED
    text = "mode {self.mode} is not possible for {self.what}: {self.reason}"
    hint = "Leave out --mode to use what fits."
    mode: str
    what: str
    reason: str


@dataclass(eq=False)
class NothingToSnapshot(DozoError):
    """No disk is left to read."""

    code = "snapshot.nothing"
    kind = ErrorKind.REFUSED
    text = "server {self.server} has no volume to snapshot ({self.left_out})"
    hint = "CD-ROM, floppy, read-only and empty disks are never part of a snapshot."
    server: str
    left_out: str


@dataclass(eq=False)
class GaveWay(DozoError):
    """Somebody preferred to start the server."""

    code = "snapshot.gave_way"
    retry = Retry.LATER
    text = (
        "the snapshot {self.snapshot!r} was given up because server {self.server} was to be started"
    )
    hint = "Nothing of it was kept; take it again."
    snapshot: str
    server: str


@dataclass(eq=False)
class ServerBusy(DozoError):
    """The server must not start now."""

    code = "server.busy"
    kind = ErrorKind.REFUSED
    retry = Retry.LATER
    text = "server {self.server} cannot start: {self.work} needs it stopped (since {self.since})"
    hint = (
        "Wait until it is done, or start it anyway with --fail-snapshot: the snapshot then fails."
    )
    server: str
    work: str
    since: str


@dataclass(eq=False)
class VolumeRestoring(DozoError):
    """A volume is half-way through an in-place restore."""

    code = "volume.restoring"
    kind = ErrorKind.REFUSED
    text = "volume {self.volume} is being restored to snapshot {self.snapshot} and not complete"
    hint = (
        "Finish it with `dozo volume restore {self.volume} --resume`,"
        " or take back what was there with --go-back."
    )
    volume: str
    snapshot: str


@dataclass(eq=False)
class NotRestoring(DozoError):
    """There is nothing to resume or to go back from."""

    code = "volume.not_restoring"
    kind = ErrorKind.REFUSED
    text = "volume {self.volume} is not in the middle of a restore"
    hint = "Name the snapshot to go back to."
    volume: str


@dataclass(eq=False)
class MarkOfOther(DozoError):
    """A server's definition says that a volume is half restored, to another volume's snapshot."""

    code = "volume.mark_of_other"
    kind = ErrorKind.REFUSED
    text = (
        "volume {self.volume} is marked as being restored to snapshot {self.snapshot},"
        " which is of volume {self.other}"
    )
    hint = "Look at what the volume holds; restore the snapshot to a new volume instead."
    volume: str
    snapshot: str
    other: str


@dataclass(eq=False)
class PlaintextNotAccepted(DozoError):
    """The source's image was encrypted, and what is restored of it would not be."""

    code = "restore.plaintext"
    kind = ErrorKind.REFUSED
    text = (
        "the volume of snapshot {self.snapshot} was encrypted and would be restored as plain data"
    )
    hint = "Add --accept-plaintext if the site's pool is where its data may lie in the clear."
    snapshot: str


@dataclass(eq=False)
class NoSafetySnapshot(DozoError):
    """An in-place restore without a safety snapshot cannot be taken back."""

    code = "volume.no_safety_snapshot"
    kind = ErrorKind.REFUSED
    text = "no safety snapshot of volume {self.volume} was taken before its restore"
    hint = "Finish it with --resume, or restore another snapshot."
    volume: str


@dataclass(eq=False)
class NotRootVolume(DozoError):
    """Templates are made from root volumes only."""

    code = "template.not_root"
    kind = ErrorKind.REFUSED
    text = (
        "snapshot {self.snapshot} is of {self.volume}, a data volume: no template can be made of it"
    )
    hint = "Take a root volume's snapshot; for a data volume use `dozo volume create --snapshot`."
    snapshot: str
    volume: str


@dataclass(eq=False)
class NoDefinition(DozoError):
    """A snapshot has no server definition with it."""

    code = "restore.no_definition"
    kind = ErrorKind.REFUSED
    text = "{self.what} carries no server definition"
    hint = "Restore the volume (`dozo volume create`) and attach it to a server."
    what: str


@dataclass(eq=False)
class NotReadable(DozoError):
    """This site has no key for the snapshot."""

    code = "snapshot.not_readable"
    kind = ErrorKind.REFUSED
    text = "this site has no key to snapshot {self.snapshot}"
    hint = "The site that took it must grant this one: `dozo site add-peer` there, then copy again."
    snapshot: str


@dataclass(eq=False)
class VolumeNameTaken(DozoError):
    """A volume or a file of that name exists."""

    code = "volume.name_taken"
    kind = ErrorKind.REFUSED
    text = "the name {self.name!r} is taken by {self.by}"
    hint = "Choose another name."
    name: str
    by: str


@dataclass(eq=False)
class NameInvalid(DozoError):
    """A name that cannot be used."""

    code = "name.invalid"
    kind = ErrorKind.USAGE
    text = "{self.name!r} cannot be a name: {self.reason}"
    hint = "Use letters, digits and any of . _ - + in at most 200 characters."
    name: str
    reason: str


@dataclass(eq=False)
class PoolFull(DozoError):
    """What is to be restored does not fit."""

    code = "restore.no_space"
    kind = ErrorKind.REFUSED
    text = "{self.folder} has {self.free_bytes} bytes free, the restore may need {self.need_bytes}"
    hint = "Make room there, or choose another pool."
    folder: str
    free_bytes: int
    need_bytes: int


@dataclass(eq=False)
class VolumeAttached(DozoError):
    """The volume is attached to a server."""

    code = "volume.attached"
    kind = ErrorKind.REFUSED
    text = "volume {self.volume} is attached to server {self.server} as {self.device}"
    hint = "Detach it first: dozo volume detach {self.volume} {self.server}"
    volume: str
    server: str
    device: str


@dataclass(eq=False)
class VolumeNotAttached(DozoError):
    """The volume is not attached to that server."""

    code = "volume.not_attached"
    kind = ErrorKind.REFUSED
    text = "volume {self.volume} is not attached to server {self.server}"
    hint = "`dozo volume list` shows where each volume is."
    volume: str
    server: str


@dataclass(eq=False)
class VolumeGone(DozoError):
    """The volume has no image at this site."""

    code = "volume.gone"
    kind = ErrorKind.REFUSED
    text = "volume {self.volume} is not at this site any more"
    hint = "Make a new one of its snapshots: dozo volume create --snapshot SNAPSHOT --name NAME"
    volume: str


@dataclass(eq=False)
class VolumeForeign(DozoError):
    """Dozo did not make the image and does not delete it."""

    code = "volume.not_ours"
    kind = ErrorKind.REFUSED
    text = "the image of volume {self.volume} was not made by Dozo: {self.path}"
    hint = "Delete the file yourself if it is not needed."
    volume: str
    path: str


@dataclass(eq=False)
class ManagedSave(DozoError):
    """The server's memory is saved on disk and would not fit what is restored."""

    code = "server.managed_save"
    kind = ErrorKind.REFUSED
    text = (
        "server {self.server} has a managed-save image: its memory belongs to the volume as it is"
    )
    hint = "Start and shut it down, or drop the image (`virsh managedsave-remove`)."
    server: str


@dataclass(eq=False)
class OriginalExists(DozoError):
    """The identity to be kept is in use."""

    code = "restore.original_exists"
    kind = ErrorKind.REFUSED
    text = "server {self.server} ({self.uuid}) still exists: its identity cannot be kept"
    hint = "Restore a copy (--identity copy --name NAME), or delete the original first."
    server: str
    uuid: str


@dataclass(eq=False)
class NameNeeded(DozoError):
    """A copy of a server needs a name of its own."""

    code = "restore.name_needed"
    kind = ErrorKind.USAGE
    text = "a copy of server {self.server} needs a name of its own"
    hint = "Give one with --name."
    server: str


@dataclass(eq=False)
class NothingToRestore(DozoError):
    """No snapshot fits what was asked for."""

    code = "restore.nothing"
    kind = ErrorKind.NOT_FOUND
    text = "there is no snapshot of {self.what}{self.when}"
    hint = "`dozo snapshot list` shows what there is."
    what: str
    when: str


@dataclass(eq=False)
class RecoveryPointIncomplete(DozoError):
    """Members of the recovery point are not in this site's vault."""

    code = "recovery_point.incomplete"
    kind = ErrorKind.REFUSED
    text = "recovery point {self.name} is not complete here: {self.missing} missing"
    hint = "Copy it from the other site, or name the snapshots to use with --snapshot."
    name: str
    missing: str


@dataclass(eq=False)
class SnapshotsConflict(DozoError):
    """Two of the snapshots given are of the same volume, or of different servers."""

    code = "restore.snapshots_conflict"
    kind = ErrorKind.USAGE
    text = "these snapshots do not make one server: {self.reason}"
    hint = "Give one snapshot for each volume of one server."
    reason: str


@dataclass(eq=False)
class SizeDiffers(DozoError):
    """A volume in place has another size than the snapshot."""

    code = "restore.size_differs"
    kind = ErrorKind.REFUSED
    text = "volume {self.volume} has {self.volume_bytes} bytes, the snapshot {self.snapshot_bytes}"
    hint = "Make a new volume of the snapshot instead: dozo volume create --snapshot SNAPSHOT"
    volume: str
    volume_bytes: int
    snapshot_bytes: int


@dataclass(eq=False)
class ScrubFoundDamage(DozoError):
    """A scrub found damage that it could not mend."""

    code = "vault.scrub_found_damage"
    kind = ErrorKind.DAMAGED
    text = "the scrub found {self.findings} damaged places; snapshots touched: {self.snapshots}"
    hint = "Scrub again with the peer as the source of repair, and look at the disks."
    findings: int
    snapshots: str


@dataclass(eq=False)
class TenantsMixed(DozoError):
    """One tenant's data would come into another tenant's hands."""

    code = "restore.tenants_mixed"
    kind = ErrorKind.REFUSED
    text = "snapshot {self.snapshot} is of tenant {self.owner}, not of tenant {self.other}"
    hint = (
        "Restore to a volume or a server of the same tenant, and assign that to the other tenant "
        "if it is meant to have the data."
    )
    snapshot: str
    owner: str
    other: str
