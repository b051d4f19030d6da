"""What a schedule will cost in bytes, before it is saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from dozo.model import cost
from dozo.model.cost import BytesRange, Measured
from dozo.services.site import Site

if TYPE_CHECKING:
    from dozo.catalog import models

_NEWEST = 31
# Of more volumes these many are looked at, and the rest is taken to be like them.
_MOST_VOLUMES = 200


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What would be added to this site's vault; each peer that gets copies needs as much.

    ``first`` is the first run, ``each_run`` every one after it, ``kept`` what all generations
    need together at the end, above what is stored now. ``measured`` of the ``volumes`` have
    snapshots that tell; of the others only ``first`` is known, as up to their size.
    """

    volumes: int
    measured: int
    measurements: int
    first: BytesRange
    each_run: BytesRange
    kept: BytesRange


def estimate(
    site: Site,
    volumes: "Sequence[models.Volume]",
    runs: Sequence[datetime],
    generations: Sequence[datetime],
) -> Estimate:
    """For volumes, by the next ``runs`` and the ``generations`` that there will be at last."""
    looked_at = volumes[:_MOST_VOLUMES]
    every = (runs[-1] - runs[0]).total_seconds() / (len(runs) - 1) if len(runs) > 1 else 0.0
    first, each, kept = BytesRange(), BytesRange(), BytesRange()
    measured = measurements = 0
    for volume in looked_at:
        size = volume.bytes_volume
        newest, found = _measured(site, volume)
        if newest is None or not found:
            first += BytesRange(high=size or 0)
            continue
        measured += 1
        measurements += len(found)
        wait = (runs[0] - newest).total_seconds() if runs else 0.0
        first += cost.change(found, wait, size)
        each += cost.change(found, every, size)
        kept += cost.change(found, wait, size) + cost.kept(found, generations, size)
    share = len(volumes) / len(looked_at) if looked_at else 1.0
    return Estimate(
        volumes=len(volumes),
        measured=round(measured * share),
        measurements=measurements,
        first=first.times(share),
        each_run=each.times(share),
        kept=kept.times(share),
    )


def _measured(site: Site, volume: "models.Volume") -> tuple[datetime | None, list[Measured]]:
    """When the newest snapshot was taken, and what each one added since the one before it."""
    rows = list(
        site.catalog.snapshots.filter(volume=volume, bytes_stored__isnull=False)
        .order_by("-created_at")
        .values_list("created_at", "bytes_stored", "snapshot_id", "parent_id")[:_NEWEST]
    )
    found = [
        Measured(seconds=(later[0] - earlier[0]).total_seconds(), added_bytes=later[1] or 0)
        for later, earlier in pairwise(rows)
        # Where the one that it builds on is gone, nobody knows how long it took.
        if later[3] in {"", earlier[2]}
    ]
    return (rows[0][0] if rows else None), [
        one for one in found if one.seconds >= cost.LEAST_SECONDS
    ]
