"""Plots over many nights as inline SVG: a point per night on a time axis, intervals as bands, marked moments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from recsys.reporting.formats import compact
from recsys.reporting.markup import Markup, join, tag
from recsys.reporting.plots import PLOT, Scale, Series, legend, svg, ticks

_MOST_DOTS = 40
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Moment:
    """A night on a line: when, the value, and its interval where there is one."""

    when: datetime
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Track:
    """One line over time, drawn in the colour of the CSS class ``color``; its moments ascend."""

    name: str
    moments: Sequence[Moment]
    color: str
    dashed: bool = False


def timeline(
    title: str,
    tracks: Sequence[Track],
    *,
    marks: Sequence[tuple[datetime, str]] = (),
    level: tuple[float, str] | None = None,
    from_zero: bool = False,
) -> Markup:
    """Return lines over time with their intervals as bands; ``marks`` are dotted lines with words on hover.

    Args:
        tracks: At least one, each with at least one moment.
        level: A value and a name, drawn as a line across.
        from_zero: Whether the value axis holds zero in any case.
    """
    moments = [moment for track in tracks for moment in track.moments]
    first, last = min(m.when for m in moments), max(m.when for m in moments)
    if last - first < timedelta(hours=12):
        first, last = first - timedelta(hours=12), last + timedelta(hours=12)
    values = [v for m in moments for v in (m.value, m.low, m.high) if v is not None]
    values += [0.0] if from_zero else []
    values += [level[0]] if level else []
    y_ticks = ticks(min(values), max(values))
    x = Scale(first.timestamp(), last.timestamp(), PLOT.left, PLOT.right)
    y = Scale(y_ticks[0], y_ticks[-1], PLOT.bottom, PLOT.top)
    drawn = [
        _axes(x, y, y_ticks),
        *(_mark(x, when, words) for when, words in marks if first <= when <= last),
        *(_band(track, x, y) for track in tracks),
        _level(level, y) if level else None,
        *(_line(track, x, y) for track in tracks),
    ]
    names = [Series(track.name, (), track.color, track.dashed) for track in tracks]
    return join([legend(names), svg(title, *drawn)])


def _axes(x: Scale, y: Scale, y_ticks: Sequence[float]) -> Markup:
    grid = (tag("line", x1=PLOT.left, x2=PLOT.right, y1=y(t), y2=y(t), class_="grid") for t in y_ticks)
    words = (tag("text", compact(t), x=PLOT.left - 7, y=y(t) + 4, class_="tick end") for t in y_ticks)
    days = _days(x.low, x.high)
    below = PLOT.bottom + 17
    dates = (
        tag("text", f"{day.day} {day:%b}", x=x(day.timestamp()), y=below, class_="tick mid") for day in days
    )
    return join([*grid, *words, *dates])


def _days(low: float, high: float) -> list[datetime]:
    """Return at most five midnights between two timestamps, at equal distances of whole days."""
    first = datetime.fromtimestamp(low, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if first.timestamp() < low:
        first += timedelta(days=1)
    n_days = int((high - first.timestamp()) // _DAY_SECONDS)
    step = max(1, -(-(n_days + 1) // 5))
    return [first + timedelta(days=day) for day in range(0, n_days + 1, step)]


def _mark(x: Scale, when: datetime, words: str) -> Markup:
    place = x(when.timestamp())
    return tag("line", tag("title", words), x1=place, x2=place, y1=PLOT.top, y2=PLOT.bottom, class_="moment")


def _level(level: tuple[float, str], y: Scale) -> Markup:
    value, name = level
    line = tag("line", x1=PLOT.left, x2=PLOT.right, y1=y(value), y2=y(value), class_="zero")
    return join([line, tag("text", name, x=PLOT.right, y=y(value) - 5, class_="tick end")])


def _band(track: Track, x: Scale, y: Scale) -> Markup | None:
    known = [
        (x(moment.when.timestamp()), moment.low, moment.high)
        for moment in track.moments
        if moment.low is not None and moment.high is not None
    ]
    if not known:
        return None
    if len(known) == 1:
        place, low, high = known[0]
        return tag("line", x1=place, x2=place, y1=y(low), y2=y(high), class_=f"whisker {track.color}")
    upper = [f"{place},{y(high)}" for place, _, high in known]
    lower = [f"{place},{y(low)}" for place, low, _ in reversed(known)]
    return tag("polygon", points=" ".join([*upper, *lower]), class_=f"band {track.color}")


def _line(track: Track, x: Scale, y: Scale) -> Markup:
    points = [(x(moment.when.timestamp()), y(moment.value), moment) for moment in track.moments]
    path = " ".join(f"{px},{py}" for px, py, _ in points)
    dots = [
        tag(
            "circle",
            tag("title", f"{moment.when:%Y-%m-%d}: {compact(moment.value)}"),
            cx=px,
            cy=py,
            r=2.4,
            class_=f"dot {track.color}",
        )
        for px, py, moment in (points if len(points) <= _MOST_DOTS else ())
    ]
    return join([tag("polyline", points=path, class_=f"line {track.color}{' dashed' * track.dashed}"), *dots])
