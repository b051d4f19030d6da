"""What every place for blobs promises, asked of each of them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dozo.blobs import (
    BlobInfo,
    BlobMissing,
    Blobs,
    BlobTruncated,
    DirectoryBlobs,
    MemoryBlobs,
)
from dozo.blobs.faulty import FaultyBlobs


@pytest.fixture(params=["memory", "directory", "directory-by-others", "faulty"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    places: dict[str, Callable[[], Blobs]] = {
        "memory": MemoryBlobs,
        "directory": lambda: DirectoryBlobs(tmp_path / "place"),
        "directory-by-others": lambda: EachCallAnother(tmp_path / "place"),
        "faulty": lambda: FaultyBlobs(MemoryBlobs()),
    }
    return places[request.param]()


class EachCallAnother:
    """A directory seen through another object at each call, as by another process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._twins = (DirectoryBlobs(path), DirectoryBlobs(path))
        self._turn = 0

    def __getattr__(self, name: str) -> object:
        self._turn += 1
        return getattr(self._twins[self._turn % 2], name)


def listed(blobs: Blobs, prefix: str) -> dict[str, int]:
    found = list(blobs.list(prefix))
    assert len({info.key for info in found}) == len(found), "nothing is listed twice"
    return {info.key: info.size_bytes for info in found}


def test_what_was_put_is_there(blobs: Blobs) -> None:
    blobs.put("packs/ab/abcd", [b"one", bytearray(b"two"), memoryview(b"three")])
    assert blobs.get("packs/ab/abcd") == b"onetwothree"
    assert bytes(blobs.view("packs/ab/abcd")) == b"onetwothree"
    assert blobs.size("packs/ab/abcd") == 11
    assert listed(blobs, "packs") == {"packs/ab/abcd": 11}


def test_put_replaces(blobs: Blobs) -> None:
    blobs.put("a/b", [b"old and long"])
    view = blobs.view("a/b")
    assert blobs.get_range("a/b", 0, 3) == b"old"
    blobs.put("a/b", [b"new"])
    assert blobs.get("a/b") == b"new"
    assert blobs.get_range("a/b", 0, 3) == b"new"
    with pytest.raises(BlobTruncated):
        blobs.get_range("a/b", 0, 4)
    assert bytes(view) == b"old and long", "a view is of one state"


def test_replaced_by_another_after_a_ranged_read(blobs: Blobs) -> None:
    for turn in range(4):
        content = f"turn {turn}".encode()
        blobs.put("a/b", [content])
        for _again in range(2):
            assert blobs.get_range("a/b", 0, 6) == content


def test_a_deleted_blob_is_gone_for_every_way_to_read(blobs: Blobs) -> None:
    blobs.put("a/b", [b"content"])
    for _each in range(2):
        assert blobs.get_range("a/b", 0, 7) == b"content"
    view = blobs.view("a/b")
    blobs.delete("a/b")
    for _each in range(2):
        for read in (
            blobs.get,
            blobs.view,
            blobs.size,
            lambda key: blobs.get_range(key, 0, 7),
        ):
            with pytest.raises(BlobMissing):
                read("a/b")
    assert bytes(view) == b"content", "a view outlives its blob"
    assert listed(blobs, "") == {}


def test_delete_of_nothing_is_nothing(blobs: Blobs) -> None:
    blobs.delete("never/there")
    blobs.put("a/b", [b"x"])
    blobs.delete("a/c")
    blobs.delete("a/b")
    blobs.delete("a/b")
    assert listed(blobs, "") == {}


@pytest.mark.parametrize("content", [b"", b"x", b"some bytes"])
def test_create_only_where_nothing_is(blobs: Blobs, content: bytes) -> None:
    assert blobs.create("a/b", [content]) is True
    assert blobs.create("a/b", [content]) is False, "the same bytes are no reason to say yes"
    assert blobs.create("a/b", [b"other"]) is False
    assert blobs.get("a/b") == content
    blobs.delete("a/b")
    assert blobs.create("a/b", [b"other"]) is True
    assert blobs.get("a/b") == b"other"


def test_create_after_put_says_no(blobs: Blobs) -> None:
    blobs.put("a/b", [b"first"])
    assert not blobs.create("a/b", [b"second"])
    assert blobs.get("a/b") == b"first"


def test_of_many_creators_one_wins(blobs: Blobs) -> None:
    for turn in range(20):
        gate = threading.Barrier(8)

        def create(number: int, key: str = f"race/{turn}", gate: threading.Barrier = gate) -> bool:
            gate.wait()
            return blobs.create(key, [f"writer {number}".encode() * 100])

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(create, range(8)))
        assert sum(won) == 1
        assert blobs.get(f"race/{turn}") == f"writer {won.index(True)}".encode() * 100


def test_ranges_are_exact(blobs: Blobs) -> None:
    data = bytes(range(256)) * 16
    blobs.put("a/b", [data])
    for offset, length in ((0, 0), (0, 1), (1, 4095), (4095, 1), (0, 4096), (4096, 0)):
        assert blobs.get_range("a/b", offset, length) == data[offset : offset + length]
    for offset, length in ((0, 4097), (4096, 1), (4095, 2), (9999, 1)):
        with pytest.raises(BlobTruncated) as raised:
            blobs.get_range("a/b", offset, length)
        assert raised.value.key == "a/b"


def test_missing_is_said_with_the_key(blobs: Blobs) -> None:
    for read in (blobs.get, blobs.view, blobs.size, lambda key: blobs.get_range(key, 0, 1)):
        with pytest.raises(BlobMissing) as raised:
            read("not/there")
        assert raised.value.key == "not/there"
        assert raised.value.url == blobs.url


def test_empty_blobs(blobs: Blobs) -> None:
    blobs.put("a/empty", [])
    assert blobs.get("a/empty") == b""
    assert bytes(blobs.view("a/empty")) == b""
    assert listed(blobs, "a") == {"a/empty": 0}


def test_listing_goes_by_whole_parts(blobs: Blobs) -> None:
    for key in ("packs/aa/aa11", "packs/ab/ab22", "packs2/x", "header", "header.copy"):
        blobs.put(key, [b"x"])
    assert listed(blobs, "packs") == {"packs/aa/aa11": 1, "packs/ab/ab22": 1}
    assert listed(blobs, "packs/") == listed(blobs, "packs")
    assert listed(blobs, "packs/a") == {}
    assert listed(blobs, "packs/ab") == {"packs/ab/ab22": 1}
    assert listed(blobs, "nothing") == {}
    assert len(listed(blobs, "")) == 5


def test_what_stays_is_listed_whatever_else_happens(blobs: Blobs) -> None:
    lasting = {f"notes/lasting-{number}" for number in range(20)}
    for key in lasting:
        blobs.put(key, [b"0"])
    stop = threading.Event()

    def stir() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            blobs.put(f"notes/passing-{turn % 7}", [b"1"])
            blobs.put(f"notes/lasting-{turn % 20}", [b"replaced"])
            blobs.delete(f"notes/passing-{(turn + 3) % 7}")

    stirrers = [threading.Thread(target=stir) for _each in range(2)]
    for each in stirrers:
        each.start()
    try:
        for _turn in range(30):
            assert lasting <= {info.key for info in blobs.list("notes")}
    finally:
        stop.set()
        for each in stirrers:
            each.join()


def test_a_reader_sees_the_old_or_the_new_whole(blobs: Blobs) -> None:
    states = [bytes([number]) * 100_000 for number in (1, 2)]
    blobs.put("a/b", [states[0]])
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for state in states:
                blobs.put("a/b", [state[:1], state[1:]])

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _turn in range(60):
            assert blobs.get("a/b") in states
            assert bytes(blobs.view("a/b")) in states
            assert blobs.get_range("a/b", 0, 100_000) in states
    finally:
        stop.set()
        writer.join()


def test_many_parts_and_a_large_blob(blobs: Blobs) -> None:
    parts = [bytes([number % 251]) * (number % 40) for number in range(5_000)]
    blobs.put("a/parts", parts)
    assert blobs.get("a/parts") == b"".join(parts)
    large = bytes(range(256)) * 4096 * 9
    blobs.put("a/large", [memoryview(large)])
    assert blobs.view("a/large") == large
    assert listed(blobs, "a") == {"a/parts": sum(map(len, parts)), "a/large": len(large)}


def test_sweeping_leaves_blobs_alone(blobs: Blobs) -> None:
    blobs.put("a/b", [b"x"])
    assert blobs.sweep() == 0
    assert list(blobs.list("")) == [BlobInfo("a/b", 1)]
