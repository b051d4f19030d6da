"""Retention of two sites that keep different numbers: neither counts or deletes for the other."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from dozo.model import clock
from dozo.services import project, replicate, retain, snapshots, upkeep
from dozo.services.site import Site

from .jobs import Shifted
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
