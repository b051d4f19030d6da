"""News reaches people once, also when an address is away for a while, and so does its end."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest

from dozo.model import clock
from dozo.model.quiet import QuietHours
from dozo.services import notify, sending
from dozo.services.access import Actor, Forbidden, Role, Scope
from dozo.services.access import ActorKind as Kind
from dozo.services.site import Site

MINUTE = timedelta(minutes=1)


class Moved:
    """The real clock, moved by hand."""

    def __init__(self) -> None:
        self.by = timedelta(0)
        self._real = clock.SystemClock()

    def now(self) -> datetime:
        return self._real.now() + self.by

    def monotonic(self) -> float:
        return self._real.monotonic() + self.by.total_seconds()

    def sleep(self, seconds: float) -> None:
        self._real.sleep(seconds)


class Receiver:
    """A web server that takes messages, or refuses them."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self.asked = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked += 1
                if receiver.status == 200:
                    receiver.messages.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://user:hunter2@127.0.0.1:{self.server.server_port}/news"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def titles(self) -> list[str]:
        return [one["title"] for one in self.messages]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def time() -> Iterator[Moved]:
    moved = Moved()
    with clock.use_clock(moved):
        yield moved


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def told(site: Site, *receivers: Receiver, **more: object) -> Site:
    """The site, telling those receivers."""
    values = vars(site.settings) | {"notify": tuple(one.url for one in receivers)} | more
    site.settings = type(site.settings)(**values)
    return site


@pytest.fixture
def site(main: Site, receiver: Receiver, time: Moved) -> Site:
    return told(main, receiver)


def round_(site: Site) -> None:
    notify.look(site)
    notify.deliver(site)


def job(site: Site, state: str, *, kind: str = "site.prune", **columns: Any) -> str:
    now = clock.now()
    values = {
        "kind": kind,
        "title": "reclaim space",
        "actor": "system:upkeep",
        "state": state,
        "created_at": now,
        "finished_at": now,
        "object_kind": "site",
        "object_id": "s1",
        "error_text": "the disk is gone" if state == "failed" else "",
    }
    return str(site.catalog.jobs.create(**(values | columns)).job_id)


def test_a_failure_is_told_once_and_so_is_its_end(
    site: Site, receiver: Receiver, time: Moved
) -> None:
    job(site, "failed")
    for _ in range(3):
        round_(site)
    # It fails again: still the same trouble.
    time.by += 5 * MINUTE
    job(site, "failed")
    round_(site)
    assert receiver.titles == ["[main] failed: reclaim space"]
    assert "the disk is gone" in receiver.messages[0]["message"]
    # Long ago is not over.
    time.by += timedelta(days=5)
    round_(site)
    assert len(receiver.messages) == 1
    job(site, "done")
    round_(site)
    round_(site)
    assert receiver.titles[1:] == ["[main] over: failed: reclaim space"]
    assert receiver.messages[1]["type"] == "success"
    # And again.
    time.by += MINUTE
    job(site, "failed")
    round_(site)
    assert len(receiver.messages) == 3


def test_in_quiet_hours_only_what_is_urgent_is_told_and_the_rest_at_their_end(
    main: Site, receiver: Receiver, time: Moved
) -> None:
    at = clock.now()
    hours = f"{at - 2 * MINUTE:%H:%M}-{at + 60 * MINUTE:%H:%M}"
    site = told(main, receiver, notify_quiet=QuietHours.parse(hours, "UTC"))
    job(site, "failed")
    job(site, "failed", kind="site.scrub", title="read back", object_id="s2")
    round_(site)
    assert receiver.titles == []
    job(site, "failed", kind="site.retain", title="retain", error_code="retention.stopped")
    round_(site)
    assert receiver.titles == ["[main] failed: retain"]
    time.by += 30 * MINUTE
    job(site, "done", kind="site.scrub", object_id="s2")
    round_(site)
    assert len(receiver.messages) == 1
    time.by += 31 * MINUTE
    round_(site)
    assert receiver.titles[1:] == ["[main] 3 things to know"]
    assert "over: failed: read back" in receiver.messages[1]["message"]


def test_what_is_tried_again_or_cancelled_is_no_news(site: Site, receiver: Receiver) -> None:
    job(site, "waiting", error_text="not now", finished_at=None)
    job(site, "cancelled", kind="site.scrub")
    round_(site)
    assert receiver.messages == []


def test_each_failed_request_of_a_person_is_told_once_without_an_end(
    site: Site, receiver: Receiver, time: Moved
) -> None:
    job(site, "failed", actor="user:alice", title="restore a")
    round_(site)
    job(site, "failed", actor="user:alice", title="restore b")
    round_(site)
    time.by += MINUTE
    job(site, "done", actor="user:alice")
    round_(site)
    assert receiver.titles == ["[main] failed: restore a", "[main] failed: restore b"]


def test_an_address_that_fails_is_tried_again_with_back_off_and_keeps_nobody_waiting(
    main: Site, time: Moved
) -> None:
    good, bad = Receiver(), Receiver()
    bad.status = 500
    site = told(main, bad, good)
    job(site, "failed")
    round_(site)
    assert len(good.messages) == 1
    tries = []
    for _ in range(60):
        before = bad.asked
        notify.deliver(site)
        if bad.asked > before:
            tries.append(time.by)
        time.by += timedelta(seconds=20)
    # 30 s, one minute, two, four, eight: no more than that in 20 minutes.
    assert 4 <= len(tries) <= 6
    assert len(good.messages) == 1
    problem = site.catalog.notices.get(sent_at=None).problem
    assert "was not taken" in problem
    assert "hunter2" not in problem
    bad.status = 200
    job(site, "done")
    notify.look(site)
    time.by += timedelta(hours=1)
    notify.deliver(site)
    # Both in one message, in order.
    assert bad.titles == ["[main] 2 things to know"]
    text = bad.messages[0]["message"]
    assert text.index("failed: reclaim") < text.index("over: failed: reclaim")
    good.close()
    bad.close()


def test_another_process_goes_on_where_one_died(
    site: Site, receiver: Receiver, time: Moved
) -> None:
    job(site, "failed")
    notify.look(site)
    # A process that died while it sent: it had claimed the message.
    notify._claim(site, list(site.catalog.notices.all()), clock.now())
    with Site.open(site.settings.home) as again:
        told(again, receiver)
        round_(again)
        assert receiver.messages == []
        time.by += MINUTE
        round_(again)
        round_(again)
    assert len(receiver.messages) == 1


def test_two_processes_do_not_both_send(site: Site, receiver: Receiver) -> None:
    job(site, "failed")
    notify.look(site)
    rows = list(site.catalog.notices.all())
    assert len(notify._claim(site, rows, clock.now())) == 1
    assert notify._claim(site, rows, clock.now()) == []
    # Incidents are opened by one of them only.
    assert notify.look(site) == []


def test_no_flood(site: Site, receiver: Receiver) -> None:
    for number in range(30):
        job(site, "failed", object_id=f"s{number}", title=f"job {number}")
    round_(site)
    assert receiver.titles == ["[main] 30 things to know"]
    assert "… and 10 more." in receiver.messages[0]["message"]


def schedule(site: Site, **columns: Any) -> Any:
    return site.catalog.schedules.create(
        name="nightly",
        tenant=site.tenant_row(),
        target_kind="server",
        target="x",
        timing={},
        keep={},
        created_at=clock.now(),
        decided_until=clock.now(),
        **columns,
    )


def test_skipped_and_missed_runs(site: Site, receiver: Receiver, time: Moved) -> None:
    row = schedule(site)
    target = f"volume:{uuid4()}"
    runs = site.catalog.schedule_runs

    def run(outcome: str, reason: str = "", of: str = target, ago: int = 0) -> None:
        runs.create(
            schedule=row,
            planned_at=clock.now() - ago * MINUTE,
            target=of,
            outcome=outcome,
            reason=reason,
            decided_at=clock.now(),
        )

    run("skipped", "window-over")
    round_(site)
    round_(site)
    assert receiver.titles == ["[main] skipped: schedule nightly"]
    assert "window-over" in receiver.messages[0]["message"]
    time.by += timedelta(hours=1)
    for ago in (50, 40, 30):
        run("skipped", "superseded", of="", ago=ago)
    run("started")
    round_(site)
    round_(site)
    assert len(receiver.messages) == 2
    text = receiver.messages[1]["message"]
    assert "missed: 3 runs of schedule nightly" in text
    assert "over: skipped: schedule nightly" in text


def test_damage_peers_quotas_and_stuck_jobs(
    pair: tuple[Site, Site], receiver: Receiver, time: Moved
) -> None:
    site = told(pair[0], receiver)
    tenant = site.tenant_row()
    tenant.policy_overrides = {"quota_snapshots": 10}
    tenant.save(using=site.catalog.alias)
    peer_id = site.settings.peer("dr").site_id
    site.catalog.copies.create(snapshot_id="d1", site_id=peer_id, state="damaged")
    for number in range(9):
        one = site.catalog.snapshots.create(
            snapshot_id=f"q{number}",
            name="s",
            tenant=tenant,
            origin_site=site.own_row,
            created_at=clock.now() - timedelta(hours=25),
            bytes_volume=1,
        )
        site.catalog.copies.create(snapshot_id=one.pk, site=site.own_row, state="verified")
    stuck = job(site, "running", kind="site.scrub", stuck_since=clock.now(), finished_at=None)
    found = {title.partition(":")[0] for title in notify.look(site)}
    assert found == {"damaged", "behind", "quota", "stuck"}
    assert notify.look(site) == []

    site.catalog.copies.filter(snapshot_id="d1").update(state="verified")
    for number in range(9):
        site.catalog.copies.create(snapshot_id=f"q{number}", site_id=peer_id, state="verified")
    site.catalog.snapshots.filter(pk__in=["q1", "q2"]).update(deleted_at=clock.now())
    site.catalog.jobs.filter(job_id=stuck).update(stuck_since=None)
    over = {title.split(":")[1].strip() for title in notify.look(site)}
    assert over == found


def test_growing_damage_is_told_again_but_not_one_by_one(
    site: Site, receiver: Receiver, time: Moved
) -> None:
    for number in range(3):
        site.catalog.copies.create(snapshot_id=f"d{number}", site=site.own_row, state="damaged")
        round_(site)
    assert receiver.titles == ["[main] damaged: 1 copies at this site"]
    time.by += timedelta(hours=2)
    round_(site)
    round_(site)
    assert receiver.titles[1:] == ["[main] damaged: 3 copies at this site"]


def test_a_server_that_fails_because_of_a_told_job_is_not_told_as_well(
    site: Site, receiver: Receiver, time: Moved
) -> None:
    tenant = site.tenant_row()
    server = site.catalog.servers.create(uuid=uuid4(), name="web", tenant=tenant, present=True)
    site.catalog.volumes.create(
        volume_id=uuid4(), name="vda", tenant=tenant, server=server, state="attached"
    )
    row = schedule(site)
    row.target = str(server.uuid)
    row.save(using=site.catalog.alias)
    run = row.runs.create(
        planned_at=clock.now(),
        target=f"server:{server.uuid}",
        outcome="started",
        decided_at=clock.now(),
    )
    failing = job(
        site,
        "failed",
        kind="recovery-point.create",
        title="recovery point of web",
        actor="schedule:default/nightly",
        object_kind="server",
        object_id=str(server.uuid),
        run=run,
    )
    round_(site)
    assert receiver.titles == ["[main] failed: recovery point of web"]
    # Without the job's own news the server's state is.
    site.catalog.incidents.all().delete()
    site.catalog.jobs.filter(job_id=failing).update(state="cancelled")
    round_(site)
    assert receiver.titles[1:] == ["[main] failing: server web"]


def test_old_news_to_an_address_that_is_gone_is_dropped(
    site: Site, receiver: Receiver, time: Moved
) -> None:
    receiver.status = 500
    job(site, "failed")
    round_(site)
    time.by += timedelta(days=8)
    notify.deliver(site)
    assert site.catalog.notices.filter(sent_at=None).count() == 0
    job(site, "failed", object_id="s2")
    notify.look(site)
    told(site)
    notify.deliver(site)
    assert site.catalog.notices.filter(sent_at=None).count() == 0


def test_a_test_message_says_which_address_takes_it(main: Site, receiver: Receiver) -> None:
    refusing = Receiver()
    refusing.status = 403
    site = told(main, receiver, refusing)
    results = notify.send_test(Scope(site, Actor.system()))
    assert [one.taken for one in results] == [True, False]
    assert "hunter2" not in str(results)
    assert receiver.titles == ["[main] a test"]
    member = Actor(kind=Kind.USER, name="user:m", role=Role.MEMBER, tenant="default")
    with pytest.raises(Forbidden):
        notify.send_test(Scope(site, member))
    refusing.close()
    with pytest.raises(notify.NobodyToTell):
        notify.send_test(Scope(told(site), Actor.system()))
    entries = main.catalog.audit_entries.filter(operation="notification.test")
    assert [one.outcome for one in entries] == ["done", "refused", "refused"]
    assert "hunter2" not in str(list(entries.values()))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("json://user:pw@news.example.org/x?y=z", "json://news.example.org"),
        ("tgram://bottoken/chatid", "tgram://…"),
        ("slack://T1A2/B1/C1", "slack://…"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    assert sending.shown(url) == shown


def test_an_address_that_makes_no_sense_is_said() -> None:
    with pytest.raises(sending.AddressInvalid):
        sending.send("nonsense://", title="t", text="x", tone=sending.Tone.TEST)


def test_news_is_told_in_the_sites_language(site: Site, receiver: Receiver, time: Moved) -> None:
    japanese = told(site, receiver, language="ja")
    job(japanese, "failed", title_told={"template": "read everything back"})
    round_(japanese)
    assert receiver.titles == ["[main] 失敗：すべてのデータの読み返し"]
    job(japanese, "done")
    round_(japanese)
    assert receiver.titles[1:] == ["[main] 解消：失敗：すべてのデータの読み返し"]
    assert "続きました" in receiver.messages[1]["message"]
