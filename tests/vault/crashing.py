"""`dozo` as the kill sweep runs it: it ends itself, hard, at a storage call of its choice.

Only this entry script obeys ``DOZO_TEST_DIE_AT``: ``number`` of the storage call that changes
something, and ``before``, ``after`` or ``torn`` (a temporary file is left, as by a power cut).
"""

import os
import signal
import sys
from pathlib import Path

from dozo.blobs import DirectoryBlobs
from dozo.cli.app import run

CHANGES = ("put", "create", "delete")


def arm(number: int, how: str) -> None:
    """Replace the calls that change something by ones that count."""
    done = 0

    def wrap(name: str) -> None:
        original = getattr(DirectoryBlobs, name)

        def counted(self: DirectoryBlobs, key: str, *rest: object) -> object:
            nonlocal done
            done += 1
            if done != number:
                return original(self, key, *rest)
            if how == "after":
                original(self, key, *rest)
            elif how == "torn":
                folder = Path(self.url) / ".tmp"
                folder.mkdir(exist_ok=True)
                (folder / f"torn-{os.getpid()}").write_bytes(b"half of it")
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        setattr(DirectoryBlobs, name, counted)

    for name in CHANGES:
        wrap(name)


if __name__ == "__main__":
    at = os.environ.get("DOZO_TEST_DIE_AT")
    if at:
        number, _comma, how = at.partition(",")
        arm(int(number), how)
    sys.exit(run(sys.argv[1:]))
