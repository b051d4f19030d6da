"""Operations on one vault, interleaved at chosen storage calls, without any clock."""

import random
import threading
from collections.abc import Callable, Iterable, Sequence

from dozo.blobs import Blobs
from dozo.blobs.faulty import Call, FaultyBlobs

Operation = Callable[[Blobs], object]
LIMIT_S = 60


class Schedule:
    """Lets one operation run at a time, and hands over at given storage calls.

    The calls of all operations are counted together, from 1 on; ahead of each one in
    ``switches`` the next operation that has not ended goes on. ``trace`` shows who made
    which call.
    """

    def __init__(self, count: int, switches: Iterable[int]) -> None:
        self._switches = frozenset(switches)
        self._alive = list(range(count))
        self._turn = 0
        self._changed = threading.Condition()
        self._steps = 0
        self.trace: list[str] = []

    def enter(self, number: int, call: Call) -> None:
        """Called ahead of a storage call of operation ``number``; returns when it may go on."""
        with self._changed:
            self._wait_for(number)
            self._steps += 1
            if self._steps in self._switches:
                self._hand_over(number)
                self._wait_for(number)
            self.trace.append(f"{number} {call.method} {call.key[:30]}")

    def end(self, number: int) -> None:
        """Called when an operation has ended."""
        with self._changed:
            if self._turn == number:
                self._hand_over(number)
            self._alive.remove(number)

    @property
    def steps(self) -> int:
        """How many calls all operations have made."""
        return self._steps

    def _wait_for(self, number: int) -> None:
        assert self._changed.wait_for(lambda: self._turn == number, LIMIT_S), self.trace

    def _hand_over(self, number: int) -> None:
        at = self._alive.index(number)
        self._turn = self._alive[(at + 1) % len(self._alive)]
        self._changed.notify_all()


def interleaved(
    blobs: Blobs, operations: Sequence[Operation], switches: Iterable[int]
) -> tuple[list[object], Schedule]:
    """What each operation returned or raised, and how they were interleaved."""
    schedule = Schedule(len(operations), switches)
    results: list[object] = [None] * len(operations)

    def run(number: int, operation: Operation) -> None:
        place = FaultyBlobs(blobs, before=lambda call: schedule.enter(number, call))
        try:
            results[number] = operation(place)
        except Exception as error:  # noqa: BLE001  judged by the test
            results[number] = error
        finally:
            schedule.end(number)

    threads = [
        threading.Thread(target=run, args=(number, operation), daemon=True)
        for number, operation in enumerate(operations)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive(), schedule.trace
    return results, schedule


def random_switches(seed: int, steps: int, most: int = 5) -> list[int]:
    """A few places among so many calls at which to hand over."""
    chosen = random.Random(seed)
    return sorted(chosen.randint(1, steps) for _each in range(chosen.randint(1, most)))
