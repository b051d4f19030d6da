"""Scratch space runs out under a guest that writes all the time: the guest must go on."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from dozo.hypervisor import DiskPlan, Freeze, LiveCapture, LiveSettings, begin_live
from dozo.hypervisor.errors import ScratchFull
from dozo.model import clock

from .support import MIB, Disk, Server, nothing_left, run, until, writing_boot_sector

pytestmark = pytest.mark.libvirt

IMAGE_BYTES = 64 * MIB


@pytest.fixture(scope="module")
def writer(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server whose guest writes over its whole disk as fast as it can.

    Beside its image lies a file system of 24 MiB, mounted before QEMU starts: without shared
    mounts QEMU does not see later ones.
    """
    server = make_server(Disk(device="vda", format="raw", size_bytes=IMAGE_BYTES))
    mount = server.folder / "small"
    mount.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", mount)
    first = MIB // 512
    content = writing_boot_sector(first, IMAGE_BYTES // 512).ljust(MIB, b"\0")
    server.disk("vda").path.write_bytes(content + os.urandom(IMAGE_BYTES - MIB))
    server.start()
    until(lambda: written(server) > 0, what="the guest writes")
    yield server
    if server.domain.isActive():
        server.domain.destroy()
    run("umount", "-l", mount)


@pytest.fixture
def small_scratch(writer: Server, tmp_path: Path) -> LiveSettings:
    """Scratch space on that file system."""
    return LiveSettings(
        note_dir=tmp_path / "notes",
        scratch_dir=writer.folder / "small" / "scratch",
        scratch_reserve_bytes=8 * MIB,
        freeze=Freeze.OFF,
    )


def written(server: Server) -> int:
    """Bytes that the guest has written since its start."""
    return int(server.domain.blockStats("vda")[3])


def goes_on(server: Server) -> bool:
    """Whether the guest runs and writes."""
    if server.domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
        return False
    before = written(server)
    clock.sleep(0.2)
    return written(server) > before


def check_until_it_fails(capture: LiveCapture, server: Server) -> None:
    """Call the check as a reader would; the guest must run all the time."""
    deadline = clock.monotonic() + 60
    while clock.monotonic() < deadline:
        capture.check()
        clock.sleep(0.05)
        assert server.domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING


def watchdog_pid() -> int:
    """The only watchdog that this process has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (found,) = [
        int(pid)
        for pid in children
        if "dozo.hypervisor.watchdog" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    return found


def test_the_capture_is_given_up_before_the_guest_notices(
    writer: Server, small_scratch: LiveSettings
) -> None:
    with begin_live(
        writer.host, writer.name, [DiskPlan(device="vda")], settings=small_scratch
    ) as capture:
        with pytest.raises(ScratchFull) as caught:
            check_until_it_fails(capture, writer)
        assert caught.value.used_bytes > MIB
        assert goes_on(writer)
    nothing_left(writer, small_scratch)


def test_a_guest_that_was_paused_by_it_goes_on(writer: Server, small_scratch: LiveSettings) -> None:
    tight = replace(small_scratch, scratch_reserve_bytes=MIB)
    with begin_live(writer.host, writer.name, [DiskPlan(device="vda")], settings=tight) as capture:
        watchdog = watchdog_pid()
        os.kill(watchdog, signal.SIGSTOP)
        paused = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
        until(lambda: writer.domain.state() == paused, what="the guest is paused")
        os.kill(watchdog, signal.SIGCONT)
        until(lambda: goes_on(writer), what="the guest goes on")
        with pytest.raises(ScratchFull):
            capture.check(now=True)
    nothing_left(writer, small_scratch)
    errors = writer.domain.blockStats("vda")[4]
    assert errors in (0, -1)


def test_leftovers_of_a_paused_guest_are_undone_without_a_watchdog(
    writer: Server, small_scratch: LiveSettings
) -> None:
    tight = replace(small_scratch, scratch_reserve_bytes=MIB)
    with begin_live(writer.host, writer.name, [DiskPlan(device="vda")], settings=tight):
        os.kill(watchdog_pid(), signal.SIGKILL)
        paused = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
        until(lambda: writer.domain.state() == paused, what="the guest is paused")
    nothing_left(writer, small_scratch)
    assert goes_on(writer)
