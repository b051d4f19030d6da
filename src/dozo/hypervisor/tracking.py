"""Change tracking: Dozo's checkpoints and their bitmaps. Other tools' are never touched.

With libvirt 9 and later each checkpoint's bitmap goes on recording on its own, so that removing
one changes nothing for the others.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import libvirt

from dozo.hypervisor import qmp
from dozo.hypervisor.connection import Host, translated
from dozo.hypervisor.disks import TRACKABLE_FORMATS, parse_xml
from dozo.hypervisor.inventory import server as server_info
from dozo.model.change_token import BitmapState
from dozo.model.message import Message

CHECKPOINT_PREFIX = "dozo-"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that libvirt knows. ``ours`` if Dozo made it."""

    name: str
    ours: bool
    devices: tuple[str, ...]
    created_at_s: int


@dataclass(frozen=True, kw_only=True)
class StaleBitmap:
    """A bitmap without a checkpoint in the image of a stopped server.

    The caller removes it with ``dozo.volumes.remove_bitmap``.
    """

    server: str
    device: str
    path: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Untracked:
    """What :func:`untrack` removed, and what is left for the caller to look through.

    ``images`` are the stopped server's images: bitmaps for which :func:`is_ours` holds are
    to be removed from them, those in ``stale_bitmaps`` among them.
    """

    checkpoints: tuple[str, ...]
    bitmaps: tuple[str, ...]
    stale_bitmaps: tuple[StaleBitmap, ...]
    images: tuple[str, ...]


def new_checkpoint_name() -> str:
    """A name that no attempt had before: an earlier one's bitmap may still be in the image."""
    return CHECKPOINT_PREFIX + secrets.token_hex(8)


def is_ours(name: str) -> bool:
    """Whether a checkpoint or bitmap of that name is Dozo's."""
    return name.startswith(CHECKPOINT_PREFIX)


def checkpoints(host: Host, server: str) -> list[Checkpoint]:
    """All checkpoints of a server, the oldest first."""
    domain = host.domain(server)
    with translated(host, Message("list the checkpoints of"), server):
        # Topological: parents come before children, where times may be equal.
        flags = libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL
        return [_describe(each) for each in domain.listAllCheckpoints(flags)]


def live_bitmaps(host: Host, server: str) -> dict[str, tuple[BitmapState, ...]]:
    """The bitmaps in a running server's images by image path, as QEMU has them."""
    domain = host.domain(server)
    with translated(host, Message("look for bitmaps of"), server):
        found = qmp.bitmaps(domain)
    states: dict[str, tuple[BitmapState, ...]] = {}
    for each in found:
        state = BitmapState(
            name=each.name, recording=each.recording, inconsistent=each.inconsistent
        )
        states[each.path] = (*states.get(each.path, ()), state)
    return states


def live_internal_snapshots(host: Host, server: str) -> dict[str, tuple[str, ...]]:
    """The internal snapshots in a running server's images by image path."""
    domain = host.domain(server)
    with translated(host, Message("look for internal snapshots of"), server):
        return qmp.internal_snapshots(domain)


def delete_checkpoint(host: Host, server: str, name: str) -> tuple[StaleBitmap, ...]:
    """Delete a checkpoint and its bitmaps; one that is gone already is fine.

    A stopped server's images cannot be reached through libvirt: the bitmaps that stay in
    them are returned.
    """
    domain = host.domain(server)
    with translated(host, Message("delete checkpoint {name} of", name=name), server):
        return _delete(domain, name)


def delete_superseded(host: Host, server: str) -> tuple[StaleBitmap, ...]:
    """Delete Dozo's checkpoints that are the newest of no volume.

    A checkpoint may cover several volumes: it stays while it is the newest of any.
    """
    ours = [each for each in checkpoints(host, server) if each.ours]
    newest = {device: each.name for each in ours for device in each.devices}
    superseded = (each.name for each in ours if each.name not in newest.values())
    return tuple(bitmap for name in superseded for bitmap in delete_checkpoint(host, server, name))


def remove_orphan_bitmaps(host: Host, server: str) -> tuple[str, ...]:
    """Remove Dozo's bitmaps without a checkpoint from a running server's images."""
    domain = host.domain(server)
    known = {each.name for each in checkpoints(host, server)}
    with translated(host, Message("remove the bitmaps of"), server):
        orphans = [
            each
            for each in qmp.bitmaps(domain)
            if is_ours(each.name) and each.name not in known and not each.busy
        ]
        return tuple(each.name for each in orphans if qmp.remove_bitmap(domain, each))


def untrack(host: Host, server: str) -> Untracked:
    """Remove every trace of change tracking from a server, running or stopped."""
    info = server_info(host, server)
    names = tuple(each.name for each in checkpoints(host, server) if each.ours)
    stale = tuple(bitmap for name in names for bitmap in delete_checkpoint(host, server, name))
    if info.active:
        removed = remove_orphan_bitmaps(host, server)
        return Untracked(checkpoints=names, bitmaps=removed, stale_bitmaps=(), images=())
    images = tuple(disk.path for disk in info.disks if disk.trackable and disk.path is not None)
    return Untracked(checkpoints=names, bitmaps=(), stale_bitmaps=stale, images=images)


def _describe(checkpoint: Any) -> Checkpoint:
    tree = parse_xml(checkpoint.getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN))
    name = checkpoint.getName()
    return Checkpoint(
        name=name,
        ours=is_ours(name),
        devices=tuple(
            disk.get("name", "") for disk in tree.iterfind("disks/disk[@checkpoint='bitmap']")
        ),
        created_at_s=int(tree.findtext("creationTime") or 0),
    )


def _delete(domain: Any, name: str) -> tuple[StaleBitmap, ...]:
    try:
        checkpoint = domain.checkpointLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT:
            return ()
        raise
    if not domain.isActive():
        return _forget(domain, checkpoint)
    try:
        checkpoint.delete(0)
    except libvirt.libvirtError:
        # A backup job that still uses the bitmap is the one good reason to fail; otherwise
        # the bitmap is broken or gone, and only libvirt's record of it is left to remove.
        if any(each.name == name and each.busy for each in qmp.bitmaps(domain)):
            raise
        checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
        for each in qmp.bitmaps(domain):
            if each.name == name:
                qmp.remove_bitmap(domain, each)
    return ()


def _forget(domain: Any, checkpoint: Any) -> tuple[StaleBitmap, ...]:
    """Delete libvirt's record only, which is all that it does for a stopped server."""
    description = _describe(checkpoint)
    tree = parse_xml(domain.XMLDesc(0))
    checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
    stale = []
    for element in tree.iterfind("devices/disk"):
        target, source, driver = (element.find(tag) for tag in ("target", "source", "driver"))
        device = "" if target is None else target.get("dev", "")
        path = None if source is None else source.get("file") or source.get("dev")
        trackable = driver is not None and driver.get("type") in TRACKABLE_FORMATS
        if device in description.devices and path is not None and trackable:
            stale.append(
                StaleBitmap(server=domain.name(), device=device, path=path, name=description.name)
            )
    return tuple(stale)
