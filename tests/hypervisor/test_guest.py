"""Live captures of a real guest: freezing it, thawing it whatever happens, asking what it uses."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt
import pytest

from dozo import hypervisor
from dozo.hypervisor import (
    DiskAttachment,
    DiskPlan,
    Freeze,
    Host,
    LiveCapture,
    LiveSettings,
    Unmounted,
)
from dozo.hypervisor.agent import GuestAgent
from dozo.hypervisor.errors import (
    AgentAbsent,
    AgentHung,
    DiskInUse,
    FrozenAlready,
    NotKnownUnmounted,
    ServerStopped,
)
from dozo.model import clock
from dozo.model.states import Consistency

from .support import alive, run, until

if TYPE_CHECKING:
    from tests.support.guests import Guest

pytestmark = pytest.mark.guest

SLOW_HOOK = "/run/slow-hook"
AGENT_CHANGES = "/run/systemd/system/qemu-guest-agent.service.d/slow-hook.conf"

# A process that hangs inside the freeze, as if libvirt had not answered yet.
HANGING = """
import sys, time
from pathlib import Path
from dozo import hypervisor
from dozo.hypervisor import begin
server, notes, scratch = sys.argv[1:]
def hang(self):
    print(self.watchdog.pid, flush=True)
    time.sleep(600)
begin._Instant.begin_job = hang
hypervisor.begin_live(
    hypervisor.Host.connect(), server, [hypervisor.DiskPlan(device="vda")],
    settings=hypervisor.LiveSettings(
        note_dir=Path(notes), scratch_dir=Path(scratch), freeze_limit_s=300.0
    ),
)
"""


@pytest.fixture
def settings(module_guest: "Guest", tmp_path: Path) -> LiveSettings:
    """Settings for captures of the guest."""
    return LiveSettings(note_dir=tmp_path / "notes", scratch_dir=module_guest.folder / "scratch")


@pytest.fixture
def guest(module_guest: "Guest", host: Host) -> Iterator["Guest"]:
    """The module's guest; a test leaves it running, thawed, with its agent at work."""
    if not module_guest.domain.isActive():
        module_guest.start()
    yield module_guest
    if module_guest.domain.isActive():
        module_guest.sh("systemctl start qemu-guest-agent", check=False)
        until(lambda: not is_frozen(host, module_guest), what="the guest is thawed")


def is_frozen(host: Host, guest: "Guest") -> bool:
    """Whether the agent says so; a silent one counts as frozen."""
    try:
        return GuestAgent.of(host, guest.name).is_frozen()
    except hypervisor.AgentError:
        return True


def capture(host: Host, guest: "Guest", settings: LiveSettings, *devices: str) -> LiveCapture:
    """Begin a capture."""
    plans = [DiskPlan(device=device) for device in devices]
    return hypervisor.begin_live(host, guest.name, plans, settings=settings)


def start_hanging(guest: "Guest", settings: LiveSettings) -> tuple["subprocess.Popen[str]", int]:
    """A process that has frozen the guest, and its watchdog's process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, guest.name, settings.note_dir, settings.scratch_dir],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    watchdog = int(process.stdout.readline())
    return process, watchdog


def kill(process: "subprocess.Popen[str]") -> None:
    """Kill it without a chance to clean up."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def notes(settings: LiveSettings) -> list[str]:
    """The notes that are left."""
    return sorted(path.name for path in settings.note_dir.iterdir())


def slow_freeze(guest: "Guest") -> None:
    """Make the agent call a hook that takes 8 seconds before each freeze."""
    guest.sh(
        f"""
        printf '#!/bin/sh\\n[ "$1" != freeze ] || sleep 8\\n' >{SLOW_HOOK}
        chmod 755 {SLOW_HOOK}
        mkdir -p {Path(AGENT_CHANGES).parent}
        printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/qemu-ga -F{SLOW_HOOK}\\n' \\
            >{AGENT_CHANGES}
        systemctl daemon-reload
        systemctl restart qemu-guest-agent
        """
    )


def test_the_guest_is_frozen_for_the_instant_only(
    guest: "Guest", host: Host, settings: LiveSettings
) -> None:
    info = hypervisor.server(host, guest.name)
    assert info.agent_connected
    with capture(host, guest, settings, "vda", "vdb") as live:
        assert live.consistency is Consistency.FILESYSTEM, live.freeze_problem
        assert live.freeze_ms is not None
        assert live.freeze_ms < 1000
        assert live.agent_ms is not None
        assert not is_frozen(host, guest)
        live.check(now=True)
        live.finish(keep_checkpoint=False)
    assert notes(settings) == []


def test_a_killed_process_does_not_leave_the_guest_frozen(
    guest: "Guest", host: Host, settings: LiveSettings
) -> None:
    process, watchdog = start_hanging(guest, settings)
    assert is_frozen(host, guest)
    kill(process)
    until(lambda: not is_frozen(host, guest), timeout_s=15, what="the watchdog thaws")
    until(lambda: not alive(watchdog), what="the watchdog ends")
    assert notes(settings) == []


def test_the_next_start_thaws_if_the_watchdog_died_too(
    guest: "Guest", host: Host, settings: LiveSettings
) -> None:
    process, watchdog = start_hanging(guest, settings)
    run("kill", "-9", str(watchdog))
    kill(process)
    until(lambda: not alive(watchdog))
    assert is_frozen(host, guest)
    (report,) = hypervisor.clean_leftovers(host, settings.note_dir)
    assert report.thawed
    assert "frozen guest" in report.found
    assert not is_frozen(host, guest)
    assert notes(settings) == []


def test_a_freeze_that_lasts_too_long_is_ended_by_the_watchdog(
    guest: "Guest", host: Host, settings: LiveSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dozo.hypervisor import begin  # noqa: PLC0415

    begin_job = begin._Instant.begin_job

    def slow(instant: "begin._Instant") -> object:
        clock.sleep(1.0)
        until(lambda: not is_frozen(host, guest), timeout_s=10, what="the watchdog thaws")
        return begin_job(instant)

    monkeypatch.setattr(begin._Instant, "begin_job", slow)
    with capture(host, guest, replace(settings, freeze_limit_s=0.5), "vda") as live:
        assert live.consistency is Consistency.CRASH
        assert live.freeze_problem is not None
        live.finish(keep_checkpoint=False)


def test_a_freeze_that_is_not_its_own_is_left_alone(
    guest: "Guest", host: Host, settings: LiveSettings
) -> None:
    agent = GuestAgent.of(host, guest.name)
    agent.freeze(30)
    try:
        with capture(host, guest, settings, "vda") as live:
            assert live.consistency is Consistency.CRASH
            assert "frozen already" in (live.freeze_problem or "")
            live.finish(keep_checkpoint=False)
        with pytest.raises(FrozenAlready):
            capture(host, guest, replace(settings, freeze=Freeze.REQUIRED), "vda")
        assert agent.is_frozen()
    finally:
        agent.thaw()
    assert notes(settings) == []


def test_without_an_agent_the_capture_is_crash_consistent_or_refused(
    guest: "Guest", host: Host, settings: LiveSettings
) -> None:
    guest.sh("systemctl stop qemu-guest-agent.service")
    until(lambda: not hypervisor.server(host, guest.name).agent_connected)
    with capture(host, guest, settings, "vda") as live:
        assert live.consistency is Consistency.CRASH
        assert "no guest agent answers" in (live.freeze_problem or "")
        assert live.freeze_ms is None
    with pytest.raises(AgentAbsent):
        capture(host, guest, replace(settings, freeze=Freeze.REQUIRED), "vda")
    with pytest.raises(NotKnownUnmounted):
        hypervisor.begin_live(
            host,
            guest.name,
            [DiskPlan(device="vdb")],
            settings=settings,
            unmounted=Unmounted(),
        )
    with hypervisor.begin_live(
        host,
        guest.name,
        [DiskPlan(device="vdb")],
        settings=settings,
        unmounted=Unmounted(stated=True),
    ) as stated:
        assert stated.consistency is Consistency.STATED
    assert notes(settings) == []


def test_an_agent_that_hangs_inside_the_freeze_is_left_to_the_watchdog(
    guest: "Guest", host: Host, settings: LiveSettings
) -> None:
    slow_freeze(guest)
    hypervisor.wait_agent(host, guest.name, timeout_s=30)
    try:
        impatient = replace(settings, agent_timeout_s=2, freeze_limit_s=2.0)
        with capture(host, guest, impatient, "vda") as live:
            assert live.consistency is Consistency.CRASH
            assert "hung in guest-fsfreeze-freeze" in (live.freeze_problem or "")
            live.finish(keep_checkpoint=False)
        # The guest gets frozen only now, after the capture is over.
        assert notes(settings) != []
        until(lambda: notes(settings) == [], timeout_s=90, what="the watchdog saw it thawed")
        assert not is_frozen(host, guest)
        with pytest.raises(AgentHung):
            capture(host, guest, replace(impatient, freeze=Freeze.REQUIRED), "vda")
        until(lambda: notes(settings) == [], timeout_s=90, what="the watchdog saw it thawed")
    finally:
        guest.sh(f"rm {AGENT_CHANGES}; systemctl daemon-reload; systemctl restart qemu-guest-agent")
        hypervisor.wait_agent(host, guest.name, timeout_s=30)


def test_a_volume_in_use_is_refused_by_the_name_of_what_uses_it(
    guest: "Guest", host: Host, settings: LiveSettings
) -> None:
    def unmounted() -> LiveCapture:
        return hypervisor.begin_live(
            host,
            guest.name,
            [DiskPlan(device="vdb")],
            settings=settings,
            unmounted=Unmounted(stated=True),
        )

    with pytest.raises(DiskInUse, match="mounted at /srv/data"):
        unmounted()
    assert notes(settings) == []
    guest.sh("systemctl stop postgresql.service 'postgresql@*'; umount /srv/data")
    try:
        with unmounted() as live:
            assert live.consistency is Consistency.CLEAN
            assert live.freeze_ms is None
            # Once the instant is fixed, the guest may mount again.
            guest.sh("mount /srv/data && umount /srv/data")
            live.finish(keep_checkpoint=False)
        guest.sh("echo '0 2048 linear /dev/vdb 0' | dmsetup create dozo-holder", check=True)
        try:
            with pytest.raises(DiskInUse, match="built on /dev/vdb"):
                unmounted()
        finally:
            guest.sh("dmsetup remove dozo-holder")
    finally:
        guest.sh("mount /srv/data; systemctl start postgresql")


def test_swap_on_a_volume_is_found(guest: "Guest", host: Host, settings: LiveSettings) -> None:
    path = guest.folder / "swap.raw"
    run("qemu-img", "create", "-q", "-f", "raw", path, "16M")
    attachment = DiskAttachment(path=str(path), format="raw", serial="swapdisk")
    device = hypervisor.attach(host, guest.name, attachment)
    inside = "/dev/disk/by-id/virtio-swapdisk"
    try:
        until(lambda: guest.sh(f"test -e {inside} && echo yes", check=False).strip() == "yes")
        guest.sh(f"mkswap -q {inside} && swapon {inside}")
        with pytest.raises(DiskInUse, match="swap on"):
            hypervisor.begin_live(
                host,
                guest.name,
                [DiskPlan(device=device)],
                settings=settings,
                unmounted=Unmounted(),
            )
        guest.sh(f"swapoff {inside}")
    finally:
        hypervisor.detach(host, guest.name, device)
    assert device not in [disk.device for disk in hypervisor.server(host, guest.name).disks]
    assert not guest.sh(f"test -e {inside} && echo yes", check=False).strip()


def test_a_shutdown_during_the_capture_is_noticed_and_never_held_up(
    guest: "Guest", host: Host, settings: LiveSettings
) -> None:
    with capture(host, guest, settings, "vda", "vdb") as live:
        hypervisor.stop(host, guest.name, timeout_s=120)
        with pytest.raises(ServerStopped, match="it was shut down"):
            live.check(now=True)
    assert notes(settings) == []
    info = hypervisor.server(host, guest.name)
    assert info.offline_consistency is Consistency.CLEAN
    hypervisor.start(host, guest.name)
    hypervisor.wait_agent(host, guest.name, timeout_s=180)
    guest.watch_console()


def test_a_managed_save_makes_an_offline_snapshot_crash_consistent(
    guest: "Guest", host: Host
) -> None:
    guest.domain.managedSave(0)
    try:
        info = hypervisor.server(host, guest.name)
        assert info.managed_save
        assert info.offline_consistency is Consistency.CRASH
    finally:
        with suppress(libvirt.libvirtError):
            hypervisor.start(host, guest.name)
    hypervisor.wait_agent(host, guest.name, timeout_s=60)
