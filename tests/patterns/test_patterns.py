"""Rows 11 to 14 of the original service in real guests; docs/patterns.md has the recipes."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.daemon.support import started
from tests.services.jobs import Service, Shifted, wait_for
from tests.services.test_killed import run_until_killed
from tests.support.guests import Guest

from dozo.daemon.worker import Worker
from dozo.services import accounts, job_queue, leftovers, notes
from dozo.services.access import Role

from .conftest import Restored, volume_of

pytestmark = pytest.mark.guest

STOP = "stop-snapshot-start"
PASSWORD = "correct horse battery staple"
PAGE = (Path(__file__).parents[2] / "docs/patterns.md").read_text()


def recipe(name: str) -> str:
    """A file or crontab as the page shows it: the code block below its name."""
    block = rf"^`{re.escape(name)}`:\n\n```\w*\n(.+?)^```"
    found = re.search(block, PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/patterns.md does not show {name}"
    return found[1]


def nightly(service: Service, guest: Guest, later: Shifted, name: str, **fields: Any) -> Any:
    """A daily schedule of the guest's data volume, due in a few minutes."""
    at = later.now() + timedelta(minutes=5)
    view = service.schedule(
        name=name,
        volume=volume_of(service, guest),
        timing={"kind": "daily", "hour": at.hour, "minute": at.minute, "zone": "UTC"},
        keep={"count": 8},
        **fields,
    )
    assert view.next_at is not None
    return view.next_at


def run_at(service: Service, later: Shifted, at: Any) -> str:
    """Put the service's clock to a planned time, and run what is due; its job."""
    later.move_to(at)
    (job,) = service.tick()
    service.run()
    return job


def boot(guest: Guest) -> str:
    return guest.sh("cat /proc/sys/kernel/random/boot_id")


def ticks(guest: Guest) -> int:
    return int(guest.sh("wc -l </var/tmp/ticks"))


def clock_of(guest: Guest, text: str) -> None:
    """Set the guest's clock, and let its cron see that."""
    guest.sh(f"date -s '{text}' && systemctl restart cron")


def put_crontab(guest: Guest, text: str) -> None:
    guest.sh(f"systemctl unmask --quiet cron; crontab - <<'END'\n{text}END\n")


def no_cron(guest: Guest) -> None:
    guest.sh("crontab -r; systemctl stop cron")


def put(guest: Guest, path: str, text: str, mode: str = "755") -> None:
    guest.sh(f"cat >{path} <<'END OF FILE'\n{text}END OF FILE\nchmod {mode} {path}")


def is_mounted(guest: Guest) -> bool:
    return guest.run(["/usr/bin/mountpoint", "-q", "/srv/volume"], check=False).code == 0


def serves_nfs(guest: Guest) -> bool:
    return guest.sh("systemctl is-active nfs-server", check=False) == "active"


@pytest.fixture(autouse=True)
def _schedules_end(service: Service) -> Iterator[None]:
    yield
    service.site.catalog.schedules.update(enabled=False)


def test_row_13_the_guest_asks_for_its_snapshot(
    service: Service, app: Guest, tmp_path: Path
) -> None:
    """`curl` and a token that can do nothing else; the volume is away for an instant alone."""
    volume = volume_of(service, app)
    token = narrow_token(service, volume)
    put(app, "/usr/local/sbin/dozo-snapshot", recipe("/usr/local/sbin/dozo-snapshot"))
    app.sh("echo before >/srv/volume/file")
    with started(service.site.settings.home) as serving:
        settings = recipe("/etc/dozo-snapshot")
        for pattern, value in {
            r"(?<=URL=).*": f"http://10.0.2.2:{serving.port}/api/v1",
            r"(?<=VOLUME=).*": volume,
            r"dozo_…": token,
        }.items():
            settings = re.sub(pattern, value, settings)
        put(app, "/etc/dozo-snapshot", settings, "600")
        said = app.sh("/usr/local/sbin/dozo-snapshot")
        assert said.startswith("snapshot of 20")
        assert is_mounted(app)
        app.sh("echo after >/srv/volume/file")
        job = service.site.catalog.jobs.get(kind="snapshot.create", object_id=volume)
        wait_for(lambda: service.view(job.job_id).state not in {"running", "queued"}, 60)

        # A volume in use cannot be unmounted, and then nothing is asked for.
        app.sh("cd /srv/volume; sleep 100 >/dev/null 2>&1 & echo $! >/run/busy")
        assert "busy" in app.sh("/usr/local/sbin/dozo-snapshot 2>&1", check=False)
        app.sh("kill $(cat /run/busy)")
        # What is refused leaves the volume mounted.
        put(app, "/etc/dozo-snapshot", settings.replace(volume, str(uuid4())), "600")
        assert "404" in app.sh("/usr/local/sbin/dozo-snapshot 2>&1", check=False)
        assert is_mounted(app)
    assert service.site.catalog.jobs.filter(kind="snapshot.create").count() == 1
    (taken,) = service.result(job.job_id)["snapshots"]
    image = Restored(service, taken["snapshot"], tmp_path)
    assert image.problems() == ""
    assert image.read("/file") == "before\n"


def narrow_token(service: Service, volume: str) -> str:
    """A token of the tenant's user for the snapshots of one volume."""
    accounts.create_user(
        service.operator,
        "alice",
        password=PASSWORD,
        role=Role.MEMBER,
        tenant="default",
        must_change_password=False,
    )
    issued = accounts.issue_token(
        service.scope, name="cron", scopes=[f"snapshot.create:volume={volume}"]
    )
    return issued.token


def test_row_13_cron_unmounts_and_a_schedule_snapshots(
    service: Service, app: Guest, later: Shifted, tmp_path: Path
) -> None:
    """The original's own form: neither knows of the other, but for the time of day."""
    app.sh("echo today >/srv/volume/day")
    put_crontab(app, recipe("crontab of the guest"))
    at = nightly(service, app, later, "pattern-c", mode="unmounted", stated_unmounted=True)
    running = boot(app)
    clock_of(app, "2027-03-01 23:59:57")
    wait_for(lambda: not is_mounted(app))
    (taken,) = service.result(run_at(service, later, at))["snapshots"]
    assert not is_mounted(app)
    clock_of(app, "2027-03-02 00:29:57")
    wait_for(lambda: is_mounted(app))
    no_cron(app)

    image = Restored(service, taken["snapshot"], tmp_path)
    assert image.problems() == ""
    assert not image.journal_is_needed()
    assert image.read("/day") == "today\n"
    row = service.site.catalog.snapshots.get(snapshot_id=taken["snapshot"])
    assert (row.mode, row.consistency) == ("unmounted", "stated, not checked")

    # The service was down at the time: by now the volume is mounted again.
    later.move_to(at + timedelta(days=1, minutes=30))
    assert service.tick() == []
    assert service.runs()[-1] == ("skipped", "outside-window")
    assert boot(app) == running


def test_row_14_an_extra_volume_of_the_nfs_server(
    service: Service, nfs: Guest, app: Guest, later: Shifted, tmp_path: Path
) -> None:
    """Neither server stops."""
    sum_of = back_up(app, "row14")
    put(nfs, "/usr/local/sbin/nfs-volume", recipe("/usr/local/sbin/nfs-volume"))
    put_crontab(nfs, recipe("crontab of the NFS server"))
    at = nightly(service, nfs, later, "pattern-d", mode="unmounted", stated_unmounted=True)
    before, ticked = (boot(nfs), boot(app)), ticks(app)
    clock_of(nfs, "2027-03-01 03:59:57")
    wait_for(lambda: not is_mounted(nfs), 60)
    (taken,) = service.result(run_at(service, later, at))["snapshots"]
    clock_of(nfs, "2027-03-01 04:29:57")
    wait_for(lambda: is_mounted(nfs) and serves_nfs(nfs), 60)
    no_cron(nfs)
    assert (boot(nfs), boot(app)) == before
    assert ticks(app) > ticked
    image = Restored(service, taken["snapshot"], tmp_path)
    assert not image.journal_is_needed()
    assert image.read("/row14.sum") == sum_of


def test_row_12_the_nfs_server_is_stopped_and_the_other_one_is_not(
    service: Service, nfs: Guest, app: Guest, later: Shifted, tmp_path: Path
) -> None:
    """Row 11 of the NFS server: stop, snapshot, start."""
    sum_of = back_up(app, "row12")
    at = nightly(service, nfs, later, "pattern-b", mode=STOP, stop_timeout_seconds=120)
    before, ticked = (boot(nfs), boot(app)), ticks(app)
    result = service.result(run_at(service, later, at))
    came_up(nfs)
    assert boot(nfs) != before[0]
    assert boot(app) == before[1]
    assert ticks(app) > ticked
    wait_for(lambda: serves_nfs(nfs), 90)

    assert (result["mode"], result["consistency"]) == ("offline", "clean")
    image = Restored(service, result["snapshots"][0]["snapshot"], tmp_path)
    assert not image.journal_is_needed()
    assert image.read("/row12.sum") == sum_of
    assert notes.read_all(service.site.settings.notes) == []


def test_row_11_a_guest_that_does_not_stop_fails_the_run_and_goes_on(
    service: Service, nfs: Guest, later: Shifted
) -> None:
    nfs.sh("systemctl mask --runtime --quiet poweroff.target")
    before = boot(nfs)
    at = nightly(service, nfs, later, "stubborn", mode=STOP, stop_timeout_seconds=5)
    view = service.view(run_at(service, later, at))
    nfs.sh("systemctl unmask --runtime --quiet poweroff.target")
    assert (view.state, view.error_code) == ("failed", "hypervisor.stop_timed_out")
    assert boot(nfs) == before
    assert serves_nfs(nfs)


def test_row_11_cancelled_while_it_stops_it_comes_back(service: Service, nfs: Guest) -> None:
    """The guest takes its time, and stops when nobody wants that any more."""
    nfs.sh("systemd-run --quiet --unit=slow --property=ExecStop='/bin/sleep 8' /bin/sleep infinity")
    job = service.ask("snapshot.create", volume=volume_of(service, nfs), mode=STOP)
    assert service.dispatch() == [job]
    beside = service.run_beside()
    row = service.site.catalog.jobs.get(job_id=job)
    wait_for(lambda: service.view(job).step.startswith("stop server"))
    job_queue.cancel(service.site, row, service.runner)
    beside.join(20)
    assert service.view(job).state == "cancelled"
    nfs.wait_stopped(60)
    assert any("started again" in line for line in leftovers.clean(service.site).lines)
    assert nfs.domain.isActive()


def test_row_11_killed_between_stop_and_start_the_next_start_up_starts_it(
    service: Service, nfs: Guest
) -> None:
    run_until_killed(
        service.site,
        f"""
        from dozo.services import found, start_again
        from dozo.services.work import Unheard
        start_again._start = lambda *_: die()
        server = found.server(site, {nfs.name!r})
        with start_again.stopped(site, server, timeout_seconds=120, force=False, work=Unheard()):
            protect.apply(site, protect.plan_server(site, {nfs.name!r}, volumes=["vdb"]))
        """,
    )
    assert not nfs.domain.isActive()
    worker = Worker(service.site.settings.home)
    worker.start()
    try:
        assert nfs.domain.isActive()
    finally:
        worker.stop(20)


def came_up(guest: Guest) -> None:
    """Wait for a guest that somebody else has started."""
    guest.watch_console()
    guest.wait_ready()


def back_up(app: Guest, name: str) -> str:
    """What backup software does: write a file over NFS, and its sum; the sum."""
    return (
        app.sh(
            f"""
            mkdir -p /mnt/backup
            mount -t nfs4 -o vers=4.2 10.9.0.1:/ /mnt/backup
            tar -C / -cf /mnt/backup/{name} etc
            sha256sum </mnt/backup/{name} >/mnt/backup/{name}.sum
            cat /mnt/backup/{name}.sum
            umount /mnt/backup
            """
        )
        + "\n"
    )
