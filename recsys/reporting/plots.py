"""Plots as inline SVG and HTML; their colours come from the page's style and follow dark and light."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.reporting.formats import compact
from recsys.reporting.markup import Markup, join, tag

_WIDTH, _HEIGHT = 420, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 18, 30
_MOST_DOTS = 25
_NAME_WIDTH = 30  # of a mark such as p99, with its gap


@dataclass(frozen=True)
class Area:
    """Where a plot draws its data, in pixels from the upper left corner."""

    left: float
    right: float
    top: float
    bottom: float


PLOT = Area(_LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM)


@dataclass(frozen=True)
class Series:
    """One line of a plot: points (x, y) in the order of x, drawn in the colour of the CSS class ``color``."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """One horizontal bar: from ``start`` over ``length``, in the unit of its group."""

    label: str
    length: float
    shown: str
    color: str
    start: float = 0.0


@dataclass(frozen=True)
class Scale:
    """From values to pixels along one axis of a plot."""

    low: float
    high: float
    first_pixel: float
    last_pixel: float

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.first_pixel + share * (self.last_pixel - self.first_pixel), 2)


def line_plot(
    title: str,
    x_name: str,
    series: Sequence[Series],
    *,
    best_x: float | None = None,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Return a line plot with a legend; ``best_x`` marks the x whose state was kept.

    ``y_range`` is what the value axis holds at least; without it, it fits the points.
    """
    points = [point for line in series for point in line.points]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    x_ticks = ticks(first, last, whole=True)
    values = [*(y for _, y in points), *(y_range or ())]
    y_ticks = ticks(min(values), max(values))
    x = Scale(first, last if last > first else first + 1, _LEFT, _WIDTH - _RIGHT)
    y = Scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    marker = None
    if best_x is not None and x.low <= best_x <= x.high:
        marker = _vertical(x(best_x), f"best {compact(best_x)}", flip=x(best_x) > _WIDTH / 2)
    drawn = join(_line(line, x, y) for line in series)
    return join([legend(series), svg(title, _axes(x, y, x_ticks, y_ticks, x_name), marker, drawn)])


def histogram(title: str, edges: Sequence[float], counts: Sequence[float], marks: dict[str, float]) -> Markup:
    """Return a histogram of ``counts`` between ``edges`` (one more), with named lines at ``marks``."""
    y_ticks = ticks(0, max(*counts, 1))
    x_ticks = ticks(edges[0], edges[-1])
    x = Scale(min(edges[0], x_ticks[0]), max(edges[-1], x_ticks[-1]), _LEFT, _WIDTH - _RIGHT)
    y = Scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    bars = join(
        tag(
            "rect",
            tag("title", f"{compact(low)} to {compact(high)}: {compact(n)}"),
            x=x(low),
            y=y(n),
            width=max(0.5, round(x(high) - x(low) - 0.6, 2)),
            height=round(y(0) - y(n), 2),
        )
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
        if n > 0
    )
    lines = _marks({name: x(value) for name, value in marks.items() if x.low <= value <= x.high})
    return svg(title, _axes(x, y, x_ticks, y_ticks, "score"), tag("g", bars, class_="bars"), lines)


def interval_plot(title: str, entries: Sequence[tuple[str, float, float, float, str]]) -> Markup:
    """Return (label, value, low, high, color) as points with intervals around a line at zero."""
    x_ticks = ticks(min(0, *(low for _, _, low, _, _ in entries)), max(0, *(high for *_, high, _ in entries)))
    row, left = 34, 140
    height = row * len(entries) + _BOTTOM + _TOP
    x = Scale(x_ticks[0], x_ticks[-1], left, _WIDTH - 22)
    drawn: list[Markup] = [
        tag("line", x1=x(0), x2=x(0), y1=_TOP, y2=height - _BOTTOM, class_="zero"),
        *(tag("text", compact(t), x=x(t), y=height - 10, class_="tick mid") for t in x_ticks),
    ]
    for place, (name, value, low, high, color) in enumerate(entries):
        middle = _TOP + row * place + row / 2
        drawn += [
            tag("text", name, x=left - 12, y=middle + 4, class_="name end"),
            tag("line", x1=x(low), x2=x(high), y1=middle, y2=middle, class_=f"whisker {color}"),
            tag("circle", cx=x(value), cy=middle, r=5, class_=f"dot {color}"),
        ]
    return svg(title, *drawn, height=height)


def bars(entries: Sequence[Bar], *, full: float) -> Markup:
    """Return horizontal bars in HTML; ``full`` is the length that fills the width."""
    unit = 100 / full if full > 0 else 0.0
    return tag(
        "div",
        *(
            tag(
                "div",
                tag("span", bar.label, class_="bar-label"),
                tag(
                    "span",
                    tag(
                        "span",
                        class_=f"bar {bar.color}",
                        style=f"margin-left:{unit * bar.start:.2f}%;width:{max(0.3, unit * bar.length):.2f}%",
                    ),
                    class_="track",
                ),
                tag("span", bar.shown, class_="bar-value"),
                class_="bar-row",
            )
            for bar in entries
        ),
        class_="bar-group",
    )


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return round values in equal steps of 1, 2 or 5 times a power of ten that enclose low and high."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal, but for rounding
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    step = max(1.0, step) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def svg(title: str, *children: Markup | None, height: float = _HEIGHT) -> Markup:
    """Return a drawing of the plots' width; ``title`` is what a screen reader says of it."""
    box = f"0 0 {_WIDTH} {height:g}"
    return tag("svg", *children, viewBox=box, role="img", aria_label=title, class_="plot")


def _axes(x: Scale, y: Scale, x_ticks: list[float], y_ticks: list[float], x_name: str) -> Markup:
    room = _WIDTH - _RIGHT - 8 * len(x_name) - 12
    shown = [tick for tick in x_ticks if x.low <= tick <= x.high and x(tick) < room]
    return join(
        [
            *(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(t), y2=y(t), class_="grid") for t in y_ticks),
            *(tag("text", compact(t), x=_LEFT - 7, y=y(t) + 4, class_="tick end") for t in y_ticks),
            *(tag("text", compact(t), x=x(t), y=_HEIGHT - _BOTTOM + 17, class_="tick mid") for t in shown),
            tag("text", x_name, x=_WIDTH - _RIGHT, y=_HEIGHT - _BOTTOM + 17, class_="tick end"),
        ]
    )


def _marks(places: dict[str, float]) -> Markup:
    """Return lines at pixels; a name that would touch the one before it goes one line lower."""
    drawn: list[Markup] = []
    taken = [-float(_WIDTH)] * 2  # where the words of each line of text end
    for rank, (name, place) in enumerate(places.items()):
        flip = (rank == 0 and place > _LEFT + _NAME_WIDTH) or place > _WIDTH * 0.9
        start = place - _NAME_WIDTH if flip else place
        row = 0 if start >= taken[0] else 1
        taken[row] = start + _NAME_WIDTH
        drawn.append(_vertical(place, name, flip=flip, row=row))
    return join(drawn)


def _vertical(x: float, name: str, *, flip: bool, row: int = 0) -> Markup:
    height = _TOP - 6 + 13 * row
    end = tag("text", name, x=x - 4 if flip else x + 4, y=height, class_=f"tick{' end' * flip}")
    return join([tag("line", x1=x, x2=x, y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="mark"), end])


def _line(line: Series, x: Scale, y: Scale) -> Markup:
    path = " ".join(f"{x(px)},{y(py)}" for px, py in line.points)
    dots = []
    for px, py in line.points if len(line.points) <= _MOST_DOTS else ():
        hover = tag("title", f"{compact(px)}: {compact(py)}")
        dots.append(tag("circle", hover, cx=x(px), cy=y(py), r=2.6, class_=f"dot {line.color}"))
    return join([tag("polyline", points=path, class_=f"line {line.color}{' dashed' * line.dashed}"), *dots])


def legend(series: Sequence[Series]) -> Markup:
    """Return the names of the lines, each with its colour."""
    keys = (tag("i", class_=f"key {line.color}{' dashed' * line.dashed}") for line in series)
    return tag(
        "p", *(tag("span", key, line.name) for key, line in zip(keys, series, strict=True)), class_="legend"
    )
