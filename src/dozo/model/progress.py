"""How long work tells its caller about itself."""

from typing import Protocol


class Progress(Protocol):
    """Receives counts; called from several threads. Raising stops the work."""

    def total(self, work_bytes: int) -> None:
        """The number of bytes to go through, as far as known by now."""

    def advance(self, done_bytes: int) -> None:
        """That many more bytes have been gone through."""


class Silent:
    """A progress that nobody looks at."""

    def total(self, work_bytes: int) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        pass
