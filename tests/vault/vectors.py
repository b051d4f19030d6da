"""The test vectors of the format: computed here, pinned in `vectors.json`.

`python -m tests.vault.vectors` prints them. The file is changed only with the format.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from dozo.blobs import MemoryBlobs
from dozo.vault import frames, packs
from dozo.vault.format import ObjectKind, seal_object
from dozo.vault.frames import FrameKind
from dozo.vault.index import segment_body
from dozo.vault.keys import SiteKey, TenantKeys
from dozo.vault.layout import pack_key
from dozo.vault.packs import PackBuilder
from dozo.vault.tree import FANOUT, TreeBuilder, depth_for, leaf_content

CHUNK = 4096
ID_KEY = bytes(range(32))
TENANT = TenantKeys(
    number=0x0123456789ABCDEF,
    name="vectors",
    id_key=ID_KEY,
    data_keys={1: bytes(range(32, 64)), 7: bytes(range(64, 96))},
    current=7,
)
SITE = SiteKey(bytes(range(96, 128)), bytes(range(128, 160)))
FULL = bytes(at * 7 % 251 for at in range(CHUNK))
SHORT = FULL[:1536]


@contextmanager
def fixed_random() -> Iterator[None]:
    """Salt 00 01 02 …, nonce following it."""
    with mock.patch.object(frames.os, "urandom", lambda count: bytes(range(count))):
        yield


def compute() -> dict[str, object]:
    """Everything that two implementations must agree on to the byte."""
    chunk = frames.chunk_id(FULL, TENANT)
    padded = SHORT.ljust(CHUNK, b"\x00")
    leaf = leaf_content(chunk + bytes(32 * (FANOUT - 1)))
    with fixed_random():
        sealed = frames.seal(FULL, FrameKind.CHUNK, chunk, TENANT, 1)
        attachment = frames.attachment_id(b"<domain/>", TENANT)
        sealed_attachment = frames.seal(b"<domain/>", FrameKind.ATTACHMENT, attachment, TENANT, 3)
    # How well zstd compresses is no part of the format, so these two are no real frames.
    contents = (bytes(range(100)), bytes(range(57)))
    builder = PackBuilder(bytes(range(16)))
    builder.add(chunk, FrameKind.CHUNK, contents[0], frames.stored_hash(contents[0]))
    leaf_id = frames.tree_id(leaf)
    builder.add(leaf_id, FrameKind.TREE, contents[1], frames.stored_hash(contents[1]))
    blobs = MemoryBlobs()
    pack = builder.store(blobs)
    stored = blobs.get(pack_key(pack.pack_id))
    return {
        "keys": {
            "id_key": ID_KEY.hex(),
            "data_key_7": TENANT.data_keys[7].hex(),
            "tenant": f"{TENANT.number:016x}",
            "site_agreement_seed": SITE.agreement_seed.hex(),
            "site_signing_seed": SITE.signing_seed.hex(),
            "site_public": SITE.public.to_text(),
            "site_fingerprint": SITE.public.fingerprint,
            "tenant_number_of_default": f"{SITE.tenant_number('default'):016x}",
        },
        "chunk": {
            "plain": "byte i is 7 i mod 251, 4096 bytes",
            "id": chunk.hex(),
            "short_plain": "the first 1536 bytes of it; zeros follow up to 4096 before hashing",
            "short_id": frames.chunk_id(padded, TENANT).hex(),
            "attachment_plain": "<domain/>",
            "attachment_id": attachment.hex(),
        },
        "frame": {
            "salt": bytes(range(28))[:16].hex(),
            "nonce": bytes(range(28))[16:].hex(),
            "sealed_header_bytes": frames.SEALED_HEADER_BYTES,
            "clear_header_bytes": frames.HEADER.size,
            "tag_bytes": frames.TAG_BYTES,
            "sealed_header": sealed[: frames.SEALED_HEADER_BYTES].hex(),
            "attachment_frame": sealed_attachment.hex(),
            "attachment_stored_hash": frames.stored_hash(sealed_attachment).hex(),
        },
        "tree": {
            "leaf_bytes": len(leaf),
            "leaf_id": frames.tree_id(leaf).hex(),
            "roots": {
                str(count): {"depth": depth, "root": root, "chunks": chunks}
                for count in (1, 255, 256, 257, 65536, 65537)
                for depth, root, chunks in [tree_of(count)]
            },
        },
        "object": {
            "key": "holds/00/01",
            "kind": int(ObjectKind.HOLD),
            "body": "{}",
            "bytes": seal_object("holds/00/01", ObjectKind.HOLD, b"{}").hex(),
        },
        "pack": {
            "writer": bytes(range(16)).hex(),
            "head_bytes": packs.HEAD_BYTES,
            "directory_entry_bytes": packs.ENTRY.size,
            "footer_bytes": packs.FOOTER.size,
            "id": pack.pack_id.hex(),
            "bytes": stored.hex(),
            "frames": [entry.length_bytes for entry in pack.entries],
            "offsets": [entry.offset_bytes for entry in pack.entries],
            "size_bytes": len(stored),
        },
        "index": {"body": segment_body([pack]).hex()},
    }


def tree_of(count: int) -> tuple[int, str, int]:
    """The root over so many chunks, of which chunk n has the id BLAKE3-keyed of n as 8 bytes."""
    depth = depth_for(count)
    builder = TreeBuilder(depth, frames.tree_id)
    for first in range(0, count, FANOUT):
        ids = b"".join(
            frames.chunk_id(number.to_bytes(8, "little"), TENANT)
            for number in range(first, min(first + FANOUT, count))
        )
        builder.add_leaf(ids.ljust(FANOUT * 32, b"\x00"))
    root = builder.finish()
    return depth, root.object_id.hex(), root.chunks


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compute(), indent=2, ensure_ascii=False) + "\n")
