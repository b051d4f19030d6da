"""What can go wrong with an image file or an NBD export."""

import os
from dataclasses import dataclass
from typing import ClassVar

from dozo.model.errors import DozoError, ErrorKind, Retry


@dataclass(eq=False)
class VolumeError(DozoError):
    """Base of the errors of reading and writing volumes."""

    code: ClassVar[str] = "volume.failed"
    text: ClassVar[str] = "reading or writing a volume failed"


@dataclass(eq=False)
class ToolMissing(VolumeError):
    """A program that the work needs is not installed."""

    code = "volume.tool_missing"
    kind = ErrorKind.UNAVAILABLE
    text = "{self.program} is not installed"
    hint = "Install the package qemu-utils (for setpriv: util-linux)."
    program: str


@dataclass(eq=False)
class ImageMissing(VolumeError):
    """No file has that name."""

    code = "volume.image_missing"
    kind = ErrorKind.NOT_FOUND
    text = "there is no image {self.path}"
    hint = "Check the path; a relative one starts from the current folder."
    path: str


@dataclass(eq=False)
class BackingFileMissing(VolumeError):
    """A file that the image is based on does not exist."""

    code = "volume.backing_file_missing"
    kind = ErrorKind.NOT_FOUND
    text = "image {self.path} needs a backing file that is missing: {self.reason}"
    hint = "Put the backing file back; without it the image holds only a part of its volume."
    path: str
    reason: str


@dataclass(eq=False)
class ImageNotAFile(VolumeError):
    """The path names a folder, a socket or the like."""

    code = "volume.image_not_a_file"
    kind = ErrorKind.USAGE
    text = "{self.path} is {self.found}, not an image"
    hint = "Name an image file or a block device."
    path: str
    found: str


@dataclass(eq=False)
class ImageEmpty(VolumeError):
    """An image of a volume without a single byte."""

    code = "volume.image_empty"
    kind = ErrorKind.USAGE
    text = "image {self.path} is empty"
    hint = "A volume has at least one sector of 512 bytes."
    path: str


@dataclass(eq=False)
class SizeNotSectors(VolumeError):
    """A volume's size is not a whole number of sectors."""

    code = "volume.size_not_sectors"
    kind = ErrorKind.USAGE
    text = "the size of {self.path}, {self.size_bytes} bytes, is not a multiple of 512"
    hint = "A disk consists of whole sectors: the image may be cut off, or not be a disk image."
    path: str
    size_bytes: int


@dataclass(eq=False)
class FormatUnknown(VolumeError):
    """A format that Dozo does not read or write."""

    code = "volume.format_unknown"
    kind = ErrorKind.USAGE
    text = "image format {self.format} is not supported for {self.path}"
    hint = "Dozo writes raw and qcow2, and reads those and vmdk, vdi, vhdx, vpc and qed."
    path: str
    format: str


@dataclass(eq=False)
class ImageCorrupt(VolumeError):
    """The image's own structure is damaged, so its content cannot be trusted."""

    code = "volume.image_corrupt"
    kind = ErrorKind.DAMAGED
    text = "image {self.path} is damaged: {self.reason}"
    hint = "Look at it with qemu-img check; restore the volume from a snapshot if it has one."
    path: str
    reason: str


@dataclass(eq=False)
class ImageEncrypted(VolumeError):
    """The image's content is encrypted and no secret was given."""

    code = "volume.image_encrypted"
    kind = ErrorKind.REFUSED
    text = "image {self.path} is encrypted"
    hint = "Snapshot it while its server runs: then QEMU hands out the decrypted content."
    path: str


@dataclass(eq=False)
class ImageInUse(VolumeError):
    """Another process has the image open in a way that conflicts."""

    code = "volume.image_in_use"
    kind = ErrorKind.REFUSED
    retry = Retry.LATER
    text = "image {self.path} is in use by another process"
    hint = "Stop the server that uses it, or take a live snapshot."
    path: str


@dataclass(eq=False)
class LockUnsupported(VolumeError):
    """The file system cannot lock files, so nothing would keep a writer away."""

    code = "volume.lock_unsupported"
    kind = ErrorKind.REFUSED
    text = "the file system of {self.path} does not support locks ({self.reason})"
    hint = "Read it without a lock only if something else proves that nobody writes to it."
    path: str
    reason: str


@dataclass(eq=False)
class PermissionDenied(VolumeError):
    """The operating system does not let us at a file."""

    code = "volume.permission_denied"
    text = "no permission for {self.path}: {self.reason}"
    hint = "Run Dozo as a user who may read and write the image, usually root."
    path: str
    reason: str


@dataclass(eq=False)
class ImageUnreadable(VolumeError):
    """An image cannot be opened for a reason of the operating system."""

    code = "volume.image_unreadable"
    text = "image {self.path} cannot be opened: {self.reason}"
    path: str
    reason: str


@dataclass(eq=False)
class BitmapMissing(VolumeError):
    """The image or export has no dirty bitmap of that name."""

    code = "volume.bitmap_missing"
    kind = ErrorKind.NOT_FOUND
    text = "{self.path} has no bitmap {self.bitmap}"
    hint = "Read the volume in full."
    path: str
    bitmap: str


@dataclass(eq=False)
class BitmapUnusable(VolumeError):
    """A dirty bitmap was not saved properly and has lost its meaning."""

    code = "volume.bitmap_unusable"
    kind = ErrorKind.DAMAGED
    text = "bitmap {self.bitmap} of {self.path} cannot be used: {self.reason}"
    hint = "Read the volume in full, and remove the bitmap."
    path: str
    bitmap: str
    reason: str


@dataclass(eq=False)
class ServerFailed(VolumeError):
    """qemu-nbd did not start, or ended badly."""

    code = "volume.nbd_server_failed"
    text = "qemu-nbd failed for {self.path}: {self.reason}"
    path: str
    reason: str


@dataclass(eq=False)
class ExportUnavailable(VolumeError):
    """An NBD export cannot be reached."""

    code = "volume.export_unavailable"
    kind = ErrorKind.UNAVAILABLE
    retry = Retry.LATER
    text = "the NBD export {self.path} cannot be reached: {self.reason}"
    hint = "The job that offers it may have ended: start again."
    path: str
    reason: str


@dataclass(eq=False)
class ReadFailed(VolumeError):
    """Bytes of a volume could not be read."""

    code = "volume.read_failed"
    text = "reading {self.length_bytes} bytes at {self.offset_bytes} of {self.path}: {self.reason}"
    path: str
    offset_bytes: int
    length_bytes: int
    reason: str


@dataclass(eq=False)
class WriteFailed(VolumeError):
    """Bytes of a volume could not be written, or not be made durable."""

    code = "volume.write_failed"
    text = "writing {self.length_bytes} bytes at {self.offset_bytes} of {self.path}: {self.reason}"
    path: str
    offset_bytes: int
    length_bytes: int
    reason: str


@dataclass(eq=False)
class NoSpace(VolumeError):
    """The file system, a quota or a limit leaves no room for the output."""

    code = "volume.no_space"
    retry = Retry.LATER
    text = "no space left for {self.path} ({self.reason})"
    hint = "Make room, or choose another place."
    path: str
    reason: str


@dataclass(eq=False)
class OutputExists(VolumeError):
    """The output is there already and nobody said that it may be replaced."""

    code = "volume.output_exists"
    kind = ErrorKind.REFUSED
    text = "{self.path} exists already"
    hint = "Choose another name, or say that it may be replaced (--force)."
    path: str


@dataclass(eq=False)
class OutputIsDirectory(VolumeError):
    """The output's name is that of a folder."""

    code = "volume.output_is_directory"
    kind = ErrorKind.USAGE
    text = "{self.path} is a folder"
    hint = "Name a file inside it."
    path: str


@dataclass(eq=False)
class OutputNotAFile(VolumeError):
    """The output's name is that of a device, a socket or the like."""

    code = "volume.output_not_a_file"
    kind = ErrorKind.USAGE
    text = "{self.path} is {self.found} and cannot be replaced by a file"
    hint = "Name a file that does not exist yet."
    path: str
    found: str


@dataclass(eq=False)
class OutputFolderMissing(VolumeError):
    """The folder that the output should go to does not exist."""

    code = "volume.output_folder_missing"
    kind = ErrorKind.NOT_FOUND
    text = "there is no folder {self.path}"
    hint = "Make the folder first."
    path: str


def reason_of(error: OSError) -> str:
    """The operating system's words for an error."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))
