"""How a simulated guest behaves, and what it writes in a stretch of time. Pure.

The behaviour stands in the server's definition, so that a restored server behaves like its
original::

    <sim:guest xmlns:sim="urn:dozo:simulated:1" agent="yes" obeys="yes" stop-seconds="0"
               bytes-per-minute="65536" unmounted="vdb"/>
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

NAMESPACE = "urn:dozo:simulated:1"

BLOCK_BYTES = 64 * 1024
_TICK_S = 60
# A guest that nobody looked at for days does not make up for all of it.
_MOST_BLOCKS = 256

ET.register_namespace("sim", NAMESPACE)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """What a guest does while its server runs.

    ``obeys`` the power button ``stop_seconds`` after it was pressed; ``bytes_per_minute`` are
    written to each mounted disk; ``unmounted`` names the disks that it does not use.
    """

    agent: bool = True
    obeys: bool = True
    stop_seconds: float = 0.0
    bytes_per_minute: int = BLOCK_BYTES
    unmounted: tuple[str, ...] = ()


def from_definition(domain: ET.Element) -> Guest:
    """The behaviour that a definition gives; the default one for a definition from elsewhere."""
    element = domain.find(f"metadata/{{{NAMESPACE}}}guest")
    if element is None:
        return Guest()
    return Guest(
        agent=element.get("agent") == "yes",
        obeys=element.get("obeys") == "yes",
        stop_seconds=float(element.get("stop-seconds", "0")),
        bytes_per_minute=int(element.get("bytes-per-minute", "0")),
        unmounted=tuple(element.get("unmounted", "").split()),
    )


def put_into(domain: ET.Element, guest: Guest) -> None:
    """Write the behaviour into a definition, in place of what stood there."""
    holder = domain.find("metadata")
    if holder is None:
        holder = ET.SubElement(domain, "metadata")
    for element in holder.findall(f"{{{NAMESPACE}}}guest"):
        holder.remove(element)
    ET.SubElement(
        holder,
        f"{{{NAMESPACE}}}guest",
        {
            "agent": "yes" if guest.agent else "no",
            "obeys": "yes" if guest.obeys else "no",
            "stop-seconds": str(guest.stop_seconds),
            "bytes-per-minute": str(guest.bytes_per_minute),
            "unmounted": " ".join(guest.unmounted),
        },
    )


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write of a guest: a block at an offset, both in bytes."""

    offset_bytes: int
    content: bytes


def writes(
    guest: Guest, *, seed: str, size_bytes: int, since_s: float, until_s: float
) -> Iterator[Write]:
    """What the guest writes to one disk between two moments; the same however often it is asked.

    The moments are seconds since the epoch. Half of each block compresses well.
    """
    blocks = size_bytes // BLOCK_BYTES
    first, last = int(since_s // _TICK_S), int(until_s // _TICK_S)
    # Counted from the epoch, so that a slow guest writes now and then however often one looks.
    wanted = (
        last * guest.bytes_per_minute // BLOCK_BYTES - first * guest.bytes_per_minute // BLOCK_BYTES
    )
    if not blocks or wanted <= 0:
        return
    source = random.Random(f"{seed}/{first}/{last}")  # noqa: S311  content, not a secret
    for _ in range(min(wanted, _MOST_BLOCKS)):
        half = source.randbytes(BLOCK_BYTES // 2)
        word = half[:8]
        yield Write(
            offset_bytes=source.randrange(blocks) * BLOCK_BYTES,
            content=half + word * (BLOCK_BYTES // 2 // len(word)),
        )
