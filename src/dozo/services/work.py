"""How a use case tells its caller what it is doing; a terminal, a job or nobody may listen."""

from dataclasses import dataclass
from typing import Protocol

from dozo.model.errors import DozoError, ErrorKind
from dozo.model.progress import Progress, Silent


@dataclass(eq=False)
class Cancelled(DozoError):
    """Somebody asked for an operation to be stopped, and it was."""

    code = "job.cancelled"
    kind = ErrorKind.REFUSED
    text = "{self.work} was cancelled"
    hint = "Start it again when it is wanted; finish or take back what was being put back in place."
    work: str


class Work(Protocol):
    """Listens to one operation. Called from several threads.

    Raising (:class:`Cancelled`, if somebody asked for it) stops the operation, which then undoes
    what it has begun and raises the same error. It has to go on raising from then on. What cannot
    be undone at once is left in a state of its own: a volume that is half put back in place stays
    marked, a copy keeps what has arrived whole, a server that was defined stays.
    """

    def step(self, text: str) -> None:
        """The operation now does this: a short line for people."""

    def bytes_of(self, label: str) -> Progress:
        """A counter for one stream of bytes, such as one volume."""

    def fact(self, name: str, value: object) -> None:
        """Something to be known before the operation is over, such as the capture's instant."""

    def check(self) -> None:
        """Raises if the operation is to end; for loops that wait without moving bytes."""


class Unheard:
    """Nobody listens."""

    def step(self, text: str) -> None:
        pass

    def bytes_of(self, label: str) -> Progress:  # noqa: ARG002
        return Silent()

    def fact(self, name: str, value: object) -> None:
        pass

    def check(self) -> None:
        pass
