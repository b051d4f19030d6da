"""What an image file is: its format, size, chain of backing files and bitmaps."""

import json
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dozo.model.message import Message
from dozo.volumes import locks, qemu_img
from dozo.volumes.errors import (
    BackingFileMissing,
    FormatUnknown,
    ImageCorrupt,
    ImageEmpty,
    ImageEncrypted,
    ImageInUse,
    ImageMissing,
    ImageNotAFile,
    ImageUnreadable,
    PermissionDenied,
    SizeNotSectors,
    reason_of,
)

SECTOR_BYTES = 512

FORMATS = frozenset({"raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc", "luks"})


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One file of a chain. ``device`` and ``inode`` tell whether it is still the same file."""

    path: str
    format: str
    device: int
    inode: int
    file_bytes: int
    mtime_ns: int
    virtual_bytes: int
    # It holds the data of the file before it in the chain.
    is_data_file: bool = False


@dataclass(frozen=True, kw_only=True)
class Bitmap:
    """A dirty bitmap kept in a qcow2 file.

    ``in_use`` means that QEMU has it open, or was killed before it could save it: then
    what the file says is worthless.
    """

    name: str
    granularity_bytes: int
    recording: bool
    in_use: bool
    persistent: bool


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """An image with all the files that it consists of.

    ``chain`` begins with the image itself; after each file come the external data file
    that it may have, and its backing file. ``allocated_bytes`` is the disk space of all
    of them, ``bitmaps`` and ``internal_snapshots`` are the image's own.
    """

    path: str
    format: str
    virtual_bytes: int
    allocated_bytes: int
    encrypted: bool
    chain: tuple[ImageFile, ...]
    bitmaps: tuple[Bitmap, ...]
    internal_snapshots: tuple[str, ...]


def inspect(path: str | Path, *, format: str | None = None, in_use_ok: bool = False) -> ImageInfo:
    """Describe an image, from its headers only.

    Without ``format`` the content decides, as ``qemu-img`` sees it. That is convenient for
    files that a person names, and wrong for a raw volume of a guest: it could write
    a qcow2 header into its disk that names any file of the host as a backing file. Give
    the format wherever it is known.

    Raises ``ImageMissing``, ``ImageNotAFile``, ``ImageEmpty``, ``SizeNotSectors``,
    ``ImageCorrupt``, ``BackingFileMissing``, ``FormatUnknown``, ``PermissionDenied`` and,
    unless ``in_use_ok``, ``ImageInUse`` when somebody has the image open for writing.
    """
    absolute = _absolute(path)
    if format is not None and format not in FORMATS:
        raise FormatUnknown(absolute, format)
    fd = open_file(absolute)
    try:
        file_bytes = os.lseek(fd, 0, os.SEEK_END)
        if file_bytes == 0:
            raise ImageEmpty(absolute)
        if not in_use_ok and locks.has_writer(fd):
            raise ImageInUse(absolute)
    finally:
        os.close(fd)
    nodes = _read_headers(absolute, format, in_use_ok=in_use_ok)
    top = nodes[0]
    _refuse_misfit(absolute, top, file_bytes, guessed=format is None)
    specific = top.get("format-specific", {}).get("data", {})
    return ImageInfo(
        path=absolute,
        format=top["format"],
        virtual_bytes=top["virtual-size"],
        allocated_bytes=sum(node.get("actual-size", 0) for node in nodes),
        encrypted=any(is_encrypted(node) for node in nodes),
        chain=tuple(_chain(absolute, nodes)),
        bitmaps=tuple(_bitmap(entry) for entry in specific.get("bitmaps", [])),
        internal_snapshots=tuple(entry["name"] for entry in top.get("snapshots", [])),
    )


def open_file(path: str) -> int:
    """A descriptor for reading; a precise error when that is not possible."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  bytes that are no UTF-8 survive in str
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise ImageNotAFile(path, kind_of_file(mode))
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageMissing(path) from error
    except PermissionError as error:
        raise PermissionDenied(path, reason_of(error)) from error
    except (OSError, ValueError) as error:
        raise ImageUnreadable(path, str(error)) from error


def kind_of_file(mode: int) -> str:
    """What ``stat`` says a path is, in words."""
    kinds = {
        stat.S_IFDIR: Message("a folder"),
        stat.S_IFCHR: Message("a character device"),
        stat.S_IFBLK: Message("a block device"),
        stat.S_IFIFO: Message("a pipe"),
        stat.S_IFSOCK: Message("a socket"),
    }
    return kinds.get(stat.S_IFMT(mode), Message("a special file"))


def check_structure(info: ImageInfo, *, lock: bool = True) -> None:
    """Make sure that every qcow2 file of the chain is whole.

    With ``lock`` nobody can open one of them for writing while it is looked at.

    QEMU reads clusters that lie beyond the end of a cut-off file as zeros, without an
    error, so this has to be known before anything is read. The time grows with the
    metadata: about 2 s for each TiB that is allocated. Raises ``ImageCorrupt``.
    """
    for file in info.chain:
        if file.format == "qcow2":
            _check_qcow2(file, lock=lock)


def _check_qcow2(file: ImageFile, *, lock: bool) -> None:
    share = () if lock else ("--force-share",)
    answer = qemu_img.run(["check", *share, "--output=json", "-f", "qcow2", file.path])
    try:
        report = json.loads(answer.stdout)
    except ValueError:
        raise qemu_img.failure(file.path, answer.stderr) from None
    first_line = answer.stderr.splitlines()[0] if answer.stderr else ""
    header = json.loads(_info(file.path, "qcow2", chain=False, in_use_ok=not lock).stdout)
    specific = header.get("format-specific", {}).get("data", {})
    if "data-file" not in specific:
        end = report.get("image-end-offset", 0)
        # Measured anew: a server may have run between the description and our lock.
        size = _file_bytes(file.path)
        # The last cluster may be short, but not by anything that was written to it.
        if size + header["cluster-size"] <= end or (
            size < end and _data_end(file.path, share) > size
        ):
            raise ImageCorrupt(
                file.path, Message("cut off at {size} of {end} bytes", size=size, end=end)
            )
    if report.get("check-errors"):
        raise ImageCorrupt(file.path, first_line or Message("its structure cannot be read"))
    # With lazy refcounts an unclean stop leaves wrong counts, which reading ignores.
    if report.get("corruptions") and not header.get("dirty-flag"):
        raise ImageCorrupt(
            file.path, first_line or Message("{count} corruptions", count=report["corruptions"])
        )
    if specific.get("corrupt"):
        raise ImageCorrupt(file.path, Message("QEMU has marked it as corrupt"))


def _data_end(path: str, share: tuple[str, ...]) -> int:
    """Where in a qcow2 file its uncompressed data ends."""
    end = 0
    for line in qemu_img.lines(["map", *share, "--output=json", "-f", "qcow2", path]):
        entry = json.loads(line.strip().strip("[],\n") or "{}")
        if entry.get("data") and entry.get("depth") == 0:
            end = max(end, entry.get("offset", 0) + entry["length"])
    return end


def _read_headers(path: str, format: str | None, *, in_use_ok: bool) -> list[dict[str, Any]]:
    answer = _info(path, format, chain=True, in_use_ok=in_use_ok)
    if answer.code != 0:
        error = qemu_img.failure(path, answer.stderr, image_format=format or "")
        if isinstance(error, BackingFileMissing | PermissionDenied):
            error.reason = error.reason.removeprefix("Could not open ")
        raise error
    nodes: list[dict[str, Any]] = json.loads(answer.stdout)
    for node in nodes:
        if node["format"] not in FORMATS:
            raise FormatUnknown(path, node["format"])
    return nodes


def _info(path: str, format: str | None, *, chain: bool, in_use_ok: bool) -> qemu_img.Answer:
    arguments = ["info", "--output=json"]
    if chain:
        arguments.append("--backing-chain")
    if in_use_ok:
        arguments.append("--force-share")
    if format is not None:
        arguments += ["-f", format]
    return qemu_img.run([*arguments, path])


def _refuse_misfit(path: str, top: dict[str, Any], file_bytes: int, *, guessed: bool) -> None:
    if top["format"] == "raw":
        # A damaged header makes a qcow2 file look like raw content to the prober.
        if guessed and path.endswith((".qcow2", ".qcow")):
            raise ImageCorrupt(path, Message("it is named as a qcow2 image but has no such header"))
        if file_bytes % SECTOR_BYTES:
            raise SizeNotSectors(path, file_bytes)
    if top["virtual-size"] == 0:
        raise ImageEmpty(path)
    if top["virtual-size"] % SECTOR_BYTES:
        raise SizeNotSectors(path, top["virtual-size"])


def _chain(path: str, nodes: list[dict[str, Any]]) -> list[ImageFile]:
    files: list[ImageFile] = []
    for number, node in enumerate(nodes):
        name = path if number == 0 else _local(path, node["filename"])
        files.append(_image_file(name, node["format"], node["virtual-size"]))
        data_file = node.get("format-specific", {}).get("data", {}).get("data-file")
        if data_file is not None:
            beside = str(Path(name).parent / data_file)
            described = _image_file(beside, "raw", node["virtual-size"])
            files.append(replace(described, is_data_file=True))
    return files


def _local(image: str, filename: str) -> str:
    name = filename.removeprefix("file:")
    if not name.startswith("/"):
        raise ImageUnreadable(
            image, Message("its backing file is not a local file: {filename}", filename=filename)
        )
    return name


def _image_file(path: str, format: str, virtual_bytes: int) -> ImageFile:
    fd = open_file(path)
    try:
        status = os.fstat(fd)
        return ImageFile(
            path=path,
            format=format,
            device=status.st_dev,
            inode=status.st_ino,
            file_bytes=os.lseek(fd, 0, os.SEEK_END),
            mtime_ns=status.st_mtime_ns,
            virtual_bytes=virtual_bytes,
        )
    finally:
        os.close(fd)


def _bitmap(entry: dict[str, Any]) -> Bitmap:
    return Bitmap(
        name=entry["name"],
        granularity_bytes=entry["granularity"],
        recording="auto" in entry["flags"],
        in_use="in-use" in entry["flags"],
        persistent=True,
    )


def is_encrypted(node: dict[str, Any]) -> bool:
    """Whether one node of ``qemu-img info`` needs a secret to be read."""
    return bool(node.get("encrypted")) or node["format"] == "luks"


def refuse_encrypted(info: ImageInfo) -> None:
    """Raises ``ImageEncrypted`` when reading would need a secret."""
    if info.encrypted:
        raise ImageEncrypted(info.path)


def _file_bytes(path: str) -> int:
    fd = open_file(path)
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def _absolute(path: str | Path) -> str:
    # With a leading slash QEMU never takes a part of the name for a protocol ("nbd:…").
    return str(Path(path).absolute())
