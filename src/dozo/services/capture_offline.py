"""Reading a stopped server's volumes, or one that is attached to nothing.

A start wins: what a server may start on is read without image locks, and the snapshot fails unless
libvirt's record, QEMU's locks and the files themselves agree that nobody wrote. A volume that is
attached to nothing is locked instead: nobody is expected to start on it.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from dozo import volumes
from dozo.hypervisor import Standstill, StandstillUnproven
from dozo.model import clock
from dozo.model.states import Consistency
from dozo.services import hints, state_files
from dozo.services.capture_plan import CapturePlan, Opened, OpenedVolume, VolumePlan
from dozo.services.site import Site
from dozo.volumes import ImageSource, StandingImage, VolumeError


@contextmanager
def opened(site: Site, plan: CapturePlan) -> Iterator[Opened]:
    """Open all volumes for as long as the block lasts.

    ``check_now`` raises ``ServerStarted`` or ``StandstillUnproven`` unless what was read so far is
    what the volumes held at the instant. Raises ``ImageInUse`` where somebody writes already.
    """
    with ExitStack() as stack:
        consistency = Consistency.CRASH
        remarks: dict[str, str] = {}
        attachments: Mapping[str, bytes] = {}
        checkpoints: frozenset[str] = frozenset()
        watch = None
        if plan.server_uuid is not None:
            watch = stack.enter_context(site.host.standstill(plan.server_uuid))
            info = site.host.server(plan.server_uuid)
            consistency = info.offline_consistency
            if info.not_clean:
                remarks["not_clean"] = info.not_clean
            attachments = state_files.to_attachments(site.host.read_state(plan.server_uuid))
            checkpoints = frozenset(one.name for one in site.host.checkpoints(plan.server_uuid))
        images = _Images(stack, watch)
        found = [
            _open(images.open(one), one, checkpoints=checkpoints, allowed=plan.track)
            for one in plan.volumes
        ]
        yield Opened(
            instant=clock.now(),
            consistency=consistency,
            volumes=found,
            attachments=attachments,
            check=watch.check if watch is not None else _nothing,
            check_now=images.check_now,
            stored=_nothing,
            notes=remarks,
        )


class _Images:
    """The opened images, and what there is to say that nobody wrote to them."""

    def __init__(self, stack: ExitStack, watch: Standstill | None) -> None:
        self._stack = stack
        self._watch = watch
        self._standing: list[StandingImage] = []

    def open(self, plan: VolumePlan) -> ImageSource:
        """Open one image."""
        if self._watch is None:
            return self._stack.enter_context(volumes.open_image(plan.path, format=plan.format))
        try:
            image = self._stack.enter_context(volumes.open_standing(plan.path, format=plan.format))
        except VolumeError:
            # A start in this moment explains it better than what it did to the image.
            self._watch.check(now=True)
            raise
        self._standing.append(image)
        return image.source

    def check_now(self) -> None:
        """Raise unless all was still until now."""
        if self._watch is None:
            return
        self._watch.check(now=True)
        for image in self._standing:
            reason = image.doubt()
            if reason:
                # libvirt may have come to know of the start meanwhile.
                self._watch.check(now=True)
                raise StandstillUnproven(server=self._watch.server, reason=reason)


def _open(
    source: ImageSource, plan: VolumePlan, *, checkpoints: frozenset[str], allowed: bool
) -> OpenedVolume:
    now = hints.evidence(source.info, allowed=allowed, checkpoints=checkpoints)
    hint = hints.judge(plan, now)
    if hint.checkpoint is None:
        return OpenedVolume(
            plan=plan, source=source, changed=None, full_reason=hint.full_reason, token=None
        )
    # The checkpoint stays where it is, and goes on counting from the snapshot that began it.
    return OpenedVolume(
        plan=plan,
        source=source,
        changed=list(source.changed_extents(hint.checkpoint)),
        full_reason="",
        token=hints.token_of(hint.checkpoint, source.info, since=hint.base),
    )


def _nothing() -> None:
    """Nothing to check or to do."""
