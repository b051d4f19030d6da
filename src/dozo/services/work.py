"""How a use case tells its caller what it is doing; a terminal, a job or nobody may listen."""

from typing import Protocol

from dozo.model.progress import Progress, Silent


class Work(Protocol):
    """Listens to one operation. Called from several threads; raising stops the operation."""

    def step(self, text: str) -> None:
        """The operation now does this: a short line for people."""

    def bytes_of(self, label: str) -> Progress:
        """A counter for one stream of bytes, such as one volume."""


class Unheard:
    """Nobody listens."""

    def step(self, text: str) -> None:
        pass

    def bytes_of(self, label: str) -> Progress:  # noqa: ARG002
        return Silent()
