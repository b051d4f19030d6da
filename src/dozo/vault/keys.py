"""A site's key pair, a tenant's secrets, and how the latter are wrapped for the former.

Source: ``docs/vault-format.md``, section "Keys".
"""

import base64
import binascii
import secrets
from dataclasses import dataclass
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dozo.model.message import Message
from dozo.vault.errors import ObjectDamaged, PublicKeyInvalid
from dozo.vault.format import from_json, to_json

PUBLIC_PREFIX = "dozo-site-1:"
KEY_BYTES = 32
WRAP_CONTEXT = b"dozo vault 1 wrap"
SIGN_CONTEXT = b"dozo vault 1 sign wrapping"
# The wrapping key is used once, for one message, so the nonce may be fixed.
WRAP_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a site's master key: 32 bytes X25519, 32 bytes Ed25519."""

    agreement: bytes
    signing: bytes

    @property
    def fingerprint(self) -> str:
        """Names the key: 16 bytes in hex."""
        hasher = blake3(derive_key_context="dozo vault 1 site fingerprint")
        return hasher.update(self.agreement + self.signing).digest(16).hex()

    def to_text(self) -> str:
        """``dozo-site-1:`` and the 64 bytes in URL-safe base64."""
        return PUBLIC_PREFIX + base64.urlsafe_b64encode(self.agreement + self.signing).decode()

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        """Raises :class:`PublicKeyInvalid`."""
        given = text.strip()
        try:
            raw = base64.urlsafe_b64decode(given.removeprefix(PUBLIC_PREFIX))
        except (binascii.Error, ValueError) as error:
            raise PublicKeyInvalid(given=given[:80]) from error
        if not given.startswith(PUBLIC_PREFIX) or len(raw) != 2 * KEY_BYTES:
            raise PublicKeyInvalid(given=given[:80])
        return cls(raw[:KEY_BYTES], raw[KEY_BYTES:])


@dataclass(frozen=True, slots=True, repr=False)
class SiteKey:
    """A site's master key: seeds of an X25519 and an Ed25519 key, 32 bytes each."""

    agreement_seed: bytes
    signing_seed: bytes

    @classmethod
    def generate(cls) -> "SiteKey":
        """A new random key."""
        return cls(secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES))

    def tenant_number(self, name: str) -> int:
        """The 63-bit number of a tenant made by this site; tells nothing of the name."""
        hasher = blake3(derive_key_context="dozo vault 1 tenant number")
        digest = hasher.update(self.agreement_seed + name.encode()).digest(8)
        return int.from_bytes(digest, "little") >> 1

    @property
    def public(self) -> PublicKey:
        """The half that others may know."""
        return PublicKey(
            X25519PrivateKey.from_private_bytes(self.agreement_seed)
            .public_key()
            .public_bytes_raw(),
            Ed25519PrivateKey.from_private_bytes(self.signing_seed).public_key().public_bytes_raw(),
        )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class TenantKeys:
    """What a tenant's data are sealed with; 32-byte keys.

    ``id_key`` never changes; ``data_keys`` are numbered, and ``current`` seals new frames.
    """

    number: int
    name: str
    id_key: bytes
    data_keys: dict[int, bytes]
    current: int

    @classmethod
    def generate(cls, name: str, number: int) -> "TenantKeys":
        """The secrets of a new tenant."""
        return cls(
            number=number,
            name=name,
            id_key=secrets.token_bytes(KEY_BYTES),
            data_keys={1: secrets.token_bytes(KEY_BYTES)},
            current=1,
        )

    def to_document(self) -> dict[str, Any]:
        """The secrets as a document, to be wrapped."""
        return {
            "tenant": f"{self.number:016x}",
            "name": self.name,
            "id_key": self.id_key.hex(),
            "data_keys": {str(number): key.hex() for number, key in self.data_keys.items()},
            "current": self.current,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "TenantKeys":
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is none."""
        return cls(
            number=int(document["tenant"], 16),
            name=document["name"],
            id_key=bytes.fromhex(document["id_key"]),
            data_keys={int(n): bytes.fromhex(key) for n, key in document["data_keys"].items()},
            current=int(document["current"]),
        )


def wrap(tenant: TenantKeys, recipient: PublicKey, signer: SiteKey) -> dict[str, Any]:
    """A tenant's secrets as only ``recipient`` can open them, signed by ``signer``."""
    ephemeral = X25519PrivateKey.generate()
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient.agreement))
    key = _wrapping_key(shared, ephemeral_public, recipient.agreement)
    document = {
        "tenant": f"{tenant.number:016x}",
        "recipient": recipient.fingerprint,
        "signer": signer.public.fingerprint,
        "ephemeral": ephemeral_public.hex(),
    }
    sealed = AESGCM(key).encrypt(WRAP_NONCE, to_json(tenant.to_document()), to_json(document))
    document["sealed"] = base64.b64encode(sealed).decode()
    signature = Ed25519PrivateKey.from_private_bytes(signer.signing_seed).sign(
        SIGN_CONTEXT + to_json(document)
    )
    return {**document, "signature": signature.hex()}


def unwrap(document: dict[str, Any], site: SiteKey, *, key: str, url: str) -> TenantKeys:
    """Open a wrapping with the site's key. Raises :class:`ObjectDamaged`."""
    try:
        clear = {name: document[name] for name in ("tenant", "recipient", "signer", "ephemeral")}
        ephemeral = bytes.fromhex(document["ephemeral"])
        sealed = base64.b64decode(document["sealed"], validate=True)
        private = X25519PrivateKey.from_private_bytes(site.agreement_seed)
        shared = private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        wrapping_key = _wrapping_key(shared, ephemeral, site.public.agreement)
        plain = AESGCM(wrapping_key).decrypt(WRAP_NONCE, sealed, to_json(clear))
        tenant = TenantKeys.from_document(from_json(plain, key, url=url))
    except (InvalidTag, KeyError, TypeError, ValueError) as error:
        raise ObjectDamaged(
            url=url, key=key, reason=Message("the key in it does not open")
        ) from error
    if f"{tenant.number:016x}" != document["tenant"]:
        raise ObjectDamaged(url=url, key=key, reason=Message("it is another tenant's"))
    return tenant


def signed_by(document: dict[str, Any], signer: PublicKey) -> bool:
    """Whether ``signer`` made this wrapping."""
    try:
        body = {name: value for name, value in document.items() if name != "signature"}
        Ed25519PublicKey.from_public_bytes(signer.signing).verify(
            bytes.fromhex(document["signature"]), SIGN_CONTEXT + to_json(body)
        )
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return False
    return True


def _wrapping_key(shared: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    info = WRAP_CONTEXT + ephemeral + recipient
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(shared)
