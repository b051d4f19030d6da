"""The capturing process's end of its watchdog."""

import os
import selectors
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from dozo.hypervisor.errors import WatchdogFailed
from dozo.model import clock
from dozo.model.message import Message

_READY_LIMIT_S = 30.0
_EXIT_LIMIT_S = 10.0


class WatchdogPipe:
    """Starts ``dozo.hypervisor.watchdog`` for one note and talks to it."""

    def __init__(self, server: str, note_path: Path, lock: int) -> None:
        """Returns when the watchdog is ready. It inherits ``lock``, which stays ours too."""
        self._server = server
        self._pending = b""
        self._seen: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dozo.hypervisor.watchdog", str(note_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            # A Ctrl-C in the terminal is for the capturing process alone.
            start_new_session=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise WatchdogFailed(server=server, reason=Message("it has no pipes"))
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        try:
            self.wait_for("ready", _READY_LIMIT_S)
        except WatchdogFailed:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The watchdog's process id."""
        return self._process.pid

    def tell(self, command: str) -> None:
        """Send one command; raises ``WatchdogFailed`` if nobody listens."""
        try:
            self._stdin.write(f"{command}\n".encode())
            self._stdin.flush()
        except OSError as error:
            raise WatchdogFailed(server=self._server, reason=self._ending()) from error

    def wait_for(self, answer: str, limit_s: float) -> None:
        """Wait for a line; raises ``WatchdogFailed`` at its end or after the limit."""
        deadline = clock.monotonic() + limit_s
        while answer not in self._seen:
            left_s = deadline - clock.monotonic()
            if left_s <= 0:
                raise WatchdogFailed(
                    server=self._server, reason=Message("it did not say {answer}", answer=answer)
                )
            if not self._read(left_s):
                raise WatchdogFailed(server=self._server, reason=self._ending())

    def said(self, word: str) -> str | None:
        """The first line so far that begins with ``word``; None if there is none."""
        while self._read(0):
            pass
        return next((line for line in self._seen if line.split(" ")[0] == word), None)

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def dismiss(self, last_word: str) -> None:
        """Send ``bye`` or ``leave``. After ``bye`` the process has ended on return."""
        try:
            self.tell(last_word)
        except WatchdogFailed:
            self.kill()
            return
        self._close_pipes()
        if last_word == "leave":
            self._collect_status()
            return
        try:
            self._process.wait(_EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def abandon(self) -> None:
        """Leave the whole undoing to it, as if this process had died."""
        self._close_pipes()
        self._collect_status()

    def _collect_status(self) -> None:
        """It may be at it for long; somebody has to see it end."""
        threading.Thread(target=self._process.wait, daemon=True).start()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._close_pipes()

    def _read(self, timeout_s: float) -> bool:
        """Take in what it says; False when there was nothing, or at the end."""
        if self._stdout.closed:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                # Nothing yet; a caller with time left looks at its own clock.
                return timeout_s > 0
        data = os.read(self._stdout.fileno(), 4096)
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._seen.extend(line.decode(errors="replace") for line in lines)
        return bool(data)

    def _ending(self) -> str:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return Message("it does not answer")
        return Message("it ended with status {status}", status=status)

    def _close_pipes(self) -> None:
        for pipe in (self._stdin, self._stdout):
            # Closing flushes, which fails if nobody reads any more.
            with suppress(OSError):
                pipe.close()
