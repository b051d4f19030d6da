"""The kinds of jobs: everything that takes longer than a blink."""

from dozo.services.job_kinds import JobKind, JobKindUnknown
from dozo.services.operations import capture, power, restores, upkeep

KINDS: dict[str, JobKind] = {
    kind.name: kind
    for kind in (
        capture.SNAPSHOT,
        capture.RECOVERY_POINT,
        power.START,
        power.STOP,
        power.UNTRACK,
        restores.TEMPLATE,
        restores.SERVER_OF_TEMPLATE,
        restores.SERVER,
        restores.VOLUME,
        restores.IN_PLACE,
        upkeep.VERIFY,
        upkeep.COPY,
        upkeep.SYNC,
        upkeep.RETAIN,
        upkeep.PRUNE,
        upkeep.SCRUB,
        upkeep.REBUILD,
        upkeep.REBUILD_CATALOG,
    )
}


def kind(name: str) -> JobKind:
    """The kind of that name. Raises :class:`JobKindUnknown`."""
    try:
        return KINDS[name]
    except KeyError:
        raise JobKindUnknown(name) from None
