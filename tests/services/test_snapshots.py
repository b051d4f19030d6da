"""Snapshots in the vault: verify, delete, hold, give back as a file, make templates of."""

from pathlib import Path

import pytest

from dozo.catalog.errors import TemplateUnknown
from dozo.model import clock
from dozo.services import project, snapshots, templates, views
from dozo.services.access import Actor
from dozo.services.errors import NameInvalid, NoDefinition, NotRootVolume
from dozo.services.site import Site
from dozo.vault import SnapshotDraft
from dozo.vault.errors import HoldNotLonger, SnapshotDeleted, SnapshotHeld
from dozo.volumes import OutputExists

from .jobs import Service
from .support import Bytes, MadeServer, later, random_bytes, store


@pytest.fixture
def server() -> MadeServer:
    return MadeServer.new("web")


def test_reading_back_verifies_and_damage_is_reported(main: Site, server: MadeServer) -> None:
    snapshot = store(main, server, "vda", random_bytes(1))
    (done,) = snapshots.verify(main, [main.catalog.snapshot(snapshot)])
    assert (done.state, done.damage) == ("verified", ())
    for pack in Path(main.settings.vault).glob("packs/**/*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 2] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(data)
    (done,) = snapshots.verify(main, [main.catalog.snapshot(snapshot)])
    assert done.state == "damaged"
    assert "damaged" in done.damage[0]
    assert done.verified_at is None
    assert views.list_snapshots(main)[0].copies == {"main": "damaged"}


def test_deleted_is_hidden_and_comes_back(main: Site, server: MadeServer) -> None:
    snapshot = store(main, server, "vda", random_bytes(1))
    snapshots.delete(main, [snapshot])
    assert views.list_snapshots(main) == []
    (view,) = views.list_snapshots(main, deleted=True)
    assert (view.deleted_at is not None, view.copies) == (True, {"main": "missing"})
    with pytest.raises(SnapshotDeleted):
        snapshots.readable(main, snapshot)
    snapshots.undelete(main, [snapshot])
    (view,) = views.list_snapshots(main)
    assert view.copies == {"main": "stored"}


def test_a_held_snapshot_is_not_deleted_and_a_hold_not_shortened(
    main: Site, server: MadeServer
) -> None:
    snapshot = store(main, server, "vda", random_bytes(1))
    row = main.catalog.snapshot(snapshot)
    until = clock.now().replace(microsecond=0) + (later(30) - later(0))
    snapshots.hold(main, row, until=until, note="audit")
    with pytest.raises(SnapshotHeld):
        snapshots.delete(main, [snapshot])
    with pytest.raises(HoldNotLonger):
        snapshots.hold(main, row, until=until - (later(1) - later(0)), note="")
    (shown,) = snapshots.holds(main)
    assert (shown.until, shown.note) == (until, "audit")


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_a_file_has_the_bytes_of_the_snapshot(
    main: Site, server: MadeServer, tmp_path: Path, format: str
) -> None:
    data = random_bytes(1)
    snapshot = store(main, server, "vda", data)
    out = tmp_path / f"out.{format}"
    done = snapshots.to_file(main, snapshot, out, format=format)
    assert done.bytes_volume == len(data)
    if format == "raw":
        assert out.read_bytes() == data
    with pytest.raises(OutputExists):
        snapshots.to_file(main, snapshot, out, format=format)
    snapshots.to_file(main, snapshot, out, format=format, force=True)


def test_a_template_outlives_its_snapshot(main: Site, server: MadeServer, tmp_path: Path) -> None:
    data = random_bytes(1)
    snapshot = store(main, server, "vda", data, point="aa" * 16)
    made = templates.create(main, templates.plan(main, snapshot, name="golden"))
    assert (made.source_snapshot, made.source_server) == (snapshot, "web")
    snapshots.delete(main, [snapshot])
    main.vault.prune(grace_seconds=0)
    project.rebuild(main)
    (row,) = views.list_templates(main)
    assert row.name == "golden"
    assert views.list_snapshots(main, deleted=True) == []
    done = snapshots.to_file(main, row.template, tmp_path / "t.raw", format="raw")
    assert Path(done.path).read_bytes() == data
    assert templates.delete(main, "golden").template == row.template
    assert views.list_templates(main) == []
    with pytest.raises(TemplateUnknown):
        main.catalog.template("golden")


def test_a_template_is_copied_to_the_peer_like_a_snapshot(
    pair: tuple[Site, Site], server: MadeServer
) -> None:
    main, dr = pair
    snapshot = store(main, server, "vda", random_bytes(1), point="aa" * 16)
    template = templates.create(main, templates.plan(main, snapshot, name="golden")).template
    service = Service(main, actor=Actor.system("upkeep"))
    assert "snapshot.copy" in service.upkeep()
    assert {snapshot, template} <= dr.vault.snapshot_ids()


def test_no_template_of_a_data_volume(main: Site, server: MadeServer) -> None:
    snapshot = store(main, server, "vdb", random_bytes(1))
    with pytest.raises(NotRootVolume, match="data volume"):
        templates.plan(main, snapshot, name="golden")
    assert views.list_templates(main) == []


def test_no_template_of_a_plain_image_or_with_a_bad_name(main: Site, server: MadeServer) -> None:
    made = main.vault.backup(Bytes(random_bytes(1)), SnapshotDraft(name="image"))
    project.rebuild(main)
    with pytest.raises(NoDefinition):
        templates.plan(main, made.snapshot, name="golden")
    good = store(main, server, "vda", random_bytes(2))
    with pytest.raises(NameInvalid):
        templates.plan(main, good, name="../golden")


def test_plain_images_in_the_vault_are_shown_as_such(main: Site) -> None:
    main.vault.backup(Bytes(random_bytes(1)), SnapshotDraft(name="image"))
    project.rebuild(main)
    (view,) = views.list_snapshots(main)
    assert (view.name, view.mode, view.volume, view.server) == ("image", "file", None, None)
