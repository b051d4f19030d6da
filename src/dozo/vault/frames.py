"""Frames: a chunk, a tree segment or a document, compressed and (but for trees) sealed.

Source: ``docs/vault-format.md``, section "Frames".
"""

import os
import struct
import threading
from enum import IntEnum

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dozo.blobs import Buffer
from dozo.vault.keys import TenantKeys

FRAME_VERSION = 1
SALT_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
MAX_PLAIN_BYTES = 64 * 1024 * 1024

# 0 version u8  1 suite u8  2 kind u8  3 zero u8  4 tenant u64  12 data-key number u32
# 16 plain length u32; sealed suites go on with salt[16] and nonce[12]
HEADER = struct.Struct("<BBBBQII")
SEALED_HEADER_BYTES = HEADER.size + SALT_BYTES + NONCE_BYTES
KEY_CONTEXT = b"dozo vault 1 frame key"
ATTACHMENT_CONTEXT = b"dozo vault 1 attachment id"


class FrameKind(IntEnum):
    """What a frame holds."""

    CHUNK = 1
    TREE = 2
    SNAPSHOT = 3
    ATTACHMENT = 4
    RECORD = 5


class Suite(IntEnum):
    """How a frame's content is compressed and sealed."""

    ZSTD_AES256GCM = 1
    AES256GCM = 2
    ZSTD_CLEAR = 16
    CLEAR = 17


class FrameInvalid(Exception):
    """The bytes are no frame, or do not open. The caller knows where they came from."""


class _Codecs(threading.local):
    """zstandard's objects may not be shared by threads."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        if level not in self.compressors:
            self.compressors[level] = zstandard.ZstdCompressor(
                level=level, write_content_size=False, write_checksum=False
            )
        return self.compressors[level]


_codecs = _Codecs()


def chunk_id(plain: Buffer, tenant: TenantKeys) -> bytes:
    """The id of a chunk: BLAKE3 keyed with the tenant's id key (32 bytes)."""
    return blake3(plain, key=tenant.id_key).digest()


def attachment_id(plain: Buffer, tenant: TenantKeys) -> bytes:
    """The id of an attachment (32 bytes); never that of a chunk with the same bytes.

    A frame is sealed for its kind, so a chunk's frame cannot stand for an attachment.
    """
    key = blake3(ATTACHMENT_CONTEXT, key=tenant.id_key).digest()
    return blake3(plain, key=key).digest()


def tree_id(plain: Buffer) -> bytes:
    """The id of a tree segment: BLAKE3 in the context of trees, without a key (32 bytes)."""
    return blake3(plain, derive_key_context="dozo vault 1 tree segment").digest()


def stored_hash(frame: Buffer) -> bytes:
    """The hash of a frame as it is stored, by which rot is found without keys (32 bytes)."""
    return blake3(frame).digest()


def seal(plain: Buffer, kind: FrameKind, object_id: bytes, tenant: TenantKeys, level: int) -> bytes:
    """A sealed frame. Salt and nonce are random, never derived from what is sealed."""
    compressed = _codecs.compressor(level).compress(plain)
    suite = Suite.ZSTD_AES256GCM
    if len(compressed) >= len(plain):
        compressed, suite = bytes(plain), Suite.AES256GCM
    random = os.urandom(SALT_BYTES + NONCE_BYTES)
    header = (
        HEADER.pack(FRAME_VERSION, suite, kind, 0, tenant.number, tenant.current, len(plain))
        + random
    )
    key = _frame_key(tenant.data_keys[tenant.current], kind, random[:SALT_BYTES])
    return header + AESGCM(key).encrypt(random[SALT_BYTES:], compressed, header + object_id)


def open_sealed(frame: Buffer, kind: FrameKind, object_id: bytes, tenant: TenantKeys) -> bytes:
    """The content of a sealed frame. Raises :class:`FrameInvalid`."""
    view = memoryview(frame)
    suite, plain_bytes, key_number, number = _read_header(view, kind)
    if suite not in (Suite.ZSTD_AES256GCM, Suite.AES256GCM) or number != tenant.number:
        raise FrameInvalid
    data_key = tenant.data_keys.get(key_number)
    if data_key is None or len(view) < SEALED_HEADER_BYTES + TAG_BYTES:
        raise FrameInvalid
    header = bytes(view[:SEALED_HEADER_BYTES])
    salt = header[HEADER.size : HEADER.size + SALT_BYTES]
    nonce = header[HEADER.size + SALT_BYTES :]
    key = _frame_key(data_key, kind, salt)
    try:
        compressed = AESGCM(key).decrypt(nonce, view[SEALED_HEADER_BYTES:], header + object_id)
    except InvalidTag as error:
        raise FrameInvalid from error
    return _expand(compressed, plain_bytes, compressed_suite=suite is Suite.ZSTD_AES256GCM)


def store_clear(plain: Buffer, kind: FrameKind, level: int) -> bytes:
    """An unsealed frame, for tree segments, which name nothing but ids."""
    compressed = _codecs.compressor(level).compress(plain)
    suite = Suite.ZSTD_CLEAR
    if len(compressed) >= len(plain):
        compressed, suite = bytes(plain), Suite.CLEAR
    return HEADER.pack(FRAME_VERSION, suite, kind, 0, 0, 0, len(plain)) + compressed


def open_clear(frame: Buffer, kind: FrameKind) -> bytes:
    """The content of an unsealed frame. Raises :class:`FrameInvalid`."""
    view = memoryview(frame)
    suite, plain_bytes, _key_number, _tenant = _read_header(view, kind)
    if suite not in (Suite.ZSTD_CLEAR, Suite.CLEAR):
        raise FrameInvalid
    return _expand(view[HEADER.size :], plain_bytes, compressed_suite=suite is Suite.ZSTD_CLEAR)


def _read_header(view: memoryview, expected: FrameKind) -> tuple[Suite, int, int, int]:
    if len(view) < HEADER.size:
        raise FrameInvalid
    version, suite, kind, zero, tenant, key_number, plain_bytes = HEADER.unpack_from(view)
    if version != FRAME_VERSION or kind != expected or zero or plain_bytes > MAX_PLAIN_BYTES:
        raise FrameInvalid
    try:
        return Suite(suite), plain_bytes, key_number, tenant
    except ValueError as error:
        raise FrameInvalid from error


def _frame_key(data_key: bytes, kind: FrameKind, salt: bytes) -> bytes:
    return blake3(KEY_CONTEXT + bytes((kind,)) + salt, key=data_key).digest()


def _expand(data: Buffer, plain_bytes: int, *, compressed_suite: bool) -> bytes:
    if not compressed_suite:
        plain = bytes(data)
    else:
        try:
            # A frame that announces a size of its own could ask for any amount of memory.
            if zstandard.frame_content_size(data) != -1:
                raise FrameInvalid
            plain = _codecs.decompressor.decompress(data, max_output_size=max(plain_bytes, 1))
        except zstandard.ZstdError as error:
            raise FrameInvalid from error
    if len(plain) != plain_bytes:
        raise FrameInvalid
    return plain
