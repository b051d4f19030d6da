"""From an opened volume into the vault: hints that prove wrong, work that gives way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dozo.model.change_token import Reason
from dozo.model.errors import DozoError
from dozo.model.extents import Extent
from dozo.model.states import CaptureMode, Consistency
from dozo.services import notes, snapshots, storing
from dozo.services.capture_plan import (
    CapturePlan,
    Opened,
    OpenedVolume,
    ParentPlan,
    VolumePlan,
)
from dozo.services.errors import GaveWay
from dozo.services.project import read_facts
from dozo.services.site import Site
from dozo.services.work import Unheard

from .support import MIB, NOON, Bytes, MadeServer, later, random_bytes, store


def nothing() -> None:
    pass


def opened(
    server: MadeServer,
    data: bytes,
    *,
    parent: str | None = None,
    changed: list[Extent] | None = None,
    start: int = 0,
    check_now: Callable[[], None] = nothing,
) -> tuple[CapturePlan, Opened]:
    plan = VolumePlan(
        volume_id=str(server.volume_ids["vda"]),
        name="web-vda",
        snapshot_name="s",
        tenant="default",
        device="vda",
        bus="virtio",
        serial="",
        is_root=True,
        format="qcow2",
        path="/x",
        encrypted=False,
        parent=ParentPlan(
            snapshot=parent,
            base=parent,
            created_at=NOON,
            bytes_volume=len(data),
            change_token=None,
            reread_next_bytes=start,
        )
        if parent
        else None,
        full_reason="",
    )
    whole = CapturePlan(
        name="s",
        recovery_point=None,
        server_uuid=str(server.uuid),
        server_name=server.name,
        mode=CaptureMode.LIVE,
        volumes=(plan,),
        left_out=(),
        freeze=False,
        stated_unmounted=False,
        track=True,
        scheduled=False,
        schedule_id="",
        keep=None,
    )
    volume = OpenedVolume(
        plan=plan, source=Bytes(data), changed=changed, full_reason="", token=None
    )
    return whole, Opened(
        instant=later(1),
        consistency=Consistency.CRASH,
        volumes=[volume],
        attachments={},
        check=nothing,
        check_now=check_now,
        stored=nothing,
    )


def store_it(site: Site, plan: CapturePlan, capture: Opened) -> storing.Taken:
    with notes.hold(site.settings.notes, "n", what="w", work="w") as note:
        (taken,) = storing.store_all(site, plan, capture, note, Unheard())
    return taken


@pytest.fixture
def server() -> MadeServer:
    return MadeServer.new("web", ("vda",))


def test_a_hint_that_misses_a_change_is_caught_by_the_window(
    main: Site, server: MadeServer, tmp_path: Path
) -> None:
    before = random_bytes(1, 4 * MIB)
    parent = store(main, server, "vda", before)
    after = bytearray(before)
    after[0] ^= 1
    taken = store_it(main, *opened(server, bytes(after), parent=parent, changed=[]))
    assert taken.full_reason == Reason.HINT_WAS_WRONG.value
    out = tmp_path / "out.raw"
    snapshots.to_file(main, taken.snapshot, out, format="raw")
    assert out.read_bytes() == bytes(after)
    facts = read_facts(main.vault.snapshot(taken.snapshot))
    assert facts is not None
    assert facts.capture.full_reason == Reason.HINT_WAS_WRONG.value


def test_the_next_window_begins_where_this_one_ended(main: Site, server: MadeServer) -> None:
    data = random_bytes(1, 30 * MIB)
    parent = store(main, server, "vda", data)
    taken = store_it(main, *opened(server, data, parent=parent, changed=[], start=5 * MIB))
    # A day of thirty: a thirtieth of the volume.
    assert taken.bytes_read == MIB
    facts = read_facts(main.vault.snapshot(taken.snapshot))
    assert facts is not None
    assert facts.capture.reread_next_bytes == 6 * MIB


def test_what_goes_wrong_at_the_last_moment_keeps_the_snapshot_from_being_seen(
    main: Site, server: MadeServer
) -> None:
    class Broken(DozoError):
        pass

    def fail() -> None:
        raise Broken

    plan, capture = opened(server, random_bytes(1), check_now=fail)
    with pytest.raises(Broken):
        store_it(main, plan, capture)
    assert main.vault.snapshots() == []


def test_work_that_is_asked_to_stop_gives_way(main: Site, server: MadeServer) -> None:
    plan, capture = opened(server, random_bytes(1))
    with notes.hold(main.settings.notes, "n", what="w", work="w") as held:
        found = notes.find(main.settings.notes, "n")
        assert found is not None
        notes.ask_to_stop(found)
        with pytest.raises(GaveWay):
            storing.store_all(main, plan, capture, held, Unheard())
    assert main.vault.snapshots() == []
