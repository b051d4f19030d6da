"""Dozo's own element in a domain's metadata: owner, tags, tracking, and *restoring* marks.

::

    <dozo:server xmlns:dozo="urn:dozo:server:1" tenant="acme" tracking="auto">
      <dozo:tag name="nightly"/>
    </dozo:server>
"""

from dataclasses import dataclass, field, replace
from xml.etree import ElementTree as ET

import libvirt

from dozo.hypervisor.connection import Host, translated
from dozo.hypervisor.disks import parse_xml
from dozo.model.message import Message
from dozo.model.states import Tracking

NAMESPACE = "urn:dozo:server:1"
PREFIX = "dozo"

ET.register_namespace(PREFIX, NAMESPACE)


@dataclass(frozen=True, kw_only=True)
class RestoringMark:
    """An in-place restore that has begun and not ended.

    ``path`` is the image: the device may meanwhile be another volume's.
    """

    device: str
    path: str
    snapshot: str


@dataclass(frozen=True, kw_only=True)
class ServerMetadata:
    """What Dozo keeps with a server's definition.

    ``tenant`` and ``tags`` are written by whoever runs the host; an empty ``tenant`` says nothing.
    """

    tracking: Tracking = Tracking.AUTO
    tenant: str = ""
    tags: tuple[str, ...] = ()
    restoring: tuple[RestoringMark, ...] = field(default=())


def from_definition(domain: ET.Element) -> ServerMetadata:
    """Dozo's element out of a domain definition; the defaults if there is none."""
    element = domain.find(f"metadata/{{{NAMESPACE}}}server")
    return ServerMetadata() if element is None else _parse(element)


def read(host: Host, server: str) -> ServerMetadata:
    """A server's metadata as its definition on disk has it."""
    domain = host.domain(server)
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE if domain.isPersistent() else 0
    with translated(host, Message("read the definition of"), server):
        return from_definition(parse_xml(domain.XMLDesc(flags)))


def set_tracking(host: Host, server: str, tracking: Tracking) -> None:
    """Say whether checkpoints may be kept on this server's volumes."""
    _write(host, server, replace(read(host, server), tracking=tracking))


def mark_restoring(host: Host, server: str, mark: RestoringMark) -> None:
    """Mark a volume as half restored; one mark an image, the newest counts."""
    metadata = read(host, server)
    others = tuple(each for each in metadata.restoring if each.path != mark.path)
    _write(host, server, replace(metadata, restoring=(*others, mark)))


def clear_restoring(host: Host, server: str, path: str) -> None:
    """Take the mark of a volume's image away; nothing happens if there is none."""
    metadata = read(host, server)
    others = tuple(each for each in metadata.restoring if each.path != path)
    if others != metadata.restoring:
        _write(host, server, replace(metadata, restoring=others))


def put_into(domain: ET.Element, metadata: ServerMetadata) -> None:
    """Write the element into a definition, in place of what stood there."""
    holder = domain.find("metadata")
    if holder is None:
        holder = ET.SubElement(domain, "metadata")
    for element in holder.findall(f"{{{NAMESPACE}}}server"):
        holder.remove(element)
    if metadata != ServerMetadata():
        holder.append(to_element(metadata))


def to_element(metadata: ServerMetadata) -> ET.Element:
    """The element that stands in the definition."""
    element = ET.Element(f"{{{NAMESPACE}}}server", tracking=metadata.tracking.value)
    if metadata.tenant:
        element.set("tenant", metadata.tenant)
    for tag in metadata.tags:
        ET.SubElement(element, f"{{{NAMESPACE}}}tag", name=tag)
    for mark in metadata.restoring:
        ET.SubElement(
            element,
            f"{{{NAMESPACE}}}restoring",
            device=mark.device,
            path=mark.path,
            snapshot=mark.snapshot,
        )
    return element


def _parse(element: ET.Element) -> ServerMetadata:
    try:
        tracking = Tracking(element.get("tracking", Tracking.AUTO.value))
    except ValueError:
        # A value from a newer version: do nothing to the server that it may forbid.
        tracking = Tracking.OFF
    marks = tuple(
        RestoringMark(
            device=mark.get("device", ""),
            path=mark.get("path", ""),
            snapshot=mark.get("snapshot", ""),
        )
        for mark in element.iterfind(f"{{{NAMESPACE}}}restoring")
    )
    names = (tag.get("name", "").strip() for tag in element.iterfind(f"{{{NAMESPACE}}}tag"))
    return ServerMetadata(
        tracking=tracking,
        tenant=element.get("tenant", "").strip(),
        tags=tuple(dict.fromkeys(name for name in names if name)),
        restoring=marks,
    )


def _write(host: Host, server: str, metadata: ServerMetadata) -> None:
    domain = host.domain(server)
    element = to_element(metadata)
    # libvirt adds the namespace itself and wants the element without a prefix.
    for each in element.iter():
        each.tag = each.tag.rpartition("}")[2]
    text = None if metadata == ServerMetadata() else ET.tostring(element, encoding="unicode")
    with translated(host, Message("write the metadata of"), server):
        flags = 0
        if domain.isPersistent():
            flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
        if domain.isActive():
            flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, PREFIX, NAMESPACE, flags)
