"""A vault's header: what it is, and how volumes are cut in it.

Source: ``docs/vault-format.md``, section "Header".
"""

from dataclasses import dataclass
from datetime import datetime

from dozo.blobs import BlobMissing, Blobs
from dozo.model import clock
from dozo.model.message import Message
from dozo.vault import layout
from dozo.vault.errors import NotAVault, ObjectDamaged, VaultExists
from dozo.vault.format import (
    KNOWN_READ_ONLY_FEATURES,
    ObjectKind,
    create_document,
    fetch,
    from_json,
    open_object,
    read_prologue,
    store_document,
)

DEFAULT_CHUNK_BYTES = 256 * 1024
DEFAULT_LEVEL = 1
MIN_CHUNK_BYTES = 4 * 1024
MAX_CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Constant for the life of a vault. ``recipient`` is its site key's fingerprint.

    ``read_only`` is set where a newer version asks older ones not to write beside it.
    """

    vault_id: str
    created_at: datetime
    chunk_bytes: int
    level: int
    recipient: str
    read_only: bool = False


def require_empty(blobs: Blobs) -> None:
    """Raises :class:`VaultExists` where a vault or anything else is."""
    found = next(iter(blobs.list("")), None)
    if found is not None:
        is_vault = found.key.split("/")[0] in vars(layout).values()
        raise VaultExists(
            url=blobs.url, what=Message("a vault") if is_vault else Message("other files")
        )


def create_header(
    blobs: Blobs, *, vault_id: str, recipient: str, chunk_bytes: int, level: int
) -> Header:
    """Make a vault of an empty place. Raises :class:`VaultExists`."""
    require_empty(blobs)
    header = Header(
        vault_id=vault_id,
        created_at=clock.now(),
        chunk_bytes=chunk_bytes,
        level=level,
        recipient=recipient,
    )
    document = {
        "vault": header.vault_id,
        "created_at": clock.to_text(header.created_at),
        "chunk_bytes": chunk_bytes,
        "level": level,
        "recipient": recipient,
    }
    if not create_document(blobs, layout.HEADER, ObjectKind.HEADER, document):
        raise VaultExists(url=blobs.url, what=Message("a vault"))
    store_document(blobs, layout.HEADER_COPY, ObjectKind.HEADER, document)
    return header


def load_header(blobs: Blobs) -> Header:
    """The header, or its copy where the first is damaged or lost.

    Raises :class:`NotAVault`, :class:`ObjectDamaged`, ``FormatUnsupported``.
    """
    first: ObjectDamaged | None = None
    for key in (layout.HEADER, layout.HEADER_COPY):
        try:
            return _load(blobs, key)
        except BlobMissing:
            continue
        except ObjectDamaged as error:
            first = first or error
    if first is not None:
        raise first
    raise NotAVault(url=blobs.url)


def _load(blobs: Blobs, key: str) -> Header:
    data = fetch(blobs.get, key, url=blobs.url)
    body = open_object(data, key, ObjectKind.HEADER, url=blobs.url)
    document = from_json(body, key, url=blobs.url)
    prologue = read_prologue(data, key, expected=ObjectKind.HEADER, url=blobs.url)
    unknown = prologue.features.read_only_compatible & ~KNOWN_READ_ONLY_FEATURES
    try:
        header = Header(
            vault_id=document["vault"],
            created_at=clock.from_text(document["created_at"]),
            chunk_bytes=int(document["chunk_bytes"]),
            level=int(document["level"]),
            recipient=document["recipient"],
            read_only=bool(unknown),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectDamaged(url=blobs.url, key=key, reason=Message("it is not a header")) from error
    if not MIN_CHUNK_BYTES <= header.chunk_bytes <= MAX_CHUNK_BYTES:
        raise ObjectDamaged(
            url=blobs.url, key=key, reason=Message("its chunk size is out of range")
        )
    return header
