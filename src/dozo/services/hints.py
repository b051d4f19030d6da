"""Whether what change tracking says about a volume may be used, and why not."""

from collections.abc import Iterable
from dataclasses import dataclass

from dozo.model import change_token
from dozo.model.change_token import BitmapState, ChangeToken, Evidence, Reason, TokenFile
from dozo.model.words import word
from dozo.services.capture_plan import VolumePlan
from dozo.volumes import ImageInfo

# A caller wanted it; no evidence is looked at.
ASKED_FOR = "asked-for"
# The vault's own words for what the evidence cannot show.
_VAULT_CODES = {
    "no-parent": Reason.NO_PARENT.value,
    "no-hint": Reason.NO_TOKEN.value,
    "hint-disproved": Reason.HINT_WAS_WRONG.value,
}


@dataclass(frozen=True, kw_only=True)
class Hint:
    """The verdict: a checkpoint to go by, or the code of the reason for reading everything.

    ``base`` is the snapshot that the checkpoint's marks are changes to.
    """

    checkpoint: str | None
    full_reason: str
    base: str | None = None


def judge(plan: VolumePlan, now: Evidence) -> Hint:
    """Compare the parent's change token with what is found now."""
    if plan.parent is None:
        return Hint(checkpoint=None, full_reason=plan.full_reason)
    token = change_token.from_json(plan.parent.change_token)
    reason = change_token.disproof(token, now)
    if reason is not None or token is None:
        return Hint(checkpoint=None, full_reason=(reason or Reason.NO_TOKEN).value)
    if plan.parent.base is None:
        return Hint(checkpoint=None, full_reason=Reason.BASE_GONE.value)
    return Hint(checkpoint=token.name, full_reason="", base=plan.parent.base)


def evidence(
    image: ImageInfo,
    *,
    allowed: bool,
    checkpoints: Iterable[str],
    bitmaps: Iterable[BitmapState] | None = None,
    internal_snapshots: Iterable[str] = (),
) -> Evidence:
    """What is found about an image; ``bitmaps`` are QEMU's own where it has the image open.

    Without them the image's header speaks, where *in use* means that QEMU was killed before it
    could save the bitmap.
    """
    if bitmaps is None:
        bitmaps = [
            BitmapState(name=one.name, recording=one.recording, inconsistent=one.in_use)
            for one in image.bitmaps
        ]
    return Evidence(
        tracking_allowed=allowed,
        chain=chain_of(image),
        checkpoints=frozenset(checkpoints),
        bitmaps=tuple(bitmaps),
        internal_snapshots=bool(image.internal_snapshots) or bool(list(internal_snapshots)),
    )


def token_of(checkpoint: str, image: ImageInfo, *, since: str | None = None) -> ChangeToken:
    """The token for a checkpoint on an image as it is now; ``since`` unless it begins now."""
    return ChangeToken(name=checkpoint, chain=chain_of(image), since=since)


def chain_of(image: ImageInfo) -> tuple[TokenFile, ...]:
    """The files that an image consists of, as evidence."""
    return tuple(
        TokenFile(
            path=file.path,
            format=file.format,
            device=file.device,
            inode=file.inode,
            virtual_bytes=file.virtual_bytes,
            file_bytes=file.file_bytes,
            mtime_ns=file.mtime_ns,
        )
        for file in image.chain
    )


def code_of(vault_reason: str | None, judged: str) -> str:
    """The code of why a volume was read in full; empty where it was not.

    ``judged`` is what was known beforehand; the vault knows what the reading itself showed.
    """
    if vault_reason is None:
        return ""
    if vault_reason == "hint-disproved" or not judged:
        return _VAULT_CODES.get(vault_reason, vault_reason)
    return judged


def in_words(code: str) -> str:
    """A code for people: a clause that completes "read in full because …"."""
    return word("full-reason", code)
