"""How the models were trained: curves, draws of negatives, trials of the search, score ranges."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from recsys.reporting import formats
from recsys.reporting.document import label, measured_metrics, models, number, numbers, rows, section, text
from recsys.reporting.markup import Markup, details, facts, join, pair, panel, table, tag
from recsys.reporting.plots import Bar, Series, bars, histogram, line_plot
from recsys.types import Json

_SCORES = ("min", "p01", "p50", "p99", "max", "mean", "std")


def curves(result: Json) -> Markup | None:
    """Return, for each model, its loss and its validation metrics over iterations or epochs."""
    return pair([found for name, model in models(result).items() for found in _curves_of(name, model)])


def sampling(result: Json) -> Markup | None:
    """Return where the negatives of a model came from, and how hard they were, over the epochs."""
    panels = []
    for name, model in models(result).items():
        history = rows(model, "history")
        drawn = _shares(history)
        learned = [
            Series("ordered triplets", _points(history, "ordered_share"), f"m-{name}"),
            Series("hardness of negatives", _points(history, "hardness"), "m-popularity", dashed=True),
        ]
        plots = {
            "where negatives came from": (drawn, "Share of the draws in each epoch, mean in the legend."),
            "triplets": (learned, "Share put in order; mean σ(score of negative − score of positive)."),
        }
        for what, (lines, note) in plots.items():
            if plot := _plot(f"{label(name)}: {what}", "epoch", lines, y_range=(0, 1)):
                panels.append(panel(f"{label(name)}: {what}", plot, note=note))
    return pair(panels)


def trials(result: Json) -> Markup | None:
    """Return the tables of what the search tried, the choice marked."""
    panels = [
        panel(
            f"{label(name)}: settings tried",
            _ablation(name, tried),
            details(f"All {len(tried)} trials", _trial_table(name, tried)),
            note=f"On the validation split; each bar is the best {_searched_by(tried)} of all trials with that value.",
        )
        for name, model in models(result).items()
        if (tried := rows(model, "trials"))
    ]
    return join(panels) if panels else None


def scores(result: Json) -> Markup | None:
    """Return the score range of each model, with the histogram where there is one."""
    panels = []
    for name, model in models(result).items():
        found, drawn = section(model, "score_range"), section(model, "score_histogram")
        marks = {key: value for key in ("p01", "p50", "p99") if (value := number(found, key)) is not None}
        edges, counts = numbers(drawn, "edges"), numbers(drawn, "counts")
        plot = None
        if counts and len(edges) == len(counts) + 1 and edges[-1] > edges[0]:
            plot = tag("div", histogram(f"Scores of {label(name)}", edges, counts, marks), class_=f"m-{name}")
        listed = facts(
            (key, formats.compact(value)) for key in _SCORES if (value := number(found, key)) is not None
        )
        if plot or listed:
            samples = formats.count(number(found, "num_samples"))
            origin = " ".join(text(found, "method").split("_"))
            note = (
                f"{samples} scores of items unseen in train, {origin}; reranking maps p01 to 0 and p99 to 1."
            )
            panels.append(panel(label(name), plot, listed, note=note))
    return pair(panels)


def settings(result: Json) -> Markup | None:
    """Return every setting of each model, folded."""
    listed = [
        details(
            f"Settings of {label(name)}",
            facts((key, formats.anything(value)) for key, value in chosen.items()),
        )
        for name, model in models(result).items()
        if (chosen := section(model, "settings"))
    ]
    return join(listed) if listed else None


def curve_plots(name: str, model: Json) -> dict[str, Markup]:
    """Return a model's curves, "training loss" and "validation", those with at least two points."""
    history = rows(model, "history")
    unit = "epoch" if any("epoch" in row for row in history) else "iteration"
    best = number(model, "best_iteration")
    measured = measured_metrics(history)
    watched = [
        Series(key, _points(history, key), f"m-{name}", dashed=place > 0)
        for place, key in enumerate(measured)
    ]
    plots = {
        "training loss": _plot(
            f"{label(name)} loss", unit, [Series("loss", _points(history, "loss"), f"m-{name}")]
        ),
        "validation": _plot(f"{label(name)} validation", unit, watched, best_x=best),
    }
    return {what: plot for what, plot in plots.items() if plot}


def _curves_of(name: str, model: Json) -> list[Markup]:
    unit = "epoch" if any("epoch" in row for row in rows(model, "history")) else "iteration"
    best = number(model, "best_iteration")
    ending = "stopped early" if model.get("stopped_early") else "ran to the end"
    steps = number(model, "iterations")
    note = (
        f"{formats.count(steps)} {unit}s, {ending}, best {formats.count(best)}."
        if steps is not None
        else None
    )
    return [
        panel(f"{label(name)}: {what}", plot, note=note) for what, plot in curve_plots(name, model).items()
    ]


def _plot(
    title: str,
    unit: str,
    lines: Sequence[Series],
    *,
    best_x: float | None = None,
    y_range: tuple[float, float] | None = None,
) -> Markup | None:
    kept = [line for line in lines if len(line.points) > 1]
    return line_plot(title, unit, kept, best_x=best_x, y_range=y_range) if kept else None


def _points(history: Sequence[Json], key: str) -> list[tuple[float, float]]:
    found = []
    for place, row in enumerate(history, start=1):
        x = number(row, "epoch") if "epoch" in row else number(row, "iteration")
        y = number(row, key)
        if y is not None:
            found.append((float(place) if x is None else x, y))
    return sorted(found)


def _shares(history: Sequence[Json]) -> list[Series]:
    """Return a line for each kind of negative that was drawn at all."""
    kinds = dict.fromkeys(key for row in history for key in row if key.startswith("share_"))
    found = {key: _points(history, key) for key in kinds}
    drawn = {key: points for key, points in found.items() if any(share > 0 for _, share in points)}
    return [
        Series(f"{key.removeprefix('share_')} {formats.percent(_mean(points))}", points, f"part-{place % 5}")
        for place, (key, points) in enumerate(drawn.items())
    ]


def _mean(points: Sequence[tuple[float, float]]) -> float:
    return sum(share for _, share in points) / len(points)


def _ablation(name: str, tried: Sequence[Json]) -> Markup | None:
    """Return, for each setting that varied, the best validation metric at each of its values."""
    metric = _searched_by(tried)
    by_setting = {key: _best_by_value(tried, key, metric) for key in _varied(tried)}
    full = max((value for best in by_setting.values() for value in best.values()), default=0.0)
    groups = [
        tag(
            "div",
            tag("h4", key.replace("_", " ")),
            bars(_ablation_bars(name, best), full=full),
            class_="stratum",
        )
        for key, best in by_setting.items()
        if len(best) > 1
    ]
    return tag("div", *groups, class_="pair", role="group", aria_label=f"Best {metric}") if groups else None


def _searched_by(tried: Sequence[Json]) -> str:
    """Return the metric that the search looks at, or what there is in its place."""
    measured = measured_metrics(tried)
    return "ndcg@10" if "ndcg@10" in measured or not measured else measured[0]


def _best_by_value(tried: Sequence[Json], key: str, metric: str) -> dict[str, float]:
    best: dict[str, float] = {}
    for trial in sorted(tried, key=lambda one: _as_number(section(one, "settings").get(key))):
        value, reached = formats.anything(section(trial, "settings").get(key)), number(trial, metric)
        if reached is not None:
            best[value] = max(reached, best.get(value, reached))
    return best


def _as_number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.inf


def _ablation_bars(name: str, best: Mapping[str, float]) -> list[Bar]:
    return [Bar(value, reached, formats.metric(reached), f"m-{name}") for value, reached in best.items()]


def _varied(tried: Sequence[Json]) -> list[str]:
    """Return the settings in which the trials differ; all of them where they do not."""
    chosen = [section(trial, "settings") for trial in tried]
    keys = list(dict.fromkeys(key for one in chosen for key in one))
    return [key for key in keys if any(a.get(key) != b.get(key) for a, b in pairwise(chosen))] or keys


def _trial_table(name: str, tried: Sequence[Json]) -> Markup:
    settings_tried = [section(trial, "settings") for trial in tried]
    varied = _varied(tried)
    measured = measured_metrics(tried)
    body = [
        [
            tag("span", "chosen", class_="chip good") if trial.get("chosen") else "",
            *(formats.anything(chosen.get(key)) for key in varied),
            *(formats.metric(number(trial, key)) for key in measured),
            formats.seconds(number(trial, "seconds")),
        ]
        for trial, chosen in zip(tried, settings_tried, strict=True)
    ]
    head = ["", *(key.replace("_", " ") for key in varied), *measured, "time"]
    return table(f"Trials of {label(name)}", head, body)
