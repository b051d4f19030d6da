"""What the demo shows: headings, the commands that it runs, and what they cost."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dozo_demo.places import DemoSite

DOZO = Path(sys.executable).with_name("dozo")
COLOUR = sys.stdout.isatty()


class StepFailed(Exception):
    """A command ended with another code than 0, or a check found something else."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One line of the closing table."""

    what: str
    size_bytes: int | None
    seconds: float


class Story:
    """Numbers the steps and remembers what each cost."""

    def __init__(self) -> None:
        self.costs: list[Cost] = []
        self._step = 0
        self._started = time.monotonic()

    def heading(self, text: str) -> None:
        """Begin a step."""
        self._step += 1
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"\n{_bold(f'{self._step}. {text}')}  [{minutes}:{seconds:02}]", flush=True)

    @contextmanager
    def timed(self, what: str) -> Iterator["Stopwatch"]:
        """Add what happens inside to the closing table."""
        watch = Stopwatch()
        yield watch
        seconds = time.monotonic() - watch.started
        self.costs.append(Cost(what=what, size_bytes=watch.size_bytes, seconds=seconds))

    def closing_table(self) -> None:
        """What, bytes, seconds."""
        rows = [
            (one.what, size(one.size_bytes) if one.size_bytes is not None else "", one.seconds)
            for one in self.costs
        ]
        wide = max(len(what) for what, _, _ in rows)
        print(f"   {'what':<{wide}}  {'bytes':>10}  {'seconds':>7}")
        for what, amount, seconds in rows:
            print(f"   {what:<{wide}}  {amount:>10}  {seconds:>7.1f}")
        total = time.monotonic() - self._started
        print(f"   {'everything':<{wide}}  {'':>10}  {total:>7.1f}", flush=True)


class Stopwatch:
    """Set size_bytes when it is known."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.size_bytes: int | None = None


def say(text: str) -> None:
    """A line of explanation."""
    print(f"   {text}", flush=True)


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def dozo(site: DemoSite, *arguments: str) -> None:
    """Print and run a command at a site, showing what it says. Raises StepFailed."""
    command = ["--home", str(site.home), *arguments]
    show_command(["dozo", *command])
    run_shown([str(DOZO), *command])


def dozo_json(site: DemoSite, *arguments: str) -> Any:
    """The result of a command that only asks, as values. Raises StepFailed."""
    command = [str(DOZO), "--home", str(site.home), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StepFailed(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def show_command(command: Sequence[str], *, background: bool = False) -> None:
    """A command line as a person would type it."""
    print(_bold(f"   $ {shlex.join(command)}{' &' if background else ''}"), flush=True)


def run_shown(command: Sequence[str]) -> None:
    """Run with the terminal's own input and output. Raises StepFailed."""
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise StepFailed(f"{shlex.join(command)} ended with {code}")


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if COLOUR else text
