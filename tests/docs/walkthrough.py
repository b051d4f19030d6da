"""Runs the console blocks of docs/walkthrough.md; says how what they print differs from the page.

A block holds commands, after the operator's ``#`` or the user's ``$``, and what they print. Times,
ids, sizes and lengths of time may differ from the page; ``…`` stands for anything in a line, and
alone in a line for any lines. A comment ``<!-- until it is so -->`` before a block has it run again
and again until it prints what the page says.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.services import domains

from dozo.model import clock

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough.md"
UNTIL = "<!-- until it is so -->"
_BLOCK = re.compile(
    rf"(?P<until>{UNTIL}\n)?```console\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)
_END = "-- this is all --"
_UNTIL_SECONDS = 60
_COMMAND_SECONDS = 60

# What is not the same each time; in this order.
_VARYING = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "<time>"),
    (r"\d{8}T\d{6}Z?|\d{8}-\d{6}", "<time>"),
    (r"\bdozo-site-\S+", "<key>"),
    (r"\bkeys\.[0-9a-f]{8}\.pub\b", "<key file>"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>"),
    (r"\b[0-9a-f]{12,64}\b|\b[0-9a-f]{8}-[0-9a-f]{3}\b", "<id>"),
    (r"\b\d+(\.\d)? (B|KiB|MiB|GiB|TiB)(?!\w)", "<size>"),
    (r"\b\d+\.\d (seconds|minutes|hours|days|s)\b", "<span>"),
    (r"(?<= )\d+\.\d(?= )", "<seconds>"),
    (r"─+", "─"),
    (r"[ \t]+", " "),
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the page, and what the page says that it prints."""

    text: str
    output: str

    @property
    def home_served(self) -> str | None:
        """The home whose service the command starts."""
        found = re.search(r"--home (\S+) serve", self.text)
        return found[1] if found else None


@dataclass(frozen=True, kw_only=True)
class Block:
    """One console block; ``start`` and ``end`` say where its text stands in the page."""

    commands: list[Command]
    until: bool
    start: int
    end: int


def blocks(page: str) -> list[Block]:
    """The console blocks of a page, in order."""
    return [
        Block(
            commands=_commands(found["text"]),
            until=found["until"] is not None,
            start=found.start("text"),
            end=found.end("text"),
        )
        for found in _BLOCK.finditer(page)
    ]


def _commands(text: str) -> list[Command]:
    made: list[Command] = []
    lines = text.splitlines()
    while lines:
        line = lines.pop(0)
        assert line.startswith(("# ", "$ ")), f"a block begins with a command, not {line!r}"
        command = [line[2:]]
        while command[-1].endswith("\\"):
            command.append(lines.pop(0))
        output: list[str] = []
        while lines and not lines[0].startswith(("# ", "$ ")):
            output.append(lines.pop(0))
        made.append(Command(text="\n".join(command), output="\n".join(output)))
    return made


def normal(output: str) -> list[str]:
    """The lines of an output, without what is different each time."""
    for pattern, word in _VARYING:
        output = re.sub(pattern, word, output)
    return [line.strip() for line in output.splitlines() if line.strip()]


def fits(shown: str, output: str) -> bool:
    """Whether an output is what the page shows."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in normal(shown)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in normal(output))) is not None


@dataclass(kw_only=True)
class Shell:
    """A shell in which the page's names stand for those of the test.

    ``names`` is a word of the page → what it is here; rows about other servers of the host
    (``foreign`` finds their names) are left out of tables.
    """

    folder: Path
    names: dict[str, str]
    foreign: Callable[[], set[str]] = set
    process: "subprocess.Popen[str]" = field(init=False)

    def __post_init__(self) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DOZO_")
        }
        environment |= {
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }
        self.process = subprocess.Popen(
            [shutil.which("bash") or "bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )

    def run(self, command: Command) -> str:
        """Run it; what it printed, in the page's words."""
        into, out = _pipes(self.process)
        into.write(f"{{ {self._here(command.text)}\n}} </dev/null\necho '{_END}'\n")
        into.flush()
        lines: list[str] = []
        guard = threading.Timer(_COMMAND_SECONDS, self._kill)
        guard.start()
        for line in out:
            if line.endswith(f"{_END}\n"):
                lines.append(line.removesuffix(f"{_END}\n"))
                break
            lines.append(line)
        else:
            raise AssertionError(f"{command.text}\nended the shell or took too long: {lines}")
        guard.cancel()
        if " init " in command.text:
            self._use_ports()
        if command.home_served:
            self._wait_for(Path(self._here(command.home_served)) / "api.sock")
        return self._of_page("".join(lines))

    def close(self) -> None:
        """End the shell and every service that it started, and wait for all of them."""
        _pipes(self.process)[0].close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            deadline = clock.monotonic() + 20
            while self._group_lives() and clock.monotonic() < deadline:
                self.process.poll()
                clock.sleep(0.1)
        self.process.wait()
        _pipes(self.process)[1].close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _use_ports(self) -> None:
        """The settings that `init` wrote name the page's port."""
        for path in self.folder.glob("dozo/*/dozo.toml"):
            path.write_text(path.read_text().replace("8790", self.names["8790"]))

    def _here(self, text: str) -> str:
        for word, here in self.names.items():
            text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![a-z])", here, text)
        return text

    def _of_page(self, text: str) -> str:
        for word, here in self.names.items():
            if "─" not in text:
                text = text.replace(here, word)
                continue
            # A cell that becomes shorter is filled up, so that the columns stay where they are.
            spaces = " " * (len(here) - len(word))
            while here in text:
                text = re.sub(
                    rf"{re.escape(here)}(.*?)(?=  |$)",
                    rf"{word}\1{spaces}",
                    text,
                    count=1,
                    flags=re.MULTILINE,
                )
        foreign = self.foreign()
        rows = [line for line in text.splitlines() if foreign.isdisjoint(line.split())]
        return "\n".join(line.rstrip() for line in _narrow(rows))

    @staticmethod
    def _wait_for(path: Path) -> None:
        deadline = clock.monotonic() + 60
        while not path.is_socket():
            assert clock.monotonic() < deadline, f"no service at {path}"
            clock.sleep(0.1)


@contextmanager
def surroundings() -> Iterator[Shell]:
    """A host with one running server, ``web``, and nothing of Dozo; cleaned up at the end."""
    with domains.workspace() as (connection, folder):
        web = domains.define(connection, folder, disks={"vda": "qcow2", "vdb": "qcow2"})
        web.start()
        names = {
            "/var/lib/libvirt/images": str(folder / "images"),
            "/var/lib/dozo": str(folder / "dozo"),
            "/srv": str(folder / "srv"),
            "8790": str(_free_port()),
            "8791": str(_free_port()),
            "web": web.name,
        }
        for name in ("images", "dozo", "srv"):
            (folder / name).mkdir(mode=0o755)

        def foreign() -> set[str]:
            found = {one.name() for one in connection.listAllDomains()}
            return {name for name in found if not name.startswith(web.name)}

        shell = Shell(folder=folder, names=names, foreign=foreign)
        try:
            yield shell
        finally:
            shell.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _pipes(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout


def _narrow(lines: list[str]) -> list[str]:
    """A table whose columns became wider than their content, made as narrow as it can be."""
    rule = next((number for number, line in enumerate(lines) if _is_rule(line)), None)
    if rule is None:
        return lines
    head, rest = lines[: rule - 1], lines[rule - 1 :]
    width = max(len(line) for line in rest)
    rows = [line.ljust(width) for line in rest if not _is_rule(line) and "  " in line]
    blank = [all(row[column] == " " for row in rows) for column in range(width)]
    keep = [
        not all(blank[max(column - 3, 0) : column + 1]) or column < 3 for column in range(width)
    ]

    def cut(line: str) -> str:
        return "".join(one for one, kept in zip(line.ljust(width), keep, strict=True) if kept)

    table = {line for line in rest if _is_rule(line) or "  " in line}
    made = [cut(line).rstrip() if line in table else line for line in rest]
    longest = max(len(cut(line).rstrip()) for line in table if not _is_rule(line))
    return head + [" " + "─" * (longest - 1) if _is_rule(line) else line for line in made]


def _is_rule(line: str) -> bool:
    return set(line.strip()) == {"─"}


def differences(page: str, shell: Shell) -> tuple[list[str], str]:
    """Follow a page: where it is wrong, and the page as it had to be."""
    wrong: list[str] = []
    right: list[tuple[Block, str]] = []
    for block in blocks(page):
        deadline = clock.monotonic() + _UNTIL_SECONDS
        while True:
            outputs = [shell.run(command) for command in block.commands]
            both = list(zip(block.commands, outputs, strict=True))
            bad = [(one, output) for one, output in both if not fits(one.output, output)]
            if not (block.until and bad) or clock.monotonic() > deadline:
                break
            clock.sleep(1)
        wrong += [f"$ {one.text}\n{output}\n-- the page:\n{one.output}" for one, output in bad]
        if bad:
            right.append((block, _written(page, block, both)))
    for block, text in reversed(right):
        page = page[: block.start] + text + page[block.end :]
    return wrong, page


def _written(page: str, block: Block, both: list[tuple[Command, str]]) -> str:
    mark = page[block.start : block.start + 2]
    text = ""
    for command, output in both:
        shown = command.output if fits(command.output, output) else output
        text += f"{mark}{command.text}\n" + (shown.strip("\n") + "\n" if shown.strip() else "")
    return text
