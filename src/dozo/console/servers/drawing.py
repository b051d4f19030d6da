"""The timeline as a picture: where each mark lies, and which of them are gathered into one.

Pure arithmetic over values; the template makes SVG of it, without any style of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dozo.console.servers.span import Span
from dozo.services.timeline import Lane, Taken, Timeline

WIDTH = 1000
LEFT = 150
RIGHT = 14
TOP = 30
LANE = 38
# No two marks nearer to each other than this many units: what is nearer is gathered.
_BIN = 19
_APART = 2.5
_MOST_LANES = 40
# From the worst: what stands for several is as good as the worst of them.
_WORST = ("damaged", "missing", "copying", "stored", "verified")
_FINER = {"all": "month", "month": "week", "week": "day", "day": "day"}


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on the axis."""

    x: float
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Row:
    """A volume's lane; ``y`` is its middle."""

    y: float
    lane: Lane


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One snapshot, or ``count`` of them gathered. ``here`` is its state where it was taken,
    ``there`` at the other sites, None where there is no other."""

    x: float
    y: float
    scale: float
    count: int
    here: str
    there: str | None
    taken: Taken
    lane: Lane

    @property
    def worst(self) -> str:
        """The worst of its states."""
        return worst([self.here, self.there or self.here])


@dataclass(frozen=True, kw_only=True)
class Column:
    """What was taken at one instant, or at several so near that they are one column.

    ``point`` is the recovery point where it is exactly one; ``points`` how many there are.
    """

    x: float
    top: float
    bottom: float
    at: datetime
    until: datetime
    instants: int
    point: str | None
    points: int
    dots: tuple[Dot, ...]
    # Where a gathered one is seen apart: a shorter span that ends on that day.
    zoom: str
    day: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Everything that is drawn. Lengths are units of the SVG's own coordinates."""

    width: int
    height: float
    left: int
    right: int
    axis: float
    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    columns: tuple[Column, ...]
    now_x: float | None
    # Up to there nothing is drawn of what was taken; None where all is.
    drawn_from: float | None
    lanes_left_out: int
    snapshots_left_out: int

    @property
    def undrawn_width(self) -> float:
        """The width of the part in which nothing is drawn."""
        return round((self.drawn_from or self.left) - self.left, 1)

    @property
    def lanes_height(self) -> float:
        """The height of all lanes together."""
        return self.height - self.axis


@dataclass(frozen=True, kw_only=True)
class Instant:
    """A line of the table: a recovery point or a snapshot, with what it is made of."""

    at: datetime
    point: str | None
    point_name: str
    taken: tuple[Taken, ...]
    lanes: tuple[Lane, ...]
    here: str
    there: Mapping[str, str]
    bytes_stored: int | None
    mode: str
    consistency: str


def draw(timeline: Timeline, span: Span, now: datetime) -> Drawing:
    """Lay a timeline out; at most ``WIDTH / _BIN`` marks in a lane."""
    lanes = timeline.lanes[:_MOST_LANES]
    rows = tuple(
        Row(y=TOP + LANE * number + LANE / 2, lane=lane) for number, lane in enumerate(lanes)
    )
    height = TOP + LANE * max(len(rows), 1) + 10
    by_bin: dict[int, list[Taken]] = {}
    for one in timeline.snapshots:
        by_bin.setdefault(math.floor(_x(span, one.created_at) / _BIN), []).append(one)
    place = {row.lane.volume: row for row in rows}
    columns = [_column(span, found, place, number) for number, found in sorted(by_bin.items())]
    now_x = _x(span, now) if span.since <= now < span.until else None
    return Drawing(
        width=WIDTH,
        height=height,
        left=LEFT,
        right=WIDTH - RIGHT,
        axis=TOP,
        rows=rows,
        ticks=tuple(Tick(x=_x(span, one), at=one) for one in span.ticks()),
        columns=tuple(one for one in columns if one.dots),
        now_x=now_x,
        drawn_from=_drawn_from(timeline, span),
        lanes_left_out=len(timeline.lanes) - len(lanes),
        snapshots_left_out=timeline.total - len(timeline.snapshots),
    )


def _drawn_from(timeline: Timeline, span: Span) -> float | None:
    if timeline.total <= len(timeline.snapshots) or not timeline.snapshots:
        return None
    return _x(span, timeline.snapshots[-1].created_at)


def _x(span: Span, at: datetime) -> float:
    return round(LEFT + span.share(at) * (WIDTH - LEFT - RIGHT), 1)


def _column(span: Span, found: Sequence[Taken], place: Mapping[str, Row], number: int) -> Column:
    instants = {one.instant for one in found}
    points = {one.recovery_point for one in found if one.recovery_point}
    times = [one.created_at for one in found]
    x = _x(span, times[0])
    # As near to the middle of its place as leaves the neighbours visible.
    middle = number * _BIN + _BIN / 2
    x = middle if len(instants) > 1 else min(max(x, middle - _APART), middle + _APART)
    x = round(min(max(x, LEFT + 8), WIDTH - RIGHT - 8), 1)
    lanes: dict[str, list[Taken]] = {}
    for one in found:
        if one.volume in place:
            lanes.setdefault(one.volume, []).append(one)
    dots = tuple(
        sorted((_dot(x, place[volume], ones) for volume, ones in lanes.items()), key=lambda d: d.y)
    )
    return Column(
        x=x,
        top=min((one.y for one in dots), default=TOP),
        bottom=max((one.y for one in dots), default=TOP),
        at=min(times),
        until=max(times),
        instants=len(instants),
        point=next(iter(points)) if len(points) == len(instants) == 1 else None,
        points=len(points),
        dots=dots,
        zoom=_FINER[span.zoom],
        day=_day_of(span, max(times)),
    )


def _day_of(span: Span, at: datetime) -> str:
    return at.astimezone(span.zone).date().isoformat()


def _dot(x: float, row: Row, ones: Sequence[Taken]) -> Dot:
    newest = max(ones, key=lambda one: one.created_at)
    return Dot(
        x=x,
        y=row.y,
        scale=_scale(newest.bytes_stored) if len(ones) == 1 else 1.0,
        count=len(ones),
        here=worst([state_here(one) for one in ones]),
        there=_worst_there(ones),
        taken=newest,
        lane=row.lane,
    )


def _scale(bytes_stored: int | None) -> float:
    """From 0.75 for a MiB or less to 1.25 for a TiB: what a snapshot added."""
    if not bytes_stored:
        return 0.85
    powers = math.log2(max(bytes_stored, 2**20) / 2**20)
    return round(0.75 + min(powers, 20) / 40, 2)


def state_here(one: Taken) -> str:
    """The state at the site that took it."""
    return one.copies.get(one.origin, "missing")


def _there(one: Taken) -> list[str]:
    return [state for site, state in one.copies.items() if site != one.origin]


def _worst_there(ones: Sequence[Taken]) -> str | None:
    states = [state for one in ones for state in _there(one)]
    return worst(states) if states else None


def worst(states: Sequence[str]) -> str:
    """The worst of some states of copies."""
    return min(states, key=lambda one: _WORST.index(one) if one in _WORST else 0)


def instants(timeline: Timeline, most: int) -> tuple[list[Instant], int]:
    """The newest instants, and how many more there are in that time."""
    lanes = {one.volume: one for one in timeline.lanes}
    grouped: dict[str, list[Taken]] = {}
    for one in timeline.snapshots:
        grouped.setdefault(one.instant, []).append(one)
    shown = list(grouped.values())[:most]
    found = [_instant(ones, lanes, timeline.points) for ones in shown]
    return found, len(grouped) - len(found)


def _instant(
    ones: Sequence[Taken], lanes: Mapping[str, Lane], points: Mapping[str, str]
) -> Instant:
    first = ones[0]
    sites = sorted({site for one in ones for site in one.copies if site != one.origin})
    sizes = [one.bytes_stored for one in ones if one.bytes_stored is not None]
    point = first.recovery_point
    return Instant(
        at=first.created_at,
        point=point,
        point_name=points.get(point, "") if point else "",
        taken=tuple(ones),
        lanes=tuple(lanes[one.volume] for one in ones if one.volume in lanes),
        here=worst([state_here(one) for one in ones]),
        there={site: worst([one.copies.get(site, "missing") for one in ones]) for site in sites},
        bytes_stored=sum(sizes) if sizes else None,
        mode=first.mode,
        consistency=first.consistency,
    )
