"""Building a guest's disk images, without mounting anything and without a virtual machine.

The root disk boots by itself: a master boot record, a small FAT partition with boot loader,
kernel and initrd, and an ext4 partition. So a server that is restored from its volumes needs
nothing that lay outside them.
"""

import fcntl
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guestlab.recipe import DPKG_EXCLUDES, HERE, HostRelease, Recipe, cache_folder

SECTOR_BYTES = 512
ALIGN_BYTES = 1 << 20
MBR_CODE = (Path("/usr/lib/syslinux/mbr/mbr.bin"), Path("/usr/lib/SYSLINUX/mbr.bin"))
KEEP_BUILDS = 2

TYPE_FAT16_LBA = 0x0E
TYPE_LINUX = 0x83

Say = Callable[[str], None]


class BuildFailed(Exception):
    """A program that the build needs is missing or failed; the text ends with what it said."""


@dataclass(frozen=True, kw_only=True)
class GuestImages:
    """A built guest: two qcow2 files that nobody may change."""

    folder: Path
    seconds: float

    @property
    def root(self) -> Path:
        """Bootable root volume."""
        return self.folder / "root.qcow2"

    @property
    def data(self) -> Path:
        """Data volume, ext4 labelled dozo-data, with a PostgreSQL cluster."""
        return self.folder / "data.qcow2"


def guest_images(say: Say = lambda _: None) -> GuestImages:
    """The images of this host's recipe, built if they are not in the cache.

    Several processes may ask at once: one builds, the others wait. Raises BuildFailed.
    """
    recipe = Recipe(release=HostRelease.read())
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / recipe.key
    with _locked(cache / "lock"):
        if folder.is_dir():
            os.utime(folder)
            return GuestImages(folder=folder, seconds=0.0)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as work:
            done = Path(work) / "done"
            done.mkdir()
            _build(recipe, Path(work), done, say)
            done.chmod(0o755)
            done.rename(folder)
        _forget_old_builds(cache)
        return GuestImages(folder=folder, seconds=time.monotonic() - started)


def _build(recipe: Recipe, work: Path, done: Path, say: Say) -> None:
    root, boot = work / "root", work / "boot"
    boot.mkdir()
    # mmdebstrap drops privileges for its downloads and must be able to look inside.
    work.chmod(0o755)
    say(f"installing {recipe.release.name} {recipe.release.codename} into a folder")
    _install(recipe, root, boot)
    say("making the root and data disks")
    _root_disk(recipe, root, boot, work / "root.raw")
    _filesystem(boot / "data", work / "data.raw", label="dozo-data", size_bytes=recipe.data_bytes)
    for name in ("root", "data"):
        raw, image = work / f"{name}.raw", done / f"{name}.qcow2"
        _run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image)])
        image.chmod(0o644)
        raw.unlink()


def _install(recipe: Recipe, root: Path, boot: Path) -> None:
    customize = f"PGBENCH_SCALE={recipe.pgbench_scale} sh {HERE}/customize.sh"
    _run(
        [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(recipe.packages)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in DPKG_EXCLUDES),
            *(f"--aptopt={line}" for line in host_apt_options()),
            f'--setup-hook=sh {HERE}/prepare.sh "$1"',
            f'--customize-hook={customize} "$1" "{HERE}/guest" "{boot}"',
            "--skip=cleanup/reproducible",
            recipe.release.codename,
            str(root),
            *host_apt_sources(recipe.release),
        ]
    )


def host_apt_sources(release: HostRelease) -> list[str]:
    """The host's own sources of its own distribution, one line each; third parties stay out."""
    fields = "$(ORIGIN)|$(CODENAME)|$(SITE)|$(RELEASE)|$(COMPONENT)"
    targets = _run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    components: dict[tuple[str, str], list[str]] = {}
    for line in targets.splitlines():
        origin, codename, site, suite, component = line.split("|")
        ours = origin.lower() == release.name and codename.startswith(release.codename)
        if ours and not codename.endswith("-backports"):
            found = components.setdefault((site, suite), [])
            if component not in found:
                found.append(component)
    if not components:
        raise BuildFailed("apt knows no source of this distribution; run: apt-get update")
    return [f"deb {site} {suite} {' '.join(names)}" for (site, suite), names in components.items()]


def host_apt_options() -> Iterator[str]:
    """Proxy, certificate and retry settings of the host's apt, as configuration lines."""
    wanted = re.compile(r"^Acquire::(https?::|ftp::|Retries )")
    for line in _run(["apt-config", "dump", "Acquire"]).splitlines():
        if wanted.match(line) and not line.endswith('"";'):
            yield line


def _root_disk(recipe: Recipe, root: Path, boot: Path, disk: Path) -> None:
    fat_start, ext4_start = ALIGN_BYTES, ALIGN_BYTES + recipe.boot_bytes
    with disk.open("wb") as file:
        file.truncate(recipe.root_bytes)
    fat = f"{disk}@@{fat_start}"
    sectors = recipe.boot_bytes // SECTOR_BYTES
    hidden = fat_start // SECTOR_BYTES
    _run(["mformat", "-i", fat, "-T", str(sectors), "-H", str(hidden), "-h", "64", "-s", "32"])
    for source in (boot / "vmlinuz", boot / "initrd.img", HERE / "guest/syslinux.cfg"):
        _run(["mcopy", "-i", fat, str(source), f"::/{source.name}"])
    _run(["syslinux", "--install", "--offset", str(fat_start), str(disk)])
    _filesystem(
        root,
        disk,
        label="dozo-root",
        size_bytes=recipe.root_bytes - ext4_start,
        offset_bytes=ext4_start,
    )
    with disk.open("r+b") as file:
        file.write(_master_boot_record(fat_start, ext4_start, recipe.root_bytes))


def _master_boot_record(fat_start: int, ext4_start: int, disk_bytes: int) -> bytes:
    """512 bytes: boot code, two partition entries (one active), signature."""
    code = next((path for path in MBR_CODE if path.exists()), None)
    if code is None:
        raise BuildFailed("mbr.bin is missing; install the package syslinux-common")

    def entry(active: bool, kind: int, start: int, end: int) -> bytes:
        far = b"\xfe\xff\xff"  # "beyond what cylinders can say": readers use the sector numbers
        flag = b"\x80" if active else b"\0"
        numbers = struct.pack("<II", start // SECTOR_BYTES, (end - start) // SECTOR_BYTES)
        return flag + far + bytes([kind]) + far + numbers

    table = entry(True, TYPE_FAT16_LBA, fat_start, ext4_start)
    table += entry(False, TYPE_LINUX, ext4_start, disk_bytes)
    return code.read_bytes()[:440].ljust(446, b"\0") + table.ljust(64, b"\0") + b"\x55\xaa"


def _filesystem(
    folder: Path, disk: Path, *, label: str, size_bytes: int, offset_bytes: int = 0
) -> None:
    """Write an ext4 file system with the folder's content at an offset of a raw image."""
    with disk.open("ab") as file:
        if file.tell() < offset_bytes + size_bytes:
            file.truncate(offset_bytes + size_bytes)
    options = f"offset={offset_bytes},lazy_itable_init=1,lazy_journal_init=1"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-m", "0", "-J", "size=16"]
    _run([*command, "-E", options, "-d", str(folder), str(disk), f"{size_bytes // 1024}k"])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _forget_old_builds(cache: Path) -> None:
    builds = [path for path in cache.iterdir() if path.is_dir()]
    builds.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in builds[KEEP_BUILDS:]:
        shutil.rmtree(path, ignore_errors=True)


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
        )
    except FileNotFoundError:
        raise BuildFailed(f"{command[0]} is not installed; run scripts/setup") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()[-12:]
        raise BuildFailed("\n".join([f"{command[0]} failed:", *said])) from None
    return done.stdout
