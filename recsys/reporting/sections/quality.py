"""How good the models are: metrics with intervals, paired comparisons, strata, cold start."""

from collections.abc import Sequence

from recsys.reporting import formats
from recsys.reporting.document import (
    POPULARITY,
    differences,
    headline_metric,
    interval_level,
    label,
    models,
    number,
    rows,
    section,
    text,
)
from recsys.reporting.markup import Markup, pair, panel, table, tag
from recsys.reporting.plots import Bar, bars, interval_plot
from recsys.reporting.tables import MetricRow, champion_note, metric_table
from recsys.types import Json

_STRATA = {"user_activity": "By interactions of the user", "item_popularity": "By popularity of the item"}


def metrics(result: Json) -> Markup | None:
    """Return the table of metrics, each model with its difference to popularity and the interval of it."""
    measured = metric_table(result)
    if not measured:
        return None
    names = list(measured[0].values)
    users, told = number(section(result, "data"), "test_users"), champion_note(result)
    note = (
        f"Under each model its difference to {POPULARITY} with the paired {interval_level(result)} interval"
    )
    return panel(
        "Metrics on the test split",
        table("Metrics", ["", *map(label, names)], [_metric_cells(row, names) for row in measured]),
        note=" ".join(
            filter(None, [f"{note}; {formats.count(users)} test users." if users else f"{note}.", told])
        ),
    )


def comparisons(result: Json) -> Markup | None:
    """Return the paired differences in the headline metric as points with intervals, and their p-values."""
    metric = headline_metric(result)
    drawn, printed = [], []
    for a, b, found in differences(result, metric):
        name = f"{label(a)} − {label(b)}"
        value, low, high = (number(found, key) for key in ("difference", "low", "high"))
        if value is not None and low is not None and high is not None:
            drawn.append((name, value, low, high, f"m-{a}"))
        printed.append([name, _stacked(*formats.interval(value, low, high).split(" ", 1)), _p_value(found)])
    if not printed:
        return None
    plot = interval_plot(f"Differences in {metric}", drawn) if drawn else None
    return panel(
        f"Differences in {metric}",
        tag(
            "div", plot, table("Paired comparisons", ["", "Difference", "p (Holm)"], printed), class_="split"
        ),
        note=" ".join(["Same users; paired bootstrap and permutation test.", *_power(result)]),
    )


def versus_champion(result: Json) -> Markup | None:
    """Return each model's relative difference to the champion, over all users and over those it knows.

    Users whose test pairs it was trained on are in neither.
    """
    before, metric, body = section(result, "champion_before"), headline_metric(result), []
    for name in models(result):
        on_all = section(before, "versus", name)
        on_common = section(before, "common", "versus", name)
        if on_all or on_common:
            body.append([f"{label(name)} − champion", _relative(on_all), _relative(on_common)])
    if not body:
        return None
    n_users, left_out = number(before, "n_users"), number(before, "users_left_out") or 0
    known = number(section(before, "common"), "n_users")
    if known is None:
        known = 0 if left_out else number(before, "common_users")
    n_compared = None if n_users is None else n_users - left_out
    head = ["", f"All {'others' if left_out else 'users'} ({formats.count(n_compared)})"]
    head.append(f"Known ({formats.count(known)})")
    leaked = number(before, "test_pairs_in_its_training")
    told = f" It was trained on {formats.count(leaked)} of tonight's test pairs" if leaked else ""
    told += f"; their {formats.count(left_out)} users are left out" if told and left_out else ""
    return panel(
        "Against the champion",
        table("Against the champion", head, body),
        note=f"{metric}, relative, with {interval_level(result)} intervals. Users the champion does not know "
        f"are served by {POPULARITY}, as in the shop.{told and told + '.'}",
    )


def strata(result: Json) -> Markup | None:
    """Return recall of each model and of popularity by user activity and by item popularity."""
    panels = [_stratum_panel(result, kind, title) for kind, title in _STRATA.items()]
    return pair([found for found in panels if found is not None])


def _power(result: Json) -> list[str]:
    """Return what the test set can see at all, for the model it sees worst."""
    found = [section(model, "power") for model in models(result).values()]
    smallest = max(
        (n for n in (number(one, "smallest_difference") for one in found) if n is not None), default=None
    )
    chance = next((n for n in (number(one, "power") for one in found) if n is not None), None)
    if smallest is None or chance is None:
        return []
    return [
        f"True differences of {formats.metric(smallest)} show in {formats.percent(chance)} of the nights."
    ]


def _relative(found: Json) -> str:
    value, low, high = (number(found, key) for key in ("relative", "relative_low", "relative_high"))
    bounds = [formats.percent(bound, sign=True) for bound in (low, high)]
    return _stacked(formats.percent(value, sign=True), f"[{', '.join(bounds)}]" if low is not None else "")


def _metric_cells(row: MetricRow, names: Sequence[str]) -> list[str]:
    cells: list[str] = [row.metric]
    for name in names:
        shown: str = formats.metric(row.values[name])
        if name == row.best:
            shown = tag("b", shown)
        cells.append(_stacked(shown, *row.differences.get(name, "").split(" ", 1)))
    return cells


def _stacked(first: str, *below: str) -> Markup:
    return tag("span", first, *(tag("small", line) for line in below if line), class_="cell")


def _p_value(found: Json) -> str:
    value = number(found, "p_adjusted")
    value = number(found, "p_value") if value is None else value
    if value is None:
        return formats.MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _stratum_panel(result: Json, kind: str, title: str) -> Markup | None:
    metric = headline_metric(result)
    by_model = {name: rows(section(model, "strata"), kind) for name, model in models(result).items()}
    first = next((found for found in by_model.values() if found), [])
    if not first:
        return None
    groups: list[tuple[str, list[Bar]]] = []
    for stratum in first:
        name = text(stratum, "label")
        entries = [
            _bar(label(model), number(same, metric), f"m-{model}")
            for model, found in by_model.items()
            for same in found
            if text(same, "label") == name
        ]
        entries.append(_bar(POPULARITY, number(stratum, f"baseline_{metric}"), "m-popularity"))
        counted = ((unit, number(stratum, unit)) for unit in ("users", "positives"))
        size = next((f" ({formats.count(n)} {unit})" for unit, n in counted if n is not None), "")
        groups.append((f"{name}{size}", entries))
    full = max((bar.length for _, entries in groups for bar in entries), default=0.0)
    drawn = [
        tag("div", tag("h4", name), bars(entries, full=full), class_="stratum") for name, entries in groups
    ]
    return panel(title, *drawn, note=metric)


def _bar(name: str, value: float | None, color: str) -> Bar:
    return Bar(name, value or 0.0, formats.metric(value), color)
