"""Removing what the demo made, and nothing else."""

from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt

from dozo_demo import services
from dozo_demo.places import DR, FOLDERS, MAIN, ORIGINAL, SERVERS, NotOurs, remove_folder
from guestlab import host

OUR_IMAGES = tuple(folder for folder in FOLDERS if folder.parent == ORIGINAL.parent)


def remove_servers(connection: libvirt.virConnect) -> list[str]:
    """Stop and undefine the demo's servers; their names. Raises NotOurs."""
    removed = []
    for domain in connection.listAllDomains():
        if domain.name() in SERVERS:
            _must_be_ours(domain)
            host.remove_domain(domain)
            removed.append(domain.name())
    return removed


def _must_be_ours(domain: libvirt.virDomain) -> None:
    tree = ET.fromstring(domain.XMLDesc(0))
    for source in tree.iterfind("./devices/disk/source"):
        path = Path(source.get("file", "/"))
        if not any(path.is_relative_to(folder) for folder in OUR_IMAGES):
            raise NotOurs(f"server {domain.name()} has a disk that is not the demo's: {path}")


def remove_everything(connection: libvirt.virConnect) -> tuple[list[str], int]:
    """Services, servers and folders of an earlier run: names, and bytes set free.

    Raises NotOurs.
    """
    for site in (MAIN, DR):
        services.stop(site)
    servers = remove_servers(connection)
    return servers, sum(remove_folder(folder) for folder in FOLDERS)
