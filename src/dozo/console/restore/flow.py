"""The four steps and what is carried from one to the next: all of it stands in the address."""

from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode

from dozo.console.shell.instants import instant
from dozo.console.shell.visit import Visit
from dozo.model.errors import DozoError
from dozo.services import job_queue, next_steps, restore_choices
from dozo.services.access import Operation
from dozo.services.job_queue import JobView
from dozo.services.next_steps import NextStep
from dozo.services.restore_choices import ServerChoices

STEPS = ("template", "new-server", "volumes", "attach")
_MOST = 64


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Where somebody is in a restore. ``server`` is the UUID of the one whose data they are.

    ``template``, ``made`` and ``volume`` are what the first three steps have made, or ``…_job``
    the jobs that are making it. ``snapshot`` are those chosen beforehand.
    """

    server: str = ""
    at: str = ""
    recovery_point: str = ""
    snapshot: tuple[str, ...] = ()
    template: str = ""
    template_job: str = ""
    made: str = ""
    made_job: str = ""
    volume: tuple[str, ...] = ()
    volume_job: tuple[str, ...] = ()

    @classmethod
    def of(cls, visit: Visit) -> Self:
        """What the address says, or the form that was sent."""
        fields = Fields(visit)
        said: dict[str, Any] = {name: fields.one(name) for name in _ONE}
        said |= {name: fields.all(name) for name in _MANY}
        return cls(**said)

    def pairs(self) -> list[tuple[str, str]]:
        """As fields of a form."""
        found = [(name, getattr(self, name)) for name in _ONE]
        found += [(name, one) for name in _MANY for one in getattr(self, name)]
        return [(name, value) for name, value in found if value]

    def address(self, step: str, **changes: Any) -> str:
        """Another step, with all that is known so far."""
        text = urlencode(replace(self, **changes).pairs())
        path = f"/restore/{step}" if step else "/restore"
        return f"{path}?{text}" if text else path

    @property
    def addresses(self) -> dict[str, str]:
        """All steps, by name with underscores."""
        places = ("", "server", *STEPS)
        return {(one or "start").replace("-", "_"): self.address(one) for one in places}

    def without(self, *names: str) -> list[tuple[str, str]]:
        """The fields that a form has to carry along beside its own."""
        return [(name, value) for name, value in self.pairs() if name not in names]


_ONE = ("server", "at", "recovery_point", "template", "template_job", "made", "made_job")
_MANY = ("snapshot", "volume", "volume_job")


class Fields:
    """What was said, in the form that was sent or in the address."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    def one(self, name: str, default: str = "") -> str:
        """A field."""
        if self._visit.is_post:
            return self._visit.said(name, default)[:255]
        return self._visit.query(name, default)

    def all(self, name: str) -> tuple[str, ...]:
        """A field that may be there several times."""
        if self._visit.is_post:
            found = self._visit.said_all(name)
        else:
            found = [one for one in self._visit.request.GET.getlist(name) if one.isprintable()]
        return tuple(dict.fromkeys(one for one in found if one))[:_MOST]

    def ticked(self, name: str) -> bool:
        """A box."""
        return bool(self.one(name))


@dataclass(frozen=True, kw_only=True)
class Made:
    """A job of an earlier step: running, failed, or done with what it made."""

    job: JobView
    step: NextStep | None

    @property
    def waits(self) -> bool:
        """Whether it has not ended."""
        return self.job.state not in job_queue.ENDED

    @property
    def failed(self) -> bool:
        """Whether it ended without what it was to make."""
        return not self.waits and self.step is None


def made_by(visit: Visit, jobs: tuple[str, ...]) -> list[Made]:
    """What jobs are making. Raises ``JobUnknown``."""
    rows = [visit.scope.job(one, Operation.JOB_SHOW) for one in jobs if one]
    shown = job_queue.views(visit.scope, rows)
    return [Made(job=one, step=next_steps.of_job(visit.scope, one)) for one in shown]


def settled(visit: Visit, flow: Flow) -> tuple[Flow, list[Made]]:
    """The flow with what its jobs have made by now, and those that are not done.

    Raises ``JobUnknown``.
    """
    open_jobs: list[Made] = []
    if flow.template_job and not flow.template:
        for one in made_by(visit, (flow.template_job,)):
            if one.step is not None:
                flow = replace(flow, template=one.step.id)
            else:
                open_jobs.append(one)
    if flow.made_job and not flow.made:
        for one in made_by(visit, (flow.made_job,)):
            if one.step is not None:
                flow = replace(flow, made=one.step.id)
            else:
                open_jobs.append(one)
    there = list(flow.volume)
    for one in made_by(visit, flow.volume_job):
        if one.step is None:
            open_jobs.append(one)
        elif one.step.id not in there:
            there.append(one.step.id)
    return replace(flow, volume=tuple(there)), open_jobs


def choices_of(visit: Visit, flow: Flow, *, points: bool = False) -> ServerChoices | None:
    """What there is of the flow's server; None where it names none. Raises ``ServerUnknown``."""
    if not flow.server:
        return None
    return restore_choices.of_server(
        visit.scope,
        flow.server,
        at=instant(flow.at, "at"),
        chosen=flow.snapshot,
        points=points,
    )


def common(flow: Flow, step: str, waiting: list[Made]) -> dict[str, Any]:
    """What every page of the flow shows."""
    number = STEPS.index(step) + 1 if step in STEPS else 0
    return {
        "flow": flow,
        "step": step,
        "number": number,
        "strip": [
            {
                "name": name,
                "address": flow.address(name),
                "here": name == step,
                "done": _is_done(flow, name),
            }
            for name in STEPS
        ],
        "waiting": [one for one in waiting if one.waits],
        "failures": [one for one in waiting if one.failed],
    }


def _is_done(flow: Flow, step: str) -> bool:
    return {
        "template": bool(flow.template),
        "new-server": bool(flow.made),
        "volumes": bool(flow.volume),
    }.get(step, False)


def status_of(error: DozoError) -> int:
    """The status of a page that shows the form again with what was refused."""
    return 404 if error.kind.value == "not-found" else 409
