"""Two sites: copies and their states, what a lost catalog and a lost site cost."""

import shutil
from pathlib import Path

import pytest

from dozo.blobs.faulty import Call, Fault, FaultPlan, FaultyBlobs
from dozo.catalog.errors import SnapshotUnknown
from dozo.hypervisor.errors import LibvirtUnavailable
from dozo.services import inventory, project, replicate, settings, snapshots, views
from dozo.services import site as sites
from dozo.services.errors import NotReadable, RecoveryPointIncomplete
from dozo.services.restore_server import plan as plan_server
from dozo.services.settings import HomeExists, Peer, PeerUnknown
from dozo.services.site import PeerVaultIsOwn, Site, SiteNameInvalid
from dozo.vault import Keyring, Vault
from dozo.vault.errors import GrantMissing, NotAVault, ReadBackFailed
from dozo.vault.format import ObjectKind, load_document, store_document

from .support import MadeServer, lose_catalog, make_site, random_bytes, store


def copies_of(site: Site, snapshot: str) -> dict[str, str]:
    (view,) = [one for one in views.list_snapshots(site, deleted=True) if one.snapshot == snapshot]
    return dict(view.copies)


def test_a_home_is_a_site_only_once(main: Site) -> None:
    with pytest.raises(HomeExists):
        sites.plan_init(home=main.settings.home, name="b", vault="/v", pool=Path("/p"))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x\n"])
def test_names_of_sites_are_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(SiteNameInvalid):
        sites.plan_init(home=tmp_path, name=name, vault="/v", pool=Path("/p"))


def test_a_vault_that_is_there_is_taken_over_with_its_key(main: Site, tmp_path: Path) -> None:
    server = MadeServer.new("web")
    snapshot = store(main, server, "vda", random_bytes(1))
    shutil.rmtree(main.settings.home / "notes", ignore_errors=True)
    keys = tmp_path / "copy-of-keys"
    shutil.copy(main.settings.keys, keys)
    made = sites.init(
        sites.plan_init(
            home=tmp_path / "again",
            name="main",
            vault=main.settings.vault,
            pool=main.settings.pool,
            keys=keys,
        )
    )
    assert made.vault_adopted
    assert made.site_id == main.settings.site_id
    with Site.open(tmp_path / "again") as again:
        project.rebuild(again)
        assert again.catalog.snapshot(snapshot).origin_site.is_self


def test_a_copy_goes_from_missing_to_verified_and_main_sees_it(pair: tuple[Site, Site]) -> None:
    main, dr = pair
    server = MadeServer.new("web")
    snapshot = store(main, server, "vda", random_bytes(1))
    assert copies_of(main, snapshot) == {"main": "stored"}
    done = replicate.copy(main, main.settings.peer("dr"), [snapshot])
    assert done.snapshots == (snapshot,)
    assert done.bytes_copied > 2_000_000
    assert copies_of(main, snapshot) == {"main": "stored", "dr": "stored"}
    synced = replicate.sync(dr)
    assert [(one.snapshot, one.state) for one in synced.verified] == [(snapshot, "verified")]
    assert "libvirt does not answer" in synced.inventory
    assert synced.peers == {"main": "reached"}
    assert copies_of(dr, snapshot) == {"main": "stored", "dr": "verified"}
    replicate.sync(main)
    assert copies_of(main, snapshot) == {"main": "verified", "dr": "verified"}
    again = replicate.copy(main, main.settings.peer("dr"))
    assert (again.snapshots, again.bytes_copied) == ((), 0)


def forget_proof(site: Site, snapshot: str) -> None:
    """Make a vault's snapshot look as if nobody had read back what it added."""
    blobs = site.vault.blobs
    for key in [info.key for info in blobs.list(f"snapshots/{snapshot}")]:
        document = load_document(blobs, key, ObjectKind.SNAPSHOT)
        del document["read_back"]
        store_document(blobs, key, ObjectKind.SNAPSHOT, document)


def test_what_nobody_has_read_back_is_not_stored(pair: tuple[Site, Site]) -> None:
    main, dr = pair
    server = MadeServer.new("web")
    snapshot = store(main, server, "vda", random_bytes(1), point="aa" * 16)
    replicate.copy(main, main.settings.peer("dr"))
    forget_proof(dr, snapshot)
    replicate.sync(dr, verify=False)
    replicate.sync(main, verify=False)
    assert (
        copies_of(dr, snapshot) == copies_of(main, snapshot) == {"main": "stored", "dr": "copying"}
    )
    (point,) = views.list_recovery_points(dr)
    assert "vda" in point.missing
    # The state comes from the vault: a new catalog says the same.
    dr.close()
    for part in ("", "-wal", "-shm"):
        (dr.settings.home / f"catalog.sqlite3{part}").unlink(missing_ok=True)
    with Site.open(dr.settings.home) as again:
        replicate.sync(again, verify=False)
        assert copies_of(again, snapshot) == {"main": "stored", "dr": "copying"}
        (done,) = replicate.sync(again).verified
        assert (done.snapshot, done.state) == (snapshot, "verified")


def test_a_copy_that_does_not_read_back_is_missing_and_loud(
    pair: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    main, dr = pair
    peer = main.settings.peer("dr")
    snapshot = store(main, MadeServer.new("web"), "vda", random_bytes(1))
    states: list[str] = []

    def look(call: Call) -> None:
        if call.key.startswith("pending/") and call.method == "put":
            row = main.catalog.copies.get(snapshot_id=snapshot, site__name="dr")
            states.append(row.state)

    def spoilt(_peer: Peer) -> Vault:
        plan = FaultPlan(at_call=2, fault=Fault.SPOILT, methods=frozenset({"put"}))
        blobs = FaultyBlobs(dr.vault.blobs, plan, before=look)
        return Vault.open(blobs, Keyring.load(main.settings.keys))

    monkeypatch.setattr(main, "peer_vault", spoilt)
    with pytest.raises(ReadBackFailed):
        replicate.copy(main, peer, [snapshot])
    assert states == ["copying"]
    assert copies_of(main, snapshot) == {"main": "stored", "dr": "missing"}
    monkeypatch.undo()
    replicate.copy(main, peer, [snapshot])
    assert copies_of(main, snapshot) == {"main": "stored", "dr": "stored"}


def test_the_peers_catalog_knows_server_volume_and_origin(pair: tuple[Site, Site]) -> None:
    main, dr = pair
    server = MadeServer.new("web")
    store(main, server, "vda", random_bytes(1), point="aa" * 16)
    store(main, server, "vdb", random_bytes(2), point="aa" * 16)
    replicate.copy(main, main.settings.peer("dr"))
    replicate.sync(dr)
    (point,) = views.list_recovery_points(dr)
    assert (point.server, point.complete, point.copies["dr"]) == ("web", True, "verified")
    assert [one.device for one in point.snapshots] == ["vda", "vdb"]
    assert {one.origin for one in point.snapshots} == {"main"}
    (row,) = views.list_servers(dr, gone=True)
    assert (row.name, row.state) == ("web", "gone")


def test_a_recovery_point_of_which_a_part_is_missing_says_so(pair: tuple[Site, Site]) -> None:
    main, dr = pair
    server = MadeServer.new("web")
    first = store(main, server, "vda", random_bytes(1), point="aa" * 16)
    store(main, server, "vdb", random_bytes(2), point="aa" * 16)
    replicate.copy(main, main.settings.peer("dr"), [first])
    replicate.sync(dr)
    (point,) = views.list_recovery_points(dr)
    assert (point.complete, point.missing) == (False, ("vdb",))
    with pytest.raises(RecoveryPointIncomplete, match="vdb missing"):
        plan_server(dr, recovery_point=point.recovery_point)


def test_a_lost_catalog_is_rebuilt_from_the_vault_alone(main: Site) -> None:
    server = MadeServer.new("web")
    store(main, server, "vda", random_bytes(1), point="aa" * 16)
    second = store(main, server, "vdb", random_bytes(2), point="aa" * 16)
    gone = store(main, server, "vdb", random_bytes(3))
    snapshots.delete(main, [gone])
    snapshots.verify(main, [main.catalog.snapshot(second)])

    def shown(site: Site) -> list[object]:
        return [
            views.list_snapshots(site, deleted=True),
            views.list_recovery_points(site),
            views.list_servers(site, gone=True),
            views.list_volumes(site, gone=True),
        ]

    before = shown(main)
    main.close()
    lose_catalog(main)
    with Site.open(main.settings.home) as again:
        assert views.list_snapshots(again) == []
        report = project.rebuild(again)
        assert (report.snapshots, report.recovery_points, report.deleted) == (3, 1, 1)
        assert shown(again) == before
        assert project.rebuild(again) == report
        assert shown(again) == before


def test_a_lost_site_with_new_keys_is_rebuilt_from_its_peer(
    pair: tuple[Site, Site], tmp_path: Path
) -> None:
    main, dr = pair
    server = MadeServer.new("web")
    data = random_bytes(1)
    snapshot = store(main, server, "vda", data, point="aa" * 16)
    deleted = store(main, server, "vdb", random_bytes(2))
    replicate.copy(main, main.settings.peer("dr"))
    snapshots.delete(main, [deleted])
    replicate.copy(main, main.settings.peer("dr"))
    replicate.sync(dr)
    main.close()
    shutil.rmtree(tmp_path / "main")

    with make_site(tmp_path, "main") as new:
        sites.add_peer(
            dr,
            name="main",
            vault=new.settings.vault,
            public_key=new.vault.public_key.to_text(),
            replace=True,
        )
        sites.add_peer(
            new,
            name="dr",
            vault=dr.settings.vault,
            public_key=dr.vault.public_key.to_text(),
        )
        peer = new.settings.peer("dr")
        plan = replicate.plan_rebuild(new, peer)
        assert plan.snapshots_missing == (snapshot,)
        done = replicate.rebuild(new, plan)
        assert (done.snapshots_before, done.snapshots_after) == (0, 1)
        assert [(one.snapshot, one.state) for one in done.verified] == [(snapshot, "verified")]
        assert done.catalog.unreadable == 0
        assert copies_of(new, snapshot) == {"main": "verified", "dr": "verified"}
        # The rebuilt site is the origin of its old snapshots.
        assert views.list_snapshots(new)[0].origin == "main"
        made = snapshots.to_file(new, snapshot, tmp_path / "out.raw", format="raw")
        assert Path(made.path).read_bytes() == data
        again = replicate.rebuild(new, replicate.plan_rebuild(new, peer))
        assert (again.bytes_copied, again.snapshots_after) == (0, 1)


def test_a_peer_that_was_not_granted_is_sent_nothing(main: Site, dr: Site) -> None:
    server = MadeServer.new("web")
    snapshot = store(main, server, "vda", random_bytes(1))
    key = dr.vault.public_key.to_text()
    peer = Peer(name="dr", vault=dr.settings.vault, public_key=key)
    main.settings = settings.add_peer(main.settings.home, peer)
    main.note_sites()
    with pytest.raises(GrantMissing):
        replicate.copy(main, main.settings.peer("dr"), [snapshot])
    assert copies_of(main, snapshot) == {"main": "stored", "dr": "missing"}
    assert dr.vault.snapshots() == []


def test_a_site_without_the_key_holds_and_shows_but_does_not_restore(
    pair: tuple[Site, Site], tmp_path: Path
) -> None:
    main, dr = pair
    server = MadeServer.new("web")
    snapshot = store(main, server, "vda", random_bytes(1))
    replicate.copy(main, main.settings.peer("dr"))
    with make_site(tmp_path, "stranger") as stranger:
        stranger.settings = type(stranger.settings)(
            **{**vars(stranger.settings), "vault": dr.settings.vault}
        )
        stranger._vault = None
        report = project.rebuild(stranger)
        assert report.unreadable == 1
        (view,) = views.list_snapshots(stranger)
        assert not view.readable
        with pytest.raises(NotReadable):
            snapshots.readable(stranger, snapshot)


def test_the_own_vault_is_no_peer(main: Site) -> None:
    with pytest.raises(PeerVaultIsOwn):
        main.peer_vault(Peer(name="dr", vault=main.settings.vault, public_key="k"))


def test_unknown_peers_and_vaults_are_named(main: Site, tmp_path: Path) -> None:
    with pytest.raises(PeerUnknown, match="no peer 'dr'"):
        replicate.peer_or_only(main, "dr")
    with pytest.raises(NotAVault):
        main.peer_vault(Peer(name="dr", vault=str(tmp_path / "nothing"), public_key="k"))


def test_an_unreachable_peer_does_not_stop_a_sync(pair: tuple[Site, Site]) -> None:
    main, dr = pair
    store(main, MadeServer.new("web"), "vda", random_bytes(1))
    shutil.rmtree(dr.settings.vault)
    done = replicate.sync(main)
    assert len(done.verified) == 1
    assert "is not a vault" in done.peers["dr"]


def test_without_libvirt_what_needs_it_says_so(main: Site) -> None:
    with pytest.raises(LibvirtUnavailable):
        inventory.sync(main)


def test_unknown_snapshots_are_named(main: Site) -> None:
    with pytest.raises(SnapshotUnknown, match="no snapshot 'nothing'"):
        main.catalog.snapshot("nothing")
