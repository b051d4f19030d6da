"""Telling people: each incident once to each address, and once more when it is over.

Two steps that share nothing but two tables: :func:`look` writes what is to be told in one
transaction with the incident; :func:`deliver` sends it. So a message is never lost; one that was
taken while the process died is sent a second time.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.message import Message, said
from dozo.model.news import News
from dozo.services import findings, sending
from dozo.services.access import Operation, Scope
from dozo.services.audit import recorded
from dozo.services.findings import ONCE, Finding
from dozo.services.sending import Tone
from dozo.services.site import Site

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from dozo.catalog.models_notify import Incident, Notice

log = logging.getLogger(__name__)

_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=1)
_WORSE_PAUSE = timedelta(hours=1)
# An address that takes nothing for so long has no use for old news.
_GIVE_UP = timedelta(days=7)
_FORGET = timedelta(days=30)
_IN_ONE_MESSAGE = 20
_TITLE = 255


def look(site: Site) -> list[str]:
    """Open and close incidents as things are now; the titles of what is news."""
    found = {one.key: one for one in findings.look(site)}
    now = clock.now()
    news: list[str] = []
    with site.catalog.turn("notify"):
        open_now = {row.key: row for row in site.catalog.incidents.filter(closed_at=None)}
        for key, finding in found.items():
            if key in open_now:
                news += _worse(site, open_now[key], finding, now)
            elif finding.kind not in ONCE or not site.catalog.incidents.filter(key=key).exists():
                news += _open(site, finding, now)
        for key, row in open_now.items():
            if key not in found and findings.is_over(site, row):
                news += _close(site, row, now)
        site.catalog.incidents.filter(closed_at__lt=now - _FORGET).delete()
    return news


def _open(site: Site, finding: Finding, now: datetime) -> list[str]:
    row = site.catalog.incidents.create(
        key=finding.key,
        kind=finding.kind.value,
        title=_told(site, finding.title)[:_TITLE],
        text=_told(site, finding.text),
        size=finding.size,
        opened_at=now,
        told_at=now,
        closed_at=now if finding.kind in ONCE else None,
    )
    return _tell(site, row, finding.title, finding.text, tone=Tone.BAD, now=now)


def _worse(site: Site, row: "Incident", finding: Finding, now: datetime) -> list[str]:
    if finding.size <= row.size:
        return []
    # What grows one by one is not told one by one.
    if now - row.told_at < _WORSE_PAUSE and finding.kind is not News.SERVER_UNSAFE:
        return []
    row.title, row.text = _told(site, finding.title)[:_TITLE], _told(site, finding.text)
    row.size, row.told_at = finding.size, now
    row.save(using=site.catalog.alias)
    return _tell(site, row, finding.title, finding.text, tone=Tone.BAD, now=now)


def _close(site: Site, row: "Incident", now: datetime) -> list[str]:
    row.closed_at = now
    row.save(using=site.catalog.alias)
    text = Message(
        "It lasted from {first} to {last} UTC.",
        first=f"{row.opened_at:%Y-%m-%d %H:%M}",
        last=f"{now:%Y-%m-%d %H:%M}",
    )
    return _tell(
        site, row, Message("over: {title}", title=row.title), text, tone=Tone.GOOD, now=now
    )


def _tell(
    site: Site, row: "Incident", title: str, text: str, *, tone: Tone, now: datetime
) -> list[str]:
    for url in site.settings.notify:
        row.notices.create(
            address=_hash(url),
            title=_told(site, title)[:_TITLE],
            text=_told(site, text),
            tone=tone.value,
            next_at=now,
        )
    return [title]


def _told(site: Site, text: str) -> str:
    """A text as it is sent: in the site's language."""
    return str(said(text, site.settings.language))


def _hash(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def deliver(site: Site) -> int:
    """Send what is due; how many messages were taken. An address that fails waits alone."""
    now = clock.now()
    known = {_hash(url): url for url in site.settings.notify}
    left = site.catalog.notices.filter(sent_at=None)
    left.exclude(address__in=list(known)).delete()
    dropped = left.filter(incident__told_at__lt=now - _GIVE_UP, attempts__gt=0).delete()[0]
    if dropped:
        log.warning("%d messages that nobody took for a week were dropped", dropped)
    return sum(_deliver_to(site, address, url) for address, url in known.items())


def _deliver_to(site: Site, address: str, url: str) -> int:
    now = clock.now()
    waiting = site.catalog.notices.filter(address=address, sent_at=None)
    quiet = site.settings.notify_quiet
    if quiet is not None and quiet.include(now):
        # The rest comes in one message when the hours are over.
        waiting = waiting.filter(incident__kind__in=site.settings.notify_urgent)
    rows = list(waiting.order_by("id")[:200])
    # In order: what is over is not told before what it was.
    if not rows or rows[0].next_at > now:
        return 0
    tones = {row.tone for row in rows}
    claimed = _claim(site, rows, now)
    if not claimed:
        return 0
    title, text = _message(site, claimed)
    try:
        tone = Tone.GOOD if tones == {Tone.GOOD.value} else Tone.BAD
        sending.send(url, title=title, text=text, tone=tone)
    except DozoError as error:
        log.warning("%s", error)
        _of(site, claimed).update(problem=str(error))
        return 0
    _of(site, claimed).update(sent_at=clock.now(), problem="")
    return 1


def _claim(site: Site, rows: "Sequence[Notice]", now: datetime) -> "list[Notice]":
    """Those of the rows that this process may send now; until then a failure is assumed."""
    claimed = []
    pause = min(_FIRST_PAUSE * 2 ** min(rows[0].attempts, 10), _LONGEST_PAUSE)
    for row in rows:
        mine = site.catalog.notices.filter(
            pk=row.pk, attempts=row.attempts, sent_at=None, next_at=row.next_at
        )
        if mine.update(attempts=row.attempts + 1, next_at=now + pause):
            claimed.append(row)
    return claimed


def _of(site: Site, rows: "Iterable[Notice]") -> "QuerySet[Notice]":
    return site.catalog.notices.filter(pk__in=[row.pk for row in rows])


def _message(site: Site, rows: "Sequence[Notice]") -> tuple[str, str]:
    name = site.settings.name
    where = f"\n\n{site.settings.public_url}" if site.settings.public_url else ""
    if len(rows) == 1:
        return f"[{name}] {rows[0].title}", f"{rows[0].text}{where}"
    blocks = [f"{row.title}\n{row.text}" for row in rows[:_IN_ONE_MESSAGE]]
    more = len(rows) - len(blocks)
    if more:
        blocks.append(_told(site, Message("… and {count} more.", count=more)))
    title = _told(site, Message("[{name}] {count} things to know", name=name, count=len(rows)))
    return title, "\n\n".join(blocks) + where


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """Whether one address took a test message; ``address`` without what may be secret in it."""

    address: str
    taken: bool
    problem: str = ""


@dataclass(eq=False)
class NobodyToTell(DozoError):
    """There is no address to which news could go."""

    code = "notify.nobody"
    kind = ErrorKind.REFUSED
    text = "notify.urls is empty: nobody would be told"
    hint = "Write addresses into notify.urls of dozo.toml; docs/operations.md shows some."


def send_test(scope: Scope) -> list[TestResult]:
    """Send a test message to each address now. Raises ``Forbidden``, :class:`NobodyToTell`."""
    with recorded(scope, Operation.NOTIFICATION_TEST) as attempt:
        scope.permit(Operation.NOTIFICATION_TEST)
        if not scope.site.settings.notify:
            raise NobodyToTell
        results = _send_tests(scope)
        attempt.detail["taken"] = {one.address: one.taken for one in results}
    return results


def _send_tests(scope: Scope) -> list[TestResult]:
    site = scope.site
    results = []
    for url in site.settings.notify:
        problem = ""
        try:
            sending.send(
                url,
                title=_told(site, Message("[{name}] a test", name=site.settings.name)),
                text=_told(
                    site, Message("Asked for by {name}. Nothing is wrong.", name=scope.actor.name)
                ),
                tone=Tone.TEST,
            )
        except DozoError as error:
            problem = str(error)
        results.append(TestResult(address=sending.shown(url), taken=not problem, problem=problem))
    return results
