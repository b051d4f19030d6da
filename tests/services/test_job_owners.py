"""Whose a job is, what it may do for a token, and that it does what was permitted."""

from datetime import timedelta
from typing import Any

import pytest

from dozo.model import clock
from dozo.model import policy as rules
from dozo.model.job_states import JobState
from dozo.model.policy_checks import HooksRefused
from dozo.services import (
    admission,
    hooks,
    job_queue,
    job_run,
    leftovers,
    notes,
    operations,
    policies,
    restore_server,
    schedules,
    start_again,
    upkeep,
)
from dozo.services.access import Actor, Forbidden, Operation, Role, Scope
from dozo.services.admission import Candidate, Lane, Limits
from dozo.services.job_kinds import JobKind, Params, Prepared
from dozo.services.notes import Busy
from dozo.services.site import Site
from dozo.services.work import Work

from .access_support import add_server, add_user, token_scope
from .jobs import Held, Service
from .support import MadeServer, random_bytes, store


def stored_for(site: Site, name: str, tenant: str) -> str:
    made = store(site, MadeServer.new(name), "vda", random_bytes(len(name), 4096))
    site.catalog.snapshots.filter(snapshot_id=made).update(tenant=site.tenant_row(tenant))
    return made


@pytest.fixture
def mixed(pair: tuple[Site, Site]) -> tuple[Site, list[str]]:
    main, _dr = pair
    return main, [stored_for(main, "web", "acme"), stored_for(main, "gold", "globex")]


def test_a_job_about_several_tenants_is_shown_to_none(mixed: tuple[Site, list[str]]) -> None:
    main, ids = mixed
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    operator = Scope(main, Actor.system())
    for kind, params in (
        ("snapshot.verify", {"snapshots": ids}),
        ("snapshot.copy", {"snapshots": ids, "peer": "dr"}),
    ):
        job_queue.submit(operator, operations.kind(kind), params)
    assert not alice.jobs.exists()
    mine = job_queue.submit(alice, operations.kind("snapshot.verify"), {"snapshots": ids[:1]})
    assert alice.job(mine.job_id).tenant.name == "acme"


def test_a_tenants_copies_keep_nobody_elses_waiting(mixed: tuple[Site, list[str]]) -> None:
    main, ids = mixed
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    for _ in range(3):
        job_queue.submit(alice, operations.kind("snapshot.copy"), {"snapshots": ids[:1]})
    main.catalog.copies.filter(site=main.own_row).update(state="verified")
    queued = upkeep.submit_due(main, upkeep.Arrivals())
    (own,) = main.catalog.jobs.filter(kind="snapshot.copy", job_id__in=queued)
    assert (own.tenant, own.params["snapshots"]) == (None, ids)
    limits = Limits(work=8, tenant=1, upkeep=8)
    started = job_queue.dispatch(main, Held(main.settings.home), limits, "q")
    assert own.job_id in started
    assert main.catalog.jobs.filter(job_id__in=started, tenant__name="acme").count() == 1


def test_a_tenants_limit_counts_its_jobs_in_every_lane() -> None:
    waiting = [
        Candidate(job_id=str(number), lane=Lane.UPKEEP, tenant="acme") for number in range(3)
    ]
    decision = admission.decide(waiting, [], Limits(tenant=1, upkeep=4))
    assert decision.start == ("0",)


def test_a_token_for_snapshots_stops_no_server(main: Site) -> None:
    uuid = add_server(main, "web", "acme")
    volume = main.catalog.volumes.get(server_id=uuid)
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    narrow = token_scope(alice, f"snapshot.create:volume={volume.volume_id}")
    kind = operations.kind("snapshot.create")
    params = {"volume": str(volume.volume_id), "mode": policies.STOP, "force_stop": True}
    with pytest.raises(Forbidden):
        kind.prepare(narrow, params)
    assert kind.prepare(alice, params).params["mode"] == policies.STOP
    assert kind.prepare(narrow, {"volume": str(volume.volume_id)}).object_name == "web-vda"


def test_a_snapshot_by_hand_asks_the_policy_about_hooks(main: Site) -> None:
    uuid = add_server(main, "web", "acme")
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    kind = operations.kind("recovery-point.create")
    params = {"server": str(uuid), "hook_before": "quiesce"}
    with pytest.raises(hooks.HookUnknown):
        kind.prepare(alice, params)
    policy = rules.overridden(rules.preset("modern"), {"guest_hooks": False})
    policies.give(main, main.tenant_row("acme"), policy)
    with pytest.raises(HooksRefused):
        kind.prepare(alice, params)


@pytest.fixture
def plain_kind(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A kind of job that says what its test wants it to; the texts that it says."""
    texts: list[str] = []

    def run(site: Site, params: Params, work: Work) -> dict[str, Any]:
        for text in texts:
            work.step(text)
        return {"said": texts}

    kind = JobKind(
        name="test.say",
        operation=Operation.SITE_SYNC,
        prepare=lambda scope, params: Prepared(title="say", params=dict(params)),
        run=run,
    )
    monkeypatch.setitem(operations.KINDS, "test.say", kind)
    return texts


@pytest.mark.postgres
def test_what_a_guest_says_does_not_break_its_job(main: Site, plain_kind: list[str]) -> None:
    plain_kind += ["it said \0 and \udc80", "x" * 20_000]
    service = Service(main)
    said = service.result(_run(service))["said"]
    assert said[0] == "it said  and ?"
    assert len(said[1]) == 10_000
    texts = [line.text for line in main.catalog.job_lines.all()]
    assert "it said  and ?" in texts


def _run(service: Service) -> str:
    job_id = service.ask("test.say", scope=service.operator)
    service.run()
    return job_id


def test_what_a_dead_worker_left_is_cleaned_up_before_its_job_runs_again(
    main: Site, plain_kind: list[str]
) -> None:
    """Its new run would write over the notes that tell of it."""
    server = MadeServer.new("web")
    point = "a" * 32
    half = store(main, server, "vda", random_bytes(1, 65536), point=point)
    with notes.hold(
        main.settings.notes,
        "server-x",
        what="server web",
        work="live snapshot",
        kind="snapshot",
        snapshot="p",
        recovery_point=point,
    ) as held:
        held.keep()
    service = Service(main)
    job_id = service.ask("test.say", scope=service.operator)
    (started,) = service.dispatch()
    assert started == job_id
    main.catalog.jobs.filter(job_id=job_id).update(executions=1, state=JobState.RUNNING)
    job_run.execute(main.settings.home, service.runner.given[0])
    assert service.view(job_id).state == "done"
    assert half not in {info.snapshot for info in main.vault.snapshots()}
    assert leftovers.clean(main).lines == ()


def test_a_server_that_comes_back_is_not_stopped(main: Site) -> None:
    uuid = str(add_server(main, "web", "acme"))
    with (
        notes.hold(
            main.settings.notes,
            f"duty-{uuid}",
            what="server web",
            work="stopping it for a snapshot and starting it again",
            kind=start_again.KIND,
            server=uuid,
        ),
        pytest.raises(Busy, match="starting it again"),
    ):
        start_again.forget(main, uuid)


def test_a_restore_of_a_time_means_what_was_permitted(main: Site) -> None:
    """Whoever had the server before has snapshots of it that are not its owner's now."""
    server = MadeServer.new("web", ("vda",))
    old = store(main, server, "vda", random_bytes(1, 4096), at=clock.now() - timedelta(hours=2))
    new = store(main, server, "vda", random_bytes(2, 4096), at=clock.now() - timedelta(hours=1))
    acme = main.tenant_row("acme")
    main.catalog.servers.update(tenant=acme)
    main.catalog.snapshots.filter(snapshot_id=new).update(tenant=acme)
    row = main.catalog.servers.get()
    assert restore_server._newest_of(main, row, clock.now()) == [new]
    main.catalog.snapshots.filter(snapshot_id=new).update(deleted_at=clock.now())
    with pytest.raises(restore_server.NothingToRestore):
        restore_server._newest_of(main, row, clock.now())
    assert old


def test_a_schedule_shows_no_name_of_a_server_that_changed_hands(main: Site) -> None:
    uuid = add_server(main, "web", "acme")
    alice = add_user(main, "alice", Role.MEMBER, "acme")
    made = schedules.create(
        alice,
        {
            "name": "hourly",
            "server": str(uuid),
            "mode": "live",
            "timing": {"kind": "hourly", "minute": 0},
            "keep": {"count": 3},
        },
    )
    assert made.target_name == "web"
    main.catalog.servers.update(tenant=main.tenant_row("globex"), name="secret-project")
    assert schedules.view(alice, alice.schedule("hourly")).target_name == str(uuid)
