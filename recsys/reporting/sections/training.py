"""How the models were trained: curves, draws of negatives, trials of the search, score ranges."""

from collections.abc import Sequence
from itertools import pairwise

from recsys.reporting import formats
from recsys.reporting.document import label, models, number, numbers, rows, section, text
from recsys.reporting.markup import Markup, details, facts, join, pair, panel, table, tag
from recsys.reporting.plots import Series, histogram, line_plot
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
        kinds = dict.fromkeys(key for row in history for key in row if key.startswith("share_"))
        drawn = [_share(history, key, f"part-{place % 4}") for place, key in enumerate(kinds)]
        learned = [
            Series("ordered triplets", _points(history, "ordered_share"), f"m-{name}"),
            Series("hardness of negatives", _points(history, "hardness"), "m-popularity", dashed=True),
        ]
        plots = {
            "where negatives came from": (drawn, "Share of the draws in each epoch, mean in the legend."),
            "triplets": (learned, "Share put in order; mean σ(score of negative − score of positive)."),
        }
        for what, (lines, note) in plots.items():
            if plot := _plot(f"{label(name)}: {what}", "epoch", lines):
                panels.append(panel(f"{label(name)}: {what}", plot, note=note))
    return pair(panels)


def trials(result: Json) -> Markup | None:
    """Return the tables of what the search tried, the choice marked."""
    panels = [
        panel(
            f"{label(name)}: settings tried",
            _trial_table(name, tried),
            note="Chosen on the validation split.",
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
    measured = [key for row in history for key in row if "@" in key]
    watched = [
        Series(key, _points(history, key), f"m-{name}", dashed=place > 0)
        for place, key in enumerate(dict.fromkeys(measured))
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


def _plot(title: str, unit: str, lines: Sequence[Series], *, best_x: float | None = None) -> Markup | None:
    kept = [line for line in lines if len(line.points) > 1]
    return line_plot(title, unit, kept, best_x=best_x) if kept else None


def _points(history: Sequence[Json], key: str) -> list[tuple[float, float]]:
    found = []
    for place, row in enumerate(history, start=1):
        x = number(row, "epoch") if "epoch" in row else number(row, "iteration")
        y = number(row, key)
        if y is not None:
            found.append((float(place) if x is None else x, y))
    return sorted(found)


def _share(history: Sequence[Json], key: str, color: str) -> Series:
    points = _points(history, key)
    mean = sum(share for _, share in points) / len(points) if points else None
    return Series(f"{key.removeprefix('share_')} {formats.percent(mean)}", points, color)


def _trial_table(name: str, tried: Sequence[Json]) -> Markup:
    settings_tried = [section(trial, "settings") for trial in tried]
    keys = list(dict.fromkeys(key for chosen in settings_tried for key in chosen))
    varied = [
        key for key in keys if any(a.get(key) != b.get(key) for a, b in pairwise(settings_tried))
    ] or keys
    measured = list(dict.fromkeys(key for trial in tried for key in trial if "@" in key))
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
