"""Volumes as bytes: reading and writing image files, block devices and NBD exports.

The only package that talks to QEMU's image tools and to libnbd.
"""

from dozo.volumes.errors import (
    BackingFileMissing,
    BitmapMissing,
    BitmapUnusable,
    ExportUnavailable,
    FormatUnknown,
    ImageCorrupt,
    ImageEmpty,
    ImageEncrypted,
    ImageInUse,
    ImageMissing,
    ImageNotAFile,
    ImageUnreadable,
    LockUnsupported,
    NoSpace,
    OutputExists,
    OutputFolderMissing,
    OutputIsDirectory,
    OutputNotAFile,
    PermissionDenied,
    ReadFailed,
    ServerFailed,
    SizeNotSectors,
    ToolMissing,
    VolumeError,
    WriteFailed,
)
from dozo.volumes.image_info import Bitmap, ImageFile, ImageInfo, inspect
from dozo.volumes.image_stream import ImageStream
from dozo.volumes.output import output_file
from dozo.volumes.source import ImageSource, NbdSource, open_image
from dozo.volumes.standing import StandingImage, open_standing
from dozo.volumes.target import ImageTarget, create_image, open_target, remove_bitmap

__all__ = [
    "BackingFileMissing",
    "Bitmap",
    "BitmapMissing",
    "BitmapUnusable",
    "ExportUnavailable",
    "FormatUnknown",
    "ImageCorrupt",
    "ImageEmpty",
    "ImageEncrypted",
    "ImageFile",
    "ImageInUse",
    "ImageInfo",
    "ImageMissing",
    "ImageNotAFile",
    "ImageSource",
    "ImageStream",
    "ImageTarget",
    "ImageUnreadable",
    "LockUnsupported",
    "NbdSource",
    "NoSpace",
    "OutputExists",
    "OutputFolderMissing",
    "OutputIsDirectory",
    "OutputNotAFile",
    "PermissionDenied",
    "ReadFailed",
    "ServerFailed",
    "SizeNotSectors",
    "StandingImage",
    "ToolMissing",
    "VolumeError",
    "WriteFailed",
    "create_image",
    "inspect",
    "open_image",
    "open_standing",
    "open_target",
    "output_file",
    "remove_bitmap",
]
