"""Small secrets of a site's service, sealed with a key that lies in its home, not in the catalog.

Whoever reads the catalog alone, or a copy of it, reads none of them.
"""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from dozo.services.notes import fsync_directory
from dozo.services.site import Site

KEY_NAME = "sealing.key"


def sealed(site: Site, purpose: str, text: str) -> str:
    """A text that only this site opens, and only for the same purpose."""
    return _key(site.settings.home).encrypt(f"{purpose}\0{text}".encode()).decode()


def opened(site: Site, purpose: str, token: str, *, seconds: int | None = None) -> str | None:
    """What was sealed; None for anything else, and for what is older than ``seconds``."""
    try:
        found = _key(site.settings.home).decrypt(token.encode(), ttl=seconds).decode()
    except (InvalidToken, UnicodeError):
        return None
    meant, _, text = found.partition("\0")
    return text if meant == purpose else None


def _key(home: Path) -> Fernet:
    path = home / KEY_NAME
    if not path.exists():
        _make(path)
    return Fernet(path.read_bytes())


def _make(path: Path) -> None:
    """A new key, complete before it has its name; of two at once one wins."""
    temporary = path.with_name(f"{KEY_NAME}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, Fernet.generate_key())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    with suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()
    fsync_directory(path.parent)
