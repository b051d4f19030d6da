"""What the file of changed extents may say, and how it is refused."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dozo.model import extents_json
from dozo.model.errors import ErrorKind
from dozo.model.extents import Extent
from dozo.model.extents_json import ExtentsMalformed, parse_extents

SIZE = 10_000

pairs = st.integers(0, SIZE).flatmap(
    lambda offset: st.tuples(st.just(offset), st.integers(0, SIZE - offset))
)


@given(st.lists(pairs, max_size=20), st.sampled_from([None, 2]))
def test_the_same_bytes_come_back_sorted_and_merged(
    entries: list[tuple[int, int]], indent: int | None
) -> None:
    found = parse_extents(json.dumps(entries, indent=indent), SIZE)

    named = {byte for offset, length in entries for byte in range(offset, offset + length)}
    assert {byte for e in found for byte in range(e.offset_bytes, e.end_bytes)} == named
    assert all(a.end_bytes < b.offset_bytes for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("text", ["[]", " [ ] \n", "[[0, 0]]", "[[10000,0]]"])
def test_nothing_changed(text: str) -> None:
    assert parse_extents(text, SIZE) == []


def test_an_extent_may_end_where_the_volume_ends() -> None:
    assert parse_extents("[[9999, 1]]", SIZE) == [Extent(9999, 1)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ("hello", "it is not JSON"),
        ("{}", "it is not an array"),
        ("7", "it is not an array"),
        ("null", "it is not an array"),
        ('"[[0,1]]"', "it is not an array"),
        ("\x00\x01", "it is not JSON"),
        ("[" * 100_000, "entry 0 is not JSON"),
        ("[[0,1]", "after entry 0 comes the end of the text"),
        ("[[0,1],", "entry 1 is not JSON"),
        ("[[0,1],]", "entry 1 is not JSON"),
        ("[[0,1] [2,3]]", "after entry 0 comes '['"),
        ("[[0,1]] x", "something follows the array"),
        ("[[0,1]][[0,1]]", "something follows the array"),
        ("[0, 1]", "entry 0 is not a pair"),
        ("[[0,1],[2]]", "entry 1 is not a pair"),
        ("[[0,1,2]]", "entry 0 is not a pair"),
        ('[{"offset": 0, "length": 1}]', "entry 0 is not a pair"),
        ('["ab"]', "entry 0 is not a pair"),
        ('[["0","1"]]', "entry 0 is not of whole numbers"),
        ("[[0.0, 1]]", "entry 0 is not of whole numbers"),
        ("[[0, 1e3]]", "entry 0 is not of whole numbers"),
        ("[[NaN, 1]]", "entry 0 is not of whole numbers"),
        ("[[true, 1]]", "entry 0 is not of whole numbers"),
        ("[[0, null]]", "entry 0 is not of whole numbers"),
        ("[[0, 1], [-1, 5]]", "entry 1 has a negative number"),
        ("[[0, -5]]", "entry 0 has a negative number"),
        ("[[0, 1], [2, 3], [9999, 2]]", "entry 2, [9999, 2], ends beyond the volume's 10000 bytes"),
        ("[[10001, 0]]", "entry 0, [10001, 0], ends beyond"),
        ("[[0, 18446744073709551616]]", "entry 0, [0, 18446744073709551616], ends beyond"),
        ("[[" + "9" * 5000 + ", 1]]", "entry 0 is not JSON"),
    ],
)
def test_malformed(text: str, reason: str) -> None:
    with pytest.raises(ExtentsMalformed) as caught:
        parse_extents(text, SIZE)

    assert caught.value.kind is ErrorKind.USAGE
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 250


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extents_json, "MAX_ENTRIES", 3)

    assert parse_extents("[[0,1],[2,1],[4,1]]", SIZE)
    with pytest.raises(ExtentsMalformed, match="more than 3 entries"):
        parse_extents("[[0,1],[2,1],[4,1],[6,1]]", SIZE)
