"""The demo removes what it made and nothing else."""

from pathlib import Path

import pytest
from dozo_demo import clean, places
from guestlab.domain import GuestDisk, GuestSpec
from tests.support.guests import GuestFactory


def test_a_folder_that_the_demo_made_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "dozo-demo-vault"
    places.make_folder(folder)
    (folder / "pack").write_bytes(bytes(8192))
    assert places.remove_folder(folder) == 8192
    assert list(tmp_path.iterdir()) == []
    assert places.remove_folder(folder) == 0


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "dozo-demo-vault"
    folder.mkdir()
    with pytest.raises(places.NotOurs, match="was not made by the demo"):
        places.remove_folder(folder)
    assert folder.is_dir()


@pytest.mark.libvirt
def test_a_server_of_somebody_else_is_left_alone(
    guest_factory: GuestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = guest_factory.folder("disks")
    name = guest_factory.name("shop")
    disk = GuestDisk(device="vda", path=folder / "root.qcow2", format="qcow2")
    GuestSpec(name=name, disks=[disk], kvm=False).define(guest_factory.connection)
    monkeypatch.setattr(clean, "SERVERS", (name,))
    with pytest.raises(places.NotOurs, match="is not the demo's"):
        clean.remove_everything(guest_factory.connection)
    monkeypatch.setattr(clean, "OUR_IMAGES", (folder,))
    assert clean.remove_servers(guest_factory.connection) == [name]
