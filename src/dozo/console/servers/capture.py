"""Snapshot now: what is taken, how, and what will happen."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse

from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.model.states import CaptureMode
from dozo.services import capture_choices, hints
from dozo.services.access import Operation
from dozo.services.capture_choices import CaptureChoices
from dozo.services.policies import STOP

_DEFAULT_SECONDS = 300
_MOST_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the form says, as somebody left it."""

    name: str
    mode: str
    freeze: bool
    full: bool
    stated_unmounted: bool
    stop_timeout_seconds: int
    force_stop: bool
    hook_before: str
    hook_after: str


@page(Operation.SNAPSHOT_CREATE, methods=("GET", "POST"))
def snapshot_now(visit: Visit) -> HttpResponse:
    """The form, with the plan of what it says; sent, the snapshot is queued."""
    server, volume = visit.query("server"), visit.query("volume")
    if visit.is_post:
        server, volume = visit.said("server"), visit.said("volume")
    if not server and not volume:
        rows = visit.scope.servers.filter(present=True)
        return visit.render("servers/snapshot_which.html", {"servers": rows.order_by("name")[:500]})
    chosen = visit.said_all("volumes")
    choices = (
        capture_choices.of_server(visit.scope, server, chosen)
        if server
        else capture_choices.of_volume(visit.scope, volume)
    )
    wish = _wish(visit, choices)
    if visit.is_post and visit.said("do") == "take":
        try:
            return visit.ask(*_request(choices, wish))
        except DozoError as error:
            return _shown(visit, choices, wish, error)
    return _shown(visit, choices, wish, None)


def _wish(visit: Visit, choices: CaptureChoices) -> Wish:
    first = not visit.is_post
    mode = visit.said("mode") or visit.query("mode")
    possible = [one.mode for one in choices.modes if one.refused is None]
    if visit.said("do") == "take":
        # What was asked for is done or refused, never something else.
        possible.append(mode)
    return Wish(
        name=visit.said("name"),
        mode=mode if mode in possible else choices.fitting or "",
        freeze=first or visit.ticked("freeze"),
        full=visit.ticked("full"),
        stated_unmounted=visit.ticked("stated_unmounted"),
        stop_timeout_seconds=_seconds(visit.said("stop_timeout_seconds")),
        force_stop=visit.ticked("force_stop"),
        hook_before=visit.said("hook_before"),
        hook_after=visit.said("hook_after"),
    )


def _seconds(said: str) -> int:
    return min(max(int(said), 1), _MOST_SECONDS) if said.isdecimal() else _DEFAULT_SECONDS


def _request(choices: CaptureChoices, wish: Wish) -> tuple[str, dict[str, Any]]:
    """The job that the form asks for: of the whole server, or of one volume."""
    params: dict[str, Any] = {"name": wish.name or None, "mode": wish.mode or None}
    if wish.mode == CaptureMode.LIVE.value and not wish.freeze:
        params["freeze"] = False
    if wish.full:
        params["full"] = True
    if wish.mode == CaptureMode.UNMOUNTED.value:
        params["stated_unmounted"] = wish.stated_unmounted
    if wish.mode == STOP:
        params["stop_timeout_seconds"] = wish.stop_timeout_seconds
        params["force_stop"] = wish.force_stop
    if wish.mode in {CaptureMode.LIVE.value, CaptureMode.UNMOUNTED.value, STOP}:
        params["hook_before"] = wish.hook_before or None
        params["hook_after"] = wish.hook_after or None
    chosen = [str(one.volume_id) for one in choices.chosen]
    if choices.is_point and choices.server is not None:
        params["server"] = str(choices.server.uuid)
        params["volumes"] = None if choices.all_chosen else chosen
        return "recovery-point.create", params
    return "snapshot.create", {**params, "volume": chosen[0] if chosen else ""}


def _shown(
    visit: Visit, choices: CaptureChoices, wish: Wish, error: DozoError | None
) -> HttpResponse:
    plan: dict[str, Any] = {}
    problem = error or choices.refused
    if problem is None and choices.chosen:
        try:
            plan = visit.plan(*_request(choices, wish))
        except DozoError as refused:
            problem = refused
    context = {
        "choices": choices,
        "wish": wish,
        "plan": plan,
        "volumes_planned": _planned(plan, choices),
        "problem": problem,
        "no_live": CaptureMode.LIVE not in choices.policy.capture_modes,
        "bytes_chosen": sum(one.bytes_volume or 0 for one in choices.chosen),
    }
    if visit.is_fragment:
        return visit.render("servers/snapshot_part.html", context)
    status = visit.refused(error).status_code if error is not None else 200
    return visit.render("servers/snapshot_now.html", context, status=status)


def _planned(plan: dict[str, Any], choices: CaptureChoices) -> list[dict[str, Any]]:
    """The volumes of the plan with what is known of them, and why one is read in full."""
    sizes = {one.name: one.bytes_volume for one in choices.volumes}
    return [
        {
            **one,
            "bytes_volume": sizes.get(one["volume"]),
            "why": hints.in_words(one["full_reason"]) if one["full_reason"] else "",
        }
        for one in plan.get("volumes", ())
    ]
