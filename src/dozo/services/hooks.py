"""Hooks: what an operator lets run inside a guest before and after a snapshot.

Only commands that stand in ``dozo.toml`` run, by name, with fixed arguments. Once a before-hook may
have begun, its after-hook is owed: a note says so until it ran, whatever becomes of the snapshot or
of this process. It may therefore run twice, and without a before-hook that was complete.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dozo.hypervisor import (
    AgentCannotExec,
    AgentRefused,
    HypervisorError,
    ProgramEnd,
    ServerUnknown,
)
from dozo.model.errors import DozoError, ErrorKind, Retry
from dozo.model.message import Message, joined
from dozo.services import notes, start_again
from dozo.services.notes import HeldNote, Note
from dozo.services.settings import Hook
from dozo.services.site import Site
from dozo.services.work import Work

if TYPE_CHECKING:
    from dozo.catalog import models

NOTE_KIND = "hook-after"
DEFAULT_TIMEOUT_SECONDS = 60.0
MAX_TIMEOUT_SECONDS = 3600.0
# Clean-up comes before other work, which must not wait long for a guest that is ill.
_CLEANUP_AGENT_SECONDS = 5.0


@dataclass(eq=False)
class HookUnknown(DozoError):
    """No hook of that name is allowed at this site."""

    code = "hook.unknown"
    kind = ErrorKind.NOT_FOUND
    text = "this site has no hook {self.name!r} (it has: {self.known})"
    hint = "An operator adds it to dozo.toml as a [[hooks]] table; docs/hooks.md shows how."
    name: str
    known: str


@dataclass(eq=False)
class HookFailed(DozoError):
    """A hook inside the guest did not do its work; no snapshot was taken."""

    code = "hook.failed"
    retry = Retry.LATER
    text = "the hook {self.hook} in server {self.server} failed: {self.reason}{self.output_text}"
    hint = "Run the hook's command by hand inside the server; the snapshot was not taken."
    hook: str
    server: str
    reason: str
    exit_code: int | None = None
    output: str = ""

    @property
    def output_text(self) -> str:
        """What it printed last, on the message's line."""
        return _said(self.output)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    before: Hook | None
    after: Hook | None
    timeout_s: float


def names(site: Site) -> list[str]:
    """The hooks that may be named, sorted."""
    return sorted(hook.name for hook in site.settings.hooks)


def check_names(site: Site, names: Iterable[str]) -> None:
    """Raises :class:`HookUnknown` for a name that is not empty and not allowed."""
    for name in names:
        _find(site, name)


@contextmanager
def around(
    site: Site, server: "models.Server", params: Mapping[str, Any], work: Work
) -> Iterator[None]:
    """Run ``hook_before`` in the guest, then the block, then ``hook_after`` whatever happened.

    The parameters name hooks of the site (empty or missing: none); ``hook_timeout_seconds``
    (60 unless given, at most 3600) limits each hook, and the wait for the agent before the second.
    A server that is off has no hooks to run. Raises :class:`HookUnknown`; :class:`HookFailed`
    where the first hook failed, and then the block does not run but the second hook does;
    ``Busy`` while another snapshot of the server is between its hooks. A second hook that fails
    is told to ``work``; one that could not be started is made up for at the next clean-up.
    """
    wanted = _wanted(site, params)
    if wanted.before is None and wanted.after is None:
        yield
        return
    uuid = str(server.uuid)
    _settle_owed(site, server, work)
    if not site.host.server(uuid).active:
        work.step(Message("server {server} is off: no hooks run", server=server.name))
        yield
        return
    if wanted.after is None:
        _run_before(site, server, wanted, work)
        yield
        return
    with notes.hold(
        site.settings.notes,
        _note_name(uuid),
        what=Message("server {server}", server=server.name),
        work=Message("a snapshot with hooks"),
        kind=NOTE_KIND,
        server=uuid,
        before=wanted.before.name if wanted.before else "",
        hook=wanted.after.name,
        timeout_seconds=wanted.timeout_s,
    ) as held:
        # The hook stays owed however the block is left, even by an exception in between here.
        held.keep()
        try:
            _run_before(site, server, wanted, work, held)
            yield
        finally:
            _say(
                work,
                Message(
                    "hook {hook} in server {server}", hook=wanted.after.name, server=server.name
                ),
            )
            outcome = _finish(
                site,
                uuid,
                wanted.after,
                agent_s=wanted.timeout_s,
                timeout_s=wanted.timeout_s,
                first=_nothing,
            )
            held.kept = outcome.owed
            _tell(work, wanted.after, outcome)


def settle(site: Site, note: Note) -> str:
    """Run the hook that a killed process owes, and forget the note unless it could not start.

    What became of it, as the end of a line.
    """
    name, uuid = str(note.body.get("hook")), str(note.body.get("server"))
    timeout_s = float(note.body.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS))
    try:
        hook = _find(site, name)
    except HookUnknown:
        hook = None
    if hook is None:
        notes.forget(note)
        return Message(
            "; the hook {name} was to run after it, but is not in dozo.toml any more", name=name
        )
    outcome = _finish(
        site,
        uuid,
        hook,
        agent_s=_CLEANUP_AGENT_SECONDS,
        timeout_s=timeout_s,
        first=lambda: _end_before(site, note, uuid, timeout_s),
    )
    if outcome.owed:
        return Message(
            "; the hook {name} has still to run after it: {problem}",
            name=name,
            problem=outcome.problem,
        )
    notes.forget(note)
    if outcome.problem:
        return Message(
            "; the hook {name} failed after it: {problem}", name=name, problem=outcome.problem
        )
    return Message("; the hook {name} ran after it", name=name)


def _wanted(site: Site, params: Mapping[str, Any]) -> _Wanted:
    limit_s = float(params.get("hook_timeout_seconds") or DEFAULT_TIMEOUT_SECONDS)
    return _Wanted(
        before=_find(site, str(params.get("hook_before") or "")),
        after=_find(site, str(params.get("hook_after") or "")),
        timeout_s=min(max(limit_s, 1.0), MAX_TIMEOUT_SECONDS),
    )


def _find(site: Site, name: str) -> Hook | None:
    if not name:
        return None
    for hook in site.settings.hooks:
        if hook.name == name:
            return hook
    raise HookUnknown(name, joined(names(site)) or Message("none"))


def _note_name(uuid: str) -> str:
    return f"hook-{uuid}"


def _settle_owed(site: Site, server: "models.Server", work: Work) -> None:
    """A hook that an earlier snapshot owes runs first: its note is about to be replaced."""
    found = notes.find(site.settings.notes, _note_name(str(server.uuid)))
    if found is None or found.alive:
        return
    with notes.take_over(found) as note:
        if note is None:
            return
        result = settle(site, note)
        _say(work, Message("{work} was interrupted{result}", work=note.work, result=result))
        if note.path.exists():
            reason = Message("an earlier snapshot is not over{result}", result=result)
            raise HookFailed(str(note.body.get("hook")), server.name, reason)


def _run_before(
    site: Site,
    server: "models.Server",
    wanted: _Wanted,
    work: Work,
    held: HeldNote | None = None,
) -> None:
    hook = wanted.before
    if hook is None:
        return
    work.step(Message("hook {hook} in server {server}", hook=hook.name, server=server.name))

    def started(pid: int) -> None:
        if held is not None:
            held.update(program=pid)

    try:
        end = _run(site, str(server.uuid), hook, wanted.timeout_s, started)
    except HypervisorError as error:
        raise HookFailed(hook.name, server.name, str(error)) from error
    problem = _problem(end)
    if problem:
        raise HookFailed(
            hook.name, server.name, problem, exit_code=end.exit_code, output=end.output.strip()
        )


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What became of a second hook; ``owed`` while it has to be tried again."""

    owed: bool = False
    problem: str = ""


def _finish(
    site: Site,
    uuid: str,
    hook: Hook,
    *,
    agent_s: float,
    timeout_s: float,
    first: Callable[[], None],
) -> _Outcome:
    """Wait for the agent, do ``first``, run a second hook."""
    try:
        if not site.host.server(uuid).active:
            return _Outcome(owed=_starts_again(site, uuid), problem=Message("the server is off"))
        site.host.wait_agent(uuid, timeout_s=agent_s)
        first()
        end = _run(site, uuid, hook, timeout_s)
    except (AgentRefused, AgentCannotExec, ServerUnknown) as error:
        return _Outcome(problem=str(error))
    except HypervisorError as error:
        return _Outcome(owed=True, problem=str(error))
    problem = _problem(end)
    return _Outcome(problem=problem + _said(end.output) if problem else "")


def _starts_again(site: Site, uuid: str) -> bool:
    """Whether Dozo itself stopped the server and has still to start it."""
    return any(
        note.body.get("kind") == start_again.KIND and note.body.get("server") == uuid
        for note in notes.read_all(site.settings.notes)
    )


def _tell(work: Work, hook: Hook, outcome: _Outcome) -> None:
    if outcome.owed:
        _say(
            work,
            Message(
                "the hook {hook} after the snapshot could not run yet, the next "
                "clean-up tries again: {problem}",
                hook=hook.name,
                problem=outcome.problem,
            ),
        )
    elif outcome.problem:
        _say(
            work,
            Message(
                "the hook {hook} after the snapshot failed: {problem}",
                hook=hook.name,
                problem=outcome.problem,
            ),
        )


def _end_before(site: Site, note: Note, uuid: str, timeout_s: float) -> None:
    """Let the first hook of a killed process end: the second one must not be overtaken by it."""
    program = note.body.get("program")
    hook = None
    with suppress(HookUnknown):
        hook = _find(site, str(note.body.get("before", "")))
    if hook is None or not isinstance(program, int):
        return
    site.host.stop_program(
        uuid, program, posix=hook.command[0].startswith("/"), timeout_s=timeout_s
    )


def _run(
    site: Site,
    uuid: str,
    hook: Hook,
    timeout_s: float,
    started: Callable[[int], None] = lambda _pid: None,
) -> ProgramEnd:
    return site.host.run_program(uuid, hook.command, timeout_s=timeout_s, started=started)


def _problem(end: ProgramEnd) -> str:
    """What was wrong with a run; empty if nothing was."""
    if end.timed_out:
        fate = (
            Message("and may still be running there") if end.running else Message("and was stopped")
        )
        return Message("it did not end in time {fate}", fate=fate)
    if end.signal is not None:
        return Message("it was ended by signal {signal}", signal=end.signal)
    return (
        "" if end.exit_code == 0 else Message("it ended with {exit_code}", exit_code=end.exit_code)
    )


def _said(output: str) -> str:
    """What a program printed last, as the end of a line."""
    lines = output.strip().splitlines()
    return Message("; it said: {lines}", lines=" | ".join(lines)) if lines else ""


def _nothing() -> None:
    """Nothing comes first."""


def _say(work: Work, text: str) -> None:
    """Tell a listener that may want to cancel: too late, this has to be done in any case."""
    with suppress(DozoError):
        work.step(text)
