"""Reading a running server's volumes through libvirt's backup job, all at one instant."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from dozo import volumes
from dozo.hypervisor import Capture, DiskPlan, Freeze, LiveSettings, StaleBitmap, Unmounted
from dozo.hypervisor.errors import CaptureFailed, HypervisorError
from dozo.model.change_token import Evidence, Reason
from dozo.model.message import Message
from dozo.model.states import CaptureMode
from dozo.services import hints, state_files
from dozo.services.capture_plan import CapturePlan, Opened, OpenedVolume, VolumePlan
from dozo.services.hints import Hint
from dozo.services.leftovers import captures_dir
from dozo.services.site import Site
from dozo.services.work import Work
from dozo.volumes import ImageInfo, NbdSource, VolumeError


@contextmanager
def opened(site: Site, plan: CapturePlan, work: Work) -> Iterator[Opened]:
    """Fix the instant and open all volumes; nothing of the capture is left after the block.

    The new checkpoint stays only if ``stored`` was called, and the old one goes only then. Raises
    the hypervisor's errors about captures.
    """
    uuid = plan.server_uuid or ""
    before = _Evidence(site, plan)
    verdicts = {one.device: before.judge(one) for one in plan.volumes}
    with ExitStack() as stack:
        capture, verdicts = _begin(site, plan, verdicts, before)
        stack.enter_context(capture)
        if capture.freeze_problem:
            work.step(Message("not frozen: {problem}", problem=capture.freeze_problem))
        after = _Evidence(site, plan)
        found = [_open(stack, capture, one, verdicts[one.device], after) for one in plan.volumes]

        def stored() -> None:
            # What was published is whole whatever happens to the server from here on.
            with suppress(HypervisorError):
                _remove(capture.finish(keep_checkpoint=True))
                if not plan.track:
                    # The setting, or a snapshot of libvirt's own, which a checkpoint would
                    # endanger, may be newer than the last checkpoint.
                    site.host.untrack(uuid)

        yield Opened(
            instant=capture.instant,
            consistency=capture.consistency,
            volumes=found,
            attachments=state_files.to_attachments(site.host.read_state(uuid)),
            check=capture.check,
            check_now=partial(capture.check, now=True),
            stored=stored,
            freeze_ms=capture.freeze_ms,
            agent_ms=capture.agent_ms,
            notes={"freeze_problem": capture.freeze_problem} if capture.freeze_problem else {},
        )


class _Evidence:
    """What libvirt, QEMU and the images say about tracking, at one moment."""

    def __init__(self, site: Site, plan: CapturePlan) -> None:
        uuid = plan.server_uuid or ""
        self._allowed = plan.track
        self._images = {one.device: _image(one) for one in plan.volumes}
        self._checkpoints = [one.name for one in site.host.checkpoints(uuid)]
        self._bitmaps = site.host.live_bitmaps(uuid)
        self._snapshots = site.host.live_internal_snapshots(uuid)

    def image(self, plan: VolumePlan) -> ImageInfo | None:
        """The volume's image; None where it is no file or device of this host."""
        return self._images[plan.device]

    def trackable(self, plan: VolumePlan) -> bool:
        """Whether a checkpoint may be begun here."""
        image = self.image(plan)
        return (
            self._allowed
            and image is not None
            and image.format == "qcow2"
            and not image.internal_snapshots
        )

    def judge(self, plan: VolumePlan) -> Hint:
        """Whether the parent's checkpoint can be gone by."""
        image = self.image(plan)
        if image is None:
            code = plan.full_reason or Reason.FORMAT_CANNOT_TRACK.value
            return Hint(checkpoint=None, full_reason=code)
        return hints.judge(plan, self._of(image))

    def _of(self, image: ImageInfo) -> Evidence:
        return hints.evidence(
            image,
            allowed=self._allowed,
            checkpoints=self._checkpoints,
            bitmaps=self._bitmaps.get(image.path, ()),
            internal_snapshots=self._snapshots.get(image.path, ()),
        )


def _image(plan: VolumePlan) -> ImageInfo | None:
    try:
        return volumes.inspect(plan.path, format=plan.format, in_use_ok=True)
    except VolumeError:
        return None


def _begin(
    site: Site, plan: CapturePlan, verdicts: dict[str, Hint], evidence: _Evidence
) -> tuple[Capture, dict[str, Hint]]:
    """Begin the capture; where libvirt rejects a checkpoint after all, once more without any."""
    try:
        return _begin_with(site, plan, verdicts, evidence), verdicts
    except CaptureFailed:
        if not any(one.checkpoint for one in verdicts.values()):
            raise
    rejected = {
        device: Hint(checkpoint=None, full_reason=Reason.BITMAP_INCONSISTENT.value)
        if one.checkpoint
        else one
        for device, one in verdicts.items()
    }
    return _begin_with(site, plan, rejected, evidence), rejected


def _begin_with(
    site: Site, plan: CapturePlan, verdicts: dict[str, Hint], evidence: _Evidence
) -> Capture:
    unmounted = plan.mode is CaptureMode.UNMOUNTED
    return site.host.begin_live(
        plan.server_uuid or "",
        [
            DiskPlan(
                device=one.device,
                since_checkpoint=verdicts[one.device].checkpoint,
                track=evidence.trackable(one),
            )
            for one in plan.volumes
        ],
        settings=LiveSettings(
            note_dir=captures_dir(site),
            scratch_dir=site.settings.scratch,
            scratch_quota_bytes=site.settings.scratch_bytes,
            freeze=Freeze.IF_POSSIBLE if plan.freeze and not unmounted else Freeze.OFF,
            agent_timeout_s=max(1, round(site.settings.agent_timeout_seconds)),
            freeze_limit_s=site.settings.freeze_limit_seconds,
        ),
        unmounted=Unmounted(stated=plan.stated_unmounted) if unmounted else None,
    )


def _open(
    stack: ExitStack,
    capture: Capture,
    plan: VolumePlan,
    verdict: Hint,
    after: _Evidence,
) -> OpenedVolume:
    export = capture.exports[plan.device]
    hint = verdict
    if verdict.checkpoint is not None:
        # Judged again: what was true before the instant has to be true after it.
        hint = after.judge(plan)
    source = stack.enter_context(
        NbdSource(
            socket=export.socket,
            export=export.export_name,
            bitmap=export.bitmap_name if hint.checkpoint else None,
        )
    )
    image = after.image(plan)
    tracked = capture.checkpoint is not None and image is not None and after.trackable(plan)
    return OpenedVolume(
        plan=plan,
        source=source,
        changed=list(source.changed_extents()) if hint.checkpoint else None,
        full_reason=hint.full_reason,
        token=hints.token_of(capture.checkpoint, image)
        if tracked and image is not None and capture.checkpoint is not None
        else None,
    )


def _remove(stale: tuple[StaleBitmap, ...]) -> None:
    """Remove bitmaps from the images of a server that stopped meanwhile."""
    for bitmap in stale:
        # A bitmap that stays does no harm: names are never used twice, `untrack` finds it.
        with suppress(VolumeError):
            volumes.remove_bitmap(bitmap.path, bitmap.name)
