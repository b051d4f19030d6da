"""Facts survive the vault: written, read back, and refused when they come from the future."""

import json
from dataclasses import replace

import pytest

from dozo.model.states import CaptureMode, Consistency
from dozo.services import facts
from dozo.services.facts import (
    CaptureFacts,
    FactsUnreadable,
    LeftOut,
    MemberFacts,
    RecoveryPointFacts,
    ServerFacts,
    SnapshotFacts,
    TemplateFacts,
    VolumeFacts,
)

WHOLE = SnapshotFacts(
    name="web-vda",
    volume=VolumeFacts(
        volume_id="5b0f9a55-0000-4000-8000-000000000001",
        name="web-vda",
        device="vda",
        bus="virtio",
        serial="S1",
        is_root=True,
        format="qcow2",
        path="/pool/web.qcow2",
    ),
    capture=CaptureFacts(
        mode=CaptureMode.LIVE,
        consistency=Consistency.FILESYSTEM,
        scheduled=True,
        freeze_ms=12,
        agent_ms=40,
        full_reason="because",
        reread_next_bytes=4096,
        change_token={"kind": "libvirt-checkpoint", "name": "dozo-1", "chain": []},
    ),
    server=ServerFacts(uuid="00000000-0000-4000-8000-000000000002", name="web"),
    recovery_point=RecoveryPointFacts(
        recovery_point_id="aa" * 16,
        name="first",
        members=(MemberFacts(volume_id="5b0f9a55-0000-4000-8000-000000000001", device="vda"),),
        left_out=(LeftOut(device="sda", reason="cdrom"),),
    ),
    template=TemplateFacts(source_snapshot="bb" * 16, source_created_at="2026-01-31T00:00:00Z"),
    notes=(("os", "Debian"),),
)


def test_facts_come_back_as_they_were_written() -> None:
    plain = json.loads(json.dumps(WHOLE.to_json()))
    assert facts.from_json("s", plain) == WHOLE
    assert facts.from_json("s", plain).to_json() == WHOLE.to_json()


def test_the_least_facts_come_back_too() -> None:
    least = SnapshotFacts(
        name="n",
        volume=VolumeFacts(volume_id="v", name="n"),
        capture=CaptureFacts(mode=CaptureMode.OFFLINE, consistency=Consistency.CLEAN),
    )
    assert facts.from_json("s", least.to_json()) == least


def test_fields_of_a_newer_minor_version_are_ignored() -> None:
    plain = WHOLE.to_json()
    plain["weather"] = "fine"
    plain["volume"]["colour"] = "red"
    assert facts.from_json("s", plain) == WHOLE


@pytest.mark.parametrize(
    "change",
    [
        {"version": facts.VERSION + 1},
        {"version": None},
        {"capture": {"mode": "telepathy", "consistency": "clean"}},
        {"volume": {"name": "without an id"}},
        {"recovery_point": {"name": "without members"}},
        {"name": 7},
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(change: dict[str, object]) -> None:
    plain = {**WHOLE.to_json(), **change}
    with pytest.raises(FactsUnreadable, match="snap-1"):
        facts.from_json("snap-1", plain)


def test_the_json_form_is_pinned() -> None:
    """What a vault keeps for ever: a change here needs a new version or a default."""
    plain = replace(WHOLE, notes=()).to_json()
    assert sorted(plain) == [
        "capture",
        "job",
        "name",
        "notes",
        "recovery_point",
        "server",
        "template",
        "version",
        "volume",
    ]
    assert sorted(plain["capture"]) == [
        "agent_ms",
        "change_token",
        "consistency",
        "freeze_ms",
        "full_reason",
        "keep",
        "mode",
        "reread_next_bytes",
        "schedule_id",
        "scheduled",
    ]
    assert sorted(plain["volume"]) == [
        "bus",
        "device",
        "encrypted",
        "format",
        "is_root",
        "name",
        "path",
        "serial",
        "volume_id",
    ]
