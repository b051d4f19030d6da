"""The evidence that a change hint stands on, and what disproves it.

A checkpoint names the blocks that were written since it was made, to *that* image, of that size,
over those backing files. A snapshot keeps the evidence; before the next one trusts the hint, the
evidence is gathered anew and compared. Any difference means that the volume is read in full.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TokenFile:
    """One file of an image's chain, as it was when the token was made."""

    path: str
    format: str
    device: int
    inode: int
    virtual_bytes: int
    file_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class ChangeToken:
    """A hint's name and what it is bound to; ``chain`` has the image itself first."""

    kind: str
    name: str
    chain: tuple[TokenFile, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "name": self.name,
            "chain": [asdict(file) for file in self.chain],
        }


def from_json(plain: Mapping[str, Any] | None) -> ChangeToken | None:
    """The token that :meth:`ChangeToken.to_json` wrote; None for what cannot be understood.

    A token is a help, never needed: one that is unreadable costs a full read and nothing else.
    """
    try:
        if plain is None:
            return None
        return ChangeToken(
            kind=plain["kind"],
            name=plain["name"],
            chain=tuple(
                TokenFile(**{field: file[field] for field in TokenFile.__dataclass_fields__})
                for file in plain["chain"]
            ),
        )
    except (KeyError, TypeError):
        return None


def disproof(then: ChangeToken | None, now: ChangeToken | None) -> str | None:
    """Why the hint of ``then`` must not be trusted given the evidence ``now``; None if it may.

    ``now`` is None where the image has no such hint any more.
    """
    if then is None:
        return "the last snapshot kept no change tracking"
    if now is None:
        return f"the checkpoint {then.name} is gone"
    if (then.kind, then.name) != (now.kind, now.name):
        return f"the checkpoint is {now.name}, the last snapshot was taken with {then.name}"
    if not then.chain or not now.chain:
        return "the image's chain is not known"
    return _image_disproof(then.chain[0], now.chain[0]) or _backing_disproof(
        then.chain[1:], now.chain[1:]
    )


def _image_disproof(then: TokenFile, now: TokenFile) -> str | None:
    if then.path != now.path:
        return f"the image was {then.path} and is {now.path}"
    if (then.device, then.inode) != (now.device, now.inode):
        return f"the image {now.path} is another file than before"
    if then.format != now.format:
        return f"the image's format was {then.format} and is {now.format}"
    if then.virtual_bytes != now.virtual_bytes:
        return f"the volume's size was {then.virtual_bytes} bytes and is {now.virtual_bytes}"
    return None


def _backing_disproof(then: tuple[TokenFile, ...], now: tuple[TokenFile, ...]) -> str | None:
    if [file.path for file in then] != [file.path for file in now]:
        return f"the backing files were {_paths(then)} and are {_paths(now)}"
    for before, after in zip(then, now, strict=True):
        if before != after:
            return f"the backing file {after.path} was changed"
    return None


def _paths(files: tuple[TokenFile, ...]) -> str:
    return " > ".join(file.path for file in files) or "none"
