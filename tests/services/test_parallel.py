"""Several operations at the same time in threads of one process, each with its own site."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libvirt
import pytest

from dozo.hypervisor import Host, OfflineWatch, ServerStarted
from dozo.model.states import CaptureMode
from dozo.services import notes, protect, snapshots
from dozo.services.protect import Protected
from dozo.services.site import Site

from .domains import Machine, define
from .support import Hooked, MadeServer, random_bytes, store

Workspace = tuple[libvirt.virConnect, Path]


def test_a_site_is_opened_and_closed_by_many_threads_at_once(main: Site) -> None:
    taken = store(main, MadeServer.new("web"), "vda", random_bytes(1))
    home = main.settings.home

    def churn(number: int) -> int:
        for turn in range(6):
            with Site.open(home) as site:
                assert site.catalog.snapshot(taken).name == "web-vda"
                site.catalog.tenants.create(name=f"t-{number}-{turn}")
                assert len(site.vault.snapshots()) == 1
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(churn, range(8))) == list(range(8))
    # The one that was open all the time has noticed nothing.
    assert main.catalog.tenants.filter(name__startswith="t-").count() == 48


@pytest.mark.libvirt
def test_live_and_offline_snapshots_at_the_same_time(
    host_site: Site, workspace: Workspace, tmp_path: Path
) -> None:
    """All four are under way at once: none goes on before all have read their first byte."""
    live = [define(*workspace, disks={"vda": "qcow2", "vdb": "raw"}) for _ in range(2)]
    offline = [define(*workspace, disks={"vda": "qcow2", "vdb": "raw"}) for _ in range(2)]
    for number, machine in enumerate([*live, *offline]):
        machine.write("vda", (1 + number) << 20, 1 << 20, 0x40 + number)
    wanted = {one.name: (one.content("vda"), one.content("vdb")) for one in [*live, *offline]}
    for machine in live:
        machine.start()
    together = threading.Barrier(4, timeout=60)

    def take(machine: Machine) -> Protected:
        with Site.open(host_site.settings.home) as site:
            plan = protect.plan_server(site, machine.name)
            return protect.apply(site, plan, work=Hooked(together.wait))

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(take, [*live, *offline]))
    assert [one.mode for one in made] == [CaptureMode.LIVE] * 2 + [CaptureMode.OFFLINE] * 2
    for point in made:
        for taken, content in zip(point.snapshots, wanted[str(point.server)], strict=True):
            out = tmp_path / taken.snapshot
            snapshots.to_file(host_site, taken.snapshot, out, format="raw")
            assert out.read_bytes() == content
    assert len(host_site.vault.snapshots()) == 8
    assert notes.read_all(host_site.settings.notes) == []


@pytest.mark.libvirt
def test_several_watches_share_a_connection_and_each_sees_its_own_server(
    workspace: Workspace,
) -> None:
    first, second = (define(*workspace, disks={"vda": "raw"}) for _ in range(2))
    with Host.connect() as host, Host.connect() as other:
        quiet = OfflineWatch(host, second.name)
        told = [OfflineWatch(host, first.name), OfflineWatch(other, first.name)]
        with quiet, told[0], told[1]:
            first.start()
            quiet.check(now=True)
            for watch in told:
                assert _raised(lambda watch=watch: watch.check(now=True)) is ServerStarted  # type: ignore[misc]
            first.kill()
        # The connection can be watched on again once all are gone.
        with OfflineWatch(host, first.name) as again:
            again.check(now=True)
            first.start()
            assert _raised(lambda: again.check(now=True)) is ServerStarted


def _raised(act: Callable[[], None]) -> type[Exception] | None:
    try:
        act()
    except Exception as error:  # noqa: BLE001  the test says which
        return type(error)
    return None
