"""How old the newest good snapshots of servers are, here and at each peer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dozo.services.protection import ServerProtection
from dozo.services.protection_evidence import newest, verified_at
from dozo.services.site import Site


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """A server: from when its data would be, if it were lost now and restored from a site.

    ``at`` has, by the site's name, the oldest of its scheduled volumes' newest verified
    snapshots there; None where one has none. Of a server without a schedule all volumes count.
    """

    server: str
    name: str
    tenant: str
    state: str
    stalest_at: datetime | None
    at: Mapping[str, datetime | None]


def of_servers(site: Site, judged: Sequence[ServerProtection]) -> list[Freshness]:
    """Servers, with as many queries for many as for one; those that have nothing first."""
    ids = [UUID(volume.volume) for one in judged for volume in one.volumes]
    sites = {site.settings.name: site.settings.site_id}
    sites |= {peer.name: peer.site_id for peer in site.settings.peers}
    taken: dict[str, dict[str, datetime]] = {}
    for name, site_id in sites.items():
        good = verified_at(site, frozenset({site_id}))
        taken[name] = {
            str(volume): at
            for start in range(0, len(ids), 5000)
            for volume, at in newest(site, ids[start : start + 5000], good).items()
        }
    found = [
        Freshness(
            server=one.server,
            name=one.name,
            tenant=one.tenant,
            state=one.state.value,
            stalest_at=one.stalest_at,
            at={name: _oldest(_counted(one), taken[name]) for name in sites},
        )
        for one in judged
    ]
    return sorted(found, key=_staleness)


def _counted(one: ServerProtection) -> list[str]:
    scheduled = [volume.volume for volume in one.volumes if volume.scheduled]
    return scheduled or [volume.volume for volume in one.volumes]


def _oldest(volumes: Iterable[str], taken: Mapping[str, datetime]) -> datetime | None:
    times = [taken.get(volume) for volume in volumes]
    known = [at for at in times if at is not None]
    return min(known) if known and len(known) == len(times) else None


def _staleness(one: Freshness) -> tuple[bool, float, str]:
    times = [at for at in one.at.values() if at is not None]
    missing = len(times) < len(one.at)
    return not missing, min(at.timestamp() for at in times) if times else 0.0, one.name
