"""How a site's vault and its upkeep stand, for those who run it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dozo.services import figures
from dozo.services.access import Operation, Scope
from dozo.services.figures import Behind, VaultFigures


@dataclass(frozen=True, kw_only=True)
class SiteState:
    """What the vault holds and when it was last cared for.

    ``upkeep`` says by kind of job when it last got through, None where it never did;
    ``damaged`` counts copies by site; ``late_seconds`` is how far the scheduler is behind.
    """

    vault: VaultFigures
    upkeep: Mapping[str, datetime | None]
    damaged: Mapping[str, int]
    behind: tuple[Behind, ...]
    queued: int
    stuck: int
    late_seconds: float
    bytes_volume: int

    @property
    def dedup_ratio(self) -> float | None:
        """How many bytes of volumes one stored byte stands for; None for an empty vault."""
        return self.bytes_volume / self.vault.bytes_stored if self.vault.bytes_stored else None

    @property
    def used_share(self) -> float | None:
        """The part of vault and free space that the vault takes, 0 to 1; None where unknown."""
        free = self.vault.bytes_free
        whole = self.vault.bytes_stored + (free or 0)
        return None if free is None or not whole else self.vault.bytes_stored / whole


def site_state(scope: Scope) -> SiteState:
    """How this site stands now. Reads the vault's index. Raises ``Forbidden``."""
    scope.permit(Operation.SITE_SHOW)
    site = scope.site
    done = figures.last_successes(site)
    queue = figures.queue(site)
    return SiteState(
        vault=figures.vault(site),
        upkeep={kind: done.get(kind) for kind in figures.UPKEEP},
        damaged=figures.damaged(site),
        behind=tuple(figures.behind(site, peer) for peer in site.settings.peers),
        queued=queue.queued,
        stuck=queue.stuck,
        late_seconds=figures.late_by(site),
        bytes_volume=figures.bytes_of_volumes(site),
    )
