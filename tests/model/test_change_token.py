"""What disproves a change hint."""

import json
from dataclasses import replace

import pytest

from dozo.model.change_token import (
    BitmapState,
    ChangeToken,
    Evidence,
    Reason,
    TokenFile,
    disproof,
    from_json,
)


def file(path: str, *, inode: int = 1, format: str = "qcow2") -> TokenFile:
    return TokenFile(
        path=path,
        format=format,
        device=7,
        inode=inode,
        virtual_bytes=1 << 30,
        file_bytes=4096,
        mtime_ns=1,
    )


TOP = file("/images/a.qcow2")
BASE = file("/images/base.raw", inode=2, format="raw")
TOKEN = ChangeToken(name="dozo-1", chain=(TOP, BASE))
NOW = Evidence(
    tracking_allowed=True,
    chain=(TOP, BASE),
    checkpoints=frozenset({"dozo-1"}),
    bitmaps=(BitmapState(name="dozo-1", recording=True, inconsistent=False),),
    internal_snapshots=False,
)


def bitmap(*, name: str = "dozo-1", recording: bool = True, inconsistent: bool = False) -> Evidence:
    return replace(
        NOW, bitmaps=(BitmapState(name=name, recording=recording, inconsistent=inconsistent),)
    )


def test_a_token_that_does_not_say_what_it_counts_from_is_not_understood() -> None:
    assert from_json({**TOKEN.to_json(), "since": "aa"}) == replace(TOKEN, since="aa")
    plain = TOKEN.to_json()
    del plain["since"]
    assert from_json(plain) is None


def test_the_same_evidence_disproves_nothing() -> None:
    assert disproof(TOKEN, NOW) is None


def test_the_image_s_own_growth_and_writes_disprove_nothing() -> None:
    grown = replace(TOP, virtual_bytes=2 << 30, file_bytes=8192, mtime_ns=9)
    assert disproof(TOKEN, replace(NOW, chain=(grown, BASE))) is None


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (replace(NOW, tracking_allowed=False), Reason.TRACKING_OFF),
        (
            replace(NOW, chain=(replace(TOP, format="raw"), BASE)),
            Reason.FORMAT_CANNOT_TRACK,
        ),
        (replace(NOW, checkpoints=frozenset()), Reason.CHECKPOINT_MISSING),
        (replace(NOW, bitmaps=()), Reason.BITMAP_MISSING),
        (bitmap(name="somebody-else"), Reason.BITMAP_MISSING),
        (bitmap(inconsistent=True), Reason.BITMAP_INCONSISTENT),
        (bitmap(recording=False), Reason.BITMAP_STOPPED),
        (replace(NOW, chain=(replace(TOP, inode=9), BASE)), Reason.IMAGE_REPLACED),
        (replace(NOW, chain=(replace(TOP, device=9), BASE)), Reason.IMAGE_REPLACED),
        (replace(NOW, chain=(replace(TOP, path="/b"), BASE)), Reason.IMAGE_REPLACED),
        (replace(NOW, chain=()), Reason.IMAGE_REPLACED),
        (replace(NOW, chain=(TOP,)), Reason.BACKING_CHAIN_CHANGED),
        (replace(NOW, chain=(TOP, replace(BASE, path="/b"))), Reason.BACKING_CHAIN_CHANGED),
        (replace(NOW, chain=(TOP, replace(BASE, mtime_ns=9))), Reason.BACKING_CHAIN_CHANGED),
        (replace(NOW, chain=(TOP, BASE, BASE)), Reason.BACKING_CHAIN_CHANGED),
        (replace(NOW, internal_snapshots=True), Reason.INTERNAL_SNAPSHOTS),
    ],
)
def test_any_difference_disproves_the_hint(now: Evidence, reason: Reason) -> None:
    assert disproof(TOKEN, now) is reason


def test_a_snapshot_without_a_usable_token_is_no_ground_for_a_hint() -> None:
    assert disproof(None, NOW) is Reason.NO_TOKEN
    assert disproof(replace(TOKEN, kind="rbd-diff"), NOW) is Reason.TOKEN_UNKNOWN


def test_every_reason_has_words() -> None:
    assert all(reason.words for reason in Reason)


def test_json_gives_the_token_back() -> None:
    assert from_json(json.loads(json.dumps(TOKEN.to_json()))) == TOKEN


@pytest.mark.parametrize(
    "plain",
    [None, {}, {"kind": "x", "name": "y"}, {"kind": "x", "name": "y", "chain": [{}]}],
)
def test_what_cannot_be_understood_is_no_token(plain: dict[str, object] | None) -> None:
    assert from_json(plain) is None
