"""What a server is besides its disks: definition, NVRAM, TPM state, and its disks' secrets."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from dozo.hypervisor.connection import Host, translated
from dozo.hypervisor.disks import parse_xml
from dozo.model.message import Message

TPM_ROOT = Path("/var/lib/libvirt/swtpm")
NVRAM_ROOT = Path("/var/lib/libvirt/qemu/nvram")

_SECRET_USAGES = {
    "ceph": libvirt.VIR_SECRET_USAGE_TYPE_CEPH,
    "iscsi": libvirt.VIR_SECRET_USAGE_TYPE_ISCSI,
    "volume": libvirt.VIR_SECRET_USAGE_TYPE_VOLUME,
}


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """A server's state; all of it is to be kept sealed.

    ``definition`` is the one that the next start uses, ``active_definition`` the one in force
    while it runs. ``tpm`` holds the files of the TPM's state by relative path. ``secrets`` are
    by UUID what :func:`read_state` found: JSON with the secret's XML, and its value in base64
    or null where libvirt does not give it out.
    """

    definition: str
    active_definition: str | None
    nvram: bytes | None
    tpm: Mapping[str, bytes] | None
    secrets: Mapping[str, str]


def read_state(host: Host, server: str) -> ServerState:
    """Read a server's state, running or stopped."""
    domain = host.domain(server)
    with translated(host, Message("read the state of"), server):
        secure = libvirt.VIR_DOMAIN_XML_SECURE
        if domain.isPersistent():
            definition = domain.XMLDesc(secure | libvirt.VIR_DOMAIN_XML_INACTIVE)
        else:
            definition = domain.XMLDesc(secure | libvirt.VIR_DOMAIN_XML_MIGRATABLE)
        active = domain.XMLDesc(secure) if domain.isActive() else None
        tree = parse_xml(active or definition)
        return ServerState(
            definition=definition,
            active_definition=active,
            nvram=_nvram(tree),
            tpm=_tpm(tree, domain.UUIDString()),
            secrets=_secrets(host, tree),
        )


def nvram_path(domain: ET.Element) -> Path | None:
    """The file that holds a server's UEFI variables; None without UEFI or if it is no file."""
    element = domain.find("os/nvram")
    if element is None:
        # Where libvirt chose the firmware, only a running server's definition says what it
        # chose; the file has the server's name all the same.
        chosen = domain.find("os[@firmware='efi']") is not None
        return NVRAM_ROOT / f"{domain.findtext('name')}_VARS.fd" if chosen else None
    source = element.find("source")
    text = element.text if source is None else source.get("file")
    text = (text or "").strip()
    return Path(text) if text.startswith("/") else None


def has_emulated_tpm(domain: ET.Element) -> bool:
    """Whether the server's TPM is emulated, so that its state is a directory of files."""
    return domain.find("devices/tpm/backend[@type='emulator']") is not None


def _nvram(domain: ET.Element) -> bytes | None:
    path = nvram_path(domain)
    try:
        return None if path is None else path.read_bytes()
    except FileNotFoundError:
        # A server that was never started has none yet.
        return None


def _tpm(domain: ET.Element, uuid: str) -> dict[str, bytes] | None:
    if not has_emulated_tpm(domain):
        return None
    root = TPM_ROOT / uuid
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _secrets(host: Host, domain: ET.Element) -> dict[str, str]:
    found = {}
    for element in domain.iterfind("devices/disk//secret"):
        secret = _look_up(host, element)
        if secret is not None:
            found[secret.UUIDString()] = json.dumps(
                {"xml": secret.XMLDesc(0), "value": _value(secret)}
            )
    return found


def _look_up(host: Host, element: ET.Element) -> Any:
    try:
        if element.get("uuid"):
            return host.connection.secretLookupByUUIDString(element.get("uuid"))
        usage = _SECRET_USAGES.get(element.get("type", ""), libvirt.VIR_SECRET_USAGE_TYPE_VOLUME)
        return host.connection.secretLookupByUsage(usage, element.get("usage"))
    except libvirt.libvirtError:
        # The server would not start without it either; the rest of its state is still kept.
        return None


def _value(secret: Any) -> str | None:
    try:
        return base64.b64encode(secret.value(0)).decode()
    except libvirt.libvirtError:
        return None
