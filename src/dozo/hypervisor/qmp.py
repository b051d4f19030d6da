"""The few questions that only QEMU itself answers, asked through libvirt."""

import json
from dataclasses import dataclass
from typing import Any

import libvirt_qemu


@dataclass(frozen=True, kw_only=True)
class LiveBitmap:
    """A named dirty bitmap of a running server's image, and the node that carries it."""

    path: str
    node: str
    name: str
    granularity_bytes: int
    recording: bool
    inconsistent: bool
    busy: bool


def bitmaps(domain: Any) -> list[LiveBitmap]:
    """All named bitmaps of a running server's qcow2 images."""
    return [
        _bitmap(node, bitmap)
        for node in _nodes(domain)
        if node.get("drv") == "qcow2"
        for bitmap in node.get("dirty-bitmaps", ())
        if bitmap.get("name") and bitmap.get("persistent")
    ]


def internal_snapshots(domain: Any) -> dict[str, tuple[str, ...]]:
    """The names of internal snapshots by image path, of a running server's images."""
    return {
        node["file"]: tuple(str(each.get("name")) for each in node["image"]["snapshots"])
        for node in _nodes(domain)
        if node.get("drv") == "qcow2" and node.get("image", {}).get("snapshots")
    }


def remove_bitmap(domain: Any, bitmap: LiveBitmap) -> bool:
    """Remove a bitmap from a running server's image; False if QEMU would not."""
    answer = _command(
        domain, "block-dirty-bitmap-remove", {"node": bitmap.node, "name": bitmap.name}
    )
    return "error" not in answer


def _bitmap(node: dict[str, Any], bitmap: dict[str, Any]) -> LiveBitmap:
    return LiveBitmap(
        path=node["file"],
        node=node["node-name"],
        name=bitmap["name"],
        granularity_bytes=bitmap["granularity"],
        recording=bitmap["recording"],
        inconsistent=bool(bitmap.get("inconsistent", False)),
        busy=bool(bitmap.get("busy", False)),
    )


def _nodes(domain: Any) -> list[dict[str, Any]]:
    answer = _command(domain, "query-named-block-nodes", {"flat": True})
    return list(answer.get("return", ()))


def _command(domain: Any, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    request = json.dumps({"execute": name, "arguments": arguments})
    answer: dict[str, Any] = json.loads(libvirt_qemu.qemuMonitorCommand(domain, request, 0))
    return answer
