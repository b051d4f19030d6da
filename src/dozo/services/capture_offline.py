"""Reading a stopped server's volumes, or one that is attached to nothing, under image locks."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from dozo import hypervisor, volumes
from dozo.model import clock
from dozo.model.states import Consistency
from dozo.services import hints, state_files
from dozo.services.capture_plan import CapturePlan, Opened, OpenedVolume, VolumePlan
from dozo.services.site import Site


@contextmanager
def opened(site: Site, plan: CapturePlan) -> Iterator[Opened]:
    """Open all volumes for as long as the block lasts; QEMU cannot write them meanwhile.

    A start of the server that gets through all the same is noticed by ``check`` and fails the
    snapshot before it is published. Raises ``ImageInUse`` where somebody writes already.
    """
    with ExitStack() as stack:
        consistency = Consistency.CRASH
        remarks: dict[str, str] = {}
        attachments: Mapping[str, bytes] = {}
        checkpoints: frozenset[str] = frozenset()
        watch = None
        if plan.server_uuid is not None:
            watch = stack.enter_context(hypervisor.OfflineWatch(site.host, plan.server_uuid))
            info = hypervisor.server(site.host, plan.server_uuid)
            consistency = info.offline_consistency
            if info.not_clean:
                remarks["not_clean"] = info.not_clean
            attachments = state_files.to_attachments(
                hypervisor.read_state(site.host, plan.server_uuid)
            )
            checkpoints = frozenset(
                one.name for one in hypervisor.checkpoints(site.host, plan.server_uuid)
            )
        found = [
            _open(stack, one, checkpoints=checkpoints, allowed=plan.track) for one in plan.volumes
        ]
        yield Opened(
            instant=clock.now(),
            consistency=consistency,
            volumes=found,
            attachments=attachments,
            check=watch.check if watch is not None else _nothing,
            check_now=partial(watch.check, now=True) if watch is not None else _nothing,
            stored=_nothing,
            notes=remarks,
        )


def _open(
    stack: ExitStack, plan: VolumePlan, *, checkpoints: frozenset[str], allowed: bool
) -> OpenedVolume:
    source = stack.enter_context(volumes.open_image(plan.path, format=plan.format))
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
