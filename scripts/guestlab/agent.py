"""Running commands inside a guest through the QEMU guest agent."""

import base64
import fcntl
import hashlib
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree as ET

import libvirt
import libvirt_qemu

CONTROL_CHANNEL = "dozo.control.0"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
POLL_SECONDS = 0.1


class GuestCommandFailed(Exception):
    """A command inside the guest ended with another code than 0, or never ended."""


class GuestSilent(Exception):
    """No agent answered in time."""


@dataclass(frozen=True, kw_only=True)
class GuestResult:
    """What a command inside the guest gave back."""

    code: int
    out: str
    err: str


class Channel(Protocol):
    """One way to an agent; raises GuestSilent when nothing answers."""

    def ask(self, command: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        """The agent's answer to one command."""
        ...


class LibvirtChannel:
    """The agent that the host knows, asked through libvirt."""

    def __init__(self, domain: libvirt.virDomain) -> None:
        self._domain = domain

    def ask(self, command: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        """See Channel."""
        text = json.dumps({"execute": command, "arguments": arguments})
        try:
            answer = libvirt_qemu.qemuAgentCommand(self._domain, text, max(1, int(timeout_s)), 0)
        except libvirt.libvirtError as error:
            raise GuestSilent(str(error)) from None
        return json.loads(answer)["return"]


class ControlChannel:
    """The tests' own agent, asked over its socket: works while the first agent does not."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, command: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        """See Channel."""
        try:
            with self._alone(), socket.socket(socket.AF_UNIX) as link:
                link.settimeout(timeout_s)
                link.connect(str(self._path))
                number = time.monotonic_ns()
                # A byte that no JSON holds resets the agent's parser; the marked answer that
                # follows ends whatever an earlier, interrupted caller left unread.
                self._send(link, "guest-sync-delimited", {"id": number}, prefix=b"\xff")
                lines = self._lines(link)
                while next(lines).lstrip(b"\xff") != b'{"return": %d}' % number:
                    pass
                self._send(link, command, arguments)
                answer = json.loads(next(lines))
        except (OSError, StopIteration) as error:
            raise GuestSilent(f"control channel: {error}") from None
        if "error" in answer:
            raise GuestSilent(answer["error"]["desc"])
        return answer["return"]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        name = hashlib.sha256(bytes(self._path)).hexdigest()[:16]
        with Path(f"/run/lock/dozo-control-{name}").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _send(
        link: socket.socket, command: str, arguments: dict[str, Any], prefix: bytes = b""
    ) -> None:
        text = json.dumps({"execute": command, "arguments": arguments})
        link.sendall(prefix + text.encode() + b"\n")

    @staticmethod
    def _lines(link: socket.socket) -> Iterator[bytes]:
        rest = b""
        while True:
            while b"\n" in rest:
                line, rest = rest.split(b"\n", 1)
                yield line
            piece = link.recv(1 << 16)
            if not piece:
                return
            rest += piece


def channel_of(domain: libvirt.virDomain) -> Channel:
    """The control channel if the running domain has one, else the agent's."""
    tree = ET.fromstring(domain.XMLDesc(0))
    for element in tree.iterfind("./devices/channel"):
        target, source = element.find("target"), element.find("source")
        if target is not None and target.get("name") == CONTROL_CHANNEL and source is not None:
            return ControlChannel(Path(source.get("path", "")))
    return LibvirtChannel(domain)


def wait_for_agent(
    domain: libvirt.virDomain, timeout_s: float, channel: Channel | None = None
) -> float:
    """Seconds until an agent answered; GuestSilent after the time given or when it stopped."""
    started = time.monotonic()
    while True:
        if not domain.isActive():
            raise GuestSilent("the guest has stopped")
        try:
            (channel or channel_of(domain)).ask("guest-ping", {}, 2)
        except GuestSilent as error:
            if time.monotonic() - started > timeout_s:
                raise GuestSilent(f"no agent within {timeout_s:.0f} s: {error}") from None
            time.sleep(POLL_SECONDS)
        else:
            return time.monotonic() - started


def guest_exec(
    domain: libvirt.virDomain,
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout_s: float = 120,
    check: bool = False,
    channel: Channel | None = None,
) -> GuestResult:
    """Run a program inside the guest and wait for its end.

    With check, a code other than 0 raises GuestCommandFailed; so does passing the time limit,
    and then the program may still be running. GuestSilent when no agent answers.
    """
    channel = channel or channel_of(domain)
    arguments: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
    if stdin:
        arguments["input-data"] = base64.b64encode(stdin).decode()
    pid = channel.ask("guest-exec", arguments, 20)["pid"]
    deadline = time.monotonic() + timeout_s
    while True:
        status = channel.ask("guest-exec-status", {"pid": pid}, 20)
        if status["exited"]:
            break
        if time.monotonic() > deadline:
            raise GuestCommandFailed(f"{list(argv)} runs for longer than {timeout_s} s")
        time.sleep(POLL_SECONDS)
    result = GuestResult(
        code=status.get("exitcode", -status.get("signal", 1)),
        out=base64.b64decode(status.get("out-data", "")).decode(errors="replace"),
        err=base64.b64decode(status.get("err-data", "")).decode(errors="replace"),
    )
    if check and result.code != 0:
        said = (result.err or result.out).strip()
        raise GuestCommandFailed(f"{list(argv)} ended with {result.code}: {said}")
    return result


def guest_shell(
    domain: libvirt.virDomain, script: str, *, timeout_s: float = 120, check: bool = True
) -> str:
    """Standard output of a shell script inside the guest, without the last newline."""
    result = guest_exec(domain, ["/bin/sh", "-euc", script], timeout_s=timeout_s, check=check)
    return result.out.rstrip("\n")


def sql(domain: libvirt.virDomain, query: str, *, timeout_s: float = 120) -> str:
    """What PostgreSQL inside the guest answers, unaligned; GuestCommandFailed on an error."""
    argv = ["/usr/sbin/runuser", "-u", "postgres", "--", "psql", "-d", "shop", "-XAtq"]
    result = guest_exec(
        domain, [*argv, "-v", "ON_ERROR_STOP=1", "-c", query], timeout_s=timeout_s, check=True
    )
    return result.out.strip()
