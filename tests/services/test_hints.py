"""The code of a full read says what was found, and the evidence decides, not the hope."""

from datetime import UTC, datetime

import pytest

from dozo.model.change_token import BitmapState, ChangeToken, Evidence, Reason, TokenFile
from dozo.services import hints
from dozo.services.capture_plan import ParentPlan, VolumePlan

TOP = TokenFile(
    path="/a", format="qcow2", device=1, inode=2, virtual_bytes=10, file_bytes=5, mtime_ns=7
)
TOKEN = ChangeToken(name="dozo-1", chain=(TOP,))


def plan(token: ChangeToken | None, *, parent: bool = True, base: str | None = "aa") -> VolumePlan:
    return VolumePlan(
        volume_id="v",
        name="v",
        snapshot_name="s",
        tenant="t",
        device="vda",
        bus="virtio",
        serial="",
        is_root=True,
        format="qcow2",
        path="/a",
        encrypted=False,
        parent=ParentPlan(
            snapshot="aa",
            base=base,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            bytes_volume=10,
            change_token=token.to_json() if token else None,
            reread_next_bytes=0,
        )
        if parent
        else None,
        full_reason="" if parent else hints.ASKED_FOR,
    )


def now(**changes: object) -> Evidence:
    values: dict[str, object] = {
        "tracking_allowed": True,
        "chain": (TOP,),
        "checkpoints": frozenset({"dozo-1"}),
        "bitmaps": (BitmapState(name="dozo-1", recording=True, inconsistent=False),),
        "internal_snapshots": False,
    }
    return Evidence(**{**values, **changes})  # type: ignore[arg-type]


def test_good_evidence_lets_the_hint_be_used() -> None:
    assert hints.judge(plan(TOKEN), now()) == hints.Hint(
        checkpoint="dozo-1", full_reason="", base="aa"
    )


def test_without_the_snapshot_that_it_counts_from_a_hint_is_of_no_use() -> None:
    verdict = hints.judge(plan(TOKEN, base=None), now())
    assert verdict == hints.Hint(checkpoint=None, full_reason=Reason.BASE_GONE.value)


@pytest.mark.parametrize(
    ("token", "evidence", "reason"),
    [
        (None, now(), Reason.NO_TOKEN),
        (TOKEN, now(checkpoints=frozenset()), Reason.CHECKPOINT_MISSING),
        (TOKEN, now(bitmaps=()), Reason.BITMAP_MISSING),
        (TOKEN, now(internal_snapshots=True), Reason.INTERNAL_SNAPSHOTS),
        (TOKEN, now(tracking_allowed=False), Reason.TRACKING_OFF),
        (TOKEN, now(chain=(TOP, TOP)), Reason.BACKING_CHAIN_CHANGED),
    ],
)
def test_anything_else_means_a_full_read_with_its_reason(
    token: ChangeToken | None, evidence: Evidence, reason: Reason
) -> None:
    found = hints.judge(plan(token), evidence)
    assert found == hints.Hint(checkpoint=None, full_reason=reason.value)
    assert hints.in_words(found.full_reason) == reason.words


def test_no_parent_needs_no_evidence() -> None:
    found = hints.judge(plan(None, parent=False), now())
    assert found == hints.Hint(checkpoint=None, full_reason=hints.ASKED_FOR)


def test_what_the_vault_found_out_while_reading_counts_more() -> None:
    assert hints.code_of(None, "x") == ""
    assert hints.code_of("no-parent", "tracking-off") == "tracking-off"
    assert hints.code_of("no-parent", "") == Reason.NO_PARENT.value
    assert hints.code_of("hint-disproved", "") == Reason.HINT_WAS_WRONG.value
    assert hints.in_words("from-the-future") == "from-the-future"
