"""The guest agent: questions and commands, each with a time limit."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import libvirt
import libvirt_qemu

from dozo.hypervisor.connection import Host, message
from dozo.hypervisor.errors import (
    AgentAbsent,
    AgentCannotExec,
    AgentError,
    AgentHung,
    AgentRefused,
)
from dozo.model import clock
from dozo.model.message import Message

DEFAULT_TIMEOUT_S = 5

# libvirt 9 has no code of its own for it and says *unresponsive*.
_COMMAND_TIMEOUT = getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", -1)

_FILE_CHUNK_BYTES = 48 * 1024
_MAX_FILE_BYTES = 4 * 1024 * 1024
_MAX_OUTPUT_BYTES = 2 * 1024

Channel = Callable[[str, int], str]


@dataclass(frozen=True, kw_only=True)
class GuestDevice:
    """A block device as the guest sees it. ``built_on`` are the devices below it."""

    name: str
    serial: str | None
    pci: tuple[int, int, int, int] | None
    unit: tuple[int, int, int] | None
    is_partition: bool
    built_on: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GuestFileSystem:
    """A mounted file system and the names of the disks that it lies on."""

    mount_point: str
    kind: str
    devices: tuple[GuestDevice, ...]


@dataclass(frozen=True, kw_only=True)
class GuestProgram:
    """A program that the agent was told to run: its end, and the end of what it printed."""

    ended: bool
    exit_code: int | None
    signal: int | None
    output: str


class GuestAgent:
    """A server's guest agent.

    Every call raises ``AgentAbsent`` when nobody answers, ``AgentHung`` when the agent took
    the command and did not answer in time, ``AgentRefused`` when it answered with an error.
    """

    def __init__(self, server: str, channel: Channel) -> None:
        """``channel`` sends one JSON command with a time limit in seconds, returns the reply."""
        self._server = server
        self._channel = channel

    @classmethod
    def of(cls, host: Host, server: str) -> "GuestAgent":
        """The agent of a server; nothing is asked of it yet."""
        domain = host.domain(server)

        def send(command: str, timeout_s: int) -> str:
            return str(libvirt_qemu.qemuAgentCommand(domain, command, timeout_s, 0))

        return cls(domain.name(), send)

    def ping(self, timeout_s: int = DEFAULT_TIMEOUT_S) -> None:
        """Return if the agent answers."""
        self._call("guest-ping", timeout_s)

    def freeze(self, timeout_s: int) -> int:
        """Freeze all file systems; how many were frozen."""
        return int(self._call("guest-fsfreeze-freeze", timeout_s))

    def thaw(self, timeout_s: int = DEFAULT_TIMEOUT_S) -> int:
        """Thaw all file systems; how many were thawed (0 if none was frozen)."""
        return int(self._call("guest-fsfreeze-thaw", timeout_s))

    def is_frozen(self, timeout_s: int = DEFAULT_TIMEOUT_S) -> bool:
        """Whether any file system is frozen."""
        return bool(self._call("guest-fsfreeze-status", timeout_s) != "thawed")

    def os_info(self, timeout_s: int = DEFAULT_TIMEOUT_S) -> dict[str, str]:
        """Facts about the guest's operating system, as the agent words them."""
        answer = self._call("guest-get-osinfo", timeout_s)
        return {str(key): str(value) for key, value in answer.items()}

    def file_systems(self, timeout_s: int = DEFAULT_TIMEOUT_S) -> list[GuestFileSystem]:
        """The mounted file systems that lie on disks."""
        return [
            GuestFileSystem(
                mount_point=str(each.get("mountpoint", "")),
                kind=str(each.get("type", "")),
                devices=tuple(_device(disk) for disk in each.get("disk", ())),
            )
            for each in self._call("guest-get-fsinfo", timeout_s)
        ]

    def devices(self, timeout_s: int = DEFAULT_TIMEOUT_S) -> list[GuestDevice]:
        """All block devices: disks, partitions, and what is built on them."""
        return [
            _device(each.get("address") or {}, each)
            for each in self._call("guest-get-disks", timeout_s)
        ]

    def read_file(self, path: str, timeout_s: int = DEFAULT_TIMEOUT_S) -> str:
        """A small text file inside the guest (4 MiB at most)."""
        handle = self._call("guest-file-open", timeout_s, path=path, mode="r")
        try:
            text = ""
            while len(text) < _MAX_FILE_BYTES:
                part = self._call(
                    "guest-file-read", timeout_s, handle=handle, count=_FILE_CHUNK_BYTES
                )
                text += _decoded(part.get("buf-b64", ""))
                if part.get("eof") or not part.get("count"):
                    break
            return text
        finally:
            self._call("guest-file-close", timeout_s, handle=handle)

    def start_program(self, command: Sequence[str], timeout_s: int = DEFAULT_TIMEOUT_S) -> int:
        """Start a program inside the guest, no shell in between; its number for the agent.

        Also raises ``AgentCannotExec``.
        """
        path, *arguments = command
        try:
            answer = self._call(
                "guest-exec",
                timeout_s,
                **{"path": path, "arg": arguments, "capture-output": True},
            )
        except AgentRefused as error:
            self._explain_exec(error, timeout_s)
            raise
        return int(answer["pid"])

    def program(self, pid: int, timeout_s: int = DEFAULT_TIMEOUT_S) -> GuestProgram:
        """How a program is doing. One that has ended is forgotten by the agent with this answer.

        Also raises ``AgentCannotExec``.
        """
        try:
            answer = self._call("guest-exec-status", timeout_s, pid=pid)
        except AgentRefused as error:
            self._explain_exec(error, timeout_s)
            raise
        return GuestProgram(
            ended=bool(answer["exited"]),
            exit_code=answer.get("exitcode"),
            signal=answer.get("signal"),
            output=_tail(answer.get("out-data", "")) + _tail(answer.get("err-data", "")),
        )

    def _explain_exec(self, refusal: AgentRefused, timeout_s: int) -> None:
        """Raise ``AgentCannotExec`` if that is why; the wording of refusals has changed often."""
        try:
            info = self._call("guest-info", timeout_s)
        except AgentError:
            return
        enabled = {one["name"] for one in info.get("supported_commands", ()) if one.get("enabled")}
        for command in ("guest-exec", "guest-exec-status"):
            if command not in enabled:
                raise AgentCannotExec(server=self._server, command=command) from refusal

    def _call(self, command: str, timeout_s: int, **arguments: object) -> Any:
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        started = clock.monotonic()
        try:
            reply = self._channel(json.dumps(request), timeout_s)
        except libvirt.libvirtError as error:
            took_s = clock.monotonic() - started
            raise self._error(command, timeout_s, took_s, error) from error
        return json.loads(reply)["return"]

    def _error(self, command: str, timeout_s: int, took_s: float, error: Any) -> AgentError:
        code = error.get_error_code()
        if code == _COMMAND_TIMEOUT:
            return AgentHung(server=self._server, command=command, timeout_s=timeout_s)
        if code == libvirt.VIR_ERR_AGENT_UNRESPONSIVE:
            # libvirt says the same for "nobody there" and "busy with the last command";
            # only the second one makes the caller wait.
            if took_s >= 1.0:
                return AgentHung(server=self._server, command=command, timeout_s=timeout_s)
            return AgentAbsent(server=self._server, reason=message(error))
        if code in _ABSENT:
            return AgentAbsent(server=self._server, reason=message(error))
        return AgentRefused(server=self._server, command=command, reason=message(error))


# The first code is younger than the oldest libvirt that we work with.
_TIMED_OUT = (
    getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", 112),
    libvirt.VIR_ERR_AGENT_UNSYNCED,
)

_ABSENT = (
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_SYSTEM_ERROR,
)


def wait_agent(host: Host, server: str, *, timeout_s: float) -> None:
    """Return when the guest agent answers; raises ``AgentAbsent`` after ``timeout_s``."""
    agent = GuestAgent.of(host, server)
    deadline = clock.monotonic() + timeout_s
    while True:
        try:
            agent.ping()
        except (AgentAbsent, AgentHung) as error:
            if clock.monotonic() >= deadline:
                reason = getattr(error, "reason", Message("it does not answer in time"))
                raise AgentAbsent(server=server, reason=reason) from error
            clock.sleep(0.5)
        else:
            return


def _device(address: dict[str, Any], disk: dict[str, Any] | None = None) -> GuestDevice:
    pci = address.get("pci-controller")
    numbers = None if pci is None else tuple(pci[key] for key in _PCI)
    known = numbers is not None and min(numbers) >= 0
    has_unit = all(key in address for key in _UNIT)
    return GuestDevice(
        name=str((disk or {}).get("name") or address.get("dev") or ""),
        serial=address.get("serial"),
        pci=(numbers[0], numbers[1], numbers[2], numbers[3]) if known and numbers else None,
        unit=(address["bus"], address["target"], address["unit"]) if has_unit else None,
        is_partition=bool((disk or {}).get("partition", False)),
        built_on=tuple(str(name) for name in (disk or {}).get("dependencies", ())),
    )


_PCI = ("domain", "bus", "slot", "function")
_UNIT = ("bus", "target", "unit")


def _tail(text: str) -> str:
    return base64.b64decode(text)[-_MAX_OUTPUT_BYTES:].decode("utf-8", errors="replace")


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", errors="replace")
