"""Byte layouts that every object of a vault shares: the prologue and the envelope.

Source: ``docs/vault-format.md``, section "Objects". All integers are little-endian.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from blake3 import blake3

from dozo.blobs import Blobs, BlobUnreadable, Buffer
from dozo.model.message import Message
from dozo.vault.errors import FormatUnsupported, ObjectDamaged

MAGIC = b"DOZO"
VERSION = 1
HASH_BYTES = 32
ID_BYTES = 32
ZERO_ID = bytes(ID_BYTES)

# 0 magic[4]  4 kind u8  5 version u8  6 compatible u16  8 read-only-compatible u16
# 10 incompatible u16  12 body length u64
PROLOGUE = struct.Struct("<4sBBHHHQ")

KNOWN_READ_ONLY_FEATURES = 0
KNOWN_INCOMPATIBLE_FEATURES = 0

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024


class ObjectKind(IntEnum):
    """What an object is; the fifth byte of each."""

    HEADER = 1
    PACK = 2
    INDEX = 3
    SNAPSHOT = 4
    WRAPPED_KEY = 5
    PENDING = 6
    TOMBSTONE = 7
    RESOLUTION = 8
    HOLD = 9
    DELETING = 11
    DAMAGED = 12
    CHECK = 13
    RECORD = 14
    HEAD = 15
    READING = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """Feature bits: what a reader may ignore, must not write beside, must not read."""

    compatible: int = 0
    read_only_compatible: int = 0
    incompatible: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prologue:
    """The first 20 bytes of an object."""

    kind: int
    body_bytes: int
    features: Features = field(default_factory=Features)


def pack_prologue(kind: ObjectKind, body_bytes: int) -> bytes:
    """The 20 bytes that an object of this version starts with."""
    return PROLOGUE.pack(MAGIC, kind, VERSION, 0, 0, 0, body_bytes)


def read_prologue(data: Buffer, key: str, *, expected: ObjectKind, url: str) -> Prologue:
    """Decode and check a prologue.

    Raises :class:`ObjectDamaged` when it is none, :class:`FormatUnsupported` when it
    was written by a newer version that this one may not read.
    """
    if len(data) < PROLOGUE.size:
        raise ObjectDamaged(url=url, key=key, reason=Message("it is too short"))
    magic, kind, version, compatible, read_only, incompatible, body_bytes = PROLOGUE.unpack_from(
        data
    )
    if magic != MAGIC or kind != expected:
        raise ObjectDamaged(url=url, key=key, reason=Message("it does not start as it should"))
    if version != VERSION or incompatible & ~KNOWN_INCOMPATIBLE_FEATURES:
        raise FormatUnsupported(url=url, key=key, version=version, features=incompatible)
    return Prologue(
        kind=kind,
        body_bytes=body_bytes,
        features=Features(
            compatible=compatible, read_only_compatible=read_only, incompatible=incompatible
        ),
    )


def checksum(key: str, *parts: Buffer) -> bytes:
    """The hash at the end of an object: over its key and everything before (32 bytes).

    The key is part of it, so that an object under another object's name is found.
    """
    hasher = blake3(derive_key_context="dozo vault 1 object checksum")
    name = key.encode()
    hasher.update(len(name).to_bytes(4, "little"))
    hasher.update(name)
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def seal_object(key: str, kind: ObjectKind, body: Buffer) -> bytes:
    """Prologue, body and checksum: a whole object, ready to be stored under ``key``."""
    start = pack_prologue(kind, len(body))
    return b"".join((start, body, checksum(key, start, body)))


def open_object(data: Buffer, key: str, kind: ObjectKind, *, url: str) -> memoryview:
    """The body of an object, after its checksum was found right.

    Raises :class:`ObjectDamaged` or :class:`FormatUnsupported`.
    """
    view = memoryview(data)
    # The checksum comes first: a damaged version byte must not look like a newer format.
    if len(view) < PROLOGUE.size + HASH_BYTES:
        raise ObjectDamaged(url=url, key=key, reason=Message("it is too short"))
    if checksum(key, view[:-HASH_BYTES]) != view[-HASH_BYTES:]:
        raise ObjectDamaged(url=url, key=key, reason=Message("its checksum does not match"))
    prologue = read_prologue(view, key, expected=kind, url=url)
    body = view[PROLOGUE.size : -HASH_BYTES]
    if prologue.body_bytes != len(body):
        raise ObjectDamaged(url=url, key=key, reason=Message("its length does not match"))
    return body


def fetch(read: Callable[[str], Buffer], key: str, *, url: str) -> Buffer:
    """What ``read`` gives for an object. Raises ``BlobMissing``, :class:`ObjectDamaged`."""
    try:
        return read(key)
    except BlobUnreadable as error:
        raise ObjectDamaged(url=url, key=key, reason=Message("it cannot be read")) from error


def to_json(document: dict[str, Any]) -> bytes:
    """The canonical form of a document: sorted keys, no white space, UTF-8."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def from_json(body: Buffer, key: str, *, url: str) -> dict[str, Any]:
    """A document read back. Raises :class:`ObjectDamaged` when it is none."""
    try:
        document = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise ObjectDamaged(url=url, key=key, reason=Message("it is not a document")) from error
    if not isinstance(document, dict):
        raise ObjectDamaged(url=url, key=key, reason=Message("it is not a document"))
    return document


def load_document(blobs: Blobs, key: str, kind: ObjectKind) -> dict[str, Any]:
    """The document stored under ``key``, checked.

    Raises :class:`~dozo.blobs.BlobMissing`, :class:`ObjectDamaged`,
    :class:`FormatUnsupported`.
    """
    data = fetch(blobs.get, key, url=blobs.url)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ObjectDamaged(url=blobs.url, key=key, reason=Message("it is too large"))
    return from_json(open_object(data, key, kind, url=blobs.url), key, url=blobs.url)


def store_document(blobs: Blobs, key: str, kind: ObjectKind, document: dict[str, Any]) -> None:
    """Write a document under ``key``, replacing what was there; durable on return."""
    blobs.put(key, [seal_object(key, kind, to_json(document))])


def create_document(blobs: Blobs, key: str, kind: ObjectKind, document: dict[str, Any]) -> bool:
    """Write a document only where none is; False where one was."""
    return blobs.create(key, [seal_object(key, kind, to_json(document))])
