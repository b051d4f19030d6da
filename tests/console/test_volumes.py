"""Volumes: lists, attaching and detaching, deleting, and a restore that was not finished."""

from datetime import timedelta

from tests.api.support import World

from dozo.model import clock

from .servers_scene import Kept, history, uuid_of
from .support import text_of
from .test_servers import Come, scene, uuid, volume_of, world

__all__ = ["scene", "uuid", "world"]


def test_the_list_is_filtered_by_state_and_server(visitor: Come, world: World, uuid: str) -> None:
    history(world.site, "web", [Kept(at=clock.now() - timedelta(hours=2))])
    alice = visitor("alice")
    page = alice.page(f"/volumes?server={uuid}")
    assert page.count('<th scope="row">') == 3
    assert "2 hours ago" in text_of(page)
    assert "No volume is like that." in text_of(alice.page("/volumes?state=unattached"))
    assert "hive" not in alice.page("/volumes")
    assert "hive-vda" in visitor("operator").page("/volumes")


def test_a_volume_is_detached_and_attached_as_it_was(visitor: Come, world: World) -> None:
    volume = volume_of(world, "db", "vdb")
    alice = visitor("alice")
    form = f"/volumes/{volume}/detach"
    assert "Unmount it inside the guest first" in text_of(alice.page(form))
    answer = alice.post(form, {}, form=form)
    assert answer.headers["Location"] == f"/volumes/{volume}?note=detached"
    page = text_of(alice.follow(answer))
    assert "Device it had last vdb virtio" in page
    assert "attach" in alice.page(f"/volumes/{volume}")
    db = uuid_of(world.site, "db")
    form = f"/volumes/{volume}/attach?server={db}"
    proposed = alice.page(form)
    assert 'name="device" value="vdb"' in proposed
    taken = {"server": str(db), "device": "vda", "bus": "virtio"}
    refused = alice.post(f"/volumes/{volume}/attach", taken, form=form)
    assert refused.status_code == 409
    assert 'name="device" value="vda"' in refused.text
    fields = {"server": str(db), "device": "vdb", "bus": "virtio", "serial": ""}
    answer = alice.post(f"/volumes/{volume}/attach", fields, form=form)
    assert answer.headers["Location"] == f"/volumes/{volume}?note=attached"
    assert world.site.catalog.volumes.get(volume_id=volume).state == "attached"


def test_deleting_needs_the_name_and_a_volume_of_our_own(visitor: Come, world: World) -> None:
    volume = volume_of(world, "spare", "vdb")
    alice = visitor("alice")
    alice.post(f"/volumes/{volume}/detach", {}, form=f"/volumes/{volume}/detach")
    form = f"/volumes/{volume}/delete"
    assert "nothing brings it back" in text_of(alice.page(form))
    for typed in ("spare", "spare-vdb"):
        refused = alice.post(form, {"confirm": typed}, form=form)
        assert refused.status_code == 409
    assert "note bad" in refused.text
    assert visitor("adam").get(form).status_code == 403
    spare = str(uuid_of(world.site, "spare"))
    fields = {"server": spare, "bus": "virtio"}
    alice.post(f"/volumes/{volume}/attach", fields, form=f"/volumes/{volume}/attach?server={spare}")


def test_an_unfinished_restore_is_finished_or_taken_back(visitor: Come, world: World) -> None:
    history(world.site, "db", [Kept(at=clock.now() - timedelta(hours=2))])
    row = world.site.catalog.volumes.get(server__name="db", device="vda")
    snapshot = world.site.catalog.snapshots.filter(volume=row).get()
    row.restoring_snapshot = snapshot.snapshot_id
    row.save()
    alice = visitor("alice")
    page = alice.page(f"/volumes/{row.volume_id}")
    assert "A restore of this volume was not finished." in text_of(page)
    assert snapshot.name in page
    assert 'value="go-back" disabled' in page
    server = alice.page(f"/servers/{uuid_of(world.site, 'db')}")
    assert "Finish it or take it back" in text_of(server)
    assert f'href="/volumes/{row.volume_id}"' in server
    assert f"/volumes/{row.volume_id}/take-up" not in visitor("auditor").page(
        f"/volumes/{row.volume_id}"
    )
