"""Wrappers that fail on purpose, for tests: at a counted call, or wherever a bad range is read."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from dozo.blobs.errors import BlobsError, BlobsUnavailable, BlobUnreadable
from dozo.blobs.port import BlobInfo, Blobs, Buffer
from dozo.model import clock


class Fault(Enum):
    """In what way a call fails."""

    BEFORE = "before"  # nothing has happened
    LOST = "lost"  # it has happened, and the caller is told that it failed
    TORN = "torn"  # half of it has happened, against the promises of the port
    SPOILT = "spoilt"  # a put says that all is well, and one bit of what it stored is wrong


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its number from 1 on, the port's method, and the key or prefix."""

    number: int
    method: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultPlan:
    """Which call fails, and how.

    With ``dies`` every later call fails too, as if the process had ended there. ``delay_s``
    is waited before the call that fails. ``methods`` counts only calls of these methods;
    all where it is empty.
    """

    at_call: int
    fault: Fault = Fault.BEFORE
    dies: bool = False
    delay_s: float = 0.0
    methods: frozenset[str] = field(default_factory=frozenset)


def _look_on(_call: Call) -> None:
    """Do nothing before a call."""


class FaultyBlobs:
    """Passes calls on, numbered; the planned one fails. Safe to use from several threads.

    ``before`` is called ahead of every call, in its thread: what it does happens in between
    two calls of whoever uses the wrapper, and what it raises is raised there. ``error``
    makes the error of the planned call.
    """

    def __init__(
        self,
        inner: Blobs,
        plan: FaultPlan | None = None,
        *,
        before: Callable[[Call], None] = _look_on,
        error: Callable[[str], BlobsError] | None = None,
    ) -> None:
        self._inner = inner
        self._plan = plan
        self._before = before
        self._error = error or _unavailable
        self._lock = threading.Lock()
        self._dead = False
        self._count = 0
        self.calls: list[Call] = []

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def has_failed(self) -> bool:
        """Whether the planned call was reached."""
        return self._plan is not None and self._count >= self._plan.at_call

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        fault = self._begin("put", key)
        if fault is Fault.TORN:
            self._inner.put(key, [_first_half(parts)])
        elif fault is Fault.SPOILT:
            self._inner.put(key, [_one_bit_off(parts)])
        elif fault is not Fault.BEFORE:
            self._inner.put(key, parts)
        self._end(fault)

    def create(self, key: str, parts: Sequence[Buffer]) -> bool:
        fault = self._begin("create", key)
        created = False
        if fault is Fault.TORN:
            created = self._inner.create(key, [_first_half(parts)])
        elif fault is not Fault.BEFORE:
            created = self._inner.create(key, parts)
        self._end(fault)
        return created

    def get(self, key: str) -> bytes:
        self._read("get", key)
        return self._inner.get(key)

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        self._read("get_range", key)
        return self._inner.get_range(key, offset_bytes, length_bytes)

    def view(self, key: str) -> memoryview:
        self._read("view", key)
        return self._inner.view(key)

    def size(self, key: str) -> int:
        self._read("size", key)
        return self._inner.size(key)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        fault = self._begin("list", prefix)
        found = list(self._inner.list(prefix))
        if fault is not None:
            yield from found[: len(found) // 2] if fault is Fault.TORN else []
            self._end(fault)
        yield from found

    def delete(self, key: str) -> None:
        fault = self._begin("delete", key)
        if fault is not Fault.BEFORE and fault is not Fault.TORN:
            self._inner.delete(key)
        self._end(fault)

    def sweep(self) -> int:
        self._read("sweep", "")
        return self._inner.sweep()

    def keep_reserve(self) -> None:
        self._inner.keep_reserve()

    def release_reserve(self) -> bool:
        return self._inner.release_reserve()

    def _begin(self, method: str, key: str) -> Fault | None:
        """Count a call; how it is to fail, or None."""
        plan = self._plan
        with self._lock:
            if self._dead:
                raise self._error(self.url)
            counts = plan is None or not plan.methods or method in plan.methods
            self._count += counts
            call = Call(self._count, method, key)
            self.calls.append(call)
            hit = plan is not None and counts and self._count == plan.at_call
            if plan is not None and hit and plan.dies:
                self._dead = True
        self._before(call)
        if plan is None or not hit:
            return None
        if plan.delay_s:
            clock.sleep(plan.delay_s)
        return plan.fault

    def _end(self, fault: Fault | None) -> None:
        if fault is not None and fault is not Fault.SPOILT:
            raise self._error(self.url)

    def _read(self, method: str, key: str) -> None:
        self._end(self._begin(method, key))


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRange:
    """Bytes of one blob that the medium does not give back."""

    key: str
    offset_bytes: int
    length_bytes: int


class UnreadableBlobs:
    """Passes calls on; a read that touches a bad range fails, whatever else it asks for.

    Writing or deleting a blob frees it of its bad ranges. Listing shows it as if it were whole.
    """

    def __init__(self, inner: Blobs, bad: Sequence[BadRange]) -> None:
        self._inner = inner
        self.bad = list(bad)

    @property
    def url(self) -> str:
        return self._inner.url

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self._inner.put(key, parts)
        self._heal(key)

    def create(self, key: str, parts: Sequence[Buffer]) -> bool:
        return self._inner.create(key, parts)

    def get(self, key: str) -> bytes:
        self._read(key, 0, None)
        return self._inner.get(key)

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        self._read(key, offset_bytes, offset_bytes + length_bytes)
        return self._inner.get_range(key, offset_bytes, length_bytes)

    def view(self, key: str) -> memoryview:
        self._read(key, 0, None)
        return self._inner.view(key)

    def size(self, key: str) -> int:
        return self._inner.size(key)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        return self._inner.list(prefix)

    def delete(self, key: str) -> None:
        self._inner.delete(key)
        self._heal(key)

    def sweep(self) -> int:
        return self._inner.sweep()

    def keep_reserve(self) -> None:
        self._inner.keep_reserve()

    def release_reserve(self) -> bool:
        return self._inner.release_reserve()

    def _read(self, key: str, start: int, end: int | None) -> None:
        for bad in self.bad:
            touches = start < bad.offset_bytes + bad.length_bytes
            if bad.key == key and touches and (end is None or bad.offset_bytes < end):
                raise BlobUnreadable(url=self.url, key=key, reason="Input/output error")

    def _heal(self, key: str) -> None:
        self.bad = [bad for bad in self.bad if bad.key != key]


def _first_half(parts: Sequence[Buffer]) -> bytes:
    whole = b"".join(parts)
    return whole[: len(whole) // 2]


def _one_bit_off(parts: Sequence[Buffer]) -> bytearray:
    whole = bytearray(b"".join(parts))
    whole[len(whole) // 2] ^= 1
    return whole


def _unavailable(url: str) -> BlobsError:
    return BlobsUnavailable(url=url, reason="a fault was injected")
