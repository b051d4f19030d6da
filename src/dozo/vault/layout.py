"""The names of a vault's objects.

Source: ``docs/vault-format.md``, section "Names".
"""

HEADER = "header"
HEADER_COPY = "header.copy"
PACKS = "packs"
INDEX = "index"
SNAPSHOTS = "snapshots"
KEYS = "keys"
PENDING = "pending"
TOMBSTONES = "tombstones"
RESOLUTIONS = "resolutions"
HOLDS = "holds"
DELETING = "deleting"
DAMAGED = "damaged"
CHECKS = "checks"
READINGS = "readings"
RECORDS = "records"
HEADS = "heads"


def pack_key(pack_id: bytes) -> str:
    """``packs/ab/abcd…``"""
    name = pack_id.hex()
    return f"{PACKS}/{name[:2]}/{name}"


def index_key(index_id: bytes) -> str:
    """``index/…``"""
    return f"{INDEX}/{index_id.hex()}"


def snapshot_key(snapshot: str, attempt: str) -> str:
    """``snapshots/S/A``: snapshot S as published, or abandoned, by attempt A."""
    return f"{SNAPSHOTS}/{snapshot}/{attempt}"


def pending_key(snapshot: str, attempt: str) -> str:
    """``pending/S.A``: attempt A is at work on snapshot S."""
    return f"{PENDING}/{snapshot}.{attempt}"


def wrapped_key(tenant: int, recipient: str) -> str:
    """``keys/T/R``: the secrets of tenant T, wrapped for the site with fingerprint R."""
    return f"{KEYS}/{tenant:016x}/{recipient}"


def tombstone_key(snapshot: str, number: int) -> str:
    """``tombstones/S/N``: the N-th deletion of snapshot S."""
    return f"{TOMBSTONES}/{snapshot}/{number:08d}"


def resolution_key(snapshot: str, number: int) -> str:
    """``resolutions/S/N``: how the N-th deletion of snapshot S ended."""
    return f"{RESOLUTIONS}/{snapshot}/{number:08d}"


def hold_key(snapshot: str, hold: str) -> str:
    """``holds/S/H``"""
    return f"{HOLDS}/{snapshot}/{hold}"


def deleting_key(removal: str) -> str:
    """``deleting/E``: packs that removal E is about to delete."""
    return f"{DELETING}/{removal}"


def damaged_key(pack_id: bytes) -> str:
    """``damaged/P``: frames of pack P that must not be relied on."""
    return f"{DAMAGED}/{pack_id.hex()}"


def check_key(snapshot: str) -> str:
    """``checks/S``: what reading snapshot S back has shown in this vault."""
    return f"{CHECKS}/{snapshot}"


def reading_key(reading: str) -> str:
    """``readings/R``: which packs were read back whole, and when."""
    return f"{READINGS}/{reading}"
