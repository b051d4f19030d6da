"""Retention of two sites that keep different numbers: neither counts or deletes for the other."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from dozo.model import clock
from dozo.services import project, replicate, retain, snapshots, upkeep
from dozo.services.site import Site

from .jobs import Service, Shifted
from .support import MadeServer, random_bytes, store

SCHEDULE = "5" * 32


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shifted]:
    monkeypatch.setattr(retain, "_noted", retain._Noted())
    shifted = Shifted()
    with clock.use_clock(shifted):
        yield shifted


def keep(site: Site, count: int) -> None:
    """What the snapshots say that this site keeps, as if each had been taken like that."""
    for row in site.catalog.snapshots.all():
        row.facts["capture"]["keep"] = {"here": {"count": count}, "peer": {"count": count}}
        row.save()


def remove(site: Site) -> int:
    return len(retain.apply(site, retain.plan(site))["removed"])


@pytest.fixture
def kept(pair: tuple[Site, Site], later: Shifted) -> list[str]:
    """Five generations, verified at both sites."""
    main, dr = pair
    server = MadeServer.new("db", ("vda",))
    ids = []
    for number in range(5):
        ids.append(
            store(
                main, server, "vda", random_bytes(number, 65536), at=later.now(), schedule=SCHEDULE
            )
        )
        later.move(hours=2)
    replicate.sync(main)
    (peer,) = main.settings.peers
    replicate.copy(main, peer)
    replicate.sync(dr)
    replicate.sync(main)
    later.move(days=1)
    return ids


def there(site: Site) -> set[str]:
    return {info.snapshot for info in site.vault.snapshots()}


def test_a_deletion_by_retention_stays_at_its_site(
    pair: tuple[Site, Site], kept: list[str]
) -> None:
    main, dr = pair
    keep(main, 2)
    assert remove(main) == 3
    (peer,) = main.settings.peers
    # Everything is offered, and every deletion that is meant for everywhere travels.
    replicate.copy(main, peer)
    assert there(dr) == set(kept)
    assert there(main) == set(kept[3:])


def test_a_deletion_by_a_user_travels(pair: tuple[Site, Site], kept: list[str]) -> None:
    main, dr = pair
    snapshots.delete(main, kept[:1])
    (peer,) = main.settings.peers
    replicate.copy(main, peer)
    assert there(dr) == set(kept[1:])


def test_a_peer_that_keeps_fewer_stops_no_retention_and_is_sent_nothing_again(
    pair: tuple[Site, Site], kept: list[str], later: Shifted
) -> None:
    main, dr = pair
    keep(dr, 1)
    assert remove(dr) == 4
    replicate.sync(main)
    (peer,) = main.settings.peers
    assert upkeep.missing_at(main, peer) == []
    # Nor once it is pruned there.
    later.move(days=8)
    dr.vault.prune(grace_seconds=0)
    replicate.sync(main)
    assert upkeep.missing_at(main, peer) == []
    keep(main, 3)
    assert remove(main) == 2
    assert there(main) == set(kept[2:])


def test_what_the_peer_lost_is_sent_again(pair: tuple[Site, Site], kept: list[str]) -> None:
    main, dr = pair
    dr.vault.delete(kept[:1], reason="user")
    dr.vault.prune(grace_seconds=0)
    replicate.sync(main)
    (peer,) = main.settings.peers
    assert upkeep.missing_at(main, peer) == kept[:1]


def test_what_a_peer_does_not_take_is_missing_there(
    pair: tuple[Site, Site], kept: list[str]
) -> None:
    main, dr = pair
    dr.vault.delete(kept[:1], reason="user")
    (peer,) = main.settings.peers
    replicate.refresh_peer(main, peer)
    done = replicate.copy(main, peer, kept[:1])
    assert list(done.skipped) == kept[:1]
    state = main.catalog.copies.get(snapshot_id=kept[0], site_id=peer.site_id).state
    assert state == "missing"


def test_a_snapshot_that_comes_while_the_vault_is_read_stays_in_the_catalog(
    main: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MadeServer.new("db", ("vda",))
    store(main, server, "vda", random_bytes(1, 65536))
    read = main.vault.snapshots
    late: list[str] = []

    def slowly(**options: bool) -> object:
        found = read(**options)
        at = clock.now() + timedelta(seconds=1)
        late.append(store(main, server, "vda", random_bytes(2, 65536), at=at))
        return found

    monkeypatch.setattr(main.vault, "snapshots", slowly)
    project.rebuild(main)
    assert main.catalog.snapshots.filter(snapshot_id=late[0]).exists()
    assert main.catalog.copies.get(snapshot_id=late[0]).state != "missing"


def points(site: Site, later: Shifted, count: int) -> tuple[MadeServer, list[list[str]]]:
    """So many verified recovery points of two volumes, an hour apart."""
    server = MadeServer.new("web")
    made = []
    for number in range(count):
        made.append(
            [
                store(
                    site,
                    server,
                    device,
                    random_bytes(10 * number + place, 65536),
                    at=later.now(),
                    point=f"{number:032x}",
                    schedule=SCHEDULE,
                )
                for place, device in enumerate(("vda", "vdb"))
            ]
        )
        later.move(hours=1)
    replicate.sync(site)
    later.move(days=1)
    keep(site, 2)
    return server, made


@pytest.mark.parametrize("trouble", ["damaged", "copying", "gone"])
def test_a_recovery_point_that_is_not_whole_pushes_nothing_out(
    main: Site, later: Shifted, trouble: str
) -> None:
    _server, made = points(main, later, 3)
    broken = made[2][1]
    if trouble == "gone":
        main.vault.delete([broken])
        replicate.sync(main)
    else:
        main.catalog.copies.filter(snapshot_id=broken).update(state=trouble, verified_at=None)
    assert remove(main) == 0
    if trouble != "gone":
        main.catalog.copies.filter(snapshot_id=broken).update(state="verified")
        assert remove(main) == 2
        assert there(main) == {*made[1], *made[2]}


def test_what_a_volume_is_being_put_back_from_stays(main: Site, later: Shifted) -> None:
    _server, made = points(main, later, 3)
    volume = main.catalog.snapshots.get(snapshot_id=made[0][0]).volume
    assert volume is not None
    volume.restoring_snapshot = made[0][0]
    volume.save()
    assert remove(main) == 0
    volume.restoring_snapshot = ""
    volume.save()
    assert remove(main) == 2


def test_an_operator_lets_retention_go_on_after_a_jump_of_the_clock(
    main: Site, later: Shifted, monkeypatch: pytest.MonkeyPatch
) -> None:
    points(main, later, 3)
    # As after a host that slept: the monotonic clock stood still.
    slept = later.monotonic()
    retain.plan(main)
    monkeypatch.setattr(later, "monotonic", lambda: slept)
    later.move(days=2)
    service = Service(main)
    job_id = service.ask("site.retain", scope=service.operator)
    service.run()
    view = service.view(job_id)
    assert (view.state, view.error_code) == ("failed", "retention.stopped")
    # Whoever only looks at what would go decides nothing.
    assert all(one.plan.refused for one in retain.plan(main, allow_many=True))
    assert all(one.plan.refused for one in retain.plan(main))
    job_id = service.ask("site.retain", scope=service.operator, allow_many=True)
    service.run()
    assert len(service.result(job_id)["removed"]) == 2
    job_id = service.ask("site.retain", scope=service.operator)
    service.run()
    assert service.view(job_id).state == "done"


def test_what_a_user_deletes_goes_at_the_peer_too(pair: tuple[Site, Site], kept: list[str]) -> None:
    main, dr = pair
    snapshots.delete(main, kept[:1])
    service = Service(main)
    assert "snapshot.copy" in service.upkeep()
    assert there(dr) == set(kept[1:])
    assert upkeep.deleted_here(main, main.settings.peers[0]) == []


def test_many_deletions_wait_for_an_operator(
    pair: tuple[Site, Site], kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main, dr = pair
    monkeypatch.setattr(upkeep, "HANDFUL", 2)
    snapshots.delete(main, kept[:3])
    assert "snapshot.copy" not in Service(main).upkeep()
    assert there(dr) == set(kept)


@pytest.mark.postgres
def test_old_jobs_and_runs_go_and_what_is_asked_for_stays(main: Site, later: Shifted) -> None:
    tenant = main.tenant_row()
    schedule = main.catalog.schedules.create(
        name="s",
        tenant=tenant,
        target_kind="server",
        target="x",
        created_at=later.now(),
        decided_until=later.now(),
    )
    jobs = []
    for number in range(4):
        run = main.catalog.schedule_runs.create(
            schedule=schedule,
            planned_at=later.now(),
            target="server:x",
            outcome="started",
            decided_at=later.now(),
        )
        for kind, of in (("site.prune", None), ("snapshot.create", run)):
            job = main.catalog.jobs.create(
                kind=kind,
                title=f"{number}",
                actor="system:test",
                run=of,
                state="done",
                created_at=later.now(),
                finished_at=later.now(),
            )
            main.catalog.job_lines.create(job=job, at=later.now(), text="line")
            jobs.append(job.pk)
        later.move(hours=1)
    assert upkeep.forget_old(main) == 0
    later.move(days=8)
    assert upkeep.forget_old(main) == len(jobs)
    assert main.catalog.jobs.count() == len(jobs)
    later.move(days=30)
    upkeep.forget_old(main)
    assert main.catalog.schedule_runs.count() == 2
    left = main.catalog.jobs.order_by("kind", "title").values_list("kind", "title")
    assert list(left) == [("site.prune", "3"), ("snapshot.create", "2"), ("snapshot.create", "3")]
    assert upkeep.forget_old(main) == 0
