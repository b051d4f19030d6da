"""Programs inside a guest, as agents that no Debian guest has answer: Windows, silence, rules."""

import base64
import json
from collections.abc import Iterator

import libvirt
import pytest

from dozo.hypervisor.agent import GuestAgent
from dozo.hypervisor.errors import AgentCannotExec, AgentRefused
from dozo.hypervisor.guest_program import run_by

WINDOWS = ["C:\\hooks\\quiesce.exe", "--all"]


class Agent:
    """The far end of a channel: an answer a command, or libvirt's error instead of one.

    The last answer of a command is given again and again.
    """

    def __init__(self, **answers: list[object]) -> None:
        self.answers: dict[str, Iterator[object]] = {}
        self.asked: list[dict[str, object]] = []
        for name, given in answers.items():
            self.answers[name.replace("_", "-")] = self._each(given)

    @staticmethod
    def _each(given: list[object]) -> Iterator[object]:
        yield from given
        while True:
            yield given[-1]

    def __call__(self, command: str, timeout_s: int) -> str:
        assert timeout_s > 0
        request = json.loads(command)
        self.asked.append(request)
        answer = next(self.answers[request["execute"]])
        if isinstance(answer, Exception):
            raise answer
        return json.dumps({"return": answer})

    def commands(self) -> list[object]:
        return [one["execute"] for one in self.asked]


def libvirt_error(code: int, text: str) -> libvirt.libvirtError:
    error = libvirt.libvirtError(text)
    error.err = (code, 0, text, 0, "", None, None, 0, 0)
    return error


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def ended(code: int, out: str = "", err: str = "") -> dict[str, object]:
    return {
        "exited": True,
        "exitcode": code,
        "out-data": encoded(out),
        "err-data": encoded(err),
    }


def test_a_program_is_started_as_it_was_given_and_its_output_is_cut() -> None:
    agent = Agent(
        guest_exec=[{"pid": 7}], guest_exec_status=[{"exited": False}, ended(0, "x" * 9000, "e")]
    )
    numbers: list[int] = []
    end = run_by(GuestAgent("win", agent), WINDOWS, timeout_s=5, started=numbers.append)
    assert (end.exit_code, end.timed_out, end.running) == (0, False, False)
    assert end.output == "x" * 2048 + "e"
    assert numbers == [7]
    assert agent.asked[0]["arguments"] == {
        "path": WINDOWS[0],
        "arg": ["--all"],
        "capture-output": True,
    }


def test_a_program_in_windows_that_takes_too_long_is_left_running() -> None:
    agent = Agent(guest_exec=[{"pid": 7}], guest_exec_status=[{"exited": False}])
    end = run_by(GuestAgent("win", agent), WINDOWS, timeout_s=1)
    assert (end.exit_code, end.timed_out, end.running) == (None, True, True)
    assert agent.commands().count("guest-exec") == 1


def test_an_agent_that_is_away_for_a_while_does_no_harm() -> None:
    away = libvirt_error(libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "not connected")
    agent = Agent(guest_exec=[{"pid": 7}], guest_exec_status=[away, away, ended(4)])
    end = run_by(GuestAgent("web", agent), ["/bin/hook"], timeout_s=5)
    assert (end.exit_code, end.running) == (4, False)


def test_an_agent_that_stays_away_leaves_the_program_unknown() -> None:
    away = libvirt_error(libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "not connected")
    agent = Agent(guest_exec=[{"pid": 7}, away], guest_exec_status=[away])
    end = run_by(GuestAgent("web", agent), ["/bin/hook"], timeout_s=1)
    assert (end.timed_out, end.running) == (True, True)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_blocked_command_is_told_from_a_program_that_is_not_there(*, enabled: bool) -> None:
    supported = [
        {"name": "guest-exec", "enabled": True},
        {"name": "guest-exec-status", "enabled": enabled},
    ]
    refusal = libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, "whatever this version says")
    agent = Agent(guest_exec=[refusal], guest_info=[{"supported_commands": supported}])
    with pytest.raises(AgentRefused if enabled else AgentCannotExec):
        run_by(GuestAgent("web", agent), ["/bin/hook"], timeout_s=1)
