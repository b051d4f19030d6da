"""The keys file: the master keys of the vaults at hand, and the pinned keys of their peers.

Source: ``docs/vault-format.md``, section "Keys".
"""

import base64
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dozo.model.message import Message
from dozo.vault.errors import KeysFileInvalid, KeysFileUnwritable
from dozo.vault.keys import KEY_BYTES, PublicKey, SiteKey


@dataclass(frozen=True, slots=True)
class KeysFile:
    """The content: site keys and pinned peers, each under the id of the vault they serve."""

    sites: dict[str, SiteKey]
    peers: dict[str, tuple[PublicKey, ...]]


class Keyring:
    """The keys file at ``path``; every change is durable before the call returns.

    A key that is there is never replaced or removed. Raises :class:`KeysFileUnwritable` when
    a change cannot be kept; the file is then as it was.
    """

    def __init__(self, path: Path, content: KeysFile) -> None:
        self.path = path
        self._content = content

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """The keys in the file; none where there is no file. Raises :class:`KeysFileInvalid`."""
        return cls(path, _read(path))

    def site_key(self, fingerprint: str) -> SiteKey | None:
        """The master key whose public half has that fingerprint."""
        for key in self._content.sites.values():
            if key.public.fingerprint == fingerprint:
                return key
        return None

    def vault_key(self, vault_id: str) -> SiteKey | None:
        """The master key of a vault."""
        return self._content.sites.get(vault_id)

    def peers(self, vault_id: str) -> tuple[PublicKey, ...]:
        """The sites that shall be able to open everything written to a vault."""
        return self._content.peers.get(vault_id, ())

    def trusted(self, fingerprint: str) -> PublicKey | None:
        """The public key with that fingerprint, if it is our own or pinned."""
        own = [key.public for key in self._content.sites.values()]
        pinned = [key for keys in self._content.peers.values() for key in keys]
        return next((key for key in own + pinned if key.fingerprint == fingerprint), None)

    def add_site(self, vault_id: str, key: SiteKey) -> Path:
        """Keep a new vault's key; write its public half beside the file and return its path."""

        def change(content: KeysFile) -> KeysFile:
            if content.sites.get(vault_id, key) != key:
                raise KeysFileInvalid(
                    path=str(self.path),
                    reason=Message("it has another key for vault {vault_id}", vault_id=vault_id),
                )
            return replace(content, sites={**content.sites, vault_id: key})

        self._change(change)
        public_path = self.public_path(self.path, vault_id)
        with self._translated():
            _write_durably(public_path, key.public.to_text() + "\n", 0o644)
        return public_path

    @staticmethod
    def public_path(path: Path, vault_id: str) -> Path:
        """Where the public half of a vault's key is written, for a keys file at ``path``."""
        return path.with_name(f"{path.name}.{vault_id[:8]}.pub")

    def pin(self, vault_id: str, peer: PublicKey) -> None:
        """From now on everything written to the vault can be opened by ``peer`` too."""

        def change(content: KeysFile) -> KeysFile:
            known = content.peers.get(vault_id, ())
            if peer in known:
                return content
            return replace(content, peers={**content.peers, vault_id: (*known, peer)})

        self._change(change)

    def unpin(self, vault_id: str, peer: PublicKey) -> None:
        """What is written to the vault from now on is not wrapped for ``peer`` any more."""

        def change(content: KeysFile) -> KeysFile:
            known = tuple(key for key in content.peers.get(vault_id, ()) if key != peer)
            return replace(content, peers={**content.peers, vault_id: known})

        self._change(change)

    def _change(self, change: Callable[[KeysFile], KeysFile]) -> None:
        with self._translated():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(self.path):
                # Read anew: another process may have added a key since.
                content = change(_read(self.path))
                _write_durably(self.path, _to_text(content), 0o600)
                self._content = content

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise KeysFileUnwritable(path=str(self.path), reason=reason) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write_durably(path: Path, text: str, mode: int) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        waiting = memoryview(text.encode())
        while waiting:
            # On a disk that fills up a part is written first, and only then comes an error.
            waiting = waiting[os.write(fd, waiting) :]
        os.fsync(fd)
    except BaseException:
        temporary.unlink()
        raise
    finally:
        os.close(fd)
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _to_text(content: KeysFile) -> str:
    document = {
        "about": "Master keys of Dozo vaults. Keep a copy in a safe place: without them the"
        " vaults cannot be read. Show them to nobody.",
        "version": 1,
        "sites": {
            vault: base64.b64encode(key.agreement_seed + key.signing_seed).decode()
            for vault, key in content.sites.items()
        },
        "peers": {vault: [key.to_text() for key in keys] for vault, keys in content.peers.items()},
    }
    return json.dumps(document, indent=2) + "\n"


def _read(path: Path) -> KeysFile:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return KeysFile({}, {})
    except (OSError, UnicodeDecodeError) as error:
        raise KeysFileInvalid(path=str(path), reason=str(error)) from error
    try:
        return _from_document(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeysFileInvalid(path=str(path), reason=Message("it is not a keys file")) from error


def _from_document(document: Any) -> KeysFile:
    if document["version"] != 1:
        raise ValueError
    sites = {}
    for vault, text in document["sites"].items():
        raw = base64.b64decode(text, validate=True)
        if len(raw) != 2 * KEY_BYTES:
            raise ValueError
        sites[vault] = SiteKey(raw[:KEY_BYTES], raw[KEY_BYTES:])
    peers = {
        vault: tuple(PublicKey.from_text(text) for text in texts)
        for vault, texts in document["peers"].items()
    }
    return KeysFile(sites, peers)
