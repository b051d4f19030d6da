"""Wrappers that refuse changes, or fail on purpose."""

import pytest

from dozo.blobs import (
    BlobMissing,
    BlobsError,
    BlobsFull,
    BlobsReadOnly,
    BlobsUnavailable,
    MemoryBlobs,
    ReadOnlyBlobs,
    UrlUnsupported,
    open_blobs,
)
from dozo.blobs.faulty import Call, Fault, FaultPlan, FaultyBlobs
from dozo.model import clock


def test_read_only_refuses_every_change_and_passes_reads_on() -> None:
    inner = MemoryBlobs()
    inner.put("a/b", [b"content"])
    blobs = ReadOnlyBlobs(inner)
    for change in (
        lambda: blobs.put("a/c", [b"x"]),
        lambda: blobs.create("a/c", [b"x"]),
        lambda: blobs.delete("a/b"),
    ):
        with pytest.raises(BlobsReadOnly):
            change()
    assert blobs.sweep() == 0
    assert blobs.get("a/b") == bytes(blobs.view("a/b")) == b"content"
    assert blobs.get_range("a/b", 1, 2) == b"on"
    assert blobs.size("a/b") == 7
    assert [info.key for info in blobs.list("a")] == ["a/b"]
    with pytest.raises(BlobMissing):
        blobs.get("a/c")


@pytest.mark.parametrize(
    ("fault", "stored"), [(Fault.BEFORE, None), (Fault.LOST, b"12345678"), (Fault.TORN, b"1234")]
)
@pytest.mark.parametrize("method", ["put", "create"])
def test_a_write_fails_in_three_ways(method: str, fault: Fault, stored: bytes | None) -> None:
    inner = MemoryBlobs()
    blobs = FaultyBlobs(inner, FaultPlan(at_call=2, fault=fault))
    blobs.put("a/first", [b"x"])
    with pytest.raises(BlobsUnavailable):
        getattr(blobs, method)("a/b", [b"1234", b"5678"])
    assert blobs.has_failed
    assert {info.key: inner.get(info.key) for info in inner.list("")}.get("a/b") == stored
    blobs.put("a/b", [b"after"])
    assert inner.get("a/b") == b"after"


def test_a_dead_process_writes_nothing_more() -> None:
    inner = MemoryBlobs()
    blobs = FaultyBlobs(inner, FaultPlan(at_call=1, fault=Fault.LOST, dies=True))
    with pytest.raises(BlobsUnavailable):
        blobs.put("a/b", [b"x"])
    for call in (
        lambda: blobs.delete("a/b"),
        lambda: blobs.get("a/b"),
        lambda: list(blobs.list("")),
    ):
        with pytest.raises(BlobsUnavailable):
            call()
    assert inner.get("a/b") == b"x"


def test_only_the_planned_methods_count_and_the_error_may_be_chosen() -> None:
    blobs = FaultyBlobs(
        MemoryBlobs(),
        FaultPlan(at_call=2, methods=frozenset({"delete"})),
        error=lambda url: BlobsFull(url=url),
    )
    blobs.put("a/b", [b"x"])
    blobs.delete("a/c")
    blobs.put("a/d", [b"x"])
    with pytest.raises(BlobsFull):
        blobs.delete("a/b")
    assert blobs.get("a/b") == b"x"


def test_a_torn_listing_and_a_lost_delete() -> None:
    inner = MemoryBlobs()
    for number in range(4):
        inner.put(f"a/{number}", [b"x"])
    torn = FaultyBlobs(inner, FaultPlan(at_call=1, fault=Fault.TORN))
    found = []
    with pytest.raises(BlobsUnavailable):
        found.extend(info.key for info in torn.list("a"))
    lost = FaultyBlobs(inner, FaultPlan(at_call=1, fault=Fault.LOST))
    with pytest.raises(BlobsUnavailable):
        lost.delete("a/0")
    assert len(list(inner.list("a"))) == 3


def test_calls_are_seen_before_they_happen_and_may_be_late() -> None:
    seen: list[Call] = []
    inner = MemoryBlobs()

    def before(call: Call) -> None:
        seen.append(call)
        assert not list(inner.list("a/b"))

    slow = FaultyBlobs(inner, FaultPlan(at_call=1, delay_s=0.05), before=before)
    began = clock.monotonic()
    with pytest.raises(BlobsError):
        slow.put("a/b", [b"x"])
    assert clock.monotonic() - began >= 0.05
    assert seen == slow.calls == [Call(1, "put", "a/b")]


def test_addresses() -> None:
    assert open_blobs("file:///some/where").url == "/some/where"
    assert open_blobs("/some/where").url == "/some/where"
    with pytest.raises(UrlUnsupported):
        open_blobs("gopher://somewhere")
