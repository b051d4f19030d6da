"""Making and changing a schedule, and what it would do."""

from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from dozo.console.schedules import form, picture
from dozo.console.schedules.form import Typed
from dozo.console.shell.visit import Visit, page
from dozo.model.errors import DozoError
from dozo.services import schedule_preview, schedules
from dozo.services.access import Operation
from dozo.services.lists import schedules as lists
from dozo.services.schedules import ScheduleChanged

if TYPE_CHECKING:
    from dozo.catalog import models
    from dozo.catalog.models_jobs import Schedule

_MAKE = Operation.SCHEDULE_CREATE
_TARGETS = ("server", "volume", "tag")


@page(_MAKE, methods=("GET", "POST"))
def new(visit: Visit) -> HttpResponse:
    """The form for a new schedule, its preview, and making it."""
    target = _asked_target(visit)
    if not visit.is_post:
        offer = schedule_preview.offer(visit.scope, _owner(visit, target), _zone())
        said = {**form.from_fields(offer.fields), "freeze": "on", **target}
        said.setdefault("target_kind", "server" if offer.whole_servers else "volume")
        said["name"] = _free_name(visit, said)
        return _form(visit, said)
    said = form.typed(visit.request.POST)
    if "preview" in said:
        return _form(visit, said)
    try:
        made = schedules.create(visit.scope, form.fields_of(said))
    except DozoError as error:
        return _form(visit, said, problem=error)
    return visit.go(f"/schedules/{made.schedule}", note="saved")


@page(Operation.SCHEDULE_UPDATE, methods=("GET", "POST"))
def edit(visit: Visit, ref: str) -> HttpResponse:
    """The same for a schedule that is there; another's change meanwhile is not lost."""
    row = visit.scope.schedule(ref, Operation.SCHEDULE_SHOW)
    if not visit.is_post:
        visit.scope.permit(Operation.SCHEDULE_UPDATE, row)
        return _form(visit, _present(visit, row), row=row)
    said = form.typed(visit.request.POST)
    if "preview" in said:
        return _form(visit, said, row=row)
    try:
        fields = form.fields_of(said)
        schedules.update(visit.scope, row, fields, version=said.get("version") or None)
    except ScheduleChanged as error:
        row = visit.scope.schedule(ref, Operation.SCHEDULE_SHOW)
        return _form(visit, said, row=row, problem=error, changed=_present(visit, row))
    except DozoError as error:
        return _form(visit, said, row=row, problem=error)
    return visit.go(f"/schedules/{row.schedule_id}", note="saved")


@page(Operation.SCHEDULE_PREVIEW, methods=("POST",))
def preview(visit: Visit) -> HttpResponse:
    """The part of the form that says what would happen."""
    said = form.typed(visit.request.POST)
    return visit.render("schedules/preview.html", {**_outlook(visit, said), "said": said})


def _outlook(visit: Visit, said: Typed) -> dict[str, Any]:
    try:
        found = schedule_preview.outlook(visit.scope, form.fields_of(said))
    except DozoError as error:
        return {"preview_problem": error}
    return {"outlook": found, "picture": picture.generations(found)}


def _present(visit: Visit, row: "Schedule") -> Typed:
    view = schedules.view(visit.scope, row)
    fields = {name: getattr(view, name) for name in view.__dataclass_fields__}
    target = {"target_kind": view.target_kind, f"target_{view.target_kind}": view.target}
    return {**form.from_fields(fields), **target, "version": str(view.version)}


def _form(
    visit: Visit,
    said: Typed,
    *,
    row: "Schedule | None" = None,
    problem: DozoError | None = None,
    changed: Typed | None = None,
) -> HttpResponse:
    owner = row.tenant if row is not None else _owner(visit, said)
    offer = schedule_preview.offer(visit.scope, owner, _zone())
    found = lists.targets(visit.scope)
    differs = []
    if changed is not None:
        differs = [
            (_label(name), changed.get(name, ""), said.get(name, ""))
            for name in form.differing(said, changed)
        ]
        # Whoever sends the form again has seen what it will replace.
        said = {**said, "version": changed["version"]}
    context = {
        "row": row,
        "said": said,
        "offer": offer,
        "kinds": _with(offer.kinds, said.get("kind")),
        "modes": _with(offer.modes, said.get("mode")),
        "targets": found,
        "zones": sorted(one for one in available_timezones() if "/" in one or one == "UTC"),
        "periods": _periods(),
        "weekdays": _weekdays(),
        "problem": problem,
        "differs": differs,
        "several_tenants": visit.scope.actor.tenant is None,
        "action": f"/schedules/{row.schedule_id}/edit" if row is not None else "/schedules/new",
        **_outlook(visit, said),
    }
    if problem is None:
        return visit.render("schedules/form.html", context)
    return visit.render("schedules/form.html", context, status=visit.refused(problem).status_code)


def _with(permitted: tuple[str, ...], chosen: str | None) -> tuple[str, ...]:
    """What a schedule has already stays chosen, though the policy may permit it no more."""
    return permitted if not chosen or chosen in permitted else (*permitted, chosen)


def _asked_target(visit: Visit) -> Typed:
    """What the address says is to be covered, such as ``?server=UUID``."""
    for kind in _TARGETS:
        if visit.query(kind):
            return {"target_kind": kind, f"target_{kind}": visit.query(kind)}
    return {}


def _owner(visit: Visit, said: Typed) -> "models.Tenant | None":
    """Whose policy counts: the actor's own tenant, or whose the target is."""
    scope = visit.scope
    name = scope.actor.tenant or said.get("tenant")
    if name:
        return scope.tenant(name)
    kind = said.get("target_kind", "")
    reference = said.get(f"target_{kind}", "")
    try:
        if kind == "server" and reference:
            return scope.server(reference).tenant
        if kind == "volume" and reference:
            return scope.volume(reference).tenant
    except DozoError:
        # The form says so where it is sent; until then the default policy is as good as any.
        return None
    return None


def _free_name(visit: Visit, said: Typed) -> str:
    """A name to begin with, after what is covered."""
    kind = said["target_kind"]
    reference = said.get(f"target_{kind}", "")
    if kind == "tag" or not reference:
        base = reference or "daily"
    else:
        row = visit.scope.server(reference) if kind == "server" else visit.scope.volume(reference)
        base = row.name
    return lists.free_name(visit.scope, base)


def _zone() -> str:
    return str(getattr(timezone.get_current_timezone(), "key", "UTC"))


def _periods() -> list[tuple[str, str]]:
    return [
        ("hourly", pgettext("generations", "Hours")),
        ("daily", pgettext("generations", "Days")),
        ("weekly", pgettext("generations", "Weeks")),
        ("monthly", pgettext("generations", "Months")),
        ("yearly", pgettext("generations", "Years")),
    ]


def _weekdays() -> tuple[str, ...]:
    return ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _label(name: str) -> str:
    """What a field of the form is called, for a comparison."""
    labels = {
        "name": _("Name"),
        "mode": _("Mode"),
        "kind": _("How often"),
        "time": _("Time of day"),
        "minute": _("Minute"),
        "day": _("Day of the month"),
        "weekdays": _("Days of the week"),
        "cron": _("Cron expression"),
        "zone": _("Time zone"),
        "jitter": _("Spread"),
        "overlap": _("When the run before it is still going on"),
        "window": _("Window"),
        "stop_timeout": _("Time limit for the stop"),
        "keep": _("Generations"),
        "count": _("Generations"),
        "min_age": _("Minimum age"),
        **dict(_periods()),
    }
    return labels.get(name, name.replace("_", " "))
