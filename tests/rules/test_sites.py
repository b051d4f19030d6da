"""Rows 3, 5 and 6 of the original service: both sites, the loss of one, and where to restore."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from tests.services.domains import raw_bytes
from tests.services.jobs import Service, Shifted
from tests.services.support import MadeServer, make_site, random_bytes, store

from dozo.model.policy_checks import RestoreSiteRefused
from dozo.services import protection, views
from dozo.services import site as sites
from dozo.services.access import Forbidden
from dozo.services.protection import Protection
from dozo.services.site import Site

NIGHTLY = {"kind": "daily", "hour": 0, "minute": 10, "zone": "Asia/Tokyo"}
DATA = random_bytes(1)


@pytest.fixture
def both(pair: tuple[Site, Site], preset: str, later: Shifted) -> tuple[Service, Service]:
    """Main and DR, the tenant under the same preset at each."""
    services = Service(pair[0]), Service(pair[1])
    for one in services:
        one.policy(preset)
    return services


def take(service: Service, later: Shifted, name: str = "web-vdb") -> str:
    """A snapshot as a capture job leaves it: stored, and verified at its own site."""
    server_name, _, device = name.partition("-")
    server = MadeServer.new(server_name, (device,))
    taken = store(service.site, server, device, DATA, name=name, at=later.now())
    service.do("snapshot.verify", snapshots=[taken])
    return taken


def states(service: Service, snapshot: str) -> dict[str, str]:
    (view,) = [one for one in views.list_snapshots(service.site) if one.snapshot == snapshot]
    return dict(view.copies)


def is_protected(service: Service, snapshot: str) -> bool:
    tenant = service.site.tenant_row()
    return protection.protected_ids(service.site, tenant, [snapshot]) == {snapshot}


def test_row_03_protected_only_when_verified_at_both_sites(
    both: tuple[Service, Service], later: Shifted
) -> None:
    """Nobody asks for a copy: the service makes it, and each site reads back what it has."""
    main, dr = both
    taken = take(main, later)
    assert states(main, taken) == {"main": "verified"}
    assert not is_protected(main, taken)

    assert "snapshot.copy" in main.upkeep()
    assert states(main, taken) == {"main": "verified", "dr": "stored"}
    assert not is_protected(main, taken)

    assert "site.sync" in dr.upkeep()
    assert states(dr, taken)["dr"] == "verified"
    # Main has not heard of it yet.
    assert not is_protected(main, taken)

    later.move(minutes=main.site.settings.sync_minutes + 1)
    assert "site.sync" in main.upkeep()
    assert states(main, taken) == {"main": "verified", "dr": "verified"}
    assert is_protected(main, taken)
    assert "snapshot.copy" not in main.upkeep()


def test_row_03_a_volume_is_behind_until_its_run_is_at_both_sites(
    both: tuple[Service, Service], later: Shifted
) -> None:
    main, dr = both
    first = take(main, later)
    volume = main.site.catalog.snapshots.get(snapshot_id=first).volume
    view = main.schedule(
        name="nightly",
        volume=str(volume.volume_id),
        timing=NIGHTLY,
        keep={"count": 8},
        mode="offline",
    )
    # The run came due and its snapshot is here.
    assert view.next_at is not None
    later.move_to(view.next_at)
    main.site.catalog.schedule_runs.create(
        schedule=main.scope.schedule("nightly"),
        planned_at=later.now(),
        target=f"volume:{volume.volume_id}",
        outcome="started",
        decided_at=later.now(),
    )
    later.move(seconds=5)
    made = MadeServer(name="web", uuid=volume.server_id, volume_ids={"vdb": UUID(str(volume.pk))})
    at = later.now()
    taken = store(main.site, made, "vdb", DATA[:65536], at=at, schedule=view.schedule)
    main.do("snapshot.verify", snapshots=[taken])
    before = protection.of_volume(main.site, volume)
    assert (before.state, before.protected_at) == (Protection.BEHIND, None)
    main.upkeep()
    dr.upkeep()
    later.move(minutes=6)
    main.upkeep()
    after = protection.of_volume(main.site, volume)
    assert after.state is Protection.PROTECTED
    assert after.protected_at == main.site.catalog.snapshots.get(snapshot_id=taken).created_at


def test_row_03_a_site_that_is_away_leaves_it_unprotected(
    both: tuple[Service, Service], later: Shifted, tmp_path: Path
) -> None:
    main, _ = both
    vault = tmp_path / "dr" / "vault"
    vault.rename(vault.with_name("away"))
    taken = take(main, later)
    main.upkeep()
    later.move(hours=1)
    main.upkeep()
    assert states(main, taken) == {"main": "verified"}
    assert not is_protected(main, taken)
    failed = main.site.catalog.jobs.filter(kind="snapshot.copy").order_by("-created_at")[0]
    assert failed.error_text
    vault.with_name("away").rename(vault)
    later.move(hours=1)
    main.upkeep()
    assert states(main, taken)["dr"] == "stored"


@pytest.fixture
def rebuilt(
    both: tuple[Service, Service], preset: str, tmp_path: Path, later: Shifted
) -> Iterator[tuple[Service, Service, str]]:
    """Main was lost with its keys and its database, and set up again under its name: empty."""
    main, dr = both
    taken = take(main, later)
    main.upkeep()
    dr.upkeep()
    main.site.close()
    shutil.rmtree(tmp_path / "main")
    with make_site(tmp_path, "main") as site:
        new = Service(site)
        new.policy(preset)
        sites.add_peer(
            dr.site,
            name="main",
            vault=site.settings.vault,
            public_key=site.vault.public_key.to_text(),
            replace=True,
        )
        sites.add_peer(
            site,
            name="dr",
            vault=dr.site.settings.vault,
            public_key=dr.site.vault.public_key.to_text(),
        )
        yield new, dr, taken


def test_row_05_the_operator_rebuilds_and_the_tenant_restores_at_main(
    rebuilt: tuple[Service, Service, str], later: Shifted
) -> None:
    main, dr, taken = rebuilt
    assert views.list_snapshots(main.site) == []
    # The data survived at DR, where they can be seen all the time.
    assert [one.snapshot for one in views.list_snapshots(dr.site)] == [taken]
    with pytest.raises(Forbidden):
        main.ask("site.rebuild", peer="dr")
    job = main.ask("site.rebuild", scope=main.operator, peer="dr")
    main.run()
    report = main.result(job)
    assert (report["snapshots_before"], report["snapshots_after"]) == (0, 1)
    assert [(one["snapshot"], one["state"]) for one in report["verified"]] == [(taken, "verified")]
    assert report["bytes_copied"] > len(DATA)
    assert states(main, taken) == {"main": "verified", "dr": "verified"}

    made = main.do("volume.create", snapshot=taken, name="back", format="raw")
    assert raw_bytes(made["path"], "raw") == DATA
    # Doing it again copies nothing.
    again = main.ask("site.rebuild", scope=main.operator, peer="dr")
    main.run()
    assert main.result(again)["bytes_copied"] == 0


def test_row_05_a_rebuild_that_was_broken_off_goes_on_by_itself(
    rebuilt: tuple[Service, Service, str], later: Shifted, tmp_path: Path
) -> None:
    """DR goes away in the middle; the job tries again by itself when it is back."""
    main, _, taken = rebuilt
    packs = tmp_path / "dr" / "vault" / "packs"
    job = main.ask("site.rebuild", scope=main.operator, peer="dr")
    packs.rename(packs.with_name("packs-away"))
    main.run()
    assert main.view(job).state in {"waiting", "failed"}
    assert views.list_snapshots(main.site) == []
    packs.with_name("packs-away").rename(packs)
    if main.view(job).state == "failed":
        job = main.ask("site.rebuild", scope=main.operator, peer="dr")
    later.move(hours=1)
    main.run()
    assert main.result(job)["snapshots_after"] == 1
    assert states(main, taken)["main"] == "verified"


def test_row_06_where_a_snapshot_may_be_restored(
    both: tuple[Service, Service], later: Shifted, preset: str
) -> None:
    main, dr = both
    taken = take(main, later, "web-vda")
    main.upkeep()
    dr.upkeep()
    volume = {"snapshot": taken, "name": "at-dr", "format": "raw"}
    template = {"snapshot": taken, "name": "at-dr"}
    if preset == "kcps-v1":
        for kind, request in {"volume.create": volume, "template.create": template}.items():
            with pytest.raises(RestoreSiteRefused, match="only at main"):
                dr.ask(kind, **request)
        assert dr.site.catalog.jobs.filter(kind__endswith=".create").count() == 0
    else:
        assert raw_bytes(dr.do("volume.create", **volume)["path"], "raw") == DATA
        dr.do("template.create", **template)
        assert [one.name for one in views.list_templates(dr.site)] == ["at-dr"]
    assert main.do("volume.create", snapshot=taken, name="at-main")["bytes_volume"] == len(DATA)


def test_row_06_the_origin_counts_and_not_the_name_of_a_role(
    both: tuple[Service, Service], later: Shifted
) -> None:
    """What DR takes for its own servers is restored there, under either preset."""
    main, dr = both
    taken = take(dr, later, "app-vdb")
    made = dr.do("volume.create", snapshot=taken, name="own", format="raw")
    assert raw_bytes(made["path"], "raw") == DATA
    assert states(dr, taken) == {"dr": "verified"}
    assert views.list_snapshots(main.site) == []
