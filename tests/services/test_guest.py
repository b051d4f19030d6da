"""A real guest with an agent and a database: freeze, unmounted volumes, a kill while frozen."""

from pathlib import Path
from typing import Any

import pytest

from dozo.hypervisor import DiskInUse, GuestAgent
from dozo.model import clock
from dozo.model.states import CaptureMode, Consistency
from dozo.services import leftovers, protect, views
from dozo.services.site import Site
from dozo.services.work import Cancelled

from .support import Hooked, make_site
from .test_killed import run_until_killed

pytestmark = pytest.mark.guest

UNMOUNT = "systemctl stop 'postgresql@*' postgresql; umount /srv/data"
MOUNT = "mount /srv/data; systemctl start postgresql"


@pytest.fixture
def site(tmp_path: Path, module_guest_factory: Any) -> Any:
    pool = module_guest_factory.folder(f"pool-{tmp_path.name[-6:]}")
    with make_site(tmp_path, "main", libvirt="qemu:///system", pool=pool) as made:
        yield made


def test_a_busy_database_is_frozen_for_an_instant(site: Site, module_guest: Any) -> None:
    module_guest.start_load(seconds=60)
    try:
        first = protect.apply(site, protect.plan_server(site, module_guest.name))
        second = protect.apply(site, protect.plan_server(site, module_guest.name))
    finally:
        module_guest.stop_load()
    for made in (first, second):
        assert made.consistency is Consistency.FILESYSTEM
        assert made.freeze_ms is not None
        assert made.freeze_ms < 1000
        assert made.agent_ms is not None
    assert [one.full_reason for one in second.snapshots] == [None, None]
    total = sum(one.bytes_volume for one in second.snapshots)
    assert sum(one.bytes_read for one in second.snapshots) < total / 4
    (point, _) = views.list_recovery_points(site)
    assert point.snapshots[0].freeze_ms == second.freeze_ms


def test_an_unmounted_volume_is_clean_and_a_mounted_one_refused(
    site: Site, module_guest: Any
) -> None:
    volume = f"{module_guest.name}/vdb"
    with pytest.raises(DiskInUse, match="/srv/data"):
        protect.apply(site, protect.plan_volume(site, volume, mode=CaptureMode.UNMOUNTED))
    assert site.vault.snapshots() == []
    module_guest.sh(UNMOUNT)
    try:
        made = protect.apply(site, protect.plan_volume(site, volume, mode=CaptureMode.UNMOUNTED))
    finally:
        module_guest.sh(MOUNT)
    assert made.consistency is Consistency.CLEAN
    assert made.freeze_ms is None


def test_a_cancelled_snapshot_leaves_a_guest_that_goes_on(site: Site, module_guest: Any) -> None:
    """Cancelled at the first byte, the earliest that anybody is told of after the freeze."""

    def cancel() -> None:
        raise Cancelled("the snapshot")

    before = site.host.checkpoints(module_guest.name)
    with pytest.raises(Cancelled):
        protect.apply(site, protect.plan_server(site, module_guest.name), work=Hooked(cancel))
    assert not GuestAgent.of(site.host, module_guest.name).is_frozen()
    assert site.host.checkpoints(module_guest.name) == before
    assert site.vault.snapshots() == []
    assert leftovers.clean(site).lines == ()
    module_guest.sh("touch /srv/data/goes-on && sync && rm /srv/data/goes-on")


def test_a_kill_while_the_guest_is_frozen_leaves_it_thawed(site: Site, module_guest: Any) -> None:
    run_until_killed(
        site,
        f"""
        from dozo.hypervisor import begin
        begin._Instant.begin_job = lambda self: die()
        protect.apply(site, protect.plan_server(site, {module_guest.name!r}))
        """,
    )
    agent = GuestAgent.of(site.host, module_guest.name)
    deadline = clock.monotonic() + site.settings.freeze_limit_seconds + 30
    while clock.monotonic() < deadline:
        leftovers.clean(site)
        if not agent.is_frozen():
            break
        clock.sleep(0.5)
    assert not agent.is_frozen()
    module_guest.sh("echo alive > /srv/data/alive && sync -f /srv/data/alive")
    made = protect.apply(site, protect.plan_server(site, module_guest.name))
    assert made.consistency is Consistency.FILESYSTEM
