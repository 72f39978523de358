"""Parallel coordinates (Inselberg 1985) as inline SVG: a line per trial across one axis per setting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.reporting.formats import anything
from recsys.reporting.markup import Markup, join, tag

_WIDTH, _HEIGHT = 860, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 70, 34, 18
_MOST_TICKS = 7


@dataclass(frozen=True)
class Strand:
    """One line: a value on each axis, what its hover says, and how it is drawn: "", "good" or "best"."""

    values: Mapping[str, Any]
    hover: str
    kind: str


@dataclass(frozen=True)
class _Axis:
    """Distinct values in their order, at equal distances: settings are tried on grids of equal ratios."""

    name: str
    x: float
    values: Sequence[Any]

    def y(self, value: Any) -> float:
        share = self.values.index(value) / (len(self.values) - 1) if len(self.values) > 1 else 0.5
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP), 1)

    def shown(self) -> list[Any]:
        """Return the values that get a tick: all, or some evenly spread ones with both ends."""
        n = len(self.values)
        if n <= _MOST_TICKS:
            return list(self.values)
        return [self.values[round(place * (n - 1) / (_MOST_TICKS - 1))] for place in range(_MOST_TICKS)]


def parallel_coordinates(title: str, axes: Sequence[str], strands: Sequence[Strand]) -> Markup:
    """Return the plot; the last axis is the objective, and the best strand is drawn on top.

    Each axis shows its distinct values at equal distances, numbers ascending; a value that is missing ends
    the line there. Needs at least two axes.
    """
    step = (_WIDTH - _LEFT - _RIGHT) / (len(axes) - 1)
    placed = [
        _Axis(name, round(_LEFT + place * step, 1), _distinct(name, strands))
        for place, name in enumerate(axes)
    ]
    ordered = sorted(strands, key=lambda strand: ("", "good", "best").index(strand.kind))
    drawn = join(_strand(strand, placed) for strand in ordered)
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return tag(
        "svg",
        *(_axis(axis) for axis in placed),
        drawn,
        viewBox=box,
        role="img",
        aria_label=title,
        class_="plot",
    )


def _distinct(name: str, strands: Sequence[Strand]) -> list[Any]:
    found = {strand.values[name] for strand in strands if strand.values.get(name) is not None}
    numbers = [one for one in found if isinstance(one, int | float) and not isinstance(one, bool)]
    return sorted(numbers) if len(numbers) == len(found) else sorted(found, key=str)


def _axis(axis: _Axis) -> Markup:
    name = axis.name.rpartition(".")[2].replace("_", " ")
    ticks = (
        tag("text", _label(value), x=axis.x + 5, y=axis.y(value) + 4, class_="tick") for value in axis.shown()
    )
    return join(
        [
            tag("line", x1=axis.x, x2=axis.x, y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="mark"),
            tag("text", name, x=axis.x, y=16, class_="name mid"),
            *ticks,
        ]
    )


def _label(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else anything(value)


def _strand(strand: Strand, axes: Sequence[_Axis]) -> Markup | None:
    points = []
    for axis in axes:
        value = strand.values.get(axis.name)
        if value is None:
            break
        points.append(f"{axis.x},{axis.y(value)}")
    if len(points) < 2:
        return None
    return tag(
        "polyline",
        tag("title", strand.hover),
        points=" ".join(points),
        class_=f"strand {strand.kind}".rstrip(),
    )
