"""Results: JSON for programs, tables for people, progress on a terminal only."""

import dataclasses
import json
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from dozo.cli.speech import heading, shown, told, wide
from dozo.model.message import Message, joined, within
from dozo.model.progress import Progress
from dozo.model.words import word
from dozo.services.work import Unheard, Work

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

AcceptPlaintext = Annotated[
    bool,
    typer.Option("--accept-plaintext", help="Restore what was encrypted as plain data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def plain(value: Any) -> Any:  # noqa: PLR0911  one line a type
    """A result as values that JSON knows; times are ISO 8601 in UTC."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (UUID, Path)):
        return str(value)
    return value


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """A line for people on standard output."""
    sys.stdout.write(told(text) + "\n")


def finish(done: Any, line: str, *, as_json: bool) -> None:
    """The result of a command that has one line to say."""
    if as_json:
        print_json(done)
    else:
        say(line)


def size(count: int | None) -> str:
    """Bytes for people: ``1.5 GiB``."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in _UNITS:
        if amount < 1024 or unit == _UNITS[-1]:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return "-"


def when(instant: datetime | str | None) -> str:
    """An instant for people, in the terminal's time zone."""
    if isinstance(instant, str) and instant:
        instant = datetime.fromisoformat(instant)
    return instant.astimezone().strftime("%Y-%m-%d %H:%M:%S") if instant else "-"


def yes_no(value: object) -> str:
    """A truth for people."""
    return word("yes-no", bool(value))


def listed(values: Iterable[object]) -> str:
    """Several values in one cell."""
    return joined(str(value) for value in values) or "-"


def copies(found: Mapping[str, str]) -> str:
    """In which state a snapshot is at which site."""
    return listed(f"{site}: {shown('copy', state)}" for site, state in found.items())


def span(seconds: float | None) -> str:
    """A length of time for people: ``2.5 hours``."""
    if seconds is None:
        return "-"
    if seconds >= 2 * 86400:
        return Message("{count:.1f} days", count=seconds / 86400)
    if seconds >= 2 * 3600:
        return Message("{count:.1f} hours", count=seconds / 3600)
    if seconds >= 2 * 60:
        return Message("{count:.1f} minutes", count=seconds / 60)
    return Message("{count:.1f} seconds", count=seconds)


def short(identifier: str | None) -> str:
    """The beginning of an id, enough to give it back."""
    return (identifier or "-")[:12]


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table on standard output; ``empty`` where there is nothing to show.

    Not a terminal: columns are as wide as their content, so that nothing is cut off.
    """
    if not rows:
        say(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(told(heading(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(told(cell)) for cell in row))
    if sys.stdout.isatty():
        Console().print(table, crop=False)
        return
    console = Console(width=10_000)
    with console.capture() as shown:
        console.print(table, crop=False)
    say("\n".join(line.rstrip() for line in shown.get().splitlines() if line.strip()))


def show_one(row: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing, with everything that is known of it."""
    if as_json:
        print_json(row)
    else:
        show_fields(row)


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    named = [(told(heading(name)), told(value)) for name, value in facts.items()]
    width = max((wide(name) for name, _ in named), default=0)
    for name, value in named:
        say(f"{name}{' ' * (width - wide(name))}  {value}")


def cell(value: Any) -> str:
    """Any value of an answer in one line."""
    if isinstance(value, Mapping):
        return listed(f"{key}: {cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return listed(cell(one) for one in value)
    if isinstance(value, bool):
        return yes_no(value)
    return "-" if value is None or value == "" else str(value)


def show_fields(fields: Mapping[str, Any]) -> None:
    """All fields of an answer, by their names."""
    print_facts({name.replace("_", " "): cell(value) for name, value in fields.items()})


_NOTES = {
    "not_clean": within("heading", "not clean because"),
    "freeze_problem": within("heading", "not frozen because"),
}


def note_facts(notes: Mapping[str, str]) -> dict[str, str]:
    """A snapshot's notes as facts for people."""
    return {_NOTES.get(name, name.replace("_", " ")): text for name, text in notes.items()}


@contextmanager
def progress(*, as_json: bool) -> Iterator[Work]:
    """Steps and byte counters on a terminal's standard error; silence anywhere else."""
    if as_json or not sys.stderr.isatty():
        yield Unheard()
        return
    from rich import progress as bars
    from rich.console import Console

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(binary_units=True),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        yield _TerminalWork(shown)


class _TerminalWork:
    def __init__(self, shown: "Bars") -> None:
        self._shown = shown

    def step(self, text: str) -> None:
        from rich.text import Text

        self._shown.console.print(Text(told(text)))

    def bytes_of(self, label: str) -> Progress:
        from rich.markup import escape

        return _Bar(self._shown, self._shown.add_task(escape(told(label)), total=None))

    def fact(self, name: str, value: object) -> None:
        pass

    def check(self) -> None:
        pass


class _Bar:
    def __init__(self, shown: "Bars", task: "TaskID") -> None:
        self._shown = shown
        self._task = task
        self._lock = threading.Lock()

    def total(self, work_bytes: int) -> None:
        with self._lock:
            self._shown.update(self._task, total=work_bytes)

    def advance(self, done_bytes: int) -> None:
        with self._lock:
            self._shown.advance(self._task, done_bytes)
