"""Defining, starting, stopping and changing servers, and watching that they stand still."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import libvirt
import pytest

from dozo import hypervisor
from dozo.hypervisor import DiskAttachment, Host, OfflineWatch, RestoringMark, qemu_user
from dozo.hypervisor.errors import (
    AlreadyAttached,
    DefinitionUnusable,
    DetachTimedOut,
    DeviceTaken,
    DeviceUnknown,
    NameTaken,
    ServerRestoring,
    ServerRunning,
    ServerStarted,
    StopTimedOut,
    UuidTaken,
)
from dozo.hypervisor.kvm import boot_seconds
from dozo.hypervisor.server_state import NVRAM_ROOT
from dozo.model import clock
from dozo.model.states import Consistency, Identity, Tracking

from .support import Disk, Server, run, until

pytestmark = pytest.mark.libvirt


@pytest.fixture(scope="module")
def machine(make_server: Callable[..., Server]) -> Server:
    """A server with two disks and a network card that is not connected."""
    return make_server(
        Disk(device="vda"),
        Disk(device="vdb", format="raw"),
        devices="<interface type='ethernet'><mac address='52:54:00:11:22:33'/></interface>",
    )


@pytest.fixture
def stopped(machine: Server) -> Server:
    """That server, stopped."""
    if machine.domain.isActive():
        machine.domain.destroy()
    return machine


@pytest.fixture
def running(machine: Server) -> Server:
    """That server, running."""
    machine.start()
    return machine


def test_the_inventory_shows_it(stopped: Server) -> None:
    info = hypervisor.server(stopped.host, stopped.uuid)
    assert info == next(
        each for each in hypervisor.servers(stopped.host) if each.name == stopped.name
    )
    assert info.state == "stopped"
    assert not info.active
    assert [disk.device for disk in info.disks] == ["vda", "vdb"]
    assert info.disk("vda").is_root
    assert info.disk("vda").size_bytes == stopped.disk("vda").size_bytes
    assert info.disk("vdb").trackable is False
    assert not info.has_agent_channel
    with pytest.raises(DeviceUnknown, match="vdz"):
        info.disk("vdz")


def test_an_image_that_is_shared_under_another_name_is_refused(
    running: Server, make_server: Callable[..., Server]
) -> None:
    other = make_server(Disk(device="vda"))
    alias = other.folder / "alias.qcow2"
    alias.symlink_to(running.disk("vda").path)
    text = other.domain.XMLDesc(0).replace(str(other.disk("vda").path), str(alias))
    other.host.connection.defineXML(text)
    disk = hypervisor.server(other.host, other.name).disk("vda")
    assert disk.refused_reason == f"it is shared with running server {running.name}"


def test_a_forced_stop_is_not_clean(stopped: Server) -> None:
    hypervisor.start(stopped.host, stopped.name)
    hypervisor.start(stopped.host, stopped.name)
    assert hypervisor.server(stopped.host, stopped.name).state == "running"
    with pytest.raises(StopTimedOut):
        hypervisor.stop(stopped.host, stopped.name, timeout_s=0.3)
    hypervisor.stop(stopped.host, stopped.name, timeout_s=0.3, force=True)
    hypervisor.stop(stopped.host, stopped.name)
    info = hypervisor.server(stopped.host, stopped.name)
    assert info.state == "stopped"
    assert info.offline_consistency is Consistency.CRASH


def test_tracking_and_restoring_stand_in_the_definition(stopped: Server) -> None:
    host, name = stopped.host, stopped.name
    assert hypervisor.server(host, name).metadata.tracking is Tracking.AUTO
    hypervisor.set_tracking(host, name, Tracking.OFF)
    hypervisor.mark_restoring(host, name, RestoringMark(device="vdb", path="/b", snapshot="abc"))
    info = hypervisor.server(host, name)
    assert info.metadata.tracking is Tracking.OFF
    assert not info.tracking_allowed
    with pytest.raises(ServerRestoring, match="vdb"):
        hypervisor.start(host, name)
    hypervisor.clear_restoring(host, name, "/b")
    hypervisor.clear_restoring(host, name, "/b")
    hypervisor.set_tracking(host, name, Tracking.AUTO)
    assert hypervisor.server(host, name).metadata == hypervisor.ServerMetadata()
    assert "dozo:server" not in stopped.domain.XMLDesc(0)


def test_what_an_operator_wrote_into_the_metadata_stays(stopped: Server) -> None:
    host, name = stopped.host, stopped.name
    element = '<server tenant="acme"><tag name="nightly"/><tag name="db"/><tag/></server>'
    stopped.domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        element,
        "dozo",
        "urn:dozo:server:1",
        libvirt.VIR_DOMAIN_AFFECT_CONFIG,
    )
    hypervisor.set_tracking(host, name, Tracking.OFF)
    found = hypervisor.server(host, name).metadata
    assert (found.tenant, found.tags, found.tracking) == ("acme", ("nightly", "db"), Tracking.OFF)
    stopped.domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        None,
        "dozo",
        "urn:dozo:server:1",
        libvirt.VIR_DOMAIN_AFFECT_CONFIG,
    )


def test_a_start_by_virsh_is_noticed_even_if_it_was_short(stopped: Server) -> None:
    with OfflineWatch(stopped.host, stopped.name) as watch:
        watch.check(now=True)
        run("virsh", "start", stopped.name)
        run("virsh", "destroy", stopped.name)
        with pytest.raises(ServerStarted):
            watch.check(now=True)
        with pytest.raises(ServerStarted):
            watch.check()


def test_a_running_server_cannot_be_watched(running: Server) -> None:
    with pytest.raises(ServerRunning), OfflineWatch(running.host, running.name):
        raise AssertionError("the watch began")
    with pytest.raises(ServerRunning):
        hypervisor.undefine(running.host, running.name)


def test_a_copy_is_a_new_server_and_keep_is_refused_while_the_old_one_is_there(
    stopped: Server,
) -> None:
    host = stopped.host
    state = hypervisor.read_state(host, stopped.name)
    assert state.active_definition is None
    disks = {"vda": (stopped.disk("vda").path, "qcow2")}
    name = f"{stopped.name}-copy"

    def define(**changes: object) -> str:
        arguments = {"name": name, "identity": Identity.COPY, "disks": disks, **changes}
        return hypervisor.define_server(host, state.definition, **arguments)  # type: ignore[arg-type]

    with pytest.raises(NameTaken):
        define(name=stopped.name)
    with pytest.raises(UuidTaken):
        define(identity=Identity.KEEP)
    uuid = define(nvram=b"firmware")
    try:
        assert uuid != stopped.uuid
        info = hypervisor.server(host, name)
        assert [disk.device for disk in info.disks] == ["vda"]
        assert "52:54:00:11:22:33" not in host.domain(name).XMLDesc(0)
        # It boots from a BIOS: there is nobody to use them.
        assert list(NVRAM_ROOT.glob(f"{name}*")) == []
    finally:
        hypervisor.undefine(host, name)
    with pytest.raises(DefinitionUnusable):
        hypervisor.define_server(host, "not xml", name=name, identity=Identity.COPY, disks=disks)


def test_disks_come_and_go_while_stopped(stopped: Server) -> None:
    host = stopped.host
    path = stopped.folder / "extra.raw"
    run("qemu-img", "create", "-q", "-f", "raw", path, "1M")
    extra = DiskAttachment(path=str(path), format="raw", serial="extra")
    assert hypervisor.attach(host, stopped.name, extra) == "vdc"
    assert hypervisor.server(host, stopped.name).disk("vdc").serial == "extra"
    with pytest.raises(AlreadyAttached, match="vdc"):
        hypervisor.attach(host, stopped.name, extra)
    with pytest.raises(DeviceTaken):
        hypervisor.attach(
            host, stopped.name, DiskAttachment(path="/other", format="raw", device="vda")
        )
    hypervisor.detach(host, stopped.name, "vdc")
    with pytest.raises(DeviceUnknown):
        hypervisor.detach(host, stopped.name, "vdc")


def test_disks_come_while_running_and_go_only_when_the_guest_lets_go(running: Server) -> None:
    host = running.host
    path = running.folder / "hot.raw"
    run("qemu-img", "create", "-q", "-f", "raw", path, "1M")
    device = hypervisor.attach(host, running.name, DiskAttachment(path=str(path), format="raw"))
    assert path.name in running.domain.XMLDesc(0)
    # Nothing is booted: nobody answers the request to let go.
    with pytest.raises(DetachTimedOut):
        hypervisor.detach(host, running.name, device, timeout_s=0.5)
    assert hypervisor.server(host, running.name).disk(device).path == str(path)
    running.domain.destroy()
    until(lambda: not running.domain.isActive())
    hypervisor.detach(host, running.name, device)


def test_qemu_may_use_the_images_folder_and_not_root_s(host: Host, machine: Server) -> None:
    assert hypervisor.qemu_user_refusal(host, machine.folder) is None
    private = machine.folder / "private"
    private.mkdir(mode=0o700)
    refusal = hypervisor.qemu_user_refusal(host, private)
    assert refusal is not None
    assert "ermission" in refusal
    assert list(private.iterdir()) == []


def test_a_probe_whose_maker_was_killed_goes_with_the_next_one(host: Host, machine: Server) -> None:
    for name, alive in (("dead", False), ("alive", True)):
        called = f"{qemu_user.PROBE_PREFIX}{machine.name}-{name}"
        folder = machine.folder / f"dozo-{called}"
        folder.mkdir(mode=0o711)
        (folder / "disk.raw").write_bytes(bytes(1024 * 1024))
        with qemu_user._locked(folder) if alive else nullcontext():
            # Without what lets it go with its maker: libvirt's daemon may be killed too.
            flags = libvirt.VIR_DOMAIN_START_PAUSED
            definition = qemu_user._definition(called, folder / "disk.raw")
            domain = host.connection.createXML(definition, flags)
            (folder / qemu_user._LOCK).touch()
            assert hypervisor.qemu_user_refusal(host, machine.folder) is None
            assert folder.exists() == alive
            if alive:
                assert domain.isActive()
                domain.destroy()
            else:
                with pytest.raises(libvirt.libvirtError):
                    domain.isActive()


def test_kvm_is_probed_by_a_guest_that_really_runs() -> None:
    assert boot_seconds("tcg", 20) is not None
    assert boot_seconds("no-such-accelerator", 20) is None
    begun = clock.monotonic()
    hypervisor.kvm_works(timeout_s=3)
    assert clock.monotonic() - begun < 10


def test_no_notes_no_leftovers(host: Host, tmp_path: Path) -> None:
    assert hypervisor.clean_leftovers(host, tmp_path / "no-such-folder") == []
