"""The whole service on the simulated hypervisor: what it promises holds without any guest."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.simulated import Simulation

from dozo.hypervisor import ServerStarted, StopTimedOut
from dozo.hypervisor.errors import AgentCannotExec, DiskInUse
from dozo.hypervisor.simulated import Guest, NewDisk, NewServer
from dozo.model import clock
from dozo.model.states import CaptureMode, Consistency, Identity
from dozo.services import (
    attaching,
    doctor,
    inventory,
    leftovers,
    notes,
    overview,
    power,
    protect,
    replicate,
    restore_in_place,
    restore_server,
    restore_volume,
    templates,
    views,
)
from dozo.services.access import Actor, Scope
from dozo.services.site import Site

from .jobs import Shifted
from .support import befriend, make_site

MIB = 1024 * 1024


@pytest.fixture
def site(tmp_path: Path, simulated: Simulation) -> Iterator[Site]:
    """A site with one running server, its root qcow2 and its data raw."""
    disks = (NewDisk(device="vda"), NewDisk(device="vdb", format="raw", size_bytes=16 * MIB))
    simulated.host.add_server(NewServer(name="web", disks=disks))
    simulated.host.start("web")
    with make_site(tmp_path, "main", libvirt=simulated.uri) as made:
        inventory.sync(made)
        yield made


def content(path: str | Path, format: str) -> bytes:
    """An image's bytes as the guest sees them."""
    if format == "raw":
        return Path(path).read_bytes()
    target = Path(f"{path}.as-raw")
    subprocess.run(
        ["qemu-img", "convert", "-U", "-f", format, "-O", "raw", str(path), str(target)],
        check=True,
    )
    found = target.read_bytes()
    target.unlink()
    return found


def disk_content(site: Site, server: str, device: str) -> bytes:
    disk = site.host.server(server).disk(device)
    return content(disk.path or "", disk.format)


def nothing_is_left(site: Site) -> None:
    scratch = site.settings.scratch
    assert not [one for one in scratch.rglob("*") if one.is_file()]
    assert notes.read_all(site.settings.notes) == []
    assert leftovers.clean(site).lines == ()


def test_protect_copy_verify_and_restore_by_the_four_steps(tmp_path: Path, site: Site) -> None:
    with make_site(tmp_path, "dr") as dr:
        befriend(site, dr)
        then = {device: disk_content(site, "web", device) for device in ("vda", "vdb")}
        point = protect.apply(site, protect.plan_server(site, "web", name="point"))
        assert point.consistency == Consistency.FILESYSTEM.value
        nothing_is_left(site)
        replicate.copy(site, replicate.peer_or_only(site, "dr"))
        replicate.sync(dr)
        replicate.sync(site)
        states = {one.state for one in site.catalog.copies.all()}
        assert states == {"verified"}
    power.stop(site, "web", timeout_seconds=5)

    templates.create(site, templates.plan(site, "point-vda", name="golden"))
    made = restore_server.apply(
        site, restore_server.plan_from_template(site, "golden", name="web-2")
    )
    assert (made.identity, made.started) == (Identity.COPY, False)
    restored = restore_volume.apply(site, restore_volume.plan(site, "point-vdb", name="web-2-data"))
    attaching.attach(site, attaching.plan_attach(site, restored.volume, "web-2"))
    assert power.start(site, "web-2").state == "running"
    for device, before in then.items():
        assert disk_content(site, "web-2", device) == before
    found = {one.name: one for one in views.list_servers(site)}
    assert found["web-2"].state == "running"
    # It behaves like its original, which stands in its definition.
    again = protect.apply(site, protect.plan_server(site, "web-2", name="again"))
    assert again.consistency == Consistency.FILESYSTEM.value


def test_the_second_snapshot_reads_what_the_guest_wrote_meanwhile(
    site: Site, simulated: Simulation
) -> None:
    protect.apply(site, protect.plan_server(site, "web", name="first"))
    simulated.host.write("web", "vda", 10 * MIB, b"\x01" * 65536)
    point = protect.apply(site, protect.plan_server(site, "web", name="second"))
    taken = {one.device: one for one in point.snapshots}
    root, data = taken["vda"], taken["vdb"]
    assert root.full_reason is None
    assert root.bytes_read < 3 * MIB
    # Raw images have no bitmaps, here as in QEMU.
    assert data.full_reason == "format-cannot-track"
    made = restore_volume.apply(site, restore_volume.plan(site, "second-vda", name="copy"))
    assert content(made.path, made.format) == disk_content(site, "web", "vda")


def test_a_guest_goes_on_writing_as_time_passes(site: Site, simulated: Simulation) -> None:
    protect.apply(site, protect.plan_server(site, "web", name="first"))
    before = disk_content(site, "web", "vdb")
    with clock.use_clock(Shifted(by=timedelta(hours=1))):
        protect.apply(site, protect.plan_server(site, "web", name="second"))
    assert disk_content(site, "web", "vdb") != before


def test_what_is_written_during_a_capture_is_not_in_it(
    site: Site, simulated: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = disk_content(site, "web", "vda")
    real = type(site.vault).backup

    def write_first(*arguments: object, **options: object) -> object:
        simulated.host.write("web", "vda", 0, b"\x02" * 65536)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(site.vault), "backup", write_first)
    protect.apply(site, protect.plan_server(site, "web", name="point"))
    assert disk_content(site, "web", "vda") != then
    made = restore_volume.apply(site, restore_volume.plan(site, "point-vda", name="copy"))
    assert content(made.path, made.format) == then


def test_a_start_wins_over_an_offline_snapshot(
    site: Site, simulated: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    power.stop(site, "web")
    assert site.host.server("web").offline_consistency is Consistency.CLEAN
    protect.apply(site, protect.plan_server(site, "web", name="still"))
    real = type(site.vault).backup

    def start_and_stop(*arguments: object, **options: object) -> object:
        simulated.host.start("web")
        simulated.host.destroy("web")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(site.vault), "backup", start_and_stop)
    with pytest.raises(ServerStarted):
        protect.apply(site, protect.plan_server(site, "web", name="disturbed"))
    nothing_is_left(site)
    assert site.host.server("web").offline_consistency is Consistency.CRASH


def test_a_guest_takes_its_time_to_stop_or_does_not(site: Site, simulated: Simulation) -> None:
    simulated.host.set_guest("web", Guest(obeys=False))
    with pytest.raises(StopTimedOut):
        power.stop(site, "web", timeout_seconds=0.1)
    assert site.host.server("web").active
    simulated.host.set_guest("web", Guest(stop_seconds=0.2))
    assert power.stop(site, "web", timeout_seconds=5).state == "stopped"
    assert site.host.server("web").not_clean == ""


def test_unmounted_is_asked_of_the_guest(site: Site, simulated: Simulation) -> None:
    def take(name: str) -> Consistency:
        plan = protect.plan_server(
            site, "web", name=name, mode=CaptureMode.UNMOUNTED, volumes=["vdb"]
        )
        return protect.apply(site, plan).consistency

    with pytest.raises(DiskInUse):
        take("refused")
    nothing_is_left(site)
    simulated.host.set_guest("web", Guest(unmounted=("vdb",)))
    assert take("good") is Consistency.CLEAN


def test_without_an_agent_a_snapshot_is_crash_consistent_and_says_why(
    site: Site, simulated: Simulation
) -> None:
    simulated.host.set_guest("web", Guest(agent=False))
    point = protect.apply(site, protect.plan_server(site, "web", name="point"))
    assert point.consistency is Consistency.CRASH
    assert "no guest agent" in point.notes["freeze_problem"]


def test_a_volume_goes_back_in_place(site: Site, simulated: Simulation) -> None:
    then = disk_content(site, "web", "vdb")
    protect.apply(site, protect.plan_server(site, "web", name="point"))
    simulated.host.write("web", "vdb", 0, b"\x03" * 65536)
    power.stop(site, "web")
    assert disk_content(site, "web", "vdb") != then
    restore_in_place.apply(site, restore_in_place.plan(site, "web/vdb", "point-vdb"))
    assert disk_content(site, "web", "vdb") == then
    assert site.host.server("web").metadata.restoring == ()


def test_programs_are_refused_in_words(site: Site) -> None:
    with pytest.raises(AgentCannotExec):
        site.host.run_program("web", ["/bin/true"], timeout_s=1)


def test_a_capture_whose_process_was_killed_is_undone(site: Site, simulated: Simulation) -> None:
    script = f"""
        import os, signal, pathlib
        from dozo.catalog.store import set_up_django
        from dozo.services import protect
        from dozo.services.site import Site
        site = Site.open(pathlib.Path({str(site.settings.home)!r}))
        type(site.vault).backup = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
        protect.apply(site, protect.plan_server(site, "web", name="killed"))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(site.settings.scratch.rglob("vda"))
    (line, *_) = leftovers.clean(site).lines
    assert "backup job" in line
    assert "checkpoint" in line
    nothing_is_left(site)
    assert site.host.checkpoints("web") == []
    assert site.host.live_bitmaps("web") == {}
    protect.apply(site, protect.plan_server(site, "web", name="after"))


def test_nobody_takes_it_for_protection(site: Site) -> None:
    (found,) = [one for one in doctor.examine(site.settings.home) if one.name == "hypervisor"]
    assert found.outcome is doctor.Outcome.WARNING
    assert "simulated" in found.found
    seen = overview.overview(Scope(site, Actor.system()))
    assert seen.simulated
    assert any("simulated" in one.text for one in seen.attention)
