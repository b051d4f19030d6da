"""Whether QEMU, as libvirt runs it, may use a directory: found out by letting it."""

import fcntl
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from dozo.hypervisor import scratch
from dozo.hypervisor.backup_job import JobDisk, backup_xml, end_job
from dozo.hypervisor.connection import Host, message
from dozo.hypervisor.disks import parse_xml, source_path

PROBE_PREFIX = "dozo-probe-"
# In a probe's folder, locked for as long as its maker lives.
_LOCK = "maker.lock"


def qemu_user_refusal(host: Host, directory: Path) -> str | None:
    """Why QEMU cannot keep an image, scratch files and a socket there; None if it can.

    A paused server of a few MiB is started for a moment, with a disk there, and a backup job
    is begun on it: users, modes and AppArmor all have their say. Nothing of it stays; what one
    whose maker was killed has left goes first.
    """
    remove_dead_probes(host, directory)
    name = f"{PROBE_PREFIX}{secrets.token_hex(4)}"
    try:
        own = scratch.directory_for(directory, name)
        own.mkdir()
    except (OSError, ValueError) as error:
        return str(error)
    try:
        own.chmod(0o700)
        with _locked(own):
            return _prepare_and_try(host, name, own)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    finally:
        scratch.remove(own)


def _prepare_and_try(host: Host, name: str, own: Path) -> str | None:
    owner = host.qemu_user()
    if owner is not None and os.geteuid() == 0:
        os.chown(own, *owner)
    # An image of a size that no reader minds; qcow2 would need more than a hole.
    with (own / "disk.raw").open("wb") as file:
        file.truncate(1024 * 1024)
    return _try(host, name, own)


def remove_dead_probes(host: Host, directory: Path) -> None:
    """Remove the probes, and what they have left in ``directory``, whose makers were killed."""
    with suppress(libvirt.libvirtError):
        for domain in host.connection.listAllDomains():
            if domain.name().startswith(PROBE_PREFIX):
                _remove_if_dead(domain)
    for folder in directory.glob(f"{scratch.PREFIX}{PROBE_PREFIX}*"):
        # One without a lock may be about to get it.
        if (folder / _LOCK).exists() and not _is_alive(folder):
            scratch.remove(folder)


def _remove_if_dead(domain: Any) -> None:
    with suppress(libvirt.libvirtError):
        disk = parse_xml(domain.XMLDesc(0)).find("devices/disk")
        path = None if disk is None else source_path(disk)
        folder = Path(path).parent if path else None
        if folder is not None and _is_alive(folder):
            return
        domain.destroy()
        if folder is not None and folder.name.startswith(f"{scratch.PREFIX}{PROBE_PREFIX}"):
            scratch.remove(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_alive(folder: Path) -> bool:
    """Whether somebody holds the probe's lock."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _try(host: Host, name: str, own: Path) -> str | None:
    flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
    try:
        domain = host.connection.createXML(_definition(name, own / "disk.raw"), flags)
    except libvirt.libvirtError as error:
        return message(error)
    socket = scratch.socket_in(own)
    job = JobDisk(device="vda", since=None, track=False)
    try:
        domain.backupBegin(backup_xml([job], own, socket), None, 0)
        end_job(domain, str(socket))
    except libvirt.libvirtError as error:
        return message(error)
    finally:
        domain.destroy()
    return None


def _definition(name: str, image: Path) -> str:
    domain = ET.Element("domain", type="qemu")
    ET.SubElement(domain, "name").text = name
    ET.SubElement(domain, "memory", unit="MiB").text = "4"
    ET.SubElement(ET.SubElement(domain, "os"), "type", arch="x86_64").text = "hvm"
    devices = ET.SubElement(domain, "devices")
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type="raw")
    ET.SubElement(disk, "source", file=str(image))
    ET.SubElement(disk, "target", dev="vda", bus="virtio")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    return ET.tostring(domain, encoding="unicode")
