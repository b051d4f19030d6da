"""A vault's tenants: opening their secrets, making new ones, wrapping for other sites."""

from contextlib import suppress

from dozo.blobs import BlobMissing, Blobs
from dozo.model.message import Message
from dozo.vault.errors import (
    GrantMissing,
    KeysMissing,
    KeysUntrusted,
    ObjectDamaged,
    TenantUnknown,
)
from dozo.vault.format import ObjectKind, create_document, load_document
from dozo.vault.keyring import Keyring
from dozo.vault.keys import PublicKey, SiteKey, TenantKeys, signed_by, unwrap, wrap
from dozo.vault.layout import KEYS, wrapped_key


class Tenants:
    """The tenants that the keys at hand open."""

    def __init__(
        self, blobs: Blobs, keyring: Keyring | None, *, vault_id: str, recipient: str
    ) -> None:
        self._blobs = blobs
        self._keyring = keyring
        self._vault_id = vault_id
        self._recipient = recipient
        self._open: dict[int, TenantKeys] = {}

    @property
    def site_key(self) -> SiteKey:
        """This vault's master key. Raises :class:`KeysMissing`."""
        if self._keyring is not None:
            key = self._keyring.site_key(self._recipient) or self._keyring.vault_key(self._vault_id)
            if key is not None:
                return key
        raise KeysMissing(keys=self._keys_name, what=self._blobs.url)

    @property
    def can_open(self) -> bool:
        """Whether this vault's master key is at hand."""
        try:
            return self.site_key is not None
        except KeysMissing:
            return False

    def numbers(self) -> list[int]:
        """The numbers of all tenants that have wrappings here."""
        found = set()
        for info in self._blobs.list(KEYS):
            parts = info.key.split("/")
            with suppress(ValueError):
                # Other names are left to the scrub, which reports them.
                if len(parts) == 3:
                    found.add(int(parts[1], 16))
        return sorted(found)

    def get(self, number: int) -> TenantKeys:
        """A tenant's secrets. Raises :class:`KeysMissing`, :class:`ObjectDamaged`."""
        if number in self._open:
            return self._open[number]
        site = self.site_key
        key = wrapped_key(number, site.public.fingerprint)
        try:
            document = load_document(self._blobs, key, ObjectKind.WRAPPED_KEY)
        except BlobMissing as error:
            raise KeysMissing(keys=self._keys_name, what=f"tenant {number:016x}") from error
        tenant = unwrap(document, site, key=key, url=self._blobs.url)
        if tenant.number != number:
            raise ObjectDamaged(
                url=self._blobs.url, key=key, reason=Message("it is another tenant's")
            )
        self._open[number] = tenant
        return tenant

    def named(self, name: str) -> TenantKeys:
        """The tenant of that name; of several the one that this site made, then one vouched for.

        Raises :class:`TenantUnknown`, :class:`KeysMissing`.
        """
        site = self.site_key
        found = [
            tenant
            for number in self.numbers()
            if self._has_wrapping(number, site.public.fingerprint)
            and (tenant := self.get(number)).name == name
        ]
        if not found:
            raise TenantUnknown(url=self._blobs.url, tenant=name)
        # Its own tenant first, so that which one is meant does not change when copies of
        # another site's tenant of the same name arrive.
        own = site.tenant_number(name)
        found.sort(key=lambda tenant: (tenant.number != own, not self._is_trusted(tenant)))
        return found[0]

    def for_writing(self, name: str) -> TenantKeys:
        """The tenant of that name, made if there is none.

        Raises :class:`KeysUntrusted` when its secrets were wrapped by a site that the
        keys file does not know: what is sealed with them could be read there.
        """
        try:
            tenant = self.named(name)
        except TenantUnknown:
            # The number follows from the name, so that of two processes that make the same
            # tenant at the same time one finds the other's.
            number = self.site_key.tenant_number(name)
            self._wrap_for(TenantKeys.generate(name, number), self.site_key.public)
            tenant = self.get(number)
        if not self._is_trusted(tenant):
            raise KeysUntrusted(url=self._blobs.url, tenant=tenant.name)
        for peer in self._keyring.peers(self._vault_id) if self._keyring else ():
            self._wrap_for(tenant, peer)
        return tenant

    def grant(self, peer: PublicKey) -> int:
        """Wrap every tenant's secrets for another site; how many wrappings were new."""
        return sum(self._wrap_for(self.get(number), peer) for number in self.numbers())

    def carry(self, target: "Tenants", number: int, *, target_url: str) -> None:
        """Make sure that the site of ``target`` can open what is copied to it.

        Its wrapping is copied if there is one; else it is made, which needs the keys of
        this vault and the target's public key, pinned or at hand. Raises
        :class:`GrantMissing`.
        """
        recipient = target.recipient
        key = wrapped_key(number, recipient)
        try:
            document = load_document(target.blobs, key, ObjectKind.WRAPPED_KEY)
        except BlobMissing:
            document = None
        if document is None:
            document = self._wrapping_for(target, number)
        if document is None:
            raise GrantMissing(source=self._blobs.url, target=target_url, tenant=number)
        create_document(target.blobs, key, ObjectKind.WRAPPED_KEY, document)
        for info in self._blobs.list(f"{KEYS}/{number:016x}"):
            other = load_document(self._blobs, info.key, ObjectKind.WRAPPED_KEY)
            create_document(target.blobs, info.key, ObjectKind.WRAPPED_KEY, other)

    def trusted(self, fingerprint: str) -> PublicKey | None:
        """The public key with that fingerprint, if the keys file vouches for it."""
        return None if self._keyring is None else self._keyring.trusted(fingerprint)

    @property
    def blobs(self) -> Blobs:
        """Where the wrappings are."""
        return self._blobs

    @property
    def recipient(self) -> str:
        """The fingerprint of the site key that this vault was made with."""
        return self._recipient

    @property
    def _keys_name(self) -> str:
        return Message("no keys file") if self._keyring is None else str(self._keyring.path)

    def _wrapping_for(self, target: "Tenants", number: int) -> dict[str, object] | None:
        key = wrapped_key(number, target.recipient)
        if self._has_wrapping(number, target.recipient):
            return load_document(self._blobs, key, ObjectKind.WRAPPED_KEY)
        trusted = self.trusted(target.recipient) or target.trusted(target.recipient)
        if trusted is None or not self.can_open:
            return None
        self._wrap_for(self.get(number), trusted)
        return load_document(self._blobs, key, ObjectKind.WRAPPED_KEY)

    def _has_wrapping(self, number: int, fingerprint: str) -> bool:
        try:
            self._blobs.size(wrapped_key(number, fingerprint))
        except BlobMissing:
            return False
        return True

    def _wrap_for(self, tenant: TenantKeys, recipient: PublicKey) -> bool:
        key = wrapped_key(tenant.number, recipient.fingerprint)
        if self._has_wrapping(tenant.number, recipient.fingerprint):
            return False
        document = wrap(tenant, recipient, self.site_key)
        return create_document(self._blobs, key, ObjectKind.WRAPPED_KEY, document)

    def _is_trusted(self, tenant: TenantKeys) -> bool:
        key = wrapped_key(tenant.number, self.site_key.public.fingerprint)
        document = load_document(self._blobs, key, ObjectKind.WRAPPED_KEY)
        signer = self.trusted(str(document.get("signer")))
        return signer is not None and signed_by(document, signer)
