"""Which servers use an image: what anybody's server has as a disk is never removed."""

import os
from collections.abc import Iterator
from pathlib import Path

from dozo import volumes
from dozo.services.site import Site
from dozo.volumes import VolumeError


def users(site: Site) -> dict[str, str]:
    """Every image that a server has, as a disk or underneath one: real path → server.

    Raises ``LibvirtUnavailable``: who cannot ask does not remove.
    """
    return {
        os.path.realpath(path): info.name
        for info in site.host.servers()
        for disk in info.disks
        if disk.path
        for path in (disk.path, *_underneath(disk.path, disk.format))
    }


def user(found: dict[str, str], path: str) -> str | None:
    """The server among :func:`users` that has the image."""
    return found.get(os.path.realpath(path))


def _underneath(path: str, format: str | None) -> Iterator[str]:
    if not Path(path).is_file():
        return
    try:
        chain = volumes.inspect(path, format=format or "raw", in_use_ok=True).chain
    except VolumeError:
        return
    yield from (file.path for file in chain[1:])
