"""Many nights as lines over time: quality with intervals, and what training and data were like."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from recsys.reporting import formats
from recsys.reporting.document import POPULARITY, label, number, numbers, section, text
from recsys.reporting.markup import Markup, pair, panel
from recsys.reporting.timeline import Moment, Track, timeline
from recsys.types import Json

CHANGES = {"promote": "promoted", "rollback": "rolled back to"}  # actions that move the champion, in words
Values = tuple[float | None, float | None, float | None]  # a value and its interval


def quality(nights: Sequence[Json], changes: Sequence[Json]) -> Markup | None:
    """Return gains over popularity and values of the headline metric, with the changes of the champion."""
    names = model_names(nights)
    metric = text(nights[-1], "metric") if nights else ""
    marks = [
        (when, f"{CHANGES[text(event, 'action')]} {text(section(event, 'arguments'), 'model_id')}")
        for event in changes
        if (when := formats.instant(text(event, "time"))) is not None
    ]
    gains = _tracks(names, nights, lambda name, night: gain(section(night, "models", name), metric))
    values = _tracks(names, nights, lambda name, night: _metric(section(night, "models", name), metric))
    values += _track(POPULARITY, nights, lambda night: (number(night, POPULARITY), None, None), dashed=True)
    gate = number(nights[-1], "min_improvement") if nights else None
    panels = []
    if gains:
        level = (gate, f"gate {formats.percent(gate)}") if gate is not None else None
        plot = timeline(
            f"Gain in {metric} over {POPULARITY}", gains, marks=marks, level=level, from_zero=True
        )
        note = "Relative, 1 is +100 %; bands are the intervals, dotted lines changes of the champion."
        panels.append(panel(f"Gain in {metric} over {POPULARITY}", plot, note=note))
    if values:
        plot = timeline(f"{metric} of each night", values, marks=marks, from_zero=True)
        note = "Each night on its own test users: a step may come from the data, too."
        panels.append(panel(f"{metric} of each night", plot, note=note))
    return pair(panels)


def effort(nights: Sequence[Json]) -> Markup | None:
    """Return seconds of training, rows, change of the data and peak memory of each night."""
    names = model_names(nights)
    seconds = _tracks(
        names, nights, lambda name, n: (number(section(n, "models", name), "seconds"), None, None)
    )
    kept = _track("rows kept", nights, lambda night: (number(section(night, "data"), "rows_out"), None, None))
    moved = _track("largest change", nights, lambda night: (number(night, "drift"), None, None))
    memory = _track("peak memory", nights, lambda night: (_megabytes(night), None, None))
    drawn = {
        "Training, seconds": (seconds, None),
        "Rows kept": (kept, None),
        "Change of the data": (
            moved,
            "Largest effect size since the version before; 0 is no change, 1 nothing in common.",
        ),
        "Peak memory, MB": (memory, None),
    }
    return pair(
        [
            panel(name, timeline(name, tracks, from_zero=True), note=note)
            for name, (tracks, note) in drawn.items()
            if tracks
        ]
    )


def gain(model: Json, metric: str) -> Values:
    """Return a model's relative gain over popularity with its interval."""
    bounds: list[float | None] = [*numbers(section(model, "improvement_ci"), metric)]
    low, high = bounds if len(bounds) == 2 else (None, None)
    return number(section(model, "improvement"), metric), low, high


def _metric(model: Json, metric: str) -> Values:
    return number(section(model, "metrics"), metric), None, None


def _megabytes(night: Json) -> float | None:
    size = number(night, "peak_memory_bytes")
    return None if size is None else size / 1e6


def model_names(nights: Sequence[Json]) -> list[str]:
    """Return the names of all models of any night, in the order they first came."""
    return list(dict.fromkeys(name for night in nights for name in section(night, "models")))


def _tracks(
    names: Sequence[str], nights: Sequence[Json], values: Callable[[str, Json], Values]
) -> list[Track]:
    return [
        Track(label(name), moments, f"m-{name}")
        for name in names
        if (moments := _moments(nights, partial(values, name)))
    ]


def _track(
    name: str, nights: Sequence[Json], values: Callable[[Json], Values], *, dashed: bool = False
) -> list[Track]:
    moments = _moments(nights, values)
    return [Track(name, moments, "m-popularity", dashed)] if moments else []


def _moments(nights: Sequence[Json], values: Callable[[Json], Values]) -> list[Moment]:
    found: list[tuple[datetime, Values]] = [
        (when, values(night))
        for night in nights
        if (when := formats.instant(text(night, "created_at"))) is not None
    ]
    moments = [Moment(when, value, low, high) for when, (value, low, high) in found if value is not None]
    return sorted(moments, key=lambda moment: moment.when)
