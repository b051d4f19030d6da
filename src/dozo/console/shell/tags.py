"""Tags and filters for templates: words for states, sizes, times, and the pieces of forms."""

import secrets
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, cast

from django import template
from django.template.defaultfilters import date as formatted
from django.utils import timezone, translation
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from dozo.console.shell import static, words
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.model.message import Message
from dozo.model.message import said as in_language

register = template.Library()

_NONE = "—"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86400


@register.simple_tag
def static_file(name: str) -> str:
    """The address of a file that the console brings along."""
    return static.address(name)


@register.simple_tag
def icon(name: str, title: str = "") -> SafeString:
    """A picture; without a title readers of the screen skip it."""
    address = f"{static.address('icons.svg')}#{name}"
    if title:
        return format_html(
            '<svg class="icon" role="img" aria-label="{}"><use href="{}"></use></svg>',
            title,
            address,
        )
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}"></use></svg>', address)


@register.simple_tag
def state(kind: str, value: object) -> SafeString:
    """A state as a badge: its word, its colour and its picture."""
    if value in {None, ""}:
        return SafeString("")
    found = words.word(kind, value)
    picture = icon(found.icon) if found.icon else ""
    return format_html('<span class="badge {}">{}{}</span>', found.tone, picture, found.label)


@register.simple_tag
def look(kind: str, value: object) -> words.Word:
    """A state's word, tone and icon: ``{% look "job" job.state as seen %}``."""
    return words.word(kind, value)


@register.filter
def word(value: object, kind: str) -> str:
    """A state's word alone: ``{{ job.state|word:"job" }}``."""
    return str(words.word(kind, value).label)


@register.filter
def said(value: Any) -> Any:
    """What a service says, in the language of the page."""
    return in_language(value, translation.get_language() or "en")


@register.filter
def sentence(value: Any) -> Any:
    """What a service says, where a sentence begins: names keep their own first letter."""
    shown = in_language(value, translation.get_language() or "en")
    if not isinstance(shown, str) or (isinstance(value, Message) and value.template[:1] == "{"):
        return shown
    return shown[:1].upper() + shown[1:] if translation.get_language() == "en" else shown


@register.filter
def size(value: float | None) -> str:
    """A number of bytes in the unit that fits."""
    if value is None:
        return _NONE
    number, place = float(value), 0
    while abs(number) >= 1024 and place < len(_UNITS) - 1:
        number, place = number / 1024, place + 1
    digits = 0 if place == 0 or number >= 100 else 1
    return f"{number:.{digits}f} {_UNITS[place]}"


@register.filter
def rate(value: float | None) -> str:
    """Bytes a second."""
    return "" if value is None else f"{size(value)}/s"


@register.filter
def duration(value: float | timedelta | None) -> str:
    """Seconds in words, two units at most."""
    if value is None:
        return _NONE
    total = int(value.total_seconds() if isinstance(value, timedelta) else value)
    total = max(total, 0)
    if total < _MINUTE:
        return ngettext("%(count)d second", "%(count)d seconds", total) % {"count": total}
    parts = []
    for length, one, many in (
        (_DAY, "%(count)d day", "%(count)d days"),
        (_HOUR, "%(count)d hour", "%(count)d hours"),
        (_MINUTE, "%(count)d minute", "%(count)d minutes"),
    ):
        count, total = divmod(total, length)
        if count:
            parts.append(ngettext(one, many, count) % {"count": count})
    if len(parts) < 2:
        return parts[0]
    return gettext("%(larger)s %(smaller)s") % {"larger": parts[0], "smaller": parts[1]}


def _counted() -> None:
    """The units of :func:`duration`, for those who collect what is to be translated."""
    ngettext("%(count)d day", "%(count)d days", 2)
    ngettext("%(count)d hour", "%(count)d hours", 2)
    ngettext("%(count)d minute", "%(count)d minutes", 2)


@register.filter
def at(value: datetime | None) -> SafeString:
    """An instant, as date and time of the visitor's zone."""
    if value is None:
        return SafeString(_NONE)
    local = timezone.localtime(value)
    shown = formatted(local, gettext("j M Y H:i"))
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', local.isoformat(), _whole(local), shown
    )


@register.filter
def at_text(value: datetime | None) -> str:
    """The same as plain text, for where no marks may stand."""
    return _NONE if value is None else formatted(timezone.localtime(value), gettext("j M Y H:i"))


@register.filter
def wall(value: datetime) -> SafeString:
    """A time of some year in its own zone, whatever the visitor's is, with its weekday."""
    shown = formatted(value, gettext("D j M H:i"))
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', value.isoformat(), _whole(value), shown
    )


@register.filter
def day(value: date) -> str:
    """A day, shortly."""
    return str(formatted(value, gettext("j M Y")))


@register.filter
def day_name(value: date) -> str:
    """A day, in words."""
    return str(formatted(value, gettext("l j F Y")))


@register.filter
def month_name(value: date) -> str:
    """The month of a day, in words."""
    return str(formatted(value, gettext("F Y")))


@register.filter
def ago(value: datetime | None) -> SafeString:
    """How long ago (or ahead) an instant is; the date stands in its title."""
    if value is None:
        return SafeString(_NONE)
    local = timezone.localtime(value)
    seconds = (clock.now() - value).total_seconds()
    if abs(seconds) < _MINUTE:
        shown = gettext("just now")
    elif seconds > 0:
        shown = gettext("%(duration)s ago") % {"duration": _coarse(seconds)}
    else:
        shown = gettext("in %(duration)s") % {"duration": _coarse(-seconds)}
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', local.isoformat(), _whole(local), shown
    )


def _coarse(seconds: float) -> str:
    for length in (_DAY, _HOUR, _MINUTE):
        if seconds >= length:
            return duration(seconds // length * length)
    return duration(seconds)


def _whole(local: datetime) -> str:
    return f"{formatted(local, gettext('j F Y H:i:s'))} {local.tzname()}"


@register.filter
def clock_time(value: datetime) -> str:
    """An instant as hours, minutes and seconds of the visitor's zone."""
    return f"{timezone.localtime(value):%H:%M:%S}"


@register.filter
def took(job: Any) -> timedelta | None:
    """How long something ran, or runs."""
    if job.started_at is None:
        return None
    return cast("timedelta", (job.finished_at or clock.now()) - job.started_at)


@register.filter
def actor_kind(actor: str) -> str:
    """What ``user:alice`` is, in a word."""
    kind = actor.partition(":")[0]
    return words.word("actor", kind).label if ":" in actor else ""


@register.filter
def actor_name(actor: str) -> str:
    """Who ``user:alice`` is."""
    return actor.partition(":")[2] or actor


@register.filter
def short(value: object) -> str:
    """The beginning of an id, as much as people compare."""
    return str(value)[:8]


@register.simple_tag
def guide(chapter: str) -> SafeString:
    """A small link to the fitting place in the guide: ``{% guide "backup#schedules" %}``."""
    return format_html(
        '<a class="guide" href="/help/{}" title="{}" aria-label="{}">?</a>',
        chapter,
        gettext("About this in the guide"),
        gettext("About this in the guide"),
    )


@register.simple_tag
def once() -> SafeString:
    """A hidden field by which the same form sent twice asks for one job."""
    return format_html('<input type="hidden" name="once" value="{}">', secrets.token_urlsafe(18))


@register.simple_tag
def options(choices: Iterable[tuple[Any, Any]], chosen: object = None) -> SafeString:
    """The options of a select, from pairs of value and label."""
    return format_html_join(
        "",
        '<option value="{}"{}>{}</option>',
        (
            (value, SafeString(" selected") if str(value) == str(chosen or "") else "", label)
            for value, label in choices
        ),
    )


@register.simple_tag(takes_context=True)
def query(context: dict[str, Any], **changes: Any) -> str:
    """The address of this page with some of its query changed; an empty value goes away."""
    found = context["request"].GET.copy()
    for name in ("cursor", "note", "job"):
        found.pop(name, None)
    for name, value in changes.items():
        found.pop(name, None)
        if value not in {None, ""}:
            found[name] = str(value)
    text = found.urlencode()
    return f"?{text}" if text else "?"


@register.simple_tag(takes_context=True)
def nav(context: dict[str, Any], address: str, picture: str, label: str) -> SafeString:
    """An entry of the navigation, marked where it leads to the part that is open."""
    path = str(context.get("path", ""))
    here = path == address or (address != "/" and path.startswith(f"{address}/"))
    return format_html(
        '<li><a href="{}"{}>{}<span>{}</span></a></li>',
        address,
        SafeString(' aria-current="page"') if here else "",
        icon(picture),
        label,
    )


@register.simple_tag(takes_context=True)
def column(context: dict[str, Any], name: str, label: str, default: str = "") -> SafeString:
    """A heading that sorts the list by its column, and turns it round when it does already."""
    now = context["request"].GET.get("sort", default)
    wanted = f"-{name}" if now == name else name
    order = {name: "ascending", f"-{name}": "descending"}.get(now)
    return format_html(
        '<th scope="col"{}><a href="{}">{}{}</a></th>',
        format_html(' aria-sort="{}"', order) if order else "",
        query(context, sort=wanted),
        label,
        icon("chevron-up" if order == "ascending" else "chevron-down") if order else "",
    )


@register.filter
def message(error: DozoError) -> str:
    """What went wrong, in the language of the page."""
    return error.message(translation.get_language() or "en")


@register.filter
def hint(error: DozoError) -> str:
    """What to do next, in the language of the page."""
    return error.hint_text(translation.get_language() or "en")


@register.filter
def listed(value: Any) -> Any:
    """Several values as a text; one value as it is."""
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(one) for one in value) or _NONE
    return value
