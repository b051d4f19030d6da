"""What a schedule's maker must be allowed, and that nothing of one tenant's reaches another."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dozo.model import clock
from dozo.services import hashing, job_queue, login, operations, policies, schedules
from dozo.services.access import Actor, Forbidden, Role, Scope
from dozo.services.errors import TenantsMixed, VolumeNameTaken
from dozo.services.pool import Pool, PoolImage
from dozo.services.site import Site

from .access_support import add_server, add_user, token_scope
from .jobs import Held
from .support import MadeServer, make_site, random_bytes, store

DAILY = {"timing": {"kind": "daily", "hour": 2, "minute": 0}, "keep": {"count": 3}}


@pytest.fixture
def main(tmp_path: Path) -> Iterator[Site]:
    with make_site(tmp_path, "main") as site:
        yield site


@pytest.fixture
def alice(main: Site) -> Scope:
    return add_user(main, "alice", Role.MEMBER, "acme")


@pytest.mark.parametrize("target", ["server", "volume", "tag"])
def test_who_makes_a_schedule_may_do_what_it_does(main: Site, alice: Scope, target: str) -> None:
    uuid = add_server(main, "web", "acme")
    volume = str(main.catalog.volumes.get(server_id=uuid).volume_id)
    fields: dict[str, Any] = {
        **DAILY,
        "name": "nightly",
        target: {"server": str(uuid), "volume": volume, "tag": "prod"}[target],
    }
    stopping = {**fields, "mode": policies.STOP}
    takes = "snapshot" if target == "volume" else "recovery-point"
    makes = ("schedule.*", f"{takes}.create", f"{takes}.delete")
    for scopes in (("schedule.*",), ("schedule.*", f"{takes}.create"), makes[::2]):
        with pytest.raises(Forbidden):
            schedules.create(token_scope(alice, *scopes), fields)
    plain = token_scope(alice, *makes)
    with pytest.raises(Forbidden):
        schedules.create(plain, stopping)
    with pytest.raises(Forbidden):
        schedules.create(token_scope(alice, *makes, "server.start"), stopping)
    schedules.create(plain, fields)
    # Nor by the way of a change, or of running what somebody else made.
    with pytest.raises(Forbidden):
        schedules.update(plain, plain.schedule("nightly"), {"mode": policies.STOP})
    schedules.update(alice, alice.schedule("nightly"), {"mode": policies.STOP})
    with pytest.raises(Forbidden):
        schedules.run_now(plain, "nightly")
    with pytest.raises(Forbidden):
        schedules.update(plain, plain.schedule("nightly"), {"keep": {"count": 1}})
    assert schedules.update(plain, plain.schedule("nightly"), {"enabled": False}).enabled is False
    with pytest.raises(Forbidden):
        schedules.update(plain, plain.schedule("nightly"), {"enabled": True})
    stops = token_scope(alice, *makes, "server.start", "server.stop")
    assert schedules.create(stops, {**stopping, "name": "other"}).mode == policies.STOP


def test_a_token_for_one_server_makes_schedules_for_that_one(main: Site, alice: Scope) -> None:
    web, other = add_server(main, "web", "acme"), add_server(main, "other", "acme")
    narrow = token_scope(alice, f"*:server={web}")
    made = schedules.create(narrow, {**DAILY, "name": "n", "server": str(web), "mode": "offline"})
    assert made.target_name == "web"
    with pytest.raises(Exception, match="no server"):
        schedules.create(narrow, {**DAILY, "name": "m", "server": str(other)})
    with pytest.raises(Forbidden):
        schedules.create(narrow, {**DAILY, "name": "m", "tag": "prod"})


def test_a_job_says_that_it_waits_and_not_for_whom(main: Site, alice: Scope) -> None:
    operator = Scope(main, Actor.system())
    made = store(main, MadeServer.new("web"), "vda", random_bytes(1, 4096))
    main.catalog.snapshots.update(tenant=main.tenant_row("acme"))
    first = job_queue.submit(operator, operations.kind("site.sync"), {})
    job_queue.dispatch(main, Held(main.settings.home), main.limits, "q")
    mine = job_queue.submit(alice, operations.kind("snapshot.verify"), {"snapshots": [made]})
    main.catalog.jobs.filter(job_id=mine.job_id).update(locks=["sync"])
    rows = main.catalog.jobs.filter(job_id=mine.job_id)
    assert job_queue.views(alice, rows)[0].waits_for == (job_queue.OTHER,)
    assert job_queue.views(operator, rows)[0].waits_for == (first.job_id,)


def test_one_tenant_fills_neither_the_queue_nor_the_schedules(
    main: Site, alice: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = add_server(main, "web", "acme")
    monkeypatch.setattr(job_queue, "MOST_ASKED_FOR", 2)
    monkeypatch.setattr(schedules, "MOST_SCHEDULES", 1)
    stop = operations.kind("server.stop")
    schedules.create(alice, {**DAILY, "name": "one", "server": str(uuid), "mode": "offline"})
    with pytest.raises(schedules.TooManySchedules):
        schedules.create(alice, {**DAILY, "name": "two", "server": str(uuid), "mode": "offline"})
    # What a schedule asks for keeps nobody from asking.
    by_schedule = Scope(main, Actor.schedule("one", "acme"))
    for _ in range(3):
        job_queue.submit(by_schedule, stop, {"server": str(uuid)})
    kept = job_queue.submit(alice, stop, {"server": str(uuid)}, idempotency_key="x")
    job_queue.submit(alice, stop, {"server": str(uuid)})
    with pytest.raises(job_queue.QueueFull):
        job_queue.submit(alice, stop, {"server": str(uuid)})
    same = job_queue.submit(alice, stop, {"server": str(uuid)}, idempotency_key="x")
    assert (same.job_id, same.new) == (kept.job_id, False)
    job_queue.submit(Scope(main, Actor.system()), stop, {"server": str(uuid)})


def test_passwords_are_hashed_a_few_at_a_time(main: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    most = Counter[str]()

    def slow(*_: object) -> bool:
        most["now"] += 1
        most["most"] = max(most["most"], most["now"])
        clock.sleep(0.02)
        most["now"] -= 1
        return False

    add_user(main, "bob", Role.MEMBER, "acme")
    row = main.catalog.users.get(username="bob")
    monkeypatch.setattr(type(row), "check_password", slow)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: login._right(row, "x"), range(16)))
    assert 1 <= most["most"] <= hashing.AT_ONCE


def test_no_data_go_from_one_tenant_to_another_in_place(main: Site) -> None:
    operator = Scope(main, Actor.system())
    theirs = store(main, MadeServer.new("web"), "vda", random_bytes(1, 4096))
    main.catalog.snapshots.update(tenant=main.tenant_row("acme"))
    uuid = add_server(main, "hive", "umbrella")
    volume = str(main.catalog.volumes.get(server_id=uuid).volume_id)
    with pytest.raises(TenantsMixed, match="acme"):
        operations.kind("volume.restore").prepare(operator, {"volume": volume, "snapshot": theirs})


def test_two_tenants_have_volumes_of_one_name(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "default")

    def image(number: int, tenant: str) -> PoolImage:
        return PoolImage(
            volume_id=f"5b0f9a55-0000-4000-8000-00000000000{number}",
            name="data",
            path=str(pool.require_free_name("data", "raw", tenant)),
            format="raw",
            bytes_volume=512,
            tenant=tenant,
        )

    made = [image(number, tenant) for number, tenant in enumerate(("default", "acme", "umbrella"))]
    for one in made:
        with pool.making(one, Path(one.path).touch):
            pass
    assert [Path(one.path).exists() for one in made] == [True] * 3
    assert (tmp_path / "tenants" / "acme").stat().st_mode & 0o777 == 0o711
    for one in made:
        with pytest.raises(VolumeNameTaken):
            pool.require_free_name("data", "raw", one.tenant)
    # One that changed hands is the new owner's by name.
    pool.assign(made[1].volume_id, "other")
    with pytest.raises(VolumeNameTaken):
        pool.require_free_name("data", "raw", "other")
    pool.discard(made[2])
    pool.require_free_name("data", "raw", "umbrella")
