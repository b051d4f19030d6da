"""Hooks in a real guest: around a live snapshot, failing, too slow, blocked, owed after a kill."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dozo import hypervisor
from dozo.hypervisor import AgentCannotExec, GuestAgent
from dozo.model import clock
from dozo.model.states import CaptureMode
from dozo.services import found, hooks, leftovers, notes, protect, snapshots
from dozo.services.hooks import HookFailed, HookUnknown
from dozo.services.notes import Busy
from dozo.services.site import Site
from dozo.services.work import Cancelled, Unheard

from .support import make_site
from .test_killed import run_until_killed

HOOKS = r"""
[[hooks]]
name = "mark"
command = ["/bin/sh", "-c", "echo ready >/srv/data/marker && sync -f /srv/data/marker"]

[[hooks]]
name = "unmark"
command = ["/bin/sh", "-c", "rm -f /srv/data/marker; echo \"$0\" >>/run/after", "unmark ran"]

[[hooks]]
name = "refuse"
command = ["/bin/sh", "-c", "echo half done; echo no reason >&2; exit 3"]

[[hooks]]
name = "slow"
command = ["/bin/sh", "-c", "echo begun >>/run/slow; sleep 432; echo ended >>/run/slow"]

[[hooks]]
name = "lacking"
command = ["/usr/local/sbin/no-such-hook"]

[[hooks]]
name = "talkative"
command = ["/bin/sh", "-c", "seq 1 100000; exit 1"]
"""
AGENT_CHANGES = "/run/systemd/system/qemu-guest-agent.service.d/hooks.conf"


class Told(Unheard):
    """Keeps what it is told; with ``cancelled`` it answers every step like a cancelled job."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.cancelled = False

    def step(self, text: str) -> None:
        self.steps.append(text)
        if self.cancelled:
            raise Cancelled("the snapshot")


def with_hooks(folder: Path, **options: Any) -> Site:
    with make_site(folder, "main", **options) as made:
        home = made.settings.home
    with (home / "dozo.toml").open("a") as file:
        file.write(HOOKS)
    return Site.open(home)


@pytest.fixture
def site(tmp_path: Path, module_guest_factory: Any) -> Iterator[Site]:
    pool = module_guest_factory.folder(f"pool-{tmp_path.name[-6:]}")
    with with_hooks(tmp_path, libvirt="qemu:///system", pool=pool) as made:
        yield made


@pytest.fixture
def guest(module_guest: Any) -> Any:
    module_guest.sh("rm -f /run/after /run/slow /srv/data/marker")
    return module_guest


def cancel_and_fail(told: Told) -> None:
    told.cancelled = True
    raise ZeroDivisionError


def row(site: Site, guest: Any) -> Any:
    return found.server(site, guest.name).row


def after_runs(guest: Any) -> int:
    return len(guest.sh("cat /run/after 2>/dev/null || true").splitlines())


def slow_sleeps(guest: Any) -> bool:
    """Whether the child of the slow hook is there."""
    listed = guest.sh(
        "for one in /proc/[0-9]*; do tr '\\0' ' ' <$one/cmdline || true; echo; done 2>/dev/null"
    )
    return "sleep 432" in [line.strip() for line in listed.splitlines()]


def params(before: str = "", after: str = "", timeout: int = 30) -> dict[str, Any]:
    return {"hook_before": before, "hook_after": after, "hook_timeout_seconds": timeout}


def test_only_the_names_in_the_settings_are_hooks(tmp_path: Path) -> None:
    with with_hooks(tmp_path) as site:
        assert hooks.names(site) == ["lacking", "mark", "refuse", "slow", "talkative", "unmark"]
        hooks.check_names(site, ["", "mark"])
        for name in ("/bin/sh", "mark; reboot", "Mark"):
            with pytest.raises(HookUnknown, match="it has: lacking, mark, refuse"):
                hooks.check_names(site, ["mark", name])


def test_without_hooks_nobody_is_asked(main: Site) -> None:
    # There is no hypervisor, so that any question would fail.
    with hooks.around(main, None, {"hook_before": "", "hook_timeout_seconds": 5}, Told()):  # type: ignore[arg-type]  # nobody looks at the server
        pass


@pytest.mark.guest
def test_the_snapshot_holds_what_the_first_hook_did(site: Site, guest: Any, tmp_path: Path) -> None:
    told = Told()
    with hooks.around(site, row(site, guest), params("mark", "unmark"), told):
        made = protect.apply(
            site, protect.plan_volume(site, f"{guest.name}/vdb", mode=CaptureMode.LIVE)
        )
    assert told.steps == [
        f"hook mark in server {guest.name}",
        f"hook unmark in server {guest.name}",
    ]
    assert guest.sh("ls /srv/data/marker 2>&1 || true").endswith("No such file or directory")
    out = tmp_path / "data.raw"
    snapshots.to_file(site, made.snapshots[0].snapshot, out, format="raw")
    debugfs = shutil.which("debugfs") or "/sbin/debugfs"
    shown = subprocess.run(
        [debugfs, "-R", "cat /marker", out], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "ready\n"
    assert notes.read_all(site.settings.notes) == []


@pytest.mark.guest
@pytest.mark.parametrize(
    ("before", "says", "code"),
    [
        ("refuse", r"it ended with 3; it said: half done \| no reason", 3),
        ("lacking", "refused guest-exec", None),
        ("talkative", r"it ended with 1; it said: .*\| 99999 \| 100000", 1),
    ],
)
def test_a_first_hook_that_fails_prevents_the_snapshot_and_the_second_runs(
    site: Site, guest: Any, before: str, says: str, code: int | None
) -> None:
    reached = False
    with (
        pytest.raises(HookFailed, match=says) as caught,
        hooks.around(site, row(site, guest), params(before, "unmark"), Told()),
    ):
        reached = True
    assert not reached
    assert caught.value.exit_code == code
    assert len(caught.value.output) <= 4096
    assert after_runs(guest) == 1
    assert notes.read_all(site.settings.notes) == []


@pytest.mark.guest
def test_a_hook_that_takes_too_long_is_stopped_with_its_children(site: Site, guest: Any) -> None:
    began = clock.monotonic()
    with (
        pytest.raises(HookFailed, match="did not end in time and was stopped"),
        hooks.around(site, row(site, guest), params("slow", "unmark", 2), Told()),
    ):
        pytest.fail("no snapshot without its hook")
    assert clock.monotonic() - began < 30
    assert guest.sh("cat /run/slow") == "begun"
    assert not slow_sleeps(guest)
    assert after_runs(guest) == 1


@pytest.mark.guest
def test_the_second_hook_runs_when_the_snapshot_fails_or_is_cancelled(
    site: Site, guest: Any
) -> None:
    told = Told()
    with (
        pytest.raises(ZeroDivisionError),
        hooks.around(site, row(site, guest), params("mark", "unmark"), told),
    ):
        cancel_and_fail(told)
    assert after_runs(guest) == 1


@pytest.mark.guest
def test_a_second_hook_that_fails_leaves_the_snapshot_good(site: Site, guest: Any) -> None:
    told = Told()
    with hooks.around(site, row(site, guest), params("mark", "refuse"), told):
        pass
    assert "the hook refuse after the snapshot failed: it ended with 3" in told.steps[-1]
    assert notes.read_all(site.settings.notes) == []


@pytest.mark.guest
def test_two_snapshots_are_never_between_the_same_hooks(site: Site, guest: Any) -> None:
    server = row(site, guest)
    with (
        hooks.around(site, server, params("mark", "unmark"), Told()),
        pytest.raises(Busy, match="a snapshot with hooks"),
        hooks.around(site, server, params("mark", "unmark"), Told()),
    ):
        pass
    assert after_runs(guest) == 1


@pytest.mark.guest
def test_a_hook_owed_by_a_killed_process_runs_at_the_next_clean_up(site: Site, guest: Any) -> None:
    run_until_killed(
        site,
        f"""
        from dozo.services import found, hooks
        from dozo.services.work import Unheard
        server = found.server(site, {guest.name!r}).row
        with hooks.around(site, server, {params("mark", "unmark")!r}, Unheard()):
            die()
        """,
    )
    assert guest.sh("cat /srv/data/marker") == "ready"
    assert after_runs(guest) == 0
    (line,) = leftovers.clean(site).lines
    assert line.endswith("the hook unmark ran after it")
    assert after_runs(guest) == 1
    assert leftovers.clean(site).lines == ()
    assert after_runs(guest) == 1


@pytest.mark.guest
def test_a_first_hook_outliving_a_killed_process_does_not_overtake_the_second(
    site: Site, guest: Any
) -> None:
    run_until_killed(
        site,
        f"""
        from dozo.hypervisor import guest_program
        from dozo.services import found, hooks
        from dozo.services.work import Unheard
        guest_program._wait = lambda *a: die()
        server = found.server(site, {guest.name!r}).row
        with hooks.around(site, server, {params("slow", "unmark", 2)!r}, Unheard()):
            pass
        """,
    )
    assert slow_sleeps(guest)
    (line,) = leftovers.clean(site).lines
    assert line.endswith("the hook unmark ran after it")
    assert not slow_sleeps(guest)
    assert after_runs(guest) == 1


@pytest.mark.guest
def test_a_hook_is_owed_while_the_agent_is_away(site: Site, guest: Any) -> None:
    told = Told()
    server = row(site, guest)
    try:
        with hooks.around(site, server, params("mark", "unmark", 2), told):
            guest.sh("systemctl stop qemu-guest-agent.service")
            away(site, guest)
        assert "the next clean-up tries again" in told.steps[-1]
        (line,) = leftovers.clean(site).lines
        assert "has still to run" in line
        reached = False
        with (
            pytest.raises(HookFailed, match="an earlier snapshot is not over"),
            hooks.around(site, server, params("mark", "unmark", 2), told),
        ):
            reached = True
        assert not reached
    finally:
        guest.sh("systemctl start qemu-guest-agent.service")
        site.host.wait_agent(guest.name, timeout_s=30)
    with hooks.around(site, server, params("mark", "unmark"), told):
        assert after_runs(guest) == 1
    assert after_runs(guest) == 2


def away(site: Site, guest: Any) -> None:
    deadline = clock.monotonic() + 20
    while site.host.server(guest.name).agent_connected:
        assert clock.monotonic() < deadline
        clock.sleep(0.1)


@pytest.mark.guest
def test_an_agent_that_runs_no_programs_says_so(site: Site, guest: Any) -> None:
    guest.sh(
        f"""
        mkdir -p {Path(AGENT_CHANGES).parent}
        printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/qemu-ga -b guest-exec\\n' \\
            >{AGENT_CHANGES}
        systemctl daemon-reload
        systemctl restart qemu-guest-agent
        """
    )
    site.host.wait_agent(guest.name, timeout_s=30)
    try:
        with pytest.raises(AgentCannotExec, match="guest-exec is blocked"):
            GuestAgent.of(site.host, guest.name).start_program(["/bin/true"])
        with (
            pytest.raises(HookFailed, match="does not run programs: guest-exec is blocked"),
            hooks.around(site, row(site, guest), params("mark"), Told()),
        ):
            pytest.fail("no snapshot without its hook")
    finally:
        guest.sh(f"rm {AGENT_CHANGES}; systemctl daemon-reload; systemctl restart qemu-guest-agent")
        site.host.wait_agent(guest.name, timeout_s=30)


@pytest.mark.guest
def test_hooks_around_a_stop_and_a_start(site: Site, guest: Any) -> None:
    told = Told()
    with hooks.around(site, row(site, guest), params("mark", "unmark", 180), told):
        site.host.stop(guest.name, timeout_s=120)
        site.host.start(guest.name)
    guest.wait_ready()
    assert "failed" not in told.steps[-1]
    assert guest.sh("ls /srv/data/marker 2>&1 || true").endswith("No such file or directory")


@pytest.mark.guest
def test_killed_while_the_server_is_stopped_the_hook_runs_once_it_is_up_again(
    site: Site, guest: Any
) -> None:
    run_until_killed(
        site,
        f"""
        from dozo.services import found, hooks, start_again
        from dozo.services.work import Unheard
        server = found.server(site, {guest.name!r})
        params = {params("mark", "unmark")!r}
        with hooks.around(site, server.row, params, Unheard()):
            with start_again.stopped(
                site, server, timeout_seconds=120, force=True, work=Unheard()
            ):
                die()
        """,
    )
    assert not site.host.server(guest.name).active
    lines = leftovers.clean(site).lines
    assert any("started again" in line for line in lines)
    assert any("the hook unmark has still to run" in line for line in lines)
    guest.wait_ready()
    assert guest.sh("cat /srv/data/marker") == "ready"
    (line,) = leftovers.clean(site).lines
    assert line.endswith("the hook unmark ran after it")
    assert guest.sh("ls /srv/data/marker 2>&1 || true").endswith("No such file or directory")
    guest.watch_console()


@pytest.mark.guest
def test_a_server_that_is_off_has_no_hooks_and_owes_none(site: Site, guest: Any) -> None:
    server = row(site, guest)
    try:
        told = Told()
        with hooks.around(site, server, params("mark", "unmark"), told):
            site.host.stop(guest.name, timeout_s=120, force=True)
        assert told.steps[-1].endswith("failed: the server is off")
        assert notes.read_all(site.settings.notes) == []
        with hooks.around(site, server, params("mark", "unmark"), told):
            pass
        assert told.steps[-1] == f"server {guest.name} is off: no hooks run"
    finally:
        with suppress(hypervisor.HypervisorError):
            guest.start()
