"""Running a program inside a guest to its end, or to the end of the caller's patience."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dozo.hypervisor.agent import DEFAULT_TIMEOUT_S, GuestAgent, GuestProgram
from dozo.hypervisor.connection import Host
from dozo.hypervisor.errors import AgentAbsent, AgentCannotExec, AgentError, AgentHung, AgentRefused
from dozo.model import clock

_POLL_S = 0.2
_KILL_S = 10.0

# The agent reports an end only when everybody has closed the output, so the program's children
# have to go with it. All are halted first, parents before children: a shell whose child ended
# before it would go on with its next line.
_KILL_TREE = """
tree() {
  kill -STOP $1
  echo $1
  for child in $(cat /proc/$1/task/*/children 2>/dev/null); do tree $child; done
}
all=$(tree {pid})
kill -TERM $all
kill -CONT $all
sleep 2
kill -KILL $all
"""


@dataclass(frozen=True, kw_only=True)
class ProgramEnd:
    """How a program ended: by itself, by being stopped, or (``running``) not yet.

    ``output`` is the end of what it printed, 2 KiB each of both streams.
    """

    exit_code: int | None
    signal: int | None
    output: str
    timed_out: bool
    running: bool


def run_program(
    host: Host,
    server: str,
    command: Sequence[str],
    *,
    timeout_s: float,
    started: Callable[[int], None] = lambda _pid: None,
) -> ProgramEnd:
    """Run ``command`` (absolute path, arguments) inside a server and wait for its end.

    ``started`` is told the program's number as soon as there is one. After ``timeout_s`` the
    program and its children are stopped; in Windows, where the agent has no way to do that, it is
    left running. An agent that is away for a while meanwhile does no harm. Raises
    ``AgentCannotExec``; ``AgentRefused`` (no such program, or nothing is known of its end);
    ``AgentAbsent``, ``AgentHung`` where it is not known to have started.
    """
    return run_by(GuestAgent.of(host, server), command, timeout_s=timeout_s, started=started)


def run_by(
    agent: GuestAgent,
    command: Sequence[str],
    *,
    timeout_s: float,
    started: Callable[[int], None] = lambda _pid: None,
) -> ProgramEnd:
    """:func:`run_program` by a given agent."""
    pid = agent.start_program(command)
    started(pid)
    seen = _wait(agent, pid, timeout_s)
    if seen is not None and seen.ended:
        return _end(seen, timed_out=False)
    return _end(_stop(agent, pid) if _is_posix(command) else seen, timed_out=True)


def stop_program(host: Host, server: str, pid: int, *, posix: bool, timeout_s: float) -> None:
    """Wait for the end of a program that somebody else started, then stop it where that works.

    One that the agent does not know has ended: it was reported, or the guest was restarted.
    """
    agent = GuestAgent.of(host, server)
    with suppress(AgentRefused, AgentCannotExec):
        seen = _wait(agent, pid, timeout_s)
        if posix and (seen is None or not seen.ended):
            _stop(agent, pid)


def _is_posix(command: Sequence[str]) -> bool:
    """Whether a command's path is one of Unix, not of Windows."""
    return command[0].startswith("/")


def _wait(agent: GuestAgent, pid: int, timeout_s: float) -> GuestProgram | None:
    """The program as it was seen last; None if the agent has not answered at all."""
    deadline = clock.monotonic() + timeout_s
    seen = None
    while True:
        left_s = deadline - clock.monotonic()
        try:
            seen = agent.program(pid, max(1, min(DEFAULT_TIMEOUT_S, round(left_s))))
        except (AgentAbsent, AgentHung):
            # It may be restarted, or held up by what the program does.
            seen = None
        if (seen is not None and seen.ended) or left_s <= 0:
            return seen
        clock.sleep(min(_POLL_S, max(0.0, left_s)))


def _stop(agent: GuestAgent, pid: int) -> GuestProgram | None:
    try:
        agent.start_program(["/bin/sh", "-c", _KILL_TREE.replace("{pid}", str(pid))])
    except AgentError:
        # What cannot be stopped is reported as running.
        return None
    return _wait(agent, pid, _KILL_S)


def _end(seen: GuestProgram | None, *, timed_out: bool) -> ProgramEnd:
    return ProgramEnd(
        exit_code=seen.exit_code if seen else None,
        signal=seen.signal if seen else None,
        output=seen.output if seen else "",
        timed_out=timed_out,
        running=seen is None or not seen.ended,
    )
