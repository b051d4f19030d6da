"""Whether what change tracking says about a volume may be used, and why not."""

from dataclasses import dataclass

from dozo.model import change_token
from dozo.model.change_token import ChangeToken
from dozo.services.capture_plan import VolumePlan, token_of
from dozo.volumes import ImageInfo

KIND = "libvirt-checkpoint"


@dataclass(frozen=True, kw_only=True)
class Hint:
    """The verdict: a checkpoint to go by, or the reason for reading everything."""

    checkpoint: str | None
    full_reason: str


def judge(
    plan: VolumePlan,
    image: ImageInfo,
    *,
    checkpoints: frozenset[str],
    allowed: bool,
    image_is_closed: bool,
) -> Hint:
    """Compare the parent's change token with the image as it is now.

    ``checkpoints`` are those of the server that libvirt knows for this volume. Bitmaps of an
    image that is in use are in QEMU's memory: for those libvirt has to answer when asked to use
    them. A closed image has to show the bitmap itself.
    """
    if plan.parent is None:
        return Hint(checkpoint=None, full_reason=plan.full_reason)
    then = change_token.from_json(plan.parent.change_token)
    now = _evidence(then, image, checkpoints, image_is_closed=image_is_closed)
    reason = _standing_reason(image, allowed=allowed) or change_token.disproof(then, now)
    if reason is not None or then is None:
        return Hint(checkpoint=None, full_reason=reason or "")
    if image_is_closed:
        bitmap = next(one for one in image.bitmaps if one.name == then.name)
        if bitmap.in_use or not bitmap.recording:
            return Hint(
                checkpoint=None, full_reason=f"the bitmap {then.name} was not saved properly"
            )
    return Hint(checkpoint=then.name, full_reason="")


def _standing_reason(image: ImageInfo, *, allowed: bool) -> str | None:
    """Reasons that lie in the image or the setting, whatever the parent was."""
    if image.format != "qcow2":
        return f"changes of {image.format} images cannot be tracked"
    if image.internal_snapshots:
        return "the image has internal snapshots, which can change it behind change tracking"
    if not allowed:
        return "change tracking is off for this server"
    return None


def _evidence(
    then: ChangeToken | None,
    image: ImageInfo,
    checkpoints: frozenset[str],
    *,
    image_is_closed: bool,
) -> ChangeToken | None:
    if then is None or then.name not in checkpoints:
        return None
    if image_is_closed and then.name not in {one.name for one in image.bitmaps}:
        return None
    return token_of(KIND, then.name, image)
