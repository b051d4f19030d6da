"""Freezing a guest around one short action, under the watchdog's eyes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from dozo.hypervisor.agent import GuestAgent
from dozo.hypervisor.errors import AgentError, AgentRefused
from dozo.model import clock
from dozo.model.message import Message

_THAW_TIMEOUT_S = 5
_THAW_LIMIT_S = 10.0

T = TypeVar("T")


class Freeze(StrEnum):
    """Whether the guest's file systems are frozen for the instant."""

    OFF = "off"
    # Without an agent, or with one that fails, the capture is crash-consistent and says why.
    IF_POSSIBLE = "if-possible"
    # Without a freeze there is no capture.
    REQUIRED = "required"


@dataclass(frozen=True, kw_only=True)
class FreezeTimes:
    """How it went. ``problem`` is None if the action lay inside the freeze.

    ``freeze_ms`` runs from the agent's answer to *freeze* until *thaw* is sent; ``agent_ms``
    is the time that the agent itself took for both.
    """

    freeze_ms: int | None = None
    agent_ms: int | None = None
    problem: str | None = None


def frozen(
    agent: GuestAgent,
    action: Callable[[], T],
    *,
    on_frozen: Callable[[], None],
    on_thawed: Callable[[bool], None],
    agent_timeout_s: int,
    limit_s: float,
) -> tuple[T, FreezeTimes]:
    """Freeze, run ``action``, thaw; the caller's watchdog must be armed before.

    ``on_thawed`` learns whether the agent said *thawed* in the end; if it is not called at all,
    nobody knows. Raises what the freeze or ``action`` raised.
    """
    begun = clock.monotonic()
    try:
        count = agent.freeze(agent_timeout_s)
    except AgentRefused:
        # A command that is forbidden, or a hook that failed: the agent froze nothing, or has
        # thawed by itself. To ask it again may well be forbidden too.
        with suppress(AgentRefused):
            agent.thaw(_THAW_TIMEOUT_S)
        on_thawed(True)
        raise
    frozen_at = clock.monotonic()
    try:
        on_frozen()
        result = action()
    except BaseException:
        on_thawed(_thaw(agent)[1])
        raise
    thaw_at = clock.monotonic()
    thawed_count, thawed = _thaw(agent)
    freeze_s = thaw_at - frozen_at
    agent_s = (frozen_at - begun) + (clock.monotonic() - thaw_at)
    on_thawed(thawed)
    return result, FreezeTimes(
        freeze_ms=round(freeze_s * 1000),
        agent_ms=round(agent_s * 1000),
        problem=_problem(count, thawed_count, freeze_s, limit_s),
    )


def _thaw(agent: GuestAgent) -> tuple[int | None, bool]:
    """Thaw until the status says so: how many the first answer named, and whether it is so."""
    deadline = clock.monotonic() + _THAW_LIMIT_S
    first: int | None = None
    while True:
        try:
            count = agent.thaw(_THAW_TIMEOUT_S)
            first = count if first is None else first
            if not agent.is_frozen(_THAW_TIMEOUT_S):
                return first, True
        except AgentError:
            clock.sleep(0.1)
        if clock.monotonic() >= deadline:
            return first, False


def _problem(count: int, thawed_count: int | None, freeze_s: float, limit_s: float) -> str | None:
    if count == 0:
        return Message("the agent froze no file system")
    if freeze_s >= limit_s:
        return Message(
            "the instant took {seconds:.1f} s, longer than the guest may stay frozen",
            seconds=freeze_s,
        )
    if thawed_count == 0:
        return Message("the guest was thawed by something else before the instant")
    return None
