"""What somebody wants to see first: what is protected, what runs, what needs attention."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.db.models import Count

from dozo.catalog.newest import EVER
from dozo.model import clock
from dozo.model.job_states import JobState
from dozo.services import attention, freshness, protection, retain
from dozo.services.access import Operation, Scope
from dozo.services.attention import LATELY, URGENT, Cause, Notice
from dozo.services.freshness import Freshness
from dozo.services.job_queue import ENDED
from dozo.services.protection import Protection, ServerProtection

if TYPE_CHECKING:
    from django.db.models import QuerySet


class Verdict(StrEnum):
    """Whether to worry: all is well, something is to be watched, something is to be done."""

    WELL = "well"
    WATCH = "watch"
    ACT = "act"
    # There is no server.
    EMPTY = "empty"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Whether all is well, servers counted by state, and what needs attention."""

    at: datetime
    site: str
    verdict: str
    # The hypervisor is a simulation: whatever the counts say, no real server is protected.
    simulated: bool
    servers: Mapping[str, int]
    attention: tuple[Notice, ...]


@dataclass(frozen=True, kw_only=True)
class Overview(Judged):
    """The same, with counts of what the asker may see. ``copies`` is by site, then state.

    ``jobs`` counts those that have not ended, and those that ended within the last day.
    """

    volumes: int
    snapshots: int
    schedules: int
    jobs: Mapping[str, int]
    copies: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class SiteView:
    """A site as the asker sees it. Only those who run the site see where its vault is."""

    site: str
    site_id: str
    role: str
    vault: str
    copies: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class PeerView:
    """A peer in this site's settings."""

    name: str
    site_id: str
    vault: str
    public_key: str


@dataclass(frozen=True, kw_only=True)
class OwnSiteView:
    """This site, for those who run it."""

    site: str
    site_id: str
    home: str
    vault: str
    vault_id: str
    public_key: str
    pool: str
    tenant: str
    undelete_days: float
    peers: tuple[PeerView, ...]
    copies: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class RetentionView:
    """What retention would do with one server's or volume's snapshots; ids with reasons.

    Where it is ``refused`` nothing is deleted, and ``withheld`` says what would have gone.
    """

    of: str
    keep: Mapping[str, tuple[str, ...]]
    delete: Mapping[str, str]
    refused: str | None
    withheld: Mapping[str, str]


def overview(scope: Scope) -> Overview:
    """What is protected, what runs, what needs attention. Raises ``Forbidden``."""
    found, _judged = _look(scope)
    told = {one.name: getattr(found, one.name) for one in fields(found)}
    return Overview(
        **told,
        volumes=scope.volumes.exclude(state="gone").count(),
        snapshots=scope.snapshots.filter(deleted_at=None, created_at__gte=EVER).count(),
        schedules=scope.schedules.filter(enabled=True).count(),
        jobs=_jobs(scope),
        copies=copies(scope),
    )


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What a first look has to tell, and how fresh the snapshots of each server are."""

    overview: Judged
    servers: tuple[Freshness, ...]


def glance(scope: Scope) -> Glance:
    """Every server at a glance. Raises ``Forbidden``."""
    found, judged = _look(scope)
    return Glance(overview=found, servers=tuple(freshness.of_servers(scope.site, judged)))


def _look(scope: Scope) -> tuple[Judged, list[ServerProtection]]:
    scope.permit(Operation.SERVER_LIST)
    servers = scope.servers.filter(present=True).select_related("tenant")
    judged = protection.of_servers(scope.site, servers)
    counts = Counter(one.state.value for one in judged)
    notices = attention.look(scope, judged)
    found = Judged(
        at=clock.now(),
        site=scope.site.settings.name,
        verdict=_verdict(len(judged), notices),
        simulated=scope.site.settings.simulated,
        servers={state.value: counts.get(state.value, 0) for state in Protection},
        attention=tuple(notices),
    )
    return found, judged


def _verdict(servers: int, notices: Sequence[Notice]) -> Verdict:
    causes = {Cause(one.cause) for one in notices} - {Cause.SIMULATED}
    if causes & URGENT:
        return Verdict.ACT
    if causes:
        return Verdict.WATCH
    return Verdict.WELL if servers else Verdict.EMPTY


def _jobs(scope: Scope) -> dict[str, int]:
    found = {state.value: 0 for state in JobState}
    lately = scope.jobs.filter(state__in=ENDED, finished_at__gte=clock.now() - LATELY)
    for rows in (scope.jobs.exclude(state__in=ENDED), lately):
        for one in rows.order_by().values("state").annotate(count=Count("pk")):
            found[one["state"]] += one["count"]
    return found


def copies(scope: Scope) -> dict[str, dict[str, int]]:
    """How many copies are in which state, by site, of what the actor may see."""
    rows = scope.site.catalog.copies
    if scope.actor.tenant is not None or scope.actor.scopes is not None:
        rows = rows.filter(snapshot_id__in=_visible_ids(scope))
    found: dict[str, dict[str, int]] = {}
    names = dict(scope.site.catalog.sites.order_by().values_list("pk", "name"))
    # Without the table of sites, so that an index alone can answer.
    counted = rows.order_by().values_list("state", "site_id").annotate(count=Count("*"))
    for state, site_id, count in counted:
        states = found.setdefault(names[site_id], {})
        states[state] = states.get(state, 0) + count
    return found


def _visible_ids(scope: Scope) -> "QuerySet[Any, Any]":
    return scope.snapshots.order_by().values("snapshot_id")


def sites(scope: Scope) -> list[SiteView]:
    """This site and its peers. Raises ``Forbidden``."""
    scope.permit(Operation.SITE_LIST)
    counted = copies(scope)
    peers = {one.site_id for one in scope.site.settings.peers}
    rows = [row for row in scope.site.catalog.sites.all() if row.is_self or row.site_id in peers]
    runs_it = scope.actor.tenant is None
    return [
        SiteView(
            site=row.name,
            site_id=row.site_id,
            role="this site" if row.is_self else "peer",
            vault=row.vault_url if runs_it else "",
            copies=counted.get(row.name, {}),
        )
        for row in rows
    ]


def own_site(scope: Scope) -> OwnSiteView:
    """This site. Raises ``Forbidden``."""
    scope.permit(Operation.SITE_SHOW)
    settings, vault = scope.site.settings, scope.site.vault
    return OwnSiteView(
        site=settings.name,
        site_id=settings.site_id,
        home=str(settings.home),
        vault=settings.vault,
        vault_id=vault.vault_id,
        public_key=vault.public_key.to_text(),
        pool=str(settings.pool),
        tenant=settings.tenant,
        undelete_days=settings.undelete_days,
        peers=tuple(
            PeerView(name=one.name, site_id=one.site_id, vault=one.vault, public_key=one.public_key)
            for one in settings.peers
        ),
        copies=copies(scope),
    )


def retention(scope: Scope, *, allow_many: bool = False) -> list[RetentionView]:
    """What retention would remove now; nothing is changed. Raises ``Forbidden``."""
    scope.permit(Operation.SITE_RETAIN)
    return [
        RetentionView(
            of=one.of,
            keep={name: tuple(why.value for why in reasons) for name, reasons in one.plan.keep},
            delete={name: reason.value for name, reason in one.plan.delete},
            refused=one.plan.refused.value if one.plan.refused else None,
            withheld={name: reason.value for name, reason in one.plan.withheld},
        )
        for one in retain.plan(scope.site, allow_many=allow_many)
    ]


def settings(scope: Scope) -> dict[str, Any]:
    """The site's settings, without what lets anybody in elsewhere. Raises ``Forbidden``."""
    scope.permit(Operation.SETTINGS_SHOW)
    found = scope.site.settings
    plain = {one.name: getattr(found, one.name) for one in fields(found)}
    plain["peers"] = [one.name for one in found.peers]
    plain["hooks"] = [one.name for one in found.hooks]
    # Addresses of databases and of messengers hold passwords.
    plain["notify_quiet"] = str(found.notify_quiet or "")
    plain["notify"] = [urlsplit(one).scheme for one in found.notify]
    if "://" not in found.database:
        plain["database"] = "…" if found.database else ""
    for name, value in plain.items():
        if isinstance(value, str) and "://" in value:
            plain[name] = _without_password(value)
    return plain


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    _, at, place = parts.netloc.rpartition("@")
    hidden = parts._replace(netloc=f"…@{place}" if at else place, query="", fragment="")
    return hidden.geturl()
